// Tells sessions of a sensor behind a REDIRECT where they were really meant for: the packet filter logged the same source and
// source port at about the same time, with the true destination. Both streams come about in the order of time; what waits
// for its other half is bounded in number, bytes and time.

import type { Micros } from '../../base/clock.ts';
import type { ProbeRecord, ProbeTarget, WeirEvent } from '../../model/event.ts';
import type { SessionRecord } from '../../model/session.ts';
import type { Place } from './importer.ts';

export interface LogJoinOptions {
  /**
   * How far apart both clocks may be; default 5 s. Syslog's times are whole seconds and clocks kept by NTP differ by less than one; a
   * source takes the same port again for another destination within some seconds only when it is a scanner with one port.
   */
  readonly windowMicros?: Micros;
  /** A session is written when it ends: lines may be so much out of order; default 10 min. */
  readonly disorderMicros?: Micros;
  readonly mostPackets?: number;
  readonly mostSessions?: number;
  readonly mostSessionBytes?: number;
  /** On to the record: joined, or for want of the other half as it is. */
  readonly release: (event: WeirEvent, place: Place) => void;
  /** This packet is part of a session. */
  readonly merged: (place: Place) => void;
}

/** Tag of sessions whose destination a packet filter told. */
const joinedTag = 'joined';

interface Packet {
  readonly probe: ProbeRecord;
  readonly target: ProbeTarget;
  readonly place: Place;
  used: boolean;
}

/** What one source port sent that can begin a session. */
interface Port {
  /** Ascending by time; those no session has yet. */
  readonly unused: Packet[];
  /** Serves a second session where the filter logged one packet: a port that was used again at once. */
  lastUsed: Packet | undefined;
}

interface Waiting {
  readonly session: SessionRecord;
  readonly place: Place;
  readonly until: Micros;
  readonly bytes: number;
}

export class LogJoin {
  readonly #options: Required<Omit<LogJoinOptions, 'release' | 'merged'>> & Pick<LogJoinOptions, 'release' | 'merged'>;
  readonly #ports = new Map<string, Port>();
  /** Packets behind the first, by their five-tuple. */
  readonly #followers = new Map<string, Packet[]>();
  /** All; about in the order of time. */
  #packets: Packet[] = [];
  #sessions: Waiting[] = [];
  #sessionBytes = 0;
  #sorted = true;
  joined = 0;
  /** Packets and sessions that could not wait long enough for want of room. */
  hurried = 0;

