// Who sent a RST, and why: by what the kernel says it sent, by counters, and by what the packet looks like beside the flow it claims to be
// of. Pure. What was not measured is no evidence: without trace events a cause is at most observed.
// Sources: include/net/rstreason.h, net/ipv4/tcp_ipv4.c, net/ipv4/netfilter/nf_reject_ipv4.c, RFC 5961, RFC 9293.

import { printable } from '../../base/printable.ts';
import type { ResetReceived, ResetSent } from '../../kernel/trace/tcp-events.ts';
import type { Confidence } from '../../model/diagnosis.ts';
import type { RulePlace } from '../../model/packet-filter.ts';
import { renderFlags, tcpFlags } from '../capture/packet-view.ts';
import type { FlowFacts, SeenReset } from './tcp-flow.ts';

export const resetCauses = [
  'closed-port',
  'unknown-connection',
  'unread-data',
  'linger-zero',
  'destroyed',
  'aborted',
  'data-after-close',
  'keepalive',
  'timeout',
  'memory',
  'bad-segment',
  'firewall-reject',
  'forged',
  'syn-in-established',
  'unexplained',
] as const;

export type ResetCause = (typeof resetCauses)[number];

/** `active`: by the program's end of the connection; `passive`: in answer to a packet that fits none. */
export type ResetKind = 'active' | 'passive' | 'firewall' | 'forged' | 'challenge' | 'unknown';

export interface ResetEvidence {
  readonly rung: 'packet' | 'flow' | 'trace' | 'counters' | 'rules' | 'addresses';
  readonly text: string;
}

export interface ResetVerdict {
  readonly kind: ResetKind;
  readonly cause: ResetCause;
  readonly comm?: string;
  readonly pid?: number;
  readonly evidence: readonly ResetEvidence[];
  /** Causes that what was seen does not rule out. */
  readonly alternatives: readonly ResetCause[];
  readonly confidence: Confidence;
}

export interface RejectRule extends RulePlace {
  /** For people. */
  readonly netns: string;
  /** Where packets to the address pass for certain: it is there, or is where we look. */
  readonly near: boolean;
}

export interface ResetContext {
  /** What a kernel of this machine says it sent, of this tuple, at that time. */
  readonly sent?: ResetSent;
  /** A socket of this machine took it. */
  readonly received?: ResetReceived;
  /**
   * Trace events were on, this kernel makes one for every RST, none was lost and every translation is known: that there is none means
   * no socket of this machine sent it.
   */
  readonly traced: boolean;
  /** Growth of the namespace's counters around it, and how many RSTs were seen in that time. */
  readonly counters?: { readonly growth: Readonly<Record<string, number>>; readonly resets: number };
  /** Whether it is from this machine by its address and where it was seen; undefined where that cannot be told. */
  readonly senderHere?: boolean;
  /** Rules that answer with a RST and may have, in the namespaces that were looked at; undefined where none was. */
  readonly rejectRules?: readonly RejectRule[];
  /** What `sent` says was sent of another tuple: addresses are translated on the way. */
  readonly translated?: string;
}

/** By the fields of tcp_send_reset: since 6.10, which added the reason, it also tells of RSTs that belong to no socket. */
export const tellsEveryReset = (fields: readonly string[]): boolean => fields.includes('reason');

/** By enum sk_rst_reason; states tell TCP_STATE apart. */
function causeOfEvent({ reason, state, socket }: ResetSent): { kind: ResetKind; cause: ResetCause } {
  switch (reason) {
    case 'NO_SOCKET':
      return { kind: 'passive', cause: 'closed-port' };
    case 'TCP_ABORT_ON_CLOSE':
      return { kind: 'active', cause: 'unread-data' };
    case 'TCP_ABORT_ON_LINGER':
      return { kind: 'active', cause: 'timeout' };
    case 'TCP_ABORT_ON_MEMORY':
      return { kind: 'active', cause: 'memory' };
    case 'TCP_STATE':
    case 'TCP_DISCONNECT_WITH_DATA':
      // close() with SO_LINGER 0 has put the socket into CLOSE before; SOCK_DESTROY has not.
      return { kind: 'active', cause: state === 'CLOSE' || reason === 'TCP_DISCONNECT_WITH_DATA' ? 'linger-zero' : 'destroyed' };
    case 'TCP_TIMEWAIT_SOCKET':
    case 'TCP_ABORT_ON_DATA':
      return { kind: 'passive', cause: 'data-after-close' };
    case 'TCP_KEEPALIVE_TIMEOUT':
      return { kind: 'active', cause: 'keepalive' };
    case undefined:
    case 'NOT_SPECIFIED':
      if (socket === undefined) return { kind: 'passive', cause: 'closed-port' };
      return { kind: 'active', cause: state === 'CLOSE' ? 'linger-zero' : 'aborted' };
    default:
      return { kind: 'passive', cause: 'bad-segment' };
  }
}

