// The PROXY protocol's header, v1 and v2, as data: strict parsing and rendering. Pure; whoever listens decides who may send
// one (it is expected or it is not, never guessed), and reading it piece by piece is proxy-header-reader.ts.
// Source: https://www.haproxy.org/download/2.6/doc/proxy-protocol.txt (sections 2.1, 2.2); stricter where docs/decisions/0020 says so.

import { addressBytes, type Family, normalAddressText, parseAddress, renderAddress, renderAddressAt } from './address.ts';
import { crc32c } from './crc32c.ts';
import type { Endpoint, Transport } from './session.ts';

/** Type, length and value of v2; at most 65,535 bytes together with the addresses. */
export interface ProxyTlv {
  readonly type: number;
  readonly value: Uint8Array;
}

/** Registered types (section 2.2.1 to 2.2.7), and ours from the range for applications (0xE0 to 0xEF). */
export const tlvType = {
  alpn: 0x01,
  authority: 0x02,
  crc32c: 0x03,
  noop: 0x04,
  uniqueId: 0x05,
  ssl: 0x20,
  netns: 0x30,
  agent: 0xe0,
  decoy: 0xe1,
  linkLayer: 0xe2,
  /** Which service an inner gateway is to reach. */
  service: 0xe3,
  /** What an agent's listener saw of the SYN. */
  syn: 0xe4,
  /** What an agent would call the session: SessionClaim. */
  session: 0xe5,
} as const;

/** Longest v1 line with its CRLF. */
export const maxV1Bytes = 107;
/** Signature, version and command, family, length. */
export const v2HeadBytes = 16;
/** Of a unique id (section 2.2.5). */
export const maxUniqueIdBytes = 128;
/** Of an authority; HAProxy takes no more, as long as a host name can be. */
export const maxAuthorityBytes = 255;

export const v1Start = Uint8Array.from(Buffer.from('PROXY ', 'latin1'));
export const v2Signature = Uint8Array.from([0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a]);

export interface ProxyFlow {
  readonly transport: Transport;
  readonly source: Endpoint;
  readonly destination: Endpoint;
}

export interface ProxyHeader {
  readonly version: 1 | 2;
  /** `local`: the sender speaks for itself (a health check); the connection's own addresses count. */
  readonly command: 'proxy' | 'local';
  /** Absent: LOCAL, or v1's UNKNOWN. */
  readonly flow?: ProxyFlow;
  readonly tlvs: readonly ProxyTlv[];
}

/** Why bytes are not a header; for the event that says so. */
export type ProxyFault =
  | 'not-proxy' // neither signature
  | 'line-too-long'
  | 'bad-line'
  | 'bad-address'
  | 'bad-port'
  | 'unknown-version'
  | 'unknown-command'
  | 'unknown-family'
  | 'no-addresses' // v2 PROXY of a family that is not IP: whoever is proxied stays unknown
  | 'other-transport' // known, but not expected here
  | 'too-long' // more than the reader's bound
  | 'too-short' // for the addresses of its family, or a datagram that ends within its header
  | 'bad-tlv'
  | 'bad-checksum';

export type ProxyParse = { readonly header: ProxyHeader } | { readonly fault: ProxyFault };

const fault = (what: ProxyFault): ProxyParse => ({ fault: what });

/** Where the line feed of a v1 line is, or -1 while there is none within the longest line. */
export function endOfLine(bytes: Uint8Array): number {
  const limit = Math.min(bytes.length, maxV1Bytes);
  for (let at = v1Start.length; at < limit; at += 1) if (bytes[at] === 0x0a) return at;
  return -1;
}

/** A v1 line whose line feed is at `end`. */
export function parseProxyV1(bytes: Uint8Array, end: number): ProxyParse {
  if (bytes[end - 1] !== 0x0d) return fault('bad-line');
  return parseProxyLine(Buffer.from(bytes.buffer, bytes.byteOffset, end - 1).toString('latin1'));
}

