// What the packets of one TCP connection tell of its two ends: the profile a RST is measured against, and what went before it. Pure; one
// side's facts are those it sent itself. Bounded: counts and last values, no packets.
// Sources: RFC 9293, RFC 5961, RFC 7323, RFC 791.

import type { Micros } from '../../base/clock.ts';
import { type PacketView, type TcpView, tcpFlags } from '../capture/packet-view.ts';

/** One end, by what it sent. */
export interface FlowSide {
  readonly ip: string;
  readonly port: number;
  packets: number;
  /** Of packets that are no RST; how many had it. */
  readonly ttls: Map<number, number>;
  /** Most of its packets carry timestamps. */
  timestamps: number;
  /** Highest identification seen, of packets that are no RST. */
  lastIpId: number;
  zeroIds: number;
  /** Sequence number after its last byte; undefined before anything was seen. */
  next: number | undefined;
  /** What it acknowledged last. */
  acknowledged: number | undefined;
  /** Of the last packet, as written. */
  window: number | undefined;
  synSequence: number | undefined;
  finished: boolean;
  lastAt: Micros;
  /** In a row, not answered: segments at the byte before the next. */
  keepalives: number;
  bytes: number;
}

export interface ChallengeTally {
  firstAt: Micros;
  lastAt: Micros;
  syns: number;
  /** Pure acknowledgements of what was known, within 20 ms of such a SYN. */
  answers: number;
  readonly from: FlowSide;
  readonly to: FlowSide;
  /** Of the last of them. */
  sequence: number;
  /** Its TTL, where it differs from what that end has. */
  foreignTtl: number | undefined;
}

export interface TcpFlow {
  readonly key: string;
  /** Who sent the first SYN; else who was seen first. */
  readonly sides: readonly [FlowSide, FlowSide];
  established: boolean;
  firstAt: Micros;
  lastAt: Micros;
  challenge: ChallengeTally | undefined;
  /** RSTs from each side. */
  resets: [number, number];
}

/** A RST as it was seen, with what was known of its flow before it. */
export interface SeenReset {
  readonly at: Micros;
  readonly view: PacketView & { readonly tcp: TcpView; readonly sourcePort: number; readonly destinationPort: number };
  readonly flow: TcpFlow;
  /** Index of the side whose address it bears. */
  readonly side: 0 | 1;
  /** Whether this machine sent it out; undefined in a file that does not say. */
  readonly outgoing: boolean | undefined;
  readonly interface?: string;
  /** At that moment: later packets change the flow. */
  readonly before: FlowFacts;
}

/** What is judged by, taken when the RST came. */
export interface FlowFacts {
  readonly established: boolean;
  readonly senderPackets: number;
  readonly senderTtl: number | undefined;
  readonly senderTimestamps: boolean;
  readonly senderNext: number | undefined;
  readonly senderFinished: boolean;
  readonly senderKeepalives: number;
  readonly senderLastIpId: number;
  readonly senderZeroIds: boolean;
  readonly senderWindow: number | undefined;
  readonly peerNext: number | undefined;
  readonly peerFinished: boolean;
  readonly peerAcknowledged: number | undefined;
  readonly peerBytes: number;
  /** Microseconds since the peer's last packet; undefined when none was seen. */
  readonly sincePeer: number | undefined;
  /** The peer's last packet was a SYN that nobody answered. */
  readonly answersSyn: boolean;
  readonly earlierResets: number;
}

const side = (ip: string, port: number): FlowSide => ({
  ip,
  port,
  packets: 0,
  ttls: new Map(),
  timestamps: 0,
  lastIpId: 0,
  zeroIds: 0,
  next: undefined,
  acknowledged: undefined,
  window: undefined,
  synSequence: undefined,
  finished: false,
  lastAt: 0,
  keepalives: 0,
  bytes: 0,
});

/** More different TTLs than this are not counted: somebody plays with them. */
const maxTtls = 16;
const challengeWithin = 20_000;

export function openFlow(key: string, view: PacketView, at: Micros): TcpFlow {
  const { source, destination, sourcePort = 0, destinationPort = 0, tcp } = view;
  const [one, other] = [side(source, sourcePort), side(destination, destinationPort)];
  const answer = tcp !== undefined && (tcp.flags & (tcpFlags.syn | tcpFlags.ack)) === (tcpFlags.syn | tcpFlags.ack);
  return {
    key,
    sides: answer ? [other, one] : [one, other],
    established: false,
    firstAt: at,
    lastAt: at,
    challenge: undefined,
    resets: [0, 0],
  };
}

export const sideOf = ({ sides }: TcpFlow, { source, sourcePort = 0 }: PacketView): 0 | 1 =>
  sides[0].ip === source && sides[0].port === sourcePort ? 0 : 1;

/** The TTL most of its packets had; undefined before any. */
export function usualTtl({ ttls }: FlowSide): number | undefined {
  let best: number | undefined;
  for (const [ttl, count] of ttls) if (best === undefined || count > (ttls.get(best) ?? 0)) best = ttl;
  return best;
}

const after = (one: number, other: number): boolean => ((one - other) | 0) > 0;