  constructor(options: LogJoinOptions) {
    this.#options = {
      windowMicros: 5e6,
      disorderMicros: 600e6,
      mostPackets: 40_000,
      mostSessions: 10_000,
      mostSessionBytes: 32 << 20,
      ...options,
    };
  }

  packet(probe: ProbeRecord, place: Place): void {
    const packet: Packet = { probe, target: probe.targets[0], place, used: false };
    this.#packets.push(packet);
    if (!begins(packet)) {
      const key = flowOf(packet);
      const others = this.#followers.get(key);
      if (others) others.push(packet);
      else this.#followers.set(key, [packet]);
      return;
    }
    const key = portOf(packet);
    const port = this.#ports.get(key);
    if (port) port.unused.splice(placeIn(port.unused, probe.start), 0, packet);
    else this.#ports.set(key, { unused: [packet], lastUsed: undefined });
  }

  session(session: SessionRecord, place: Place): void {
    const bytes = 500 + session.chunks.reduce((sum, chunk) => sum + chunk.bytes.length, 0);
    const until = Math.max(session.start, session.end ?? session.start) + this.#options.windowMicros;
    this.#sorted &&= until >= (this.#sessions.at(-1)?.until ?? 0);
    this.#sessions.push({ session, place, until, bytes });
    this.#sessionBytes += bytes;
  }

  /** All sessions' logs were read to here, and all packets': what cannot find its other half any more goes on. */
  advance(sessionsAt: Micros, packetsAt: Micros): void {
    const { windowMicros, disorderMicros, mostPackets, mostSessions, mostSessionBytes } = this.#options;
    if (!this.#sorted)
      this.#sessions.sort((a, b) => a.until - b.until || a.place.file - b.place.file || a.place.line - b.place.line);
    this.#sorted = true;
    let settled = 0;
    for (const waiting of this.#sessions) {
      const tooMany = this.#sessions.length - settled > mostSessions || this.#sessionBytes > mostSessionBytes;
      if (waiting.until > packetsAt && !tooMany) break;
      if (waiting.until > packetsAt) this.hurried += 1;
      this.#sessionBytes -= waiting.bytes;
      this.#settle(waiting);
      settled += 1;
    }
    if (settled > 0) this.#sessions.splice(0, settled);
    // Sessions that still wait may need packets for which the sessions' logs, read to their end, have no use any more.
    const waitingFrom = this.#sessions.reduce((first, { session }) => Math.min(first, session.start), Number.POSITIVE_INFINITY);
    let left = 0;
    for (const packet of this.#packets) {
      const tooMany = this.#packets.length - left > mostPackets;
      const latest = packet.probe.start + windowMicros;
      const waits = latest + disorderMicros >= sessionsAt || latest >= waitingFrom;
      if (waits && !tooMany) break;
      if (waits && !packet.used) this.hurried += 1;
      this.#leave(packet);
      left += 1;
    }
    if (left > 0) this.#packets.splice(0, left);
  }

  end(): void {
    this.advance(Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY);
  }

  #settle({ session, place }: Waiting): void {
    const { windowMicros, release } = this.#options;
    const port = this.#ports.get(keyOf(session.transport, session.source.ip, session.source.port));
    const best = port && nearest(port, session.start, windowMicros);
    if (!best) {
      release({ kind: 'session', session }, place);
      return;
    }
    if (!best.used) port.unused.splice(port.unused.indexOf(best, placeIn(port.unused, best.probe.start)), 1);
    best.used = true;
    port.lastUsed = best;
    const { ip, port: number } = best.target;
    const { syn, sourceMac } = best.probe;
    // The filter may log every packet of a connection: all of them are this session.
    const end = Math.max(session.end ?? session.start, session.start) + windowMicros;
    for (const packet of this.#followers.get(flowOf(best)) ?? []) if (packet.probe.start <= end) packet.used = true;
    this.joined += 1;
    const joined: SessionRecord = {
      ...session,
      destination: { ip, port: number },
      tags: [...(session.tags ?? []), joinedTag],
      ...(syn && { syn }),
      ...(sourceMac !== undefined && { sourceMac }),
    };
    release({ kind: 'session', session: joined }, place);
  }

  #leave(packet: Packet): void {
    if (begins(packet)) {
      const key = portOf(packet);
      const port = this.#ports.get(key);
      if (port && !packet.used) port.unused.splice(port.unused.indexOf(packet, placeIn(port.unused, packet.probe.start)), 1);
      if (port?.lastUsed === packet) port.lastUsed = undefined;
      if (port && port.unused.length === 0 && !port.lastUsed) this.#ports.delete(key);
    } else {
      const key = flowOf(packet);
      const others = this.#followers.get(key) ?? [];
      others.splice(others.indexOf(packet), 1);
      if (others.length === 0) this.#followers.delete(key);
    }
    if (packet.used) this.#options.merged(packet.place);
    else this.#options.release({ kind: 'probe', probe: packet.probe }, packet.place);
  }
}

const keyOf = (transport: string, ip: string, port: number): string => `${transport} ${ip} ${port}`;
const portOf = ({ probe, target }: Packet): string => keyOf(target.transport, probe.source, probe.sourcePort);
const flowOf = (packet: Packet): string => `${portOf(packet)} ${packet.target.ip} ${packet.target.port}`;

/** A SYN or a datagram tells where a session was meant for; what follows only belongs to it. */
const begins = ({ target }: Packet): boolean => target.kind === 'half-open' || target.transport === 'udp';

/** Index of the first that is not earlier. */
function placeIn(packets: readonly Packet[], at: Micros): number {
  let low = 0;
  let high = packets.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (packets[middle].probe.start < at) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Nearest in time within the window that no session has yet, the earlier of two; else the one used last. */
function nearest({ unused, lastUsed }: Port, at: Micros, windowMicros: Micros): Packet | undefined {
  const index = placeIn(unused, at);
  const away = (packet: Packet | undefined): number => (packet ? Math.abs(packet.probe.start - at) : Number.POSITIVE_INFINITY);
  const [before, behind] = [unused[index - 1], unused[index]];
  const best = away(before) <= away(behind) ? before : behind;
  if (away(best) <= windowMicros) return best;
  return away(lastUsed) <= windowMicros ? lastUsed : undefined;
}