/** Counters that grow with a cause, for evidence. */
const countersOf: Partial<Record<ResetCause, readonly string[]>> = {
  'closed-port': ['Tcp.OutRsts'],
  'unread-data': ['TcpExt.TCPAbortOnClose', 'Tcp.OutRsts'],
  'linger-zero': ['TcpExt.TCPAbortOnData', 'Tcp.OutRsts'],
  destroyed: ['Tcp.OutRsts'],
  'data-after-close': ['TcpExt.TCPAbortOnData', 'Tcp.OutRsts'],
  keepalive: ['TcpExt.TCPAbortOnTimeout', 'Tcp.OutRsts'],
  timeout: ['TcpExt.TCPAbortOnLinger', 'Tcp.OutRsts'],
  memory: ['TcpExt.TCPAbortOnMemory', 'Tcp.OutRsts'],
  'firewall-reject': ['Tcp.OutRsts'],
  forged: ['Tcp.OutRsts', 'Tcp.EstabResets'],
};

interface Sign {
  readonly text: string;
  readonly strong: boolean;
}

/** In what it differs from what the end it claims to be of sends. */
export function signsOf({ view, before }: Pick<SeenReset, 'view' | 'before'>): Sign[] {
  const signs: Sign[] = [];
  const { tcp } = view;
  const acknowledges = (tcp.flags & tcpFlags.ack) !== 0;
  if (before.senderTtl !== undefined && before.senderTtl !== view.ttl)
    signs.push({
      text: `TTL ${view.ttl}, this end's packets have ${before.senderTtl}`,
      strong: Math.abs(before.senderTtl - view.ttl) > 1,
    });
  const expected = [before.senderNext, before.peerAcknowledged].filter((one) => one !== undefined);
  if (before.established && expected.length > 0 && !expected.includes(tcp.sequence)) {
    const distance = Math.min(...expected.map((one) => Math.abs((tcp.sequence - one) | 0)));
    const between =
      before.senderNext !== undefined &&
      before.peerAcknowledged !== undefined &&
      ((tcp.sequence - before.peerAcknowledged) | 0) > 0 &&
      ((before.senderNext - tcp.sequence) | 0) > 0;
    if (!between)
      signs.push({ text: `sequence ${tcp.sequence} is ${distance} bytes off what this end had reached`, strong: true });
  }
  // An end that negotiated timestamps sends them with the RST of a socket; a RST of no socket has window 0 instead.
  if (before.established && before.senderTimestamps && tcp.timestamp === undefined && tcp.window !== 0)
    signs.push({ text: `window ${tcp.window} but no timestamps, which this end's packets carry`, strong: true });
  if (!acknowledges && tcp.window !== 0) signs.push({ text: `window ${tcp.window} in a RST of no socket`, strong: false });
  // Linux numbers packets that may not be fragmented from 0 when they are of no socket.
  if (
    view.family === 4 &&
    tcp.window === 0 &&
    tcp.optionBytes === 0 &&
    view.ipId !== 0 &&
    before.senderZeroIds === false &&
    before.senderTtl !== undefined &&
    before.senderTtl <= 64
  )
    signs.push({ text: `identification ${view.ipId} in a RST of no socket, which has 0 on Linux`, strong: false });
  return signs;
}

