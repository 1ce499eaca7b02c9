// The behaviours that verdicts name, and how people and URLs write a choice of them: `port-scan,sweep`. Pure.

import { WeirError } from '../base/errors.ts';
import { printable } from '../base/printable.ts';
import type { Behaviour } from '../model/insight.ts';

export const behaviours: readonly Behaviour[] = [
  'port-scan',
  'sweep',
  'block-scan',
  'slow-scan',
  'repeated-access',
  'brute-force',
  'exploitation',
  'crawler',
  'research-scanner',
  'silent-opener',
  'two-phase-scan',
  'flood',
];

/** `port-scan,sweep`; absent or empty is every behaviour. Throws `bad-request` for others. */
export function parseBehaviours(text: string | undefined): { readonly behaviours?: readonly Behaviour[] } {
  if (!text) return {};
  const wanted = text.split(',').map((name) => name.trim());
  const wrong = wanted.find((name) => !(behaviours as readonly string[]).includes(name));
  if (wrong === undefined) return { behaviours: wanted as Behaviour[] };
  throw new WeirError('bad-request', `behaviour: '${printable(wrong, 40)}' is none of ${behaviours.join(', ')}`, {
    parameter: 'behaviour',
  });
}
