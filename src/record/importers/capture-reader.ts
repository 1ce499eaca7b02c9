// Takes pcap and pcapng files apart into packets, from pieces of any size: either byte order, micro- and nanoseconds, several
// sections and interfaces. Lengths are believed within bounds only; where they cannot be true the rest of the file is given up,
// and that is said. What is inside a packet is link-layer.ts.
// Sources: draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng.

import type { Micros } from '../../base/clock.ts';

/** Valid during the call only. */
export interface CapturedFrame {
  readonly bytes: Buffer;
  readonly start: number;
  readonly end: number;
  /** LINKTYPE_*. */
  readonly linkType: number;
  readonly at: Micros;
  /** On the wire it was longer. */
  readonly cut: boolean;
  readonly wireLength: number;
}

export interface CaptureSink {
  frame(frame: CapturedFrame): void;
  /** A packet that cannot be given, and why. */
  bad(reason: string): void;
}

/** No packet is longer: what libpcap itself takes. */
const maxFrame = 262_144;
/** Packets of older files may be longer than their header's limit says, no block of a kind we read is longer than this. */
const maxBlock = maxFrame + 65_536;
const maxInterfaces = 4096;
/** In the year 2243: below 2^53, and a time that a Date has. */
const latest: Micros = 8.64e15;

interface Interface {
  readonly linkType: number;
  readonly snap: number;
  /** Units a second, and seconds added. */
  readonly resolution: number;
  readonly offset: number;
}

type Step = (bytes: Buffer, at: number) => number;

export class CaptureReader {
  readonly #sink: CaptureSink;
  #rest: Buffer = Buffer.alloc(0);
  /** Bytes to pass over, of blocks that are not read. */
  #skip = 0;
  #little = true;
  #step: Step | undefined;
  #over = false;
  /** Time of the packet before: for those without one. */
  #last: Micros;
  #pcap: Interface = { linkType: 0, snap: 0, resolution: 1e6, offset: 0 };
  #interfaces: Interface[] = [];

  /** `fallback`: the time of packets that have none. */
  constructor(sink: CaptureSink, fallback: Micros) {
    this.#sink = sink;
    this.#last = fallback;
  }

  push(piece: Uint8Array): void {
    if (this.#over) return;
    let bytes = Buffer.from(piece.buffer, piece.byteOffset, piece.length);
    if (this.#skip > 0) {
      const passed = Math.min(this.#skip, bytes.length);
      this.#skip -= passed;
      bytes = bytes.subarray(passed);
    }
    if (this.#rest.length > 0) bytes = Buffer.concat([this.#rest, bytes]);
    let at = 0;
    while (!this.#over && at < bytes.length) {
      this.#step ??= this.#begin(bytes);
      if (!this.#step) break;
      const next = this.#step(bytes, at);
      if (next < 0) break;
      at = next;
      if (at > bytes.length) {
        this.#skip = at - bytes.length;
        at = bytes.length;
      }
    }
    this.#rest = this.#over ? Buffer.alloc(0) : Buffer.from(bytes.subarray(at));
  }

  /** The file ended here. */
  finish(): void {
    if (!this.#over && (this.#rest.length > 0 || this.#skip > 0)) this.#sink.bad('the file ends within a packet');
    this.#over = true;
  }

  #giveUp(reason: string): number {
    this.#over = true;
    this.#sink.bad(`${reason}: the rest of the file is not read`);
    return -1;
  }

  #u16(bytes: Buffer, at: number): number {
    return this.#little ? bytes.readUInt16LE(at) : bytes.readUInt16BE(at);
  }

  #u32(bytes: Buffer, at: number): number {
    return this.#little ? bytes.readUInt32LE(at) : bytes.readUInt32BE(at);
  }

  #begin(bytes: Buffer): Step | undefined {
    if (bytes.length < 4) return undefined;
    const magic = bytes.readUInt32LE(0);
    if (magic === 0x0a0d0d0a) return (all, at) => this.#block(all, at);
    const known = pcapMagics[magic];
    if (!known) {
      this.#giveUp('neither pcap nor pcapng');
      return undefined;
    }
    this.#little = known.little;
    const resolution = known.nano ? 1e9 : 1e6;
    return (all, at) => this.#header(all, at, resolution, known.headerBytes);
  }

  #header(bytes: Buffer, at: number, resolution: number, recordHeader: number): number {
    if (bytes.length - at < 24) return -1;
    this.#pcap = { linkType: this.#u32(bytes, at + 20) & 0xffff, snap: this.#u32(bytes, at + 16), resolution, offset: 0 };
    this.#step = (all, from) => this.#record(all, from, recordHeader);
    return at + 24;
  }