/** By bytes and flow alone. */
function causeOfPacket({ view, before }: Pick<SeenReset, 'view' | 'before'>): {
  kind: ResetKind;
  cause: ResetCause;
  alternatives: ResetCause[];
  why: string;
} {
  const { tcp } = view;
  const bare = tcp.window === 0 && tcp.optionBytes === 0;
  const acknowledges = (tcp.flags & tcpFlags.ack) !== 0;
  if (before.answersSyn && acknowledges)
    return {
      kind: 'passive',
      cause: 'closed-port',
      alternatives: ['firewall-reject'],
      why: 'it answers a SYN that nothing else answered',
    };
  if (before.senderKeepalives >= 2 && (before.sincePeer ?? Number.POSITIVE_INFINITY) > 1e6)
    return {
      kind: 'active',
      cause: 'keepalive',
      alternatives: ['aborted'],
      why: `it follows ${before.senderKeepalives} probes of the last byte that nobody answered`,
    };
  if (!acknowledges && bare && before.senderFinished)
    return {
      kind: 'passive',
      cause: 'data-after-close',
      alternatives: ['firewall-reject'],
      why: 'this end had closed, and what came after was for nobody',
    };
  if (!acknowledges && bare && before.established)
    return {
      kind: 'passive',
      cause: 'unknown-connection',
      alternatives: ['firewall-reject', 'data-after-close', 'forged'],
      why: 'it answers a packet of a connection its sender has no socket for',
    };
  if (acknowledges && !(bare && before.senderTimestamps) && before.senderPackets > 0)
    return {
      kind: 'active',
      cause: 'aborted',
      alternatives: ['unread-data', 'linger-zero', 'destroyed', 'keepalive'],
      why: 'it has the numbers and options of a socket that was ended at once',
    };
  return {
    kind: 'unknown',
    cause: 'unexplained',
    alternatives: ['closed-port', 'firewall-reject', 'forged'],
    why: 'its flow was not seen',
  };
}

const packetText = ({ view, outgoing, interface: name }: SeenReset): string => {
  const { tcp, ttl, ipId } = view;
  const options = tcp.optionBytes > 0 ? `${tcp.optionBytes} bytes of options` : 'no options';
  const way = outgoing === undefined ? '' : outgoing ? `sent out by ${name ?? '?'}, ` : `came in by ${name ?? '?'}, `;
  return `${way}[${renderFlags(tcp.flags)}] seq ${tcp.sequence}, window ${tcp.window}, ${options}, TTL ${ttl}${view.family === 4 ? `, id ${ipId}` : ''}`;
};

function flowText({
  established,
  senderPackets,
  peerBytes,
  senderTtl,
  answersSyn,
  senderFinished,
  peerFinished,
}: FlowFacts): string {
  if (answersSyn) return 'the connection was being asked for';
  if (senderPackets === 0) return 'nothing else was seen of the end it bears the address of';
  const state = established ? 'established' : 'not established';
  const closed =
    senderFinished && peerFinished
      ? ', closed by both'
      : senderFinished
        ? ', closed by this end'
        : peerFinished
          ? ', closed by the other end'
          : '';
  return `${state}${closed}; ${senderPackets} packets of this end with TTL ${senderTtl}, ${peerBytes} bytes to it`;
}

const ruleText = ({ netns, backend, family, table, chain, handle, text }: RejectRule): string =>
  `${netns === '' ? '' : `in ${netns}: `}${backend} ${family} ${table} ${chain}, ${backend === 'nft' ? 'handle' : 'rule'} ${handle}: ${text}`;

/** What the kernel says of a RST it sent. */
export function judgeSent(sent: ResetSent): ResetVerdict {
  const { kind, cause } = causeOfEvent(sent);
  const named = sent.inTask && kind === 'active';
  const words = [`state ${sent.state ?? 'none'}`, `reason ${sent.reason ?? 'not told by this kernel'}`];
  const who = named ? `, by ${printable(sent.comm, 40)} (pid ${sent.pid})` : '';
  return {
    kind,
    cause,
    ...(named ? { comm: printable(sent.comm, 40), pid: sent.pid } : {}),
    evidence: [{ rung: 'trace', text: `tcp_send_reset, ${kind}: ${words.join(', ')}${who}` }],
    alternatives: [],
    confidence: sent.reason === undefined || sent.reason === 'NOT_SPECIFIED' ? 'observed' : 'proven',
  };
}

