// One captured connection or datagram flow: its two streams, how far its handshake is, how it ended. Knows no table and no
// record; that is flow-tracker.ts.
// Source: RFC 9293, section 3.5 (connection establishment and end).

import type { Micros } from '../base/clock.ts';
import type { Linked } from '../base/recency-list.ts';
import type { CapturedPacket } from '../kernel/flow-capture.ts';
import type { Direction, Endpoint, SessionOutcome, Transport } from '../model/session.ts';
import { TcpStream } from '../model/tcp-stream.ts';

/** Who answers at an address that was touched by way of a mark. */
export interface FlowPlace {
  readonly network: string;
  readonly diversion: string;
  readonly service: string;
  readonly persona?: string;
}

export const tcpFlag = { fin: 1, syn: 2, rst: 4, psh: 8, ack: 16, urg: 32 } as const;

const doubtUs = 60_000_000;
/** Kept of a flow that is not a session yet. */
const heldBytes = 16 << 10;
const heldChunks = 32;

interface Held {
  readonly direction: Direction;
  readonly bytes: Uint8Array;
  readonly at: Micros;
}

export interface FlowOptions {
  readonly key: number;
  readonly number: number;
  readonly place: FlowPlace;
  readonly transport: Transport;
  readonly source: Endpoint;
  readonly destination: Endpoint;
  readonly start: Micros;
  /** The first packet, cut to its headers. */
  readonly packet: Uint8Array;
  readonly mac: string | undefined;
  /** Begins in the middle: its handshake was not seen. */
  readonly resumed: boolean;
  /** Of the client's SYN. */
  readonly sequence: number | undefined;
  readonly receive: (direction: Direction, bytes: Uint8Array, at: Micros) => void;
}

/** What a segment brought about; `over`: both sides have ended it. */
export type FlowNews = 'nothing' | 'established' | 'refused' | 'aborted' | 'over';

export class Flow implements Linked {
  before: Linked | undefined = undefined;
  after: Linked | undefined = undefined;
  listed = false;
  readonly key: number;
  readonly number: number;
  readonly place: FlowPlace;
  readonly transport: Transport;
  readonly source: Endpoint;
  readonly destination: Endpoint;
  readonly start: Micros;
  readonly packet: Uint8Array;
  readonly mac: string | undefined;
  readonly resumed: boolean;
  readonly clientSequence: number | undefined;
  readonly #receive: FlowOptions['receive'];
  readonly #in: TcpStream | undefined;
  readonly #out: TcpStream | undefined;
  activeAt: Micros;
  /** A session of it is open. */
  open = false;
  done = false;
  /** Some of it passed where connections are not tracked: the kernel's word on its end does not count. */
  untracked = false;
  /** The service has answered. */
  answered = false;
  /** A SYN with other numbers in the midst of it: a new connection if the service says so, else a probe. Its own copy. */
  rival: { readonly sequence: number; readonly packet: CapturedPacket } | undefined;
  /** When a packet of it was last seen. */
  heardAt: Micros;
  /** Bytes given to the record, and passed without one. */
  recorded = 0;
  readonly skipped: Record<Direction, number> = { in: 0, out: 0 };
  #held: Held[] = [];
  #heldBytes = 0;
  #finFirst: Direction | undefined;
  #reset: Direction | undefined;
  #doubtfulReset = false;

  constructor(options: FlowOptions) {
    this.key = options.key;
    this.number = options.number;
    this.place = options.place;
    this.transport = options.transport;
    this.source = options.source;
    this.destination = options.destination;
    this.start = options.start;
    this.activeAt = options.start;
    this.heardAt = options.start;
    this.packet = options.packet;
    this.mac = options.mac;
    this.resumed = options.resumed;
    this.clientSequence = options.sequence;
    this.#receive = options.receive;
    if (options.transport === 'tcp') {
      this.#in = new TcpStream((bytes, at) => options.receive('in', bytes, at));
      this.#out = new TcpStream((bytes, at) => options.receive('out', bytes, at));
      if (options.sequence !== undefined) this.#in.begin(options.sequence);
    }
  }

