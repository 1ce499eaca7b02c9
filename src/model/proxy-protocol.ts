// The PROXY protocol's header, v1 and v2, as data: strict parsing and rendering. Pure; whoever listens decides who may send
// one (it is expected or it is not, never guessed), and reading it piece by piece is proxy-header-reader.ts.
// Source: https://www.haproxy.org/download/2.6/doc/proxy-protocol.txt (sections 2.1, 2.2).

import { addressBytes, addressFromBytes, type Family, parseAddress, renderAddress } from './address.ts';
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
} as const;

/** Longest v1 line with its CRLF. */
export const maxV1Bytes = 107;
/** Signature, version and command, family, length. */
export const v2HeadBytes = 16;
/** Of a unique id (section 2.2.5). */
export const maxUniqueIdBytes = 128;

export const v2Signature = Uint8Array.from([0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a]);

export interface ProxyHeader {
  readonly version: 1 | 2;
  /** `local`: the sender speaks for itself (a health check); the connection's own addresses count. */
  readonly command: 'proxy' | 'local';
  /** Absent: unknown, or a kind that carries no IP addresses (UNIX sockets). */
  readonly flow?: { readonly transport: Transport; readonly source: Endpoint; readonly destination: Endpoint };
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
  | 'too-long' // more than the reader's bound
  | 'too-short' // for the addresses of its family
  | 'bad-tlv'
  | 'bad-checksum';

export type ProxyParse = { readonly header: ProxyHeader } | { readonly fault: ProxyFault };

const fault = (what: ProxyFault): ProxyParse => ({ fault: what });

/** One whole line without its CRLF, as Latin-1 text. */
export function parseProxyLine(line: string): ProxyParse {
  if (line === 'PROXY UNKNOWN' || line.startsWith('PROXY UNKNOWN '))
    return { header: { version: 1, command: 'proxy', tlvs: [] } };
  const parts = line.split(' ');
  const family: Family | undefined = parts[1] === 'TCP4' ? 4 : parts[1] === 'TCP6' ? 6 : undefined;
  if (parts.length !== 6 || parts[0] !== 'PROXY' || family === undefined) return fault('bad-line');
  const source = parseLineAddress(parts[2], family);
  const destination = parseLineAddress(parts[3], family);
  if (source === undefined || destination === undefined) return fault('bad-address');
  const ports = [parsePort(parts[4]), parsePort(parts[5])];
  if (ports[0] < 0 || ports[1] < 0) return fault('bad-port');
  return {
    header: {
      version: 1,
      command: 'proxy',
      flow: {
        transport: 'tcp',
        source: { ip: source, port: ports[0] },
        destination: { ip: destination, port: ports[1] },
      },
      tlvs: [],
    },
  };
}

function parseLineAddress(text: string, family: Family): string | undefined {
  if (text.includes(':') !== (family === 6) || text.length > 45) return undefined;
  const address = parseAddress(text);
  return address && renderAddress(address);
}

const parsePort = (text: string): number => (/^(0|[1-9]\d{0,4})$/.test(text) && Number(text) <= 65535 ? Number(text) : -1);

const families: Readonly<Record<number, { readonly bytes: number; readonly family?: Family; readonly transport?: Transport }>> = {
  0: { bytes: 0 },
  17: { bytes: 12, family: 4, transport: 'tcp' },
  18: { bytes: 12, family: 4, transport: 'udp' },
  33: { bytes: 36, family: 6, transport: 'tcp' },
  34: { bytes: 36, family: 6, transport: 'udp' },
  49: { bytes: 216 },
  50: { bytes: 216 },
};

/** One whole v2 header, from the signature to its last TLV; its length was checked against `bytes` by the reader. */
export function parseProxyV2(bytes: Uint8Array): ProxyParse {
  const version = bytes[12] >> 4;
  const command = bytes[12] & 15;
  if (version !== 2) return fault('unknown-version');
  if (command > 1) return fault('unknown-command');
  // LOCAL: whatever follows is skipped (section 2.2).
  if (command === 0) return { header: { version: 2, command: 'local', tlvs: [] } };
  const kind = families[bytes[13]];
  if (kind === undefined) return fault('unknown-family');
  if (bytes.length < v2HeadBytes + kind.bytes) return fault('too-short');
  const tlvs = parseTlvs(bytes, v2HeadBytes + kind.bytes);
  if (!tlvs) return fault('bad-tlv');
  for (const tlv of tlvs) {
    if (tlv.type === tlvType.uniqueId && tlv.value.length > maxUniqueIdBytes) return fault('bad-tlv');
    if (tlv.type === tlvType.crc32c && !checksumHolds(bytes, tlv.value)) return fault('bad-checksum');
  }
  const { family, transport } = kind;
  if (family === undefined || transport === undefined) return { header: { version: 2, command: 'proxy', tlvs } };
  const size = family === 4 ? 4 : 16;
  const ip = (at: number): string => renderAddress(plainAddress(bytes.subarray(at, at + size)));
  const port = (at: number): number => (bytes[at] << 8) | bytes[at + 1];
  const portsAt = v2HeadBytes + 2 * size;
  return {
    header: {
      version: 2,
      command: 'proxy',
      flow: {
        transport,
        source: { ip: ip(v2HeadBytes), port: port(portsAt) },
        destination: { ip: ip(v2HeadBytes + size), port: port(portsAt + 2) },
      },
      tlvs,
    },
  };
}

/** As everywhere in Weir, an IPv4-mapped IPv6 address is the IPv4 one. */
function plainAddress(bytes: Uint8Array) {
  const address = addressFromBytes(bytes);
  return address.family === 6 && address.value >> 32n === 0xffffn
    ? { family: 4 as const, value: address.value & 0xffffffffn }
    : address;
}

/** Undefined when they do not end exactly at the end. */
function parseTlvs(bytes: Uint8Array, start: number): ProxyTlv[] | undefined {
  const tlvs: ProxyTlv[] = [];
  let at = start;
  while (at < bytes.length) {
    if (at + 3 > bytes.length) return undefined;
    const length = (bytes[at + 1] << 8) | bytes[at + 2];
    const end = at + 3 + length;
    if (end > bytes.length) return undefined;
    tlvs.push({ type: bytes[at], value: bytes.subarray(at + 3, end) });
    at = end;
  }
  return tlvs;
}

/** Over the whole header with the checksum's own four bytes as zero (section 2.2.3). */
function checksumHolds(bytes: Uint8Array, value: Uint8Array): boolean {
  if (value.length !== 4) return false;
  const at = value.byteOffset - bytes.byteOffset;
  const sum = crc32c(bytes.subarray(at + 4), crc32c(new Uint8Array(4), crc32c(bytes.subarray(0, at))));
  return new DataView(value.buffer, value.byteOffset, 4).getUint32(0) === sum;
}

/** With its CRLF. UDP cannot be said in v1: `UNKNOWN` then. */
export function renderProxyV1(flow: ProxyHeader['flow']): Uint8Array {
  const source = flow && parseAddress(flow.source.ip);
  const destination = flow && parseAddress(flow.destination.ip);
  if (flow?.transport !== 'tcp' || !source || !destination) return Buffer.from('PROXY UNKNOWN\r\n', 'latin1');
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
 * IPv6. Throws RangeError when addresses and TLVs exceed 65,535 bytes or a flow is not of IP addresses.
 */
export function renderProxyV2(
  flow: ProxyHeader['flow'],
  tlvs: readonly ProxyTlv[] = [],
  options: { readonly checksum?: boolean; readonly local?: boolean } = {},
): Uint8Array {
  const addresses = flow && !options.local ? renderFlow(flow) : { family: 0, bytes: new Uint8Array(0) };
  const all = options.checksum ? [{ type: tlvType.crc32c, value: new Uint8Array(4) }, ...tlvs] : tlvs;
  const length = addresses.bytes.length + all.reduce((sum, { value }) => sum + 3 + value.length, 0);
  if (length > 0xffff) throw new RangeError(`a PROXY header of ${length} bytes is too long`);
  const bytes = new Uint8Array(v2HeadBytes + length);
  const view = new DataView(bytes.buffer);
  bytes.set(v2Signature);
  bytes[12] = 0x20 | (options.local ? 0 : 1);
  bytes[13] = addresses.family;
  view.setUint16(14, length);
  bytes.set(addresses.bytes, v2HeadBytes);
  let at = v2HeadBytes + addresses.bytes.length;
  for (const { type, value } of all) {
    bytes[at] = type;
    view.setUint16(at + 1, value.length);
    bytes.set(value, at + 3);
    at += 3 + value.length;
  }
  if (options.checksum) view.setUint32(v2HeadBytes + addresses.bytes.length + 3, crc32c(bytes));
  return bytes;
}

function renderFlow({ transport, source, destination }: NonNullable<ProxyHeader['flow']>): { family: number; bytes: Uint8Array } {
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
  const view = new DataView(bytes.buffer);
  view.setUint16(2 * size, source.port);
  view.setUint16(2 * size + 2, destination.port);
  return { family: (family === 4 ? 0x10 : 0x20) | (transport === 'tcp' ? 1 : 2), bytes };
}
