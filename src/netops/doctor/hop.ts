// What a walk says of each place a packet comes by, and what goes wrong there. Pure data; who finds it is path-walk.ts.

import type { Address } from '../../model/address.ts';
import type { CauseId, DiagnosisFix, DiagnosisHop } from '../../model/diagnosis.ts';
import type { MachineLink, MachineListener, MachineNamespace, MachineQdisc } from '../../model/machine.ts';
import type { ChainPlace, FilterBackend, FilterHook, FilterPacket, RulePlace } from '../../model/packet-filter.ts';

export type Evidence = DiagnosisHop['evidence'][number];

/** Which step of the ladder: what was read; what the kernel counted meanwhile; what a packet of ours met; what the kernel told as it happened. */
export const rungs = {
  state: 'state',
  kernel: 'asked the kernel',
  counters: 'counters',
  probe: 'probe',
  trace: 'trace',
} as const;

export const seen = (text: string): Evidence => ({ rung: rungs.state, text });

/** What a fault is made of, for the fix. */
export interface FaultParts {
  readonly rule?: RulePlace;
  readonly policyOf?: ChainPlace;
  readonly hook?: FilterHook;
  readonly packet?: FilterPacket;
  /** Holds this very address, and it alone. */
  readonly set?: { readonly backend: FilterBackend; readonly family: string; readonly table: string; readonly name: string };
  /** Of fail2ban. */
  readonly jail?: string;
  /** Seconds until the element goes by itself. */
  readonly expires?: number;
  /** Seconds it was there for. */
  readonly timeout?: number;
  readonly address?: Address;
  readonly prefixLength?: number;
  readonly mac?: string;
  readonly link?: MachineLink;
  readonly ruleText?: string;
  readonly rulePriority?: number;
  /** Of the route that decided. */
  readonly table?: number;
  readonly ruleAction?: string;
  /** Way back to the source: what came last in front of this namespace. */
  readonly gateway?: Address;
  readonly inputDevice?: string;
  readonly listener?: MachineListener;
  readonly qdisc?: MachineQdisc;
  readonly policy?: string;
  readonly devices?: readonly string[];
  readonly cgroup?: string;
  readonly mtu?: number;
}

export interface Fault {
  readonly id: CauseId;
  readonly detail: string;
  /** false: it may strike; a limit, a rule that could not be decided. */
  readonly certain: boolean;
  /** What a probe meets: no answer, a refusal, an answer that does not go on. */
  readonly effect: 'silence' | 'refused' | 'unreachable' | 'stall';
  readonly parts: FaultParts;
}

export interface WalkHop {
  readonly layer: string;
  readonly namespace: MachineNamespace;
  readonly dev?: string;
  readonly way: 'there' | 'back';
  readonly state: DiagnosisHop['state'];
  readonly detail: string;
  readonly evidence: readonly Evidence[];
  readonly fault?: Fault;
  /** The kernel contradicts what was read: what comes behind may be elsewhere. */
  readonly disputed?: true;
}

/** A fault, sure unless it says otherwise. */
export type FaultWords = Omit<Fault, 'certain' | 'parts'> & Partial<Pick<Fault, 'certain' | 'parts'>>;

export interface HopWords {
  readonly layer: string;
  readonly dev?: string;
  readonly state: DiagnosisHop['state'];
  readonly detail: string;
  readonly evidence?: readonly Evidence[];
  readonly fault?: FaultWords;
}

/** A hop; one with a fault that is not sure is `unknown`. */
export const hopOf = (
  where: { readonly namespace: MachineNamespace; readonly way: WalkHop['way']; readonly evidence?: readonly Evidence[] },
  { layer, dev, state, detail, evidence = [], fault }: HopWords,
): WalkHop => ({
  layer,
  namespace: where.namespace,
  ...(dev !== undefined && { dev }),
  way: where.way,
  state: fault && fault.certain === false ? 'unknown' : state,
  detail,
  evidence: [...(where.evidence ?? []), ...evidence],
  ...(fault && { fault: { certain: true, parts: {}, ...fault } }),
});

/** Of a namespace, for people. */
export const nameOf = ({ name, inode }: MachineNamespace): string => (name === '' ? 'this machine' : name || `net:[${inode}]`);

export type { DiagnosisFix };