export function factsOf(flow: TcpFlow, index: 0 | 1, at: Micros): FlowFacts {
  const sender = flow.sides[index];
  const peer = flow.sides[1 - index];
  return {
    established: flow.established,
    senderPackets: sender.packets,
    senderTtl: usualTtl(sender),
    senderTimestamps: sender.timestamps * 2 > sender.packets,
    senderNext: sender.next,
    senderFinished: sender.finished,
    senderKeepalives: sender.keepalives,
    senderLastIpId: sender.lastIpId,
    senderZeroIds: sender.packets > 0 && sender.zeroIds === sender.packets,
    senderWindow: sender.window,
    peerNext: peer.next,
    peerFinished: peer.finished,
    peerAcknowledged: peer.acknowledged,
    peerBytes: peer.bytes,
    sincePeer: peer.packets === 0 ? undefined : at - peer.lastAt,
    answersSyn: !flow.established && peer.synSequence !== undefined && sender.packets === 0,
    earlierResets: flow.resets[0] + flow.resets[1],
  };
}

/** A new connection on the same ports: of the old one only what its ends are like counts. */
function beginAnew(flow: TcpFlow): void {
  for (const one of flow.sides) {
    one.synSequence = undefined;
    one.next = undefined;
    one.acknowledged = undefined;
    one.finished = false;
    one.packets = 0;
    one.ttls.clear();
    one.timestamps = 0;
    one.zeroIds = 0;
    one.keepalives = 0;
    one.bytes = 0;
  }
  flow.established = false;
  flow.challenge = undefined;
  flow.resets = [0, 0];
}

/** Takes in a packet that is no RST. True when it is a SYN into an established connection. */
export function observePacket(flow: TcpFlow, view: PacketView, tcp: TcpView, at: Micros): boolean {
  const index = sideOf(flow, view);
  const sender = flow.sides[index];
  const peer = flow.sides[1 - index];
  const { flags, sequence, acknowledgement } = tcp;
  flow.lastAt = at;
  // Ports are used again once a connection is over: closed by both ends, or reset.
  const over = (sender.finished && peer.finished) || flow.resets[0] + flow.resets[1] > 0;
  const opening = (flags & (tcpFlags.syn | tcpFlags.ack)) === tcpFlags.syn;
  const intruding = opening && flow.established && !over && sequence !== sender.synSequence;
  if (intruding) {
    // Not of this connection: what it says is not taken for a fact of its end.
    flow.challenge ??= { firstAt: at, lastAt: at, syns: 0, answers: 0, from: sender, to: peer, foreignTtl: undefined, sequence };
    flow.challenge.syns += 1;
    flow.challenge.sequence = sequence;
    flow.challenge.lastAt = at;
    const usual = usualTtl(sender);
    if (usual !== undefined && usual !== view.ttl) flow.challenge.foreignTtl = view.ttl;
    return true;
  }
  if (opening && sequence !== sender.synSequence) beginAnew(flow);
  const { challenge } = flow;
  if (challenge && sender === challenge.to && flags & tcpFlags.syn && acknowledgement === (challenge.sequence + 1) >>> 0) {
    // It had no such connection any more: the end of the old one was not seen.
    beginAnew(flow);
    peer.synSequence = challenge.sequence;
  }
  const pure = view.payloadLength === 0 && (flags & ~tcpFlags.psh) === tcpFlags.ack;
  if (
    challenge &&
    sender === challenge.to &&
    pure &&
    at - challenge.lastAt < challengeWithin &&
    challenge.answers < challenge.syns
  )
    challenge.answers += 1;
  const length = view.payloadLength + (flags & tcpFlags.syn ? 1 : 0) + (flags & tcpFlags.fin ? 1 : 0);
  const end = (sequence + length) >>> 0;
  const probe = view.payloadLength <= 1 && pure && sender.next !== undefined && ((sender.next - sequence) | 0) === 1;
  sender.packets += 1;
  if (sender.ttls.has(view.ttl) || sender.ttls.size < maxTtls) sender.ttls.set(view.ttl, (sender.ttls.get(view.ttl) ?? 0) + 1);
  if (tcp.timestamp !== undefined) sender.timestamps += 1;
  if (view.family === 4) {
    sender.lastIpId = view.ipId;
    if (view.ipId === 0) sender.zeroIds += 1;
  }
  if (flags & tcpFlags.syn) {
    sender.synSequence = sequence;
    sender.next = end;
    sender.finished = false;
  } else if (sender.next === undefined || after(end, sender.next)) sender.next = end;
  sender.keepalives = probe ? sender.keepalives + 1 : 0;
  peer.keepalives = 0;
  if (flags & tcpFlags.ack) {
    sender.acknowledged = acknowledgement;
    // The last step of a handshake, or talk that was under way when it was first seen.
    if (!(flags & tcpFlags.syn) && (peer.synSequence !== undefined ? peer.packets > 0 && sender.packets > 1 : peer.packets > 0))
      flow.established = true;
  }
  if (flags & tcpFlags.fin) sender.finished = true;
  sender.window = tcp.window;
  sender.bytes += view.payloadLength;
  sender.lastAt = at;
  return false;
}
