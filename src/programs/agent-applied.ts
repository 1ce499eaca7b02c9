// What an agent says of itself on the control stream, cut so that a line always holds it (the gateway ends a link for a longer
// one): so many ports and reasons, each short. Pure.

import { printable } from '../base/printable.ts';
import type { AgentMessage, RefusedListener } from '../model/agent.ts';

const maxRefused = 200;
const maxWhy = 100;
const maxAddresses = 256;
const maxReasons = 32;
const maxReason = 300;
/** Of text that takes several bytes a character. */
const refusedBytes = 32 * 1024;

const roomOf = (one: RefusedListener): number => Buffer.byteLength(JSON.stringify(one)) + 1;

/** What is left out is counted in a last entry, of port 0. */
export function renderApplied(
  rules: string,
  refused: readonly RefusedListener[],
  addresses: readonly string[],
): Extract<AgentMessage, { kind: 'applied' }> {
  const told: RefusedListener[] = [];
  let bytes = 0;
  for (const { transport, port, why } of refused.slice(0, maxRefused)) {
    const one = { transport, port, why: printable(why, maxWhy) };
    bytes += roomOf(one);
    if (bytes > refusedBytes) break;
    told.push(one);
  }
  const left = refused.length - told.length;
  if (left > 0) told.push({ transport: 'tcp', port: 0, why: `and ${left} more` });
  return { kind: 'applied', rules, refused: told, addresses: addresses.slice(0, maxAddresses) };
}

export const renderReasons = (reasons: readonly string[]): string[] =>
  reasons.slice(0, maxReasons).map((reason) => printable(reason, maxReason));
