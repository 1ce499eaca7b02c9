// Sessions of decoys that the kernel leads to a service with its own stack: captured packets and ended connections in,
// sessions and probes out. A connection without a completed handshake is a probe. Every table is bounded; no sockets, no
// timers: the owner calls `tick`.
//
// A connection that was open when this process started goes on as a new session from its next payload on (tag `resumed`);
// the record of the process before says interrupted.

import type { Clock, Micros } from '../base/clock.ts';
import { RecencyList } from '../base/recency-list.ts';
import type { EndedConnection } from '../kernel/conntrack-events.ts';
import type { CapturedPacket } from '../kernel/flow-capture.ts';
import {
  be16,
  be32,
  layOut,
  type PacketLayout,
  parseSyn,
  protocolIcmp,
  protocolIcmpv6,
  protocolTcp,
  protocolUdp,
} from '../kernel/packet-header.ts';
import { macText } from '../kernel/saved-syn.ts';
import { ipv4Text, ipv6Text } from '../kernel/socket-address.ts';
import type { ProbeKind } from '../model/event.ts';
import type { Direction, SessionOutcome } from '../model/session.ts';
import { guessSystem } from '../model/syn-fingerprint.ts';
import { Flow, type FlowPlace, tcpFlag } from './flow.ts';
import { headersOf, keepHeaders, payloadBytes } from './flow-packet.ts';
import { defaultFlowLimits, type FlowCounters, type FlowLimits, type FlowSink, noFlows } from './flow-sink.ts';
import { RecentKeys } from './recent-keys.ts';
import { createTupleSeeds, tupleKey } from './tuple-key.ts';

export class FlowTracker {
  readonly counters: FlowCounters = { ...noFlows };
  readonly #clock: Clock;
  readonly #sink: FlowSink;
  readonly #limits: FlowLimits;
  readonly #placeOf: (mark: number, ip: string) => FlowPlace | undefined;
  readonly #seeds = createTupleSeeds();
  readonly #started: Micros;
  readonly #flows = new Map<number, Flow>();
  /** The same, nearly in order of activity. */
  readonly #byActivity = new RecencyList<Flow>();
  /** Handshakes not completed, in order of arrival. */
  readonly #undecided = new Set<Flow>();
  /** Datagrams not refused yet, and connections that ended before their last segment came; with the time, in order of it. */
  readonly #settling = new Map<Flow, Micros>();
  readonly #ended: RecentKeys;
  #endedAgedAt: Micros;
  /** Connections that began before may have ended unheard. */
  #endingsLostAt = 0;
  /** Until then an ending nobody knows may be one that was forgotten. */
  #forgottenUntil = 0;
  #nextFlow = 1;
  /** Bytes behind gaps of all flows. */
  #waiting = 0;

  constructor(
    clock: Clock,
    sink: FlowSink,
    placeOf: (mark: number, ip: string) => FlowPlace | undefined,
    limits: Partial<FlowLimits> = {},
  ) {
    this.#clock = clock;
    this.#sink = sink;
    this.#placeOf = placeOf;
    this.#limits = { ...defaultFlowLimits, ...limits };
    this.#started = clock();
    this.#ended = new RecentKeys(this.#limits.ended);
    this.#endedAgedAt = this.#started;
  }

  packet(packet: CapturedPacket): void {
    const { bytes, start, end } = packet;
    const layout = layOut(bytes, start, end);
    if (!layout || layout.laterFragment) {
      this.counters.strange += 1;
      return;
    }
    const at = packet.at || this.#clock();
    if (layout.protocol === protocolTcp && layout.transportAt + 20 <= end) this.#tcp(packet, layout, at);
    else if (layout.protocol === protocolUdp && layout.transportAt + 8 <= end) this.#udp(packet, layout, at);
    else if (layout.protocol === protocolIcmp || layout.protocol === protocolIcmpv6) this.#icmp(packet, layout, at);
    else this.counters.strange += 1;
  }