  #record(bytes: Buffer, at: number, headerBytes: number): number {
    if (bytes.length - at < headerBytes) return -1;
    const [seconds, fraction] = [this.#u32(bytes, at), this.#u32(bytes, at + 4)];
    const [length, original] = [this.#u32(bytes, at + 8), this.#u32(bytes, at + 12)];
    if (length > maxFrame) return this.#giveUp(`a packet of ${length} bytes`);
    const start = at + headerBytes;
    if (bytes.length < start + length) return -1;
    this.#frame(bytes, start, length, original, this.#pcap, seconds * 1e6 + Math.floor(fraction / (this.#pcap.resolution / 1e6)));
    return start + length;
  }

  #frame(bytes: Buffer, start: number, length: number, original: number, { linkType }: Interface, at: Micros): void {
    if (length === 0) {
      this.#sink.bad('a packet without bytes');
      return;
    }
    // Resolution and offset are the file's word: what comes of them need be no time at all.
    if (!(at >= 0 && at <= latest)) {
      this.#sink.bad('a packet of a time that cannot be');
      return;
    }
    this.#last = at;
    this.#sink.frame({
      bytes,
      start,
      end: start + length,
      linkType,
      at,
      cut: original > length,
      wireLength: Math.max(original, length),
    });
  }

  #block(bytes: Buffer, at: number): number {
    if (bytes.length - at < 12) return -1;
    const section = bytes.readUInt32LE(at) === 0x0a0d0d0a;
    if (section) {
      const order = bytes.readUInt32LE(at + 8);
      if (order !== 0x1a2b3c4d && order !== 0x4d3c2b1a) return this.#giveUp('a section without byte order');
      this.#little = order === 0x1a2b3c4d;
    }
    const type = this.#u32(bytes, at);
    const length = this.#u32(bytes, at + 4);
    if (length < 12 || length % 4 !== 0) return this.#giveUp(`a block of ${length} bytes`);
    const read = section || type === 1 || type === 2 || type === 3 || type === 6;
    if (!read) return at + length;
    if (length > maxBlock) return this.#giveUp(`a block of ${length} bytes`);
    if (bytes.length - at < length) return -1;
    if (this.#u32(bytes, at + length - 4) !== length) return this.#giveUp('a block with two lengths');
    if (section) this.#interfaces = [];
    else if (type === 1) this.#interface(bytes, at, length);
    else if (type === 3) this.#simplePacket(bytes, at, length);
    else this.#packet(bytes, at, length, type === 2);
    return at + length;
  }

  #interface(bytes: Buffer, at: number, length: number): void {
    if (this.#interfaces.length >= maxInterfaces || length < 20) {
      this.#giveUp(length < 20 ? 'an interface without its facts' : `more than ${maxInterfaces} interfaces`);
      return;
    }
    let resolution = 1e6;
    let offset = 0;
    const end = at + length - 4;
    for (let option = at + 16; option + 4 <= end; ) {
      const [code, size] = [this.#u16(bytes, option), this.#u16(bytes, option + 2)];
      if (code === 0 || option + 4 + size > end) break;
      if (code === 9 && size === 1) {
        const value = bytes[option + 4];
        resolution = value & 0x80 ? 2 ** (value & 0x7f) : 10 ** value;
      } else if (code === 14 && size === 8) {
        const high = this.#u32(bytes, option + (this.#little ? 8 : 4)) | 0;
        offset = high * 2 ** 32 + this.#u32(bytes, option + (this.#little ? 4 : 8));
      }
      option += 4 + Math.ceil(size / 4) * 4;
    }
    this.#interfaces.push({ linkType: this.#u16(bytes, at + 8), snap: this.#u32(bytes, at + 12), resolution, offset });
  }

  #packet(bytes: Buffer, at: number, length: number, old: boolean): void {
    if (length < 32) {
      this.#sink.bad('a packet block too short for a packet');
      return;
    }
    const number = old ? this.#u16(bytes, at + 8) : this.#u32(bytes, at + 8);
    const one = this.#interfaces[number];
    const [high, low] = [this.#u32(bytes, at + 12), this.#u32(bytes, at + 16)];
    const [kept, original] = [this.#u32(bytes, at + 20), this.#u32(bytes, at + 24)];
    if (!one) this.#sink.bad('a packet of an unknown interface');
    else if (kept > length - 32 || kept > maxFrame) this.#sink.bad(`a packet of ${kept} bytes in a block of ${length}`);
    else this.#frame(bytes, at + 28, kept, original, one, timeOf(high, low, one));
  }

  #simplePacket(bytes: Buffer, at: number, length: number): void {
    const [one] = this.#interfaces;
    const original = length < 16 ? 0 : this.#u32(bytes, at + 8);
    if (!one || length < 16) this.#sink.bad('a packet of an unknown interface');
    else {
      const kept = Math.min(original, one.snap || maxFrame, length - 16);
      this.#frame(bytes, at + 12, kept, original, one, this.#last);
    }
  }
}

function timeOf(high: number, low: number, { resolution, offset }: Interface): Micros {
  // In whole numbers: 64 bits of nanoseconds are more than a double holds.
  const units = (BigInt(high) << 32n) | BigInt(low);
  const micros =
    resolution <= 2 ** 53 ? (units * 1_000_000n) / BigInt(resolution) : units / (BigInt(resolution) / 1_000_000n || 1n);
  return Number(micros) + offset * 1e6;
}

interface Magic {
  readonly little: boolean;
  readonly nano: boolean;
  readonly headerBytes: number;
}

/** By the first four bytes read little-endian. The last two: patched libpcap of old, with longer packet headers. */
export const pcapMagics: Readonly<Record<number, Magic>> = {
  2712847316: { little: true, nano: false, headerBytes: 16 },
  3569595041: { little: false, nano: false, headerBytes: 16 },
  2712812621: { little: true, nano: true, headerBytes: 16 },
  1295823521: { little: false, nano: true, headerBytes: 16 },
  2712849716: { little: true, nano: false, headerBytes: 24 },
  885895841: { little: false, nano: false, headerBytes: 24 },
};