export function judgeReset(reset: SeenReset, context: ResetContext): ResetVerdict {
  const evidence: ResetEvidence[] = [
    { rung: 'packet', text: packetText(reset) },
    { rung: 'flow', text: flowText(reset.before) },
  ];
  const { sent, received, traced, counters, senderHere, rejectRules } = context;
  const tellCounters = (cause: ResetCause): void => {
    if (!counters) return;
    const grown = (countersOf[cause] ?? ['Tcp.OutRsts']).map(
      (name) => `${name.replace(/^.*\./, '')}+${counters.growth[name] ?? 0}`,
    );
    evidence.push({
      rung: 'counters',
      text: `${grown.join(', ')} while ${counters.resets} ${counters.resets === 1 ? 'RST' : 'RSTs'} passed`,
    });
  };
  if (received)
    evidence.push({
      rung: 'trace',
      text: `a socket took it (tcp_receive_reset${received.cookie ? `, cookie ${received.cookie}` : ''})`,
    });
  if (sent) {
    const verdict = judgeSent(sent);
    evidence.push(...verdict.evidence);
    if (context.translated !== undefined)
      evidence.push({ rung: 'trace', text: `sent as ${context.translated}: translated on its way` });
    tellCounters(verdict.cause);
    return { ...verdict, evidence };
  }
  const signs = signsOf(reset);
  for (const { text } of signs) evidence.push({ rung: 'flow', text: `off its profile: ${text}` });
  const off = signs.some(({ strong }) => strong) || signs.length > 1;
  const guess = causeOfPacket(reset);
  if (traced && senderHere === true) {
    evidence.push({
      rung: 'trace',
      text: 'no tcp_send_reset: no socket of this machine sent it, though the address is this machine’s',
    });
    // Any namespace may be on the way; one that certainly is comes first.
    const near = (rejectRules ?? []).filter((rule) => rule.near);
    const rules = near.length > 0 ? near : (rejectRules ?? []);
    // A RST of a rule has the bytes of one of no socket: window 0, no options.
    const bare = reset.view.tcp.window === 0 && reset.view.tcp.optionBytes === 0;
    if (off || !bare || (rejectRules !== undefined && rules.length === 0)) {
      if (rejectRules !== undefined && rules.length === 0)
        evidence.push({ rung: 'rules', text: 'no rule of this machine answers with a RST' });
      tellCounters('forged');
      return {
        kind: 'forged',
        cause: 'forged',
        evidence,
        alternatives: rules.length > 0 ? ['firewall-reject'] : [],
        confidence: off || rejectRules ? 'proven' : 'observed',
      };
    }
    for (const rule of rules.slice(0, 5)) evidence.push({ rung: 'rules', text: `answers with a RST: ${ruleText(rule)}` });
    tellCounters('firewall-reject');
    return {
      kind: 'firewall',
      cause: 'firewall-reject',
      evidence,
      alternatives: ['forged'],
      confidence: near.length > 0 ? 'proven' : 'observed',
    };
  }
  if (off) {
    tellCounters('forged');
    return { kind: 'forged', cause: 'forged', evidence, alternatives: [guess.cause], confidence: 'observed' };
  }
  evidence.push({ rung: 'packet', text: guess.why });
  if (!traced && senderHere !== false)
    evidence.push({ rung: 'trace', text: 'not measured: whether a socket of this machine sent it' });
  return {
    kind: guess.kind,
    cause: guess.cause,
    evidence,
    alternatives: guess.alternatives,
    confidence: guess.cause === 'unexplained' ? 'unknown' : 'observed',
  };
}

/** One sentence for people. */
export const causeWords: Readonly<Record<ResetCause, string>> = {
  'closed-port': 'nothing listens there: the kernel refused',
  'unknown-connection': 'its sender has no such connection (any more): it restarted, or state was lost on the way',
  'unread-data': 'the program closed with data it had not read',
  'linger-zero': 'the program closed at once (SO_LINGER 0)',
  destroyed: 'the socket was killed from outside (ss -K, weir kill)',
  aborted: 'the program or its kernel ended the connection at once',
  'data-after-close': 'data came for a connection that was closed already',
  keepalive: 'the other end did not answer keepalive probes',
  timeout: 'the other end did not close in time',
  memory: 'the kernel had no memory or too many orphaned sockets',
  'bad-segment': 'a segment did not fit the connection',
  'firewall-reject': 'a rule of a packet filter answered (reject with tcp reset)',
  forged: 'not by the end whose address it bears: forged, or a middlebox',
  'syn-in-established': 'a SYN into an established connection: answered by challenge ACKs, not by a RST',
  unexplained: 'it cannot be told',
};