/** One whole line without its CRLF, as Latin-1 text. `UNKNOWN` stands alone: with anything behind it HAProxy refuses it too. */
export function parseProxyLine(line: string): ProxyParse {
  if (line === 'PROXY UNKNOWN') return { header: { version: 1, command: 'proxy', tlvs: [] } };
  const parts = line.split(' ');
  const family: Family | undefined = parts[1] === 'TCP4' ? 4 : parts[1] === 'TCP6' ? 6 : undefined;
  if (parts.length !== 6 || parts[0] !== 'PROXY' || family === undefined) return fault('bad-line');
  const source = normalAddressText(parts[2], family);
  const destination = normalAddressText(parts[3], family);
  if (source === undefined || destination === undefined) return fault('bad-address');
  const from = parsePort(parts[4]);
  const to = parsePort(parts[5]);
  if (from < 0 || to < 0) return fault('bad-port');
  return {
    header: {
      version: 1,
      command: 'proxy',
      flow: { transport: 'tcp', source: { ip: source, port: from }, destination: { ip: destination, port: to } },
      tlvs: [],
    },
  };
}

/** -1 for what is not 0 to 65535 without a leading zero. */
function parsePort(text: string): number {
  if (text.length === 0 || text.length > 5 || (text.length > 1 && text.charCodeAt(0) === 48)) return -1;
  let port = 0;
  for (let at = 0; at < text.length; at += 1) {
    const digit = text.charCodeAt(at) - 48;
    if (digit < 0 || digit > 9) return -1;
    port = port * 10 + digit;
  }
  return port <= 65535 ? port : -1;
}

/** What is expected of a stream that carries streams. */
export const streamTransports: readonly Transport[] = ['tcp'];

/**
 * One whole v2 header, from the signature to its last TLV; its length was checked against `bytes` by the caller. The values of
 * TLVs are views of `bytes`.
 */
export function parseProxyV2(bytes: Uint8Array, transports: readonly Transport[] = streamTransports): ProxyParse {
  if (bytes[12] >> 4 !== 2) return fault('unknown-version');
  const command = bytes[12] & 15;
  if (command > 1) return fault('unknown-command');
  // LOCAL: whatever follows is skipped (section 2.2).
  if (command === 0) return { header: { version: 2, command: 'local', tlvs: [] } };
  const kind = bytes[13];
  const family: Family | undefined = kind === 0x11 || kind === 0x12 ? 4 : kind === 0x21 || kind === 0x22 ? 6 : undefined;
  if (family === undefined) return fault(kind === 0 || kind === 0x31 || kind === 0x32 ? 'no-addresses' : 'unknown-family');
  const transport: Transport = (kind & 15) === 1 ? 'tcp' : 'udp';
  if (!transports.includes(transport)) return fault('other-transport');
  const size = family === 4 ? 4 : 16;
  const portsAt = v2HeadBytes + 2 * size;
  if (bytes.length < portsAt + 4) return fault('too-short');
  const tlvs = parseTlvs(bytes, portsAt + 4);
  if (typeof tlvs === 'string') return fault(tlvs);
  return {
    header: {
      version: 2,
      command: 'proxy',
      flow: {
        transport,
        source: { ip: renderAddressAt(bytes, v2HeadBytes, family), port: (bytes[portsAt] << 8) | bytes[portsAt + 1] },
        destination: {
          ip: renderAddressAt(bytes, v2HeadBytes + size, family),
          port: (bytes[portsAt + 2] << 8) | bytes[portsAt + 3],
        },
      },
      tlvs,
    },
  };
}

export const beginsLike = (bytes: Uint8Array, signature: Uint8Array): boolean => {
  const length = Math.min(bytes.length, signature.length);
  for (let index = 0; index < length; index += 1) if (bytes[index] !== signature[index]) return false;
  return true;
};

/**
 * A datagram that begins with a header. The values of TLVs and the payload, which may be empty, are views of `bytes`. v1 cannot
 * say UDP, yet nginx writes a v1 line of TCP before the first datagram of each flow (and nothing before the others): with it
 * among the versions such a line is taken, and its flow said to be UDP.
 */
