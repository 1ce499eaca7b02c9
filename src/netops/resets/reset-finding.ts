// What `weir rst` says of one RST, or of SYNs into an established connection: in the shape of its JSON, and in lines for people. Pure.

import { type Micros, renderMicros } from '../../base/clock.ts';
import { printable } from '../../base/printable.ts';
import type { ResetSent } from '../../kernel/trace/tcp-events.ts';
import type { Confidence } from '../../model/diagnosis.ts';
import {
  causeWords,
  judgeReset,
  judgeSent,
  type ResetCause,
  type ResetContext,
  type ResetEvidence,
  type ResetKind,
} from './judge-reset.ts';
import type { SeenChallenge } from './reset-table.ts';
import { type SeenReset, usualTtl } from './tcp-flow.ts';

export interface ResetFinding {
  readonly at: Micros;
  /** From the sender of the RST, or of the SYN. */
  readonly flow: {
    readonly proto: 'tcp';
    readonly src: string;
    readonly sport: number;
    readonly dst: string;
    readonly dport: number;
  };
  /** `out`: sent by this machine; `in`: it came; `unknown`: a file does not say. */
  readonly direction: 'in' | 'out' | 'unknown';
  readonly kind: ResetKind;
  readonly cause: ResetCause;
  readonly comm?: string;
  readonly pid?: number;
  readonly evidence: readonly ResetEvidence[];
  readonly alternatives: readonly ResetCause[];
  readonly confidence: Confidence;
}

const directionOf = (outgoing: boolean | undefined): ResetFinding['direction'] =>
  outgoing === undefined ? 'unknown' : outgoing ? 'out' : 'in';

export function findingOfReset(reset: SeenReset, context: ResetContext): ResetFinding {
  const { source, sourcePort, destination, destinationPort } = reset.view;
  return {
    at: reset.at,
    flow: { proto: 'tcp', src: source, sport: sourcePort, dst: destination, dport: destinationPort },
    direction: directionOf(reset.outgoing),
    ...judgeReset(reset, context),
  };
}

/** The kernel sent it, and no interface that was listened on showed it. `lost`: packets the capture had no room for until then. */
export function findingOfUnseen(sent: ResetSent, lost: number): ResetFinding | undefined {
  const { source, destination, at } = sent;
  if (!source || !destination) return undefined;
  const verdict = judgeSent(sent);
  const among = lost === 0 ? '' : `, or it is among ${lost} packets there was no room for`;
  const text = `no packet was seen of it: a rule dropped it on its way out, or it left by an interface that is not listened on${among}`;
  return {
    at,
    flow: { proto: 'tcp', src: source.ip, sport: source.port, dst: destination.ip, dport: destination.port },
    direction: 'out',
    ...verdict,
    evidence: [...verdict.evidence, { rung: 'packet', text }],
  };
}

const counterNames = ['TCPChallengeACK', 'TCPSYNChallenge', 'TCPACKSkippedChallenge'];

/** `growth`: of the namespace's counters meanwhile; absent in a file. */
export function findingOfChallenge(
  { tally }: SeenChallenge,
  growth: Readonly<Record<string, number>> | undefined,
  outgoing: boolean | undefined,
): ResetFinding {
  const { from, to, syns, answers, firstAt, foreignTtl } = tally;
  const silent = syns - answers;
  const evidence: ResetEvidence[] = [
    {
      rung: 'packet',
      text: `${syns} ${syns === 1 ? 'SYN' : 'SYNs'} into an established connection, ${answers} answered by a challenge ACK (RFC 5961)`,
    },
  ];
  if (silent > 0)
    evidence.push({
      rung: 'packet',
      text: `${silent} not answered: one socket sends one challenge ACK in 500 ms (net.ipv4.tcp_invalid_ratelimit)`,
    });
  if (growth) {
    const grown = counterNames.map((name) => `${name}+${growth[`TcpExt.${name}`] ?? 0}`);
    evidence.push({ rung: 'counters', text: grown.join(', ') });
  }
  if (foreignTtl !== undefined)
    evidence.push({ rung: 'flow', text: `off its profile: TTL ${foreignTtl}, this end's packets have ${usualTtl(from)}` });
  const forged = foreignTtl !== undefined && Math.abs(foreignTtl - (usualTtl(from) ?? foreignTtl)) > 1;
  return {
    at: firstAt,
    flow: { proto: 'tcp', src: from.ip, sport: from.port, dst: to.ip, dport: to.port },
    direction: directionOf(outgoing),
    kind: 'challenge',
    cause: 'syn-in-established',
    evidence,
    alternatives: forged ? ['forged'] : ['unknown-connection'],
    confidence: answers > 0 ? 'proven' : 'observed',
  };
}

/** As in interface.md, with the time. */
export const resetDocument = ({ at, ...finding }: ResetFinding): Record<string, unknown> => ({
  '@timestamp': renderMicros(at),
  ...finding,
});

const endpoint = (ip: string, port: number): string => (ip.includes(':') ? `[${ip}]:${port}` : `${ip}:${port}`);

/** The first line is the answer, those after it the evidence. */
export function renderReset({
  at,
  flow,
  direction,
  cause,
  comm,
  pid,
  evidence,
  alternatives,
  confidence,
}: ResetFinding): string[] {
  const way = direction === 'unknown' ? '' : direction === 'out' ? ' (sent here)' : ' (came in)';
  const who = comm === undefined ? '' : `, by ${printable(comm, 40)} (pid ${pid})`;
  const others = alternatives.length > 0 ? `; not ruled out: ${alternatives.join(', ')}` : '';
  return [
    `${renderMicros(at).slice(11, 26)} ${endpoint(flow.src, flow.sport)} > ${endpoint(flow.dst, flow.dport)}${way}  ${cause}${who}`,
    `  ${causeWords[cause]} (${confidence}${others})`,
    ...evidence.map(({ rung, text }) => `  ${rung}: ${printable(text, 500)}`),
  ];
}