  /** The kernel has forgotten a connection; what was captured of it came before. */
  ended(ended: EndedConnection): void {
    const { mark, protocol, addressBytes, bytes, sourceAt, destinationAt, sourcePort, destinationPort } = ended;
    if (protocol !== protocolTcp && protocol !== protocolUdp) return;
    const key = this.#key(mark, protocol, addressBytes, bytes, sourceAt, sourcePort, destinationAt, destinationPort);
    const flow = this.#flows.get(key);
    if (flow?.open) {
      if (flow.untracked) return;
      // One that began after this ending is another connection with the same ends.
      if (ended.end > 0 && flow.start > ended.end) return;
      const whole = ended.bytesIn + ended.bytesOut >= this.#limits.capturedBytes ? payloadBytes(ended) : undefined;
      this.#close(flow, flow.lastOutcome, ended.end || this.#clock(), whole);
      this.#ended.delete(key);
      return;
    }
    if (this.#ended.delete(key) || flow || !ended.answered) return;
    if (protocol === protocolTcp && !ended.assured) return;
    const text = addressBytes === 4 ? ipv4Text : ipv6Text;
    const destination = text(bytes, destinationAt);
    const place = this.#placeOf(mark, destination);
    const began = ended.start || ended.end;
    if (!place || began < this.#started || this.#clock() < this.#forgottenUntil) {
      this.counters.unmatched += 1;
      return;
    }
    this.counters.uncaptured += 1;
    this.counters.opened += 1;
    this.counters.closed += 1;
    const number = this.#nextFlow++;
    this.#sink.open(
      number,
      {
        start: began,
        transport: protocol === protocolTcp ? 'tcp' : 'udp',
        source: { ip: text(bytes, sourceAt), port: sourcePort },
        destination: { ip: destination, port: destinationPort },
        sourceReliable: protocol === protocolTcp,
        diversion: place.diversion,
        service: place.service,
        ...(place.persona ? { persona: place.persona } : {}),
      },
      ['uncaptured'],
    );
    const payload = payloadBytes(ended);
    for (const direction of ['in', 'out'] as const) this.#sink.skip(number, direction, payload[direction]);
    this.#sink.close(number, 'idle', ended.end || this.#clock());
  }

  /** News of ended connections, or their last packets, were dropped: of those, which are silent from now on is over. */
  endingsLost(): void {
    this.#endingsLostAt = this.#clock();
  }

