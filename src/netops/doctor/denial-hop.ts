// Where nobody takes a connection: whether a security module kept the program from it lately. A hint beside the cause, never the cause: the log says what
// was denied, not whether it would have listened there.

import { activeSecurityModule, denialsSince, readDenials, readLogClock } from '../../kernel/denial-log.ts';
import type { CauseId } from '../../model/diagnosis.ts';
import { hopOf, seen, type WalkHop } from './hop.ts';

const suspects = new Set<CauseId>(['service-not-listening', 'dnat-target-not-listening', 'accept-queue-full']);
const mostShown = 3;
/** Microseconds: what was denied before says nothing of a program that runs now. */
const lately = 900e6;

/** The hop to show behind the socket's, and what could not be read. */
export function denialHop(hops: readonly WalkHop[], port: number): { hop?: WalkHop; notMeasured?: string } {
  const socket = hops.find(({ fault }) => fault && suspects.has(fault.id));
  const by = socket && activeSecurityModule();
  if (!socket || !by) return {};
  const denials = readDenials();
  if (!denials) return { notMeasured: `whether ${by} denies the program something: the kernel's log cannot be read` };
  const now = readLogClock();
  const fitting = denialsSince(denials, now, lately)
    .filter((denial) => denial.port === undefined || denial.port === port)
    .slice(-mostShown);
  if (fitting.length === 0) return {};
  const ago = (at = now): string => `${Math.max(0, Math.round((now - at) / 1e6))} s ago`;
  const words = fitting.map(({ comm, operation, at }) => `${operation} of ${comm}, ${ago(at)}`).join('; ');
  return {
    hop: hopOf(
      { namespace: socket.namespace, way: 'there' },
      {
        layer: 'security',
        state: 'unknown',
        detail: `${by} denied lately: ${words}`,
        evidence: fitting.map(({ text }) => seen(text)),
      },
    ),
  };
}
