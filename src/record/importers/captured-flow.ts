// One connection or datagram flow of a capture: its two streams put together, how far its handshake came, how it ended, and what
// it is in the end: a session, or a probe where no handshake was made. Knows no table and no file.
// Source: RFC 9293, section 3.5.

import type { Micros } from '../../base/clock.ts';
import type { ProbeKind } from '../../model/event.ts';
import type { Endpoint, SessionOutcome, Transport } from '../../model/session.ts';
import { type StreamLimits, TcpStream } from '../../model/tcp-stream.ts';
import type { ImportContext, ImportedProbe, Place } from './importer.ts';
import { SessionDraft } from './session-draft.ts';

export const tcpFlag = { fin: 1, syn: 2, rst: 4, psh: 8, ack: 16, urg: 32 } as const;
const limits: StreamLimits = { waitingBytes: 64 << 10, waitingSegments: 64 };
/** Two streams and what they hold when nothing waits. */
const emptyBytes = 1500;

export interface Segment {
  readonly inward: boolean;
  readonly flags: number;
  readonly sequence: number;
  readonly acknowledged: number;
  /** Valid during the call only. */
  readonly bytes: Uint8Array;
  /** Its data on the wire: more than `bytes` where the packet was cut. */
  readonly dataBytes: number;
  readonly at: Micros;
}

export class CapturedFlow extends SessionDraft {
  readonly firstFlags: number;
  /** Its first packet was the server's. */
  readonly answerFirst: boolean;
  readonly #in: TcpStream;
  readonly #out: TcpStream;
  clientSequence: number | undefined;
  established = false;
  /** Nobody is there: RST, or ICMP port unreachable. */
  refused = false;
  heardAt: Micros;
  packetsIn = 0;
  packetsOut = 0;
  #answered = false;
  #passedAt: Micros = 0;
  readonly #datagramBytes = { in: 0, out: 0 };
  #finFirst: 'in' | 'out' | undefined;
  #reset: 'in' | 'out' | undefined;

  constructor(
    place: Place,
    key: string,
    at: Micros,
    ends: { readonly source: Endpoint; readonly destination: Endpoint },
    transport: Transport,
    first: { readonly flags: number; readonly inward: boolean },
  ) {
    super(place, key, at, ends.source, ends.destination);
    this.transport = transport;
    this.firstFlags = first.flags;
    this.answerFirst = !first.inward;
    this.heardAt = at;
    this.sizeBytes = emptyBytes;
    this.#in = new TcpStream((bytes, when) => this.#passed('in', bytes, when), limits);
    this.#out = new TcpStream((bytes, when) => this.#passed('out', bytes, when), limits);
  }

  /** Both ends were seen, or a reset. */
  get over(): boolean {
    return this.#reset !== undefined || this.refused || (this.#in.finished && this.#out.finished);
  }

  segment({ inward, flags, sequence, acknowledged, bytes, dataBytes, at }: Segment): void {
    const [mine, other] = inward ? [this.#in, this.#out] : [this.#out, this.#in];
    const waited = mine.waitingBytes + other.waitingBytes;
    this.touch(at);
    this.heardAt = at;
    if (inward) this.packetsIn += 1;
    else this.packetsOut += 1;
    const syn = (flags & tcpFlag.syn) !== 0;
    if (syn) this.#begin(mine, other, inward, flags, sequence, acknowledged);
    if (flags & tcpFlag.rst) {
      if (this.established) this.#reset ??= inward ? 'in' : 'out';
      else if (!inward) this.refused = !this.#answered;
      return;
    }
    if (flags & tcpFlag.ack && !syn) {
      if (inward && !other.begun) other.begin((acknowledged - 1) >>> 0);
      else other.acknowledged(acknowledged);
    }
    // Where nothing of the data was kept it still says where the stream is.
    if (dataBytes > 0 && bytes.length === 0) mine.guess(sequence);
    mine.push(syn ? (sequence + 1) >>> 0 : sequence, bytes, at);
    if (flags & tcpFlag.fin) mine.finish((sequence + dataBytes + (syn ? 1 : 0)) >>> 0);
    if (mine.finished) this.#finFirst ??= inward ? 'in' : 'out';
    const shook = inward && (flags & tcpFlag.ack) !== 0 && !syn && this.clientSequence !== undefined;
    if (shook || (dataBytes > 0 && !syn)) this.established = true;
    this.sizeBytes += this.#in.waitingBytes + this.#out.waitingBytes - waited;
  }

  /** Bytes have passed when those before them had; they are a view of the packet's buffer, which is used again. */
  #passed(direction: 'in' | 'out', bytes: Uint8Array, at: Micros): void {
    this.#passedAt = Math.max(this.#passedAt, at);
    this.chunk(direction, this.#passedAt, Buffer.from(bytes));
  }

  #begin(mine: TcpStream, other: TcpStream, inward: boolean, flags: number, sequence: number, acknowledged: number): void {
    mine.begin(sequence);
    if (inward) this.clientSequence ??= sequence;
    else if (flags & tcpFlag.ack) {
      this.#answered = true;
      if (!this.established) other.beginAt((acknowledged - 1) >>> 0);
    }
  }

