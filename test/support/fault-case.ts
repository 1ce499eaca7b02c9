// One fault of the catalogue as data, and the words cases are written with.

import type { CauseId, Confidence, DiagnosisVerdict } from '../../src/model/diagnosis.ts';
import type { FaultLab, Listening, Place, Step } from './fault-lab.ts';

export interface FaultCase {
  /** Row of the catalogue. */
  readonly number: string;
  readonly cause: CauseId;
  readonly verdict: DiagnosisVerdict;
  /** Where it goes wrong first. */
  readonly hop: { readonly at: Place; readonly layer: string };
  /** 10.50.1.10 when absent. */
  readonly from?: string;
  /** 10.60.0.2:8080 when absent. */
  readonly to?: readonly [string, number];
  /** Another source and what comes of it. */
  readonly contrast: { readonly from: string; readonly verdict: DiagnosisVerdict };
  /** On 0.0.0.0:8080 of the server when absent. */
  readonly listening?: readonly Listening[];
  /** Instead of these after the healing. */
  readonly healedListening?: readonly Listening[];
  readonly stage: readonly Step[];
  readonly heal: readonly Step[];
  readonly more?: (lab: FaultLab) => Promise<() => Promise<void>>;
  /** `command`: the fix heals it; `advice`: only the application or its operator can. */
  readonly fix: 'command' | 'advice';
  /** How sure a diagnosis with a probe is: `proven` when absent. */
  readonly confidence?: Confidence;
  /** false: only a probe finds it. */
  readonly foretold?: false;
  /** What the detail of the cause must say. */
  readonly says?: RegExp;
  /** Of the fixes that are refused. */
  readonly rejects?: RegExp;
}

export const server = (address = '0.0.0.0', behaviour: Listening['behaviour'] = 'keep'): Listening => ({
  at: 'server',
  address,
  port: 8080,
  behaviour,
});
export const container = (address = '0.0.0.0', behaviour: Listening['behaviour'] = 'keep'): Listening => ({
  at: 'container',
  address,
  port: 80,
  behaviour,
});
export const otherClient = '10.50.1.11';
export const neighbour = '10.60.0.20';
/** Removes all rules of both backends: for what staged nothing else. */
export const noRules: Step = ['server', 'nft flush ruleset'];
