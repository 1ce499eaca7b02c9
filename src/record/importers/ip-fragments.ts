// Puts datagrams together again from their IP fragments, of either version: bounded in number, size and the capture's time.
// Overlaps are resolved for what came first (IPv4) or end the datagram (IPv6). Pure but for what it holds.
// Sources: RFC 791 section 3.2, RFC 8200 section 4.5, RFC 5722.

import type { Micros } from '../../base/clock.ts';
import { RecencyMap } from '../../base/recency-map.ts';
import { be16, be32 } from '../../kernel/packet-header.ts';

const maxDatagrams = 256;
const maxPieces = 128;
const maxBytes = 65_535;
/** RFC 8200: 60 seconds. */
const patienceMicros = 60e6;

interface Piece {
  readonly from: number;
  readonly bytes: Buffer;
}

interface Datagram {
  readonly first: Micros;
  readonly pieces: Piece[];
  header: Buffer | undefined;
  protocol: number;
  end: number | undefined;
  /** Packets it came in. */
  packets: number;
}

export interface Fragment {
  readonly key: string;
  /** In bytes. */
  readonly offset: number;
  readonly last: boolean;
  readonly version: 4 | 6;
  readonly protocol: number;
  readonly headerAt: number;
  readonly dataAt: number;
  readonly end: number;
}

/** What a packet that starts with its IP header is a fragment of; undefined when it is none. `end` is the packet's own. */
export function fragmentOf(bytes: Buffer, start: number, end: number): Fragment | undefined {
  if (end - start < 20) return undefined;
  if (bytes[start] >> 4 === 4) {
    const field = be16(bytes, start + 6);
    if ((field & 0x3fff) === 0) return undefined;
    const dataAt = start + (bytes[start] & 15) * 4;
    if (dataAt > end || dataAt - start < 20) return undefined;
    return {
      key: `4${bytes.toString('latin1', start + 12, start + 20)}${be16(bytes, start + 4)}/${bytes[start + 9]}`,
      offset: (field & 0x1fff) * 8,
      last: (field & 0x2000) === 0,
      version: 4,
      protocol: bytes[start + 9],
      headerAt: start,
      dataAt,
      end,
    };
  }
  if (bytes[start] >> 4 !== 6 || end - start < 48) return undefined;
  // The fragment header stands behind what every node on the way reads: hop-by-hop options, routing, destination options.
  let next = bytes[start + 6];
  let at = start + 40;
  for (let count = 0; count < 4 && (next === 0 || next === 43 || next === 60); count += 1) {
    if (at + 8 > end) return undefined;
    next = bytes[at];
    at += (bytes[at + 1] + 1) * 8;
  }
  if (next !== 44 || at + 8 > end) return undefined;
  const field = be16(bytes, at + 2);
  if ((field & 0xfff9) === 0) return undefined;
  return {
    key: `6${bytes.toString('latin1', start + 8, start + 40)}${be32(bytes, at + 4)}`,
    offset: field & 0xfff8,
    last: (field & 1) === 0,
    version: 6,
    protocol: bytes[at],
    headerAt: start,
    dataAt: at + 8,
    end,
  };
}

export class IpFragments {
  readonly #datagrams = new RecencyMap<string, Datagram>();
  readonly #lost: (packets: number) => void;

  /** `lost`: so many packets belonged to a datagram that is given up. */
  constructor(lost: (packets: number) => void) {
    this.#lost = lost;
  }

  /**
   * Takes one: the whole datagram as a packet that starts with an IP header, and how many packets came before this one, once
   * nothing is missing.
   */
  take(bytes: Buffer, fragment: Fragment, at: Micros): { packet: Buffer; before: number } | undefined {
    this.#age(at);
    let datagram = this.#datagrams.get(fragment.key);
    if (!datagram) {
      datagram = { first: at, pieces: [], header: undefined, protocol: fragment.protocol, end: undefined, packets: 0 };
      this.#datagrams.set(fragment.key, datagram);
      const oldest = this.#datagrams.size > maxDatagrams ? this.#datagrams.oldest : undefined;
      if (oldest) this.#giveUp(oldest[0]);
    }
    datagram.packets += 1;
    if (!add(datagram, bytes, fragment)) {
      this.#giveUp(fragment.key);
      return undefined;
    }
    const whole = join(datagram, fragment.version);
    if (!whole) return undefined;
    this.#datagrams.delete(fragment.key);
    return { packet: whole, before: datagram.packets - 1 };
  }

  end(): void {
    for (const [key] of this.#datagrams) this.#giveUp(key);
  }

  #age(at: Micros): void {
    for (let oldest = this.#datagrams.oldest; oldest; oldest = this.#datagrams.oldest) {
      if (oldest[1].first >= at - patienceMicros) return;
      this.#giveUp(oldest[0]);
    }
  }

  #giveUp(key: string): void {
    const datagram = this.#datagrams.get(key);
    if (!datagram) return;
    this.#datagrams.delete(key);
    this.#lost(datagram.packets);
  }
}

/** False when the datagram cannot be one. */
function add(datagram: Datagram, bytes: Buffer, { offset, last, version, headerAt, dataAt, end, protocol }: Fragment): boolean {
  const length = end - dataAt;
  if (length <= 0 || offset + length > maxBytes || datagram.pieces.length >= maxPieces) return false;
  if (last) {
    if (datagram.end !== undefined && datagram.end !== offset + length) return false;
    datagram.end = offset + length;
  }
  if (offset === 0 && !datagram.header) {
    datagram.header = Buffer.from(bytes.subarray(headerAt, version === 4 ? dataAt : headerAt + 40));
    datagram.protocol = protocol;
  }
  if (version === 6)
    for (const { from, bytes: other } of datagram.pieces)
      if (offset < from + other.length && from < offset + length) {
        const again = offset === from && other.equals(bytes.subarray(dataAt, end));
        return again;
      }
  datagram.pieces.push({ from: offset, bytes: Buffer.from(bytes.subarray(dataAt, end)) });
  return true;
}

function join({ pieces, header, protocol, end }: Datagram, version: 4 | 6): Buffer | undefined {
  if (!header || end === undefined) return undefined;
  const data = Buffer.alloc(end);
  const order = [...pieces].sort((a, b) => a.from - b.from);
  let reach = 0;
  for (const { from, bytes } of order) {
    if (from > reach) return undefined;
    reach = Math.max(reach, from + bytes.length);
  }
  // Laid over each other from the last to the first: what came first stays.
  for (const { from, bytes } of [...pieces].reverse()) bytes.copy(data, from, 0, Math.max(0, end - from));
  const packet = Buffer.concat([header, data]);
  if (version === 4) {
    packet.writeUInt16BE(Math.min(packet.length, 0xffff), 2);
    packet.writeUInt16BE(be16(packet, 6) & 0x4000, 6);
  } else {
    packet.writeUInt16BE(Math.min(data.length, 0xffff), 4);
    packet[6] = protocol;
  }
  return packet;
}