  /** Lets time pass: call several times a second. */
  tick(): void {
    const now = this.#clock();
    for (const flow of this.#undecided) {
      if (flow.start > now - this.#limits.holdMs * 1000) break;
      this.#decide(flow, now);
    }
    for (const [flow, at] of this.#settling) {
      if (at > now - this.#limits.settleMs * 1000) break;
      this.#settling.delete(flow);
      if (!flow.open) this.#decide(flow, now);
      else if (flow.over) this.#close(flow, flow.outcome, at);
    }
    const idleSince = now - this.#limits.idleMs * 1000;
    for (const flow of this.#byActivity) {
      if (flow.activeAt > idleSince) break;
      const lost = flow.start < this.#endingsLostAt;
      const bound = (lost ? this.#limits.unheardMs : this.#limits.silentMs) * 1000;
      const unheard = (lost || flow.untracked) && flow.isSilent(now, bound);
      if (flow.open && (flow.transport === 'udp' || unheard)) this.#close(flow, flow.lastOutcome, flow.heardAt);
      else this.#touch(flow, now);
    }
    if (now - this.#endedAgedAt > 300_000_000) {
      this.#ended.age();
      this.#endedAgedAt = now;
    }
  }

  /** Ends everything, as when Weir stops. */
  flush(): void {
    const now = this.#clock();
    for (const flow of [...this.#undecided, ...this.#settling.keys()]) if (!flow.open) this.#decide(flow, now);
    for (const flow of this.#byActivity) {
      if (flow.open) this.#close(flow, flow.over ? flow.outcome : 'shutdown', now);
      this.#drop(flow);
    }
  }

  #key(
    mark: number,
    protocol: number,
    addressBytes: number,
    bytes: Uint8Array,
    sourceAt: number,
    sourcePort: number,
    destinationAt: number,
    destinationPort: number,
  ): number {
    const place = mark * 256 + protocol;
    return tupleKey(this.#seeds, place, addressBytes, bytes, sourceAt, sourcePort, bytes, destinationAt, destinationPort);
  }

  /** As seen from the attacker, whichever way the packet goes. */
  #keyOf({ direction, mark, bytes, start }: CapturedPacket, layout: PacketLayout): number {
    const four = layout.version === 4;
    const size = four ? 4 : 16;
    const from = start + (four ? 12 : 8);
    const ports = layout.transportAt;
    return direction === 'out'
      ? this.#key(mark, layout.protocol, size, bytes, from + size, be16(bytes, ports + 2), from, be16(bytes, ports))
      : this.#key(mark, layout.protocol, size, bytes, from, be16(bytes, ports), from + size, be16(bytes, ports + 2));
  }

  #tcp(packet: CapturedPacket, layout: PacketLayout, at: Micros): void {
    const { bytes, direction, end } = packet;
    const tcp = layout.transportAt;
    const flags = bytes[tcp + 13];
    if (direction === 'odd') {
      this.#stray(packet, layout, flags, at);
      return;
    }
    const sequence = be32(bytes, tcp + 4);
    const dataAt = Math.min(end, tcp + (bytes[tcp + 12] >> 4) * 4);
    const key = this.#keyOf(packet, layout);
    let flow = this.#flows.get(key);
    const opening = direction === 'in' && (flags & (tcpFlag.syn | tcpFlag.ack | tcpFlag.rst)) === tcpFlag.syn;
    if (opening) {
      if (flow && !flow.done && flow.clientSequence === sequence) return;
      if (flow?.answered && !flow.done && !flow.over) {
        // Its service has the last word (RFC 5961, section 4.2): what is only said to be new would hide the rest.
        this.#challenge(flow, sequence, packet);
        return;
      }
      // The same ports anew: the connection before is over, whatever it looked like.
      if (flow) this.#settle(flow, at);
      this.#begin(key, packet, layout, at, false);
      return;
    }
    if (!flow) {
      if (direction === 'in' && dataAt < end && (flags & tcpFlag.rst) === 0) flow = this.#begin(key, packet, layout, at, true);
      else if (direction === 'in') {
        // The last acknowledgement of a connection that is over is no probe.
        if (!this.#ended.has(key)) this.#stray(packet, layout, flags, at);
      } else if (dataAt < end) flow = this.#begin(key, packet, layout, at, true);
      if (!flow) return;
    }
    if (flow.done) return;
    if (direction === 'out' && (flags & (tcpFlag.syn | tcpFlag.ack)) === (tcpFlag.syn | tcpFlag.ack))
      flow = this.#taken(flow, (be32(bytes, tcp + 8) - 1) >>> 0, at) ?? flow;
    this.#touch(flow, at);
    flow.heardAt = at;
    if (!packet.routed) flow.untracked = true;
    const waitedBefore = flow.waitingBytes;
    const news = flow.segment(direction, flags, sequence, be32(bytes, tcp + 8), bytes.subarray(dataAt, end), at);
    this.#waiting += flow.waitingBytes - waitedBefore;
    if (this.#waiting > this.#limits.waitingBytes) this.#waiting -= flow.giveUp();
    if (news === 'established') this.#open(flow);
    else if (news === 'refused') this.#refuse(flow, 'closed');
    else if (news === 'aborted') this.#refuse(flow, 'half-open');
    if (!flow.open || !flow.over) return;
    if (flow.complete) this.#close(flow, flow.outcome, at);
    else if (!this.#settling.has(flow)) this.#settling.set(flow, at);
  }

  #udp(packet: CapturedPacket, layout: PacketLayout, at: Micros): void {
    if (packet.direction === 'odd') {
      this.counters.strange += 1;
      return;
    }
    const { bytes, direction, end } = packet;
    const key = this.#keyOf(packet, layout);
    let flow = this.#flows.get(key);
    if (flow?.done) {
      this.#drop(flow);
      flow = undefined;
    }
    flow ??= this.#begin(key, packet, layout, at, false);
    if (!flow) return;
    this.#touch(flow, at);
    flow.heardAt = at;
    flow.datagram(direction, bytes.subarray(layout.transportAt + 8, end), at);
    if (direction === 'out' && !flow.open) this.#open(flow);
  }

  #icmp(packet: CapturedPacket, layout: PacketLayout, at: Micros): void {
    const { bytes, end, mark } = packet;
    const type = bytes[layout.transportAt];
    const six = layout.version === 6;
    if (packet.direction !== 'out') {
      if (type === (six ? 128 : 8)) this.#probe('echo', packet, layout, at);
      else this.counters.strange += 1;
      return;
    }
    // A service that says a port is closed quotes the datagram it refuses (RFC 792, RFC 4443).
    if (type !== (six ? 1 : 3)) return;
    const start = layout.transportAt + 8;
    const inner = layOut(bytes, start, end);
    if (!inner || inner.protocol !== protocolUdp || inner.laterFragment || inner.transportAt + 4 > end) return;
    const key = this.#keyOf({ ...packet, direction: 'in', mark, start }, inner);
    const flow = this.#flows.get(key);
    if (flow && !flow.open && !flow.done) this.#refuse(flow, 'closed');
  }

  #begin(key: number, packet: CapturedPacket, layout: PacketLayout, at: Micros, resumed: boolean): Flow | undefined {
    const { bytes, start, mark, direction, macAt } = packet;
    const four = layout.version === 4;
    const text = four ? ipv4Text : ipv6Text;
    const from = text(bytes, start + (four ? 12 : 8));
    const to = text(bytes, start + (four ? 16 : 24));
    const [source, destination] = direction === 'out' ? [to, from] : [from, to];
    const place = this.#placeOf(mark, destination);
    if (!place) {
      this.counters.strange += 1;
      return undefined;
    }
    if (this.#flows.size >= this.#limits.flows) {
      const oldest = this.#byActivity.oldest as Flow;
      if (!oldest.done) {
        this.counters.shed += 1;
        // What is no session yet is a probe, or a datagram's session at once.
        if (!oldest.open) this.#decide(oldest, at);
        if (oldest.open) this.#close(oldest, 'shed', at);
      }
      this.#drop(oldest);
    }
    const port = be16(bytes, layout.transportAt);
    const other = be16(bytes, layout.transportAt + 2);
    const flow = new Flow({
      key,
      number: this.#nextFlow++,
      place,
      transport: layout.protocol === protocolTcp ? 'tcp' : 'udp',
      source: { ip: source, port: direction === 'out' ? other : port },
      destination: { ip: destination, port: direction === 'out' ? port : other },
      start: at,
      // Both headers with all options, for the probe it may stay.
      packet: headersOf(packet),
      mac: direction === 'out' || macAt < 0 ? undefined : macText(bytes, macAt),
      resumed,
      sequence:
        layout.protocol === protocolTcp && direction === 'in' && !resumed ? be32(bytes, layout.transportAt + 4) : undefined,
      receive: (to, chunk, when) => this.#chunk(flow, to, chunk, when),
    });
    this.#flows.set(key, flow);
    this.#byActivity.touch(flow);
    this.#ended.delete(key);
    if (resumed) this.#open(flow);
    else if (flow.transport === 'udp') this.#settling.set(flow, at);
    else this.#undecided.add(flow);
    return flow;
  }

  #chunk(flow: Flow, direction: Direction, bytes: Uint8Array, at: Micros): void {
    if (!flow.open) {
      flow.hold(direction, bytes, at);
      return;
    }
    const room = Math.max(0, this.#limits.sessionBytes - flow.recorded);
    const kept = bytes.length <= room ? bytes : bytes.subarray(0, room);
    flow.recorded += kept.length;
    if (kept.length > 0) this.#sink.chunk(flow.number, direction, kept, at);
    if (kept.length < bytes.length) flow.skipped[direction] += bytes.length - kept.length;
  }

  #open(flow: Flow): void {
    this.#undecided.delete(flow);
    this.#settling.delete(flow);
    const { source, destination, start, place, transport, mac } = flow;
    const layoutBytes = flow.packet;
    const parsed = transport === 'tcp' && !flow.resumed ? parseSyn(layoutBytes) : undefined;
    const four = layoutBytes[0] >> 4 === 4;
    const system = parsed && guessSystem(parsed, { port: destination.port, ...(four ? { address: be32(layoutBytes, 16) } : {}) });
    flow.open = true;
    this.counters.opened += 1;
    this.counters.open += 1;
    this.#sink.open(
      flow.number,
      {
        start,
        transport,
        source,
        destination,
        sourceReliable: transport === 'tcp',
        ...(mac ? { sourceMac: mac } : {}),
        diversion: place.diversion,
        service: place.service,
        ...(place.persona ? { persona: place.persona } : {}),
        ...(parsed ? { syn: system ? { ...parsed, system } : parsed } : {}),
      },
      flow.resumed ? ['resumed'] : [],
    );
    for (const { direction, bytes, at } of flow.takeHeld()) this.#chunk(flow, direction, bytes, at);
  }

  /** `whole`: what the kernel counted, where the capture ends before the connection does. */
  #close(flow: Flow, outcome: Exclude<SessionOutcome, 'open'>, at: Micros, whole?: Record<Direction, number>): void {
    this.#waiting -= flow.waitingBytes;
    const missing = flow.flush();
    flow.open = false;
    flow.done = true;
    for (const direction of ['in', 'out'] as const) {
      const beyond = whole && !flow.resumed ? Math.max(0, whole[direction] - flow.passed(direction)) : 0;
      const count = flow.skipped[direction] + missing[direction] + beyond;
      this.counters.missingBytes += missing[direction] + beyond;
      if (count > 0) this.#sink.skip(flow.number, direction, count);
    }
    this.#sink.close(flow.number, outcome, at);
    this.counters.closed += 1;
    this.counters.open -= 1;
    this.#forget(flow);
  }

