// What to do next when there is nothing to show: a sentence that can be followed at once.

import type { CommandContext } from './command-context.ts';

/** For an empty list of `what` ("sessions"). */
export function nothingYet(what: string, filtered: boolean, context: CommandContext): string {
  const { bold } = context.style;
  if (filtered) return `no ${what} match: widen --since, or leave filters out`;
  return `no ${what} recorded yet: touch a decoy, for example with ${bold('nc -v DECOY 2222')} from another machine.\n${bold('weir decoys')} lists what can be touched, ${bold('weir status')} says whether it is reachable`;
}