  get waitingBytes(): number {
    return (this.#in?.waitingBytes ?? 0) + (this.#out?.waitingBytes ?? 0);
  }

  /** Both ends were seen, or a reset. */
  get over(): boolean {
    return this.#reset !== undefined || (this.#in?.finished === true && this.#out?.finished === true);
  }

  /** Nothing of it is still on its way. */
  get complete(): boolean {
    return this.#reset !== undefined || (this.#in?.ended === true && this.#out?.ended === true);
  }

  /** Nothing was heard for so long; of one that may have been reset, for a minute. */
  isSilent(now: Micros, boundUs: number): boolean {
    return this.heardAt < now - (this.#doubtfulReset ? Math.min(boundUs, doubtUs) : boundUs);
  }

  /** How it ended when the kernel says that it did. */
  get lastOutcome(): Exclude<SessionOutcome, 'open'> {
    if (this.over) return this.outcome;
    return this.#doubtfulReset ? 'client-reset' : 'idle';
  }

  get outcome(): Exclude<SessionOutcome, 'open'> {
    if (this.#reset === 'in') return 'client-reset';
    if (this.#reset === 'out') return 'server-closed';
    return this.#finFirst === 'out' ? 'server-closed' : 'client-closed';
  }

  /** One TCP segment; `direction` is in or out. Payload of a handshake not completed is kept within bounds. */
  segment(
    direction: 'in' | 'out' | 'odd',
    flags: number,
    sequence: number,
    acknowledged: number,
    bytes: Uint8Array,
    at: Micros,
  ): FlowNews {
    const inward = direction !== 'out';
    const mine = (inward ? this.#in : this.#out) as TcpStream;
    const other = (inward ? this.#out : this.#in) as TcpStream;
    const settled = this.open;
    if (!inward && flags & tcpFlag.syn) {
      this.answered = true;
      mine.begin(sequence);
      if (!settled && flags & tcpFlag.ack) other.beginAt((acknowledged - 1) >>> 0);
    }
    if (flags & tcpFlag.rst) {
      if (!settled) return inward ? 'aborted' : 'refused';
      if (inward && !isNext(mine, sequence)) {
        this.#doubtfulReset = true;
        return 'nothing';
      }
      this.#reset = inward ? 'in' : 'out';
      return 'over';
    }
    if (flags & tcpFlag.ack) {
      // An answer that was not captured is known by its acknowledgement.
      if (inward && !other.begun) other.begin((acknowledged - 1) >>> 0);
      else other.acknowledged(acknowledged);
    }
    mine.push(sequence, bytes, at);
    if (inward && bytes.length > 0) this.#doubtfulReset = false;
    const way = inward ? 'in' : 'out';
    if (flags & tcpFlag.fin) mine.finish((sequence + bytes.length) >>> 0);
    if (mine.finished) this.#finFirst ??= way;
    else if (this.#finFirst === way) this.#finFirst = other.finished ? (inward ? 'out' : 'in') : undefined;
    if (!settled && inward && flags & tcpFlag.ack) {
      this.answered = true;
      return 'established';
    }
    // It would not speak before the handshake is through, whose end need not have been captured.
    if (!settled && !inward && this.answered && bytes.length > 0) return 'established';
    return settled && this.over ? 'over' : 'nothing';
  }

  datagram(direction: 'in' | 'out' | 'odd', bytes: Uint8Array, at: Micros): void {
    if (bytes.length > 0) this.#receive(direction === 'out' ? 'out' : 'in', bytes, at);
  }

  /** Keeps what came before it was clear that this is a session. */
  hold(direction: Direction, bytes: Uint8Array, at: Micros): void {
    const room = this.#held.length < heldChunks ? Math.max(0, heldBytes - this.#heldBytes) : 0;
    const kept = bytes.subarray(0, room);
    if (kept.length > 0) this.#held.push({ direction, bytes: kept.slice(), at });
    this.#heldBytes += kept.length;
    this.skipped[direction] += bytes.length - kept.length;
  }

  takeHeld(): readonly Held[] {
    const held = this.#held;
    this.#held = [];
    return held;
  }

  /** Hands on what waits behind gaps; the bytes that no longer wait. */
  giveUp(): number {
    const before = this.waitingBytes;
    this.#in?.flush();
    this.#out?.flush();
    return before;
  }

  /** Bytes of one direction that are known, whether they were captured or missing. */
  passed(direction: Direction): number {
    const stream = direction === 'in' ? this.#in : this.#out;
    return stream ? stream.delivered + stream.missing : 0;
  }

  /** Bytes that never came, after everything that did was handed on. */
  flush(): Record<Direction, number> {
    this.giveUp();
    return { in: this.#in?.missing ?? 0, out: this.#out?.missing ?? 0 };
  }
}

/** A reset anywhere else in the window does not end a connection: RFC 5961, section 3.2. One behind a FIN counts that. */
function isNext(stream: TcpStream, sequence: number): boolean {
  const { next } = stream;
  return next === undefined || sequence === next || (stream.finished && sequence === (next + 1) >>> 0);
}