  /** Keeps the latest SYN in the midst of a connection until its service has spoken. */
  #challenge(flow: Flow, sequence: number, packet: CapturedPacket): void {
    if (flow.rival?.sequence === sequence) return;
    this.#dismiss(flow);
    flow.rival = { sequence, packet: keepHeaders(packet) };
  }

  /** The flow that a service's SYN-ACK of this SYN begins, where it is not the one that was known. */
  #taken(flow: Flow, sequence: number, at: Micros): Flow | undefined {
    const rival = flow.rival;
    if (rival?.sequence !== sequence || flow.clientSequence === sequence) return undefined;
    flow.rival = undefined;
    const layout = layOut(rival.packet.bytes, rival.packet.start, rival.packet.end);
    this.#settle(flow, at);
    return layout && this.#begin(flow.key, rival.packet, layout, rival.packet.at || at, false);
  }

  /** A SYN that its service did not take was a probe. */
  #dismiss(flow: Flow): void {
    const packet = flow.rival?.packet;
    flow.rival = undefined;
    const layout = packet && layOut(packet.bytes, packet.start, packet.end);
    if (layout) this.#probe('half-open', packet, layout, packet.at || this.#clock());
  }

  /** It is over: the kernel will tell once more, and that is no news then. */
  #forget(flow: Flow): void {
    flow.done = true;
    this.#dismiss(flow);
    this.#undecided.delete(flow);
    this.#settling.delete(flow);
    this.#drop(flow);
    if (this.#ended.add(flow.key)) this.#forgottenUntil = this.#clock() + 60_000_000;
  }

  #refuse(flow: Flow, kind: ProbeKind): void {
    this.counters.probes += 1;
    this.#sink.probe(kind, flow.place, flow.packet, flow.mac, flow.start);
    this.#waiting -= flow.waitingBytes;
    this.#forget(flow);
  }

  /** Time is up for a handshake or a datagram's refusal. */
  #decide(flow: Flow, now: Micros): void {
    this.#undecided.delete(flow);
    this.#settling.delete(flow);
    if (flow.done || flow.open) return;
    if (flow.transport === 'tcp') this.#refuse(flow, flow.answered ? 'half-open' : 'filtered');
    else {
      this.#open(flow);
      this.#touch(flow, now);
    }
  }

  #settle(flow: Flow, at: Micros): void {
    if (flow.open) this.#close(flow, flow.lastOutcome, at);
    else this.#decide(flow, at);
    this.#drop(flow);
  }

  /** Moves it to the end of the line, at most once a second. */
  #touch(flow: Flow, at: Micros): void {
    if (at - flow.activeAt > 1_000_000 && flow.listed) this.#byActivity.touch(flow);
    flow.activeAt = at;
  }

  #drop(flow: Flow): void {
    if (this.#flows.get(flow.key) === flow) this.#flows.delete(flow.key);
    this.#byActivity.remove(flow);
  }

  #stray(packet: CapturedPacket, layout: PacketLayout, flags: number, at: Micros): void {
    if (flags & tcpFlag.rst) return;
    const known = flags & 0x3f;
    const xmas = tcpFlag.fin | tcpFlag.psh | tcpFlag.urg;
    this.#probe(known === 0 ? 'null' : known === tcpFlag.fin ? 'fin' : known === xmas ? 'xmas' : 'ack', packet, layout, at);
  }

  #probe(kind: ProbeKind, packet: CapturedPacket, layout: PacketLayout, at: Micros): void {
    const { bytes, start, mark, macAt } = packet;
    const place = this.#placeOf(mark, layout.version === 4 ? ipv4Text(bytes, start + 16) : ipv6Text(bytes, start + 24));
    if (!place) {
      this.counters.strange += 1;
      return;
    }
    this.counters.probes += 1;
    const mac = macAt < 0 ? undefined : macText(bytes, macAt);
    this.#sink.probe(kind, place, headersOf(packet), mac, at);
  }
}
