// Turns logged packets into probe records: a SYN to an open port waits for the connection it may become, everything is
// gathered per source and second. Every packet ends in exactly one place: matched to a session, listed or unlisted in a
// record, or counted as dropped. No sockets, no timers: the owner calls `tick`.

import type { Clock, Micros } from '../base/clock.ts';
import { RecencyMap } from '../base/recency-map.ts';
import { be16, be32, layOut, parseSyn, protocolTcp, protocolUdp } from '../kernel/packet-header.ts';
import { macText } from '../kernel/saved-syn.ts';
import { ipv4Text, ipv6Text } from '../kernel/socket-address.ts';
import type { ProbeKind, ProbeRecord, ProbeTarget } from '../model/event.ts';
import { createIdentifier } from '../model/identifier.ts';
import type { SynDetails } from '../model/session.ts';
import { guessSystem } from '../model/syn-fingerprint.ts';
import { networkKey, type TupleSeeds, tupleKey } from './tuple-key.ts';

export interface ProbeLimits {
  /** How long a SYN to an open port may take to become a connection. */
  readonly holdMs: number;
  /** SYNs held, and accepts remembered, at a time. */
  readonly held: number;
  /** Records open at a time: (source, second) pairs. */
  readonly records: number;
  /** Targets listed in one record. */
  readonly targetsPerRecord: number;
  /** Targets listed in all open records. */
  readonly targets: number;
  /** Records of one source and second that list targets; what comes after is only counted in the last. */
  readonly recordsPerSource: number;
  /** Records handed on per second; beyond it packets are dropped and counted. */
  readonly recordsPerSecond: number;
}

export const defaultProbeLimits: ProbeLimits = {
  holdMs: 3000,
  held: 65_536,
  records: 32_768,
  targetsPerRecord: 512,
  targets: 262_144,
  recordsPerSource: 4,
  recordsPerSecond: 4_000,
};

/** seen = matched + listed + unlisted + dropped + held + pending, at any time. */
export interface ProbeCounters {
  seen: number;
  /** Of those seen: neither a SYN nor a datagram (ack, null, fin, xmas, echo). */
  strays: number;
  /** SYNs that became sessions. */
  matched: number;
  /** In emitted records. */
  listed: number;
  unlisted: number;
  /** Not understood, or beyond a bound. */
  dropped: number;
  records: number;
  /** SYNs waiting. */
  held: number;
  /** In records not yet emitted. */
  pending: number;
  /** SYNs shown half-open before their time because too many waited. */
  early: number;
}

interface HeldSyn {
  readonly at: Micros;
  /** Released then; later than `holdMs` after `at` when the client asked again meanwhile. */
  until: Micros;
  readonly sequence: number;
  count: number;
  readonly diversion: string;
  /** From its IP header on. */
  readonly packet: Uint8Array;
  readonly mac: string | undefined;
}

interface OpenRecord {
  readonly openedAt: Micros;
  readonly start: Micros;
  end: Micros;
  readonly source: string;
  readonly sourcePort: number;
  readonly mac: string | undefined;
  readonly diversion: string;
  /** Full ones of the same source and second already handed on. */
  readonly predecessors: number;
  targets: Map<string, { ip: string; port: number; transport: ProbeTarget['transport']; kind: ProbeKind; count: number }>;
  unlisted: number;
  packets: number;
  syn: SynDetails | undefined;
}

const kinds: ReadonlySet<string> = new Set(['half-open', 'closed', 'filtered', 'dead', 'null', 'fin', 'xmas', 'ack', 'echo']);
const strayKinds: ReadonlySet<string> = new Set(['null', 'fin', 'xmas', 'ack', 'echo']);
const cachedPrefixes = 2_048;
const cachedNetworks = 4_096;

export class ProbeTracker {
  readonly counters: ProbeCounters = {
    seen: 0,
    strays: 0,
    matched: 0,
    listed: 0,
    unlisted: 0,
    dropped: 0,
    records: 0,
    held: 0,
    pending: 0,
    early: 0,
  };
  readonly #seeds: TupleSeeds;
  readonly #clock: Clock;
  readonly #limits: ProbeLimits;
  readonly #holdMicros: number;
  readonly #emit: (record: ProbeRecord) => void;
  /** Both nearly in order of expiry: what is re-timed goes to the end. */
  readonly #held = new RecencyMap<number, HeldSyn>();
  readonly #accepted = new RecencyMap<number, { at: Micros; sequence: number | undefined }>();
  readonly #open = new Map<string, OpenRecord>();
  #openTargets = 0;
  #budget: number;
  #budgetSecond = 0;
  readonly #networks = new Map<string, number>();
  readonly #prefixes = new Map<string, { kind: string; diversion: string } | null>();

  /** `seeds` are those the accepting side computes its keys with (accept-ring.ts). */
  constructor(seeds: TupleSeeds, clock: Clock, emit: (record: ProbeRecord) => void, limits: Partial<ProbeLimits> = {}) {
    this.#seeds = seeds;
    this.#clock = clock;
    this.#emit = emit;
    this.#limits = { ...defaultProbeLimits, ...limits };
    this.#holdMicros = this.#limits.holdMs * 1000;
    this.#budget = this.#limits.recordsPerSecond;
  }