  datagram(inward: boolean, bytes: Uint8Array, at: Micros): void {
    this.touch(at);
    this.heardAt = at;
    if (inward) this.packetsIn += 1;
    else this.packetsOut += 1;
    this.chunk(inward ? 'in' : 'out', at, Buffer.from(bytes));
    this.#datagramBytes[inward ? 'in' : 'out'] += bytes.length;
  }

  /** Nothing of it comes any more. */
  handOver(context: ImportContext): void {
    const probe = this.transport === 'udp' ? this.#refusedDatagram() : this.established ? undefined : this.#probe();
    if (probe) {
      context.probe(probe);
      return;
    }
    if (this.transport === 'tcp') {
      this.#in.flush();
      this.#out.flush();
      this.bytesIn = this.#in.delivered + this.#in.missing;
      this.bytesOut = this.#out.delivered + this.#out.missing;
      if (this.#in.missing + this.#out.missing > 0) this.truncated = true;
      this.headless = this.clientSequence === undefined;
    } else {
      this.bytesIn = this.#datagramBytes.in;
      this.bytesOut = this.#datagramBytes.out;
    }
    this.outcome = this.#ending();
    context.session(this.done(context));
  }

  #ending(): Exclude<SessionOutcome, 'open'> {
    if (this.transport === 'udp') return 'idle';
    if (this.#reset) return this.#reset === 'in' ? 'client-reset' : 'server-closed';
    if (this.#finFirst) return this.#finFirst === 'in' ? 'client-closed' : 'server-closed';
    return 'unknown';
  }

  #refusedDatagram(): ImportedProbe | undefined {
    return this.refused && this.packetsOut === 0 ? this.#record('closed', this.packetsIn) : undefined;
  }

  #probe(): ImportedProbe {
    // An answer to a SYN nobody sent: somebody else's, with this address forged.
    if (this.answerFirst && this.packetsIn === 0) return this.#record('ack', this.packetsOut, true);
    return this.#record(this.#kind(), this.packetsIn);
  }

  #kind(): ProbeKind {
    if (this.clientSequence !== undefined) return this.refused ? 'closed' : this.#answered ? 'half-open' : 'filtered';
    const flags = this.firstFlags & 0x3f;
    if (flags === 0) return 'null';
    if (flags === tcpFlag.fin) return 'fin';
    return flags === (tcpFlag.fin | tcpFlag.psh | tcpFlag.urg) ? 'xmas' : 'ack';
  }

  #record(kind: ProbeKind, packets: number, turned = false): ImportedProbe {
    const [from, to] = turned ? [this.destination, this.source] : [this.source, this.destination];
    return {
      place: this.place,
      key: this.key,
      start: this.start,
      end: this.end ?? this.start,
      source: from.ip,
      sourcePort: from.port,
      targets: [{ ...to, transport: this.transport, kind, count: Math.max(1, packets) }],
      ...(this.sourceMac !== undefined && !turned && { sourceMac: this.sourceMac }),
      ...(this.syn !== undefined && { syn: this.syn }),
    };
  }
}