export function parseProxyDatagram(
  bytes: Uint8Array,
  versions: readonly (1 | 2)[] = datagramVersions,
): { readonly header: ProxyHeader; readonly payload: Uint8Array } | { readonly fault: ProxyFault } {
  if (versions.includes(1) && bytes.length >= v1Start.length && beginsLike(bytes, v1Start)) return parseLineDatagram(bytes);
  if (!versions.includes(2) || bytes.length < v2Signature.length || !beginsLike(bytes, v2Signature))
    return { fault: 'not-proxy' };
  const total = v2HeadBytes + ((bytes[14] << 8) | bytes[15]);
  if (bytes.length < total) return { fault: 'too-short' };
  const parsed = parseProxyV2(bytes.subarray(0, total), datagramTransports);
  return 'fault' in parsed ? parsed : { header: parsed.header, payload: bytes.subarray(total) };
}

const datagramTransports: readonly Transport[] = ['udp'];
const datagramVersions: readonly (1 | 2)[] = [2];

function parseLineDatagram(bytes: Uint8Array): ReturnType<typeof parseProxyDatagram> {
  const end = endOfLine(bytes);
  if (end < 0) return { fault: bytes.length >= maxV1Bytes ? 'line-too-long' : 'too-short' };
  const parsed = parseProxyV1(bytes, end);
  if ('fault' in parsed) return parsed;
  const { flow } = parsed.header;
  const header = flow ? { ...parsed.header, flow: { ...flow, transport: 'udp' as const } } : parsed.header;
  return { header, payload: bytes.subarray(end + 1) };
}

const noTlvs: readonly ProxyTlv[] = [];

/** A fault when they do not end exactly at the end, or one of them is not as its type has it. */
function parseTlvs(bytes: Uint8Array, start: number): readonly ProxyTlv[] | ProxyFault {
  if (start === bytes.length) return noTlvs;
  const tlvs: ProxyTlv[] = [];
  let checksum: Uint8Array | undefined;
  for (let at = start; at < bytes.length; ) {
    if (at + 3 > bytes.length) return 'bad-tlv';
    const type = bytes[at];
    const end = at + 3 + ((bytes[at + 1] << 8) | bytes[at + 2]);
    if (end > bytes.length) return 'bad-tlv';
    const value = bytes.subarray(at + 3, end);
    if (type === tlvType.crc32c) {
      // Of two, each would have to hold with the other in place or as zero: senders and receivers differ.
      if (checksum) return 'bad-tlv';
      checksum = value;
    } else if (value.length > longestValue(type)) return 'bad-tlv';
    tlvs.push({ type, value });
    at = end;
  }
  return checksum && !checksumHolds(bytes, checksum) ? 'bad-checksum' : tlvs;
}

const longestValue = (type: number): number =>
  type === tlvType.uniqueId ? maxUniqueIdBytes : type === tlvType.authority ? maxAuthorityBytes : 0xffff;

/** Over the whole header with the checksum's own four bytes as zero (section 2.2.3). */
function checksumHolds(bytes: Uint8Array, value: Uint8Array): boolean {
  if (value.length !== 4) return false;
  const at = value.byteOffset - bytes.byteOffset;
  const sum = crc32c(bytes.subarray(at + 4), crc32c(fourZeros, crc32c(bytes.subarray(0, at))));
  return ((value[0] << 24) | (value[1] << 16) | (value[2] << 8) | value[3]) >>> 0 === sum;
}

const fourZeros = new Uint8Array(4);

function checkPorts({ source, destination }: ProxyFlow): void {
  for (const { port } of [source, destination])
    if (!Number.isInteger(port) || port < 0 || port > 65535) throw new RangeError(`a PROXY header cannot carry port ${port}`);
}