  /**
   * One packet logged in a network, `bytes[at..at+length]` from its IP header on; `prefix` is the rule's
   * `weir:KIND:DIVERSION`, `seen` when it arrived, where that is known better than by the clock.
   */
  packet(network: string, prefix: string, bytes: Uint8Array, at: number, length: number, macAt: number, seen?: Micros): void {
    this.counters.seen += 1;
    const now = seen ?? this.#clock();
    const origin = this.#origin(prefix);
    if (!origin) {
      this.counters.dropped += 1;
      return;
    }
    if (strayKinds.has(origin.kind)) this.counters.strays += 1;
    if (origin.kind === 'syn') this.#syn(network, origin.diversion, bytes, at, length, macAt, now);
    else
      this.#add(
        origin.kind as ProbeKind,
        origin.diversion,
        bytes,
        at,
        at + length,
        macAt < 0 ? undefined : macText(bytes, macAt),
        now,
        1,
      );
  }

  /** A connection was accepted. `sequence` is that of its SYN, or undefined when the kernel did not keep it. */
  accepted(key: number, sequence: number | undefined): void {
    const held = this.#held.get(key);
    if (held && (sequence === undefined || held.sequence === sequence)) {
      this.#held.delete(key);
      this.counters.held -= held.count;
      this.counters.matched += held.count;
    }
    if (this.#accepted.size >= this.#limits.held && this.#accepted.oldest) this.#accepted.delete(this.#accepted.oldest[0]);
    this.#accepted.set(key, { at: this.#clock(), sequence });
  }

  /** Lets time pass: call several times a second. */
  tick(): void {
    const now = this.#clock();
    for (const [key, held] of this.#held) {
      if (held.until > now) break;
      this.#release(key, held);
    }
    for (const [key, { at }] of this.#accepted) {
      if (at > now - this.#holdMicros) break;
      this.#accepted.delete(key);
    }
    for (const [key, record] of this.#open) {
      if (record.openedAt > now - 1_000_000) break;
      this.#finish(key, record);
    }
  }

  /** Hands on everything, also SYNs still waiting. */
  flush(): void {
    for (const [key, held] of this.#held) this.#release(key, held);
    for (const [key, record] of this.#open) this.#finish(key, record);
  }

  /** Computed once for each network there is; names come from our own sockets. */
  #networkKey(network: string): number {
    let key = this.#networks.get(network);
    if (key === undefined) {
      key = networkKey(this.#seeds, network);
      if (this.#networks.size >= cachedNetworks) this.#networks.clear();
      this.#networks.set(network, key);
    }
    return key;
  }

  #origin(prefix: string): { kind: string; diversion: string } | null {
    let origin = this.#prefixes.get(prefix);
    if (origin === undefined) {
      const match = /^weir:([a-z-]+):([a-z0-9-]{1,32})$/.exec(prefix);
      origin = match && (match[1] === 'syn' || kinds.has(match[1])) ? { kind: match[1], diversion: match[2] } : null;
      if (this.#prefixes.size >= cachedPrefixes) this.#prefixes.clear();
      this.#prefixes.set(prefix, origin);
    }
    return origin;
  }

  #syn(network: string, diversion: string, bytes: Uint8Array, at: number, length: number, macAt: number, now: Micros): void {
    const layout = layOut(bytes, at, at + length);
    if (!layout || layout.protocol !== protocolTcp || layout.laterFragment || layout.transportAt + 20 > at + length) {
      this.counters.dropped += 1;
      return;
    }
    const tcp = layout.transportAt;
    const four = layout.version === 4;
    const key = tupleKey(
      this.#seeds,
      this.#networkKey(network),
      four ? 4 : 16,
      bytes,
      at + (four ? 12 : 8),
      be16(bytes, tcp),
      bytes,
      at + (four ? 16 : 24),
      be16(bytes, tcp + 2),
    );
    const sequence = be32(bytes, tcp + 4);
    const accepted = this.#accepted.get(key);
    if (accepted && (accepted.sequence === undefined || accepted.sequence === sequence)) {
      this.counters.matched += 1;
      return;
    }
    const held = this.#held.get(key);
    if (held) {
      if (held.sequence === sequence) {
        held.count += 1;
        this.counters.held += 1;
        // Asked again: the backlog was full, or the answer lost. It may still succeed, within reason.
        held.until = Math.min(now, held.at + 2 * this.#holdMicros) + this.#holdMicros;
        this.#held.set(key, held);
        return;
      }
      // The same ports again with another sequence number: the earlier attempt is over.
      this.#release(key, held);
    }
    const oldest = this.#held.oldest;
    if (oldest && this.#held.size >= this.#limits.held) {
      this.counters.early += 1;
      this.#release(...oldest);
    }
    this.#held.set(key, {
      at: now,
      until: now + this.#holdMicros,
      sequence,
      count: 1,
      diversion,
      packet: bytes.slice(at, at + length),
      mac: macAt < 0 ? undefined : macText(bytes, macAt),
    });
    this.counters.held += 1;
  }

  #release(key: number, held: HeldSyn): void {
    this.#held.delete(key);
    this.counters.held -= held.count;
    this.#add('half-open', held.diversion, held.packet, 0, held.packet.length, held.mac, held.at, held.count);
  }

  #add(
    kind: ProbeKind,
    diversion: string,
    bytes: Uint8Array,
    start: number,
    end: number,
    mac: string | undefined,
    at: Micros,
    count: number,
  ): void {
    const layout = layOut(bytes, start, end);
    if (!layout) {
      this.counters.dropped += count;
      return;
    }
    const four = layout.version === 4;
    const source = four ? ipv4Text(bytes, start + 12) : ipv6Text(bytes, start + 8);
    const ip = four ? ipv4Text(bytes, start + 16) : ipv6Text(bytes, start + 24);
    const transport = transportOf(layout.protocol);
    const hasPorts = !layout.laterFragment && transport !== 'icmp' && layout.transportAt + 4 <= end;
    const sourcePort = hasPorts ? be16(bytes, layout.transportAt) : 0;
    const port = hasPorts ? be16(bytes, layout.transportAt + 2) : 0;

    const key = `${Math.floor(at / 1_000_000)} ${source} ${diversion}`;
    const record = this.#recordFor(key, at, source, sourcePort, mac, diversion);
    if (!record) {
      this.counters.dropped += count;
      return;
    }
    this.counters.pending += count;
    record.packets += count;
    if (at > record.end) record.end = at;
    if (record.syn === undefined && transport === 'tcp' && isSyn(bytes, layout.transportAt, end))
      record.syn = synOf(bytes, start, end, four, port);
    const name = `${ip} ${port} ${transport} ${kind}`;
    const target = record.targets.get(name);
    if (target) target.count += count;
    else if (record.targets.size < this.#limits.targetsPerRecord && this.#openTargets < this.#limits.targets) {
      this.#openTargets += 1;
      record.targets.set(name, { ip, port, transport, kind, count });
    } else record.unlisted += count;
  }

  #recordFor(
    key: string,
    at: Micros,
    source: string,
    sourcePort: number,
    mac: string | undefined,
    diversion: string,
  ): OpenRecord | undefined {
    let record = this.#open.get(key);
    let predecessors = 0;
    if (record) {
      const full = record.targets.size >= this.#limits.targetsPerRecord;
      if (!full || record.predecessors + 1 >= this.#limits.recordsPerSource) return record;
      predecessors = record.predecessors + 1;
      this.#finish(key, record);
    }
    if (this.#open.size >= this.#limits.records) return undefined;
    record = {
      openedAt: this.#clock(),
      start: at,
      end: at,
      source,
      sourcePort,
      mac,
      diversion,
      predecessors,
      targets: new Map(),
      unlisted: 0,
      packets: 0,
      syn: undefined,
    };
    this.#open.set(key, record);
    return record;
  }

  #finish(key: string, record: OpenRecord): void {
    this.#open.delete(key);
    this.#openTargets -= record.targets.size;
    this.counters.pending -= record.packets;
    const now = this.#clock();
    const second = Math.floor(now / 1_000_000);
    if (second !== this.#budgetSecond) {
      this.#budgetSecond = second;
      this.#budget = this.#limits.recordsPerSecond;
    }
    if (this.#budget === 0) {
      this.counters.dropped += record.packets;
      return;
    }
    this.#budget -= 1;
    this.counters.records += 1;
    this.counters.unlisted += record.unlisted;
    this.counters.listed += record.packets - record.unlisted;
    this.#emit({
      id: createIdentifier(record.start),
      start: record.start,
      end: record.end,
      source: record.source,
      sourcePort: record.sourcePort,
      ...(record.mac ? { sourceMac: record.mac } : {}),
      diversion: record.diversion,
      targets: [...record.targets.values()],
      unlisted: record.unlisted,
      ...(record.syn ? { syn: record.syn } : {}),
    });
  }
}

/** The event model knows three transports: what is neither TCP nor UDP is shown with ICMP, without ports. */
const transportOf = (protocol: number): ProbeTarget['transport'] =>
  protocol === protocolTcp ? 'tcp' : protocol === protocolUdp ? 'udp' : 'icmp';

/** SYN set, ACK clear. */
const isSyn = (bytes: Uint8Array, tcp: number, end: number): boolean => tcp + 20 <= end && (bytes[tcp + 13] & 0x12) === 0x02;

function synOf(bytes: Uint8Array, start: number, end: number, four: boolean, port: number): SynDetails | undefined {
  const syn = parseSyn(bytes, start, end);
  if (!syn) return undefined;
  const system = guessSystem(syn, { port, ...(four ? { address: be32(bytes, start + 16) } : {}) });
  return system ? { ...syn, system } : syn;
}
