// Whether two ways a packet may come end in one and the same thing: not the kind of cause alone, but the place, the rule, and what would be done
// about it. Pure.

import type { DiagnosisVerdict } from '../../model/diagnosis.ts';
import type { Machine } from '../../model/machine.ts';
import { planFixes } from './fixes.ts';
import type { WalkHop } from './hop.ts';

export interface Outcome {
  readonly verdict: DiagnosisVerdict;
  readonly cause?: WalkHop;
}

/** Comments of fixes are made anew each time. */
const anyComment = /weir-doctor-[0-9a-f]+/g;

function placeOf({ namespace, layer, dev, fault }: WalkHop): string {
  const { rule, policyOf } = fault?.parts ?? {};
  const filtered = rule ?? policyOf;
  // One rule, and one socket, is the same by whichever device a packet comes to it.
  const at = filtered
    ? `${filtered.backend} ${filtered.family} ${filtered.table} ${filtered.chain} ${rule ? rule.handle : 'policy'}`
    : layer === 'socket'
      ? ''
      : (dev ?? '');
  return `${namespace.inode} ${layer} ${at}`;
}

export function sameOutcome(machine: Machine, a: Outcome, b: Outcome): boolean {
  if (a.verdict !== b.verdict || a.cause?.fault?.id !== b.cause?.fault?.id) return false;
  if (!a.cause || !b.cause) return true;
  const done = (cause: WalkHop): string =>
    planFixes(machine, cause)
      .map(({ cmd }) => cmd.replace(anyComment, ''))
      .join('\n');
  return placeOf(a.cause) === placeOf(b.cause) && done(a.cause) === done(b.cause);
}