/** With its CRLF. UDP cannot be said in v1: `UNKNOWN` then. Throws RangeError for a port that is none. */
export function renderProxyV1(flow: ProxyFlow | undefined): Uint8Array {
  const source = flow && parseAddress(flow.source.ip);
  const destination = flow && parseAddress(flow.destination.ip);
  if (flow?.transport !== 'tcp' || !source || !destination) return Buffer.from('PROXY UNKNOWN\r\n', 'latin1');
  checkPorts(flow);
  const family = source.family === 6 || destination.family === 6 ? 6 : 4;
  const text = ({ family: own, value }: typeof source): string =>
    family === 6 && own === 4 ? `::ffff:${renderAddress({ family: own, value })}` : renderAddress({ family: own, value });
  return Buffer.from(
    `PROXY TCP${family} ${text(source)} ${text(destination)} ${flow.source.port} ${flow.destination.port}\r\n`,
    'latin1',
  );
}

/**
 * `tlvs` in order; with `checksum` a CRC32C is put in front of them. Addresses of different families are both written as
 * IPv6. Throws RangeError for what no strict reader takes: addresses and TLVs of more than 65,535 bytes, a flow that is not of IP
 * addresses and ports, a unique id, authority or checksum that parseProxyV2 refuses. Without a flow it says LOCAL.
 */
export function renderProxyV2(
  flow: ProxyFlow | undefined,
  tlvs: readonly ProxyTlv[] = [],
  options: { readonly checksum?: boolean; readonly local?: boolean } = {},
): Uint8Array {
  const local = options.local === true || flow === undefined;
  const addresses = local ? { family: 0, bytes: new Uint8Array(0) } : renderFlow(flow);
  for (const { type, value } of tlvs)
    if (type === tlvType.crc32c || value.length > longestValue(type))
      throw new RangeError(`a PROXY header cannot carry type ${type} with ${value.length} bytes`);
  const all = options.checksum ? [{ type: tlvType.crc32c, value: new Uint8Array(4) }, ...tlvs] : tlvs;
  const length = addresses.bytes.length + all.reduce((sum, { value }) => sum + 3 + value.length, 0);
  if (length > 0xffff) throw new RangeError(`a PROXY header of ${length} bytes is too long`);
  const bytes = new Uint8Array(v2HeadBytes + length);
  bytes.set(v2Signature);
  bytes[12] = 0x20 | (local ? 0 : 1);
  bytes[13] = addresses.family;
  write16(bytes, 14, length);
  bytes.set(addresses.bytes, v2HeadBytes);
  let at = v2HeadBytes + addresses.bytes.length;
  for (const { type, value } of all) {
    bytes[at] = type;
    write16(bytes, at + 1, value.length);
    bytes.set(value, at + 3);
    at += 3 + value.length;
  }
  if (options.checksum) {
    const sum = crc32c(bytes);
    write16(bytes, v2HeadBytes + addresses.bytes.length + 3, sum >>> 16);
    write16(bytes, v2HeadBytes + addresses.bytes.length + 5, sum & 0xffff);
  }
  return bytes;
}

/** Not by a DataView: that would take the array off the heap, for each header of each flow. */
function write16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >> 8;
  bytes[at + 1] = value & 0xff;
}

function renderFlow(flow: ProxyFlow): { family: number; bytes: Uint8Array } {
  const { transport, source, destination } = flow;
  checkPorts(flow);
  const ends = [source, destination].map(({ ip }) => parseAddress(ip));
  if (!ends[0] || !ends[1]) throw new RangeError('a PROXY header needs IP addresses');
  const family = ends[0].family === 6 || ends[1].family === 6 ? 6 : 4;
  const size = family === 4 ? 4 : 16;
  const bytes = new Uint8Array(2 * size + 4);
  for (const [index, end] of ends.entries()) {
    if (!end) continue;
    const mapped = family === 6 && end.family === 4 ? { family: 6 as const, value: (0xffffn << 32n) | end.value } : end;
    bytes.set(addressBytes(mapped), index * size);
  }
  write16(bytes, 2 * size, source.port);
  write16(bytes, 2 * size + 2, destination.port);
  return { family: (family === 4 ? 0x10 : 0x20) | (transport === 'tcp' ? 1 : 2), bytes };
}
