// Reads a TLS ClientHello out of hostile bytes, over several records if it was split, and fingerprints it: JA3, JA4.
// Pure. Answering it is tls-terminator.ts. Sources: RFC 8446 4.1.2 and 5.1, RFC 6101 appendix E, the JA3 README,
// FoxIO's JA4 specification (BSD 3-clause; JA4 alone, none of its sisters).

import { createHash } from 'node:crypto';
import type { TlsDetails } from './session.ts';

export interface ClientHello {
  /** `legacy_version` of the hello. */
  readonly version: number;
  readonly ciphers: readonly number[];
  /** Types in the client's order. */
  readonly extensions: readonly number[];
  readonly groups: readonly number[];
  readonly pointFormats: readonly number[];
  readonly signatureAlgorithms: readonly number[];
  readonly supportedVersions: readonly number[];
  readonly alpn: readonly string[];
  /** Lower case; only letters, digits, `.`, `-`, `_`. */
  readonly serverName?: string;
}

export type HelloReading =
  | { readonly verdict: 'hello'; readonly hello: ClientHello }
  | { readonly verdict: 'more' }
  | { readonly verdict: 'broken' };

/** Hellos beyond this are refused; browsers with post-quantum keys send about 2 KiB. */
export const helloLimit = 32_768;

const more: HelloReading = { verdict: 'more' };
const broken: HelloReading = { verdict: 'broken' };

/** The handshake message out of its records, or what stands in the way. */
function assemble(bytes: Buffer): Buffer | 'more' | 'broken' {
  const parts: Buffer[] = [];
  let have = 0;
  let at = 0;
  for (let record = 0; record < 512; record += 1) {
    if (bytes.length < at + 5) return bytes.length > at && bytes[at] !== 0x16 ? 'broken' : 'more';
    const length = bytes.readUInt16BE(at + 3);
    if (bytes[at] !== 0x16 || bytes[at + 1] !== 3 || length === 0 || length > 16_640) return 'broken';
    parts.push(bytes.subarray(at + 5, at + 5 + length));
    have += Math.min(length, bytes.length - at - 5);
    at += 5 + length;
    const message = parts.length === 1 ? parts[0] : have >= 4 ? Buffer.concat(parts) : undefined;
    if (message && message.length >= 4) {
      if (message[0] !== 1) return 'broken';
      const wanted = 4 + message.readUIntBE(1, 3);
      if (wanted > helloLimit) return 'broken';
      if (have >= wanted) return message.subarray(4, wanted);
    }
    if (at > bytes.length) return 'more';
  }
  return 'broken';
}

const evenList = (bytes: Buffer): number[] => {
  const values: number[] = [];
  for (let at = 0; at + 1 < bytes.length; at += 2) values.push(bytes.readUInt16BE(at));
  return values;
};

/** A vector with a length of `width` bytes in front; shorter than announced when cut. */
const vector = (bytes: Buffer, width: 1 | 2): Buffer =>
  bytes.length < width ? bytes.subarray(0, 0) : bytes.subarray(width, width + bytes.readUIntBE(0, width));

function readServerName(body: Buffer): string | undefined {
  const list = vector(body, 2);
  if (list.length < 3 || list[0] !== 0) return undefined;
  const name = vector(list.subarray(1), 2).toString('latin1').toLowerCase();
  return /^[a-z0-9._-]{1,253}$/.test(name) ? name : undefined;
}

function readAlpn(body: Buffer): string[] {
  const names: string[] = [];
  let rest = vector(body, 2);
  while (rest.length > 1 && names.length < 16) {
    const name = vector(rest, 1);
    names.push(name.toString('latin1'));
    rest = rest.subarray(1 + Math.max(name.length, rest[0]));
  }
  return names;
}

function readMessage(body: Buffer): ClientHello | undefined {
  if (body.length < 38) return undefined;
  const version = body.readUInt16BE(0);
  let at = 34;
  at += 1 + body[at];
  if (body.length < at + 2) return undefined;
  const cipherBytes = body.readUInt16BE(at);
  if (body.length < at + 2 + cipherBytes + 1) return undefined;
  const ciphers = evenList(body.subarray(at + 2, at + 2 + cipherBytes));
  at += 2 + cipherBytes;
  at += 1 + body[at];
  const seen: { type: number; body: Buffer }[] = [];
  if (body.length >= at + 2) {
    const end = Math.min(body.length, at + 2 + body.readUInt16BE(at));
    at += 2;
    while (at + 4 <= end && seen.length < 256) {
      const length = body.readUInt16BE(at + 2);
      if (at + 4 + length > end) return undefined;
      seen.push({ type: body.readUInt16BE(at), body: body.subarray(at + 4, at + 4 + length) });
      at += 4 + length;
    }
  }
  const find = (type: number): Buffer => seen.find((extension) => extension.type === type)?.body ?? body.subarray(0, 0);
  const serverName = readServerName(find(0));
  return {
    version,
    ciphers,
    extensions: seen.map(({ type }) => type),
    groups: evenList(vector(find(10), 2)),
    pointFormats: [...vector(find(11), 1)],
    signatureAlgorithms: evenList(vector(find(13), 2)),
    supportedVersions: evenList(vector(find(43), 1)),
    alpn: readAlpn(find(16)),
    ...(serverName === undefined ? {} : { serverName }),
  };
}

function readVersionTwo(bytes: Buffer): HelloReading {
  if (bytes.length < 11) return more;
  const total = 2 + (bytes.readUInt16BE(0) & 0x7fff);
  if (bytes[2] !== 1) return broken;
  if (bytes.length < total) return more;
  const cipherBytes = bytes.readUInt16BE(5);
  if (11 + cipherBytes > total) return broken;
  const ciphers: number[] = [];
  for (let at = 11; at + 2 < 11 + cipherBytes; at += 3) ciphers.push(bytes.readUIntBE(at, 3));
  const version = bytes.readUInt16BE(3);
  const nothing = { extensions: [], groups: [], pointFormats: [], signatureAlgorithms: [], supportedVersions: [], alpn: [] };
  return { verdict: 'hello', hello: { version, ciphers, ...nothing } };
}

/** Reads from the start of `bytes`; a version 2 hello is taken too. Never throws. */
export function parseClientHello(bytes: Buffer): HelloReading {
  if (bytes.length === 0) return more;
  if (bytes[0] & 0x80) return readVersionTwo(bytes);
  const message = assemble(bytes);
  if (message === 'more') return bytes.length > 2 * helloLimit ? broken : more;
  if (message === 'broken') return broken;
  const hello = readMessage(message);
  return hello ? { verdict: 'hello', hello } : broken;
}

/** RFC 8701. */
const isGrease = (value: number): boolean => (value & 0x0f0f) === 0x0a0a && value >>> 8 === (value & 0xff);
const plain = (values: readonly number[]): number[] => values.filter((value) => !isGrease(value));
const hex = (value: number): string => value.toString(16).padStart(4, '0');

/** The JA3 string; its MD5 in hex is the fingerprint. */
export const renderJa3 = (hello: ClientHello): string =>
  [
    String(hello.version),
    plain(hello.ciphers).join('-'),
    plain(hello.extensions).join('-'),
    plain(hello.groups).join('-'),
    hello.pointFormats.join('-'),
  ].join(',');

const ja4Versions: Readonly<Record<number, string>> = {
  772: '13',
  771: '12',
  770: '11',
  769: '10',
  768: 's3',
  2: 's2',
};

const shortHash = (text: string): string =>
  text === '' ? '000000000000' : createHash('sha256').update(text).digest('hex').slice(0, 12);

const isAlphanumeric = (character: string): boolean => /^[0-9A-Za-z]$/.test(character);

function ja4Alpn(first: string | undefined): string {
  if (first === undefined || first === '') return '00';
  const head = first[0];
  const tail = first[first.length - 1];
  if (isAlphanumeric(head) && isAlphanumeric(tail)) return head + tail;
  const text = Buffer.from(first, 'latin1').toString('hex');
  return text[0] + text[text.length - 1];
}

const two = (count: number): string => String(Math.min(count, 99)).padStart(2, '0');

/** JA4 of a hello that came over TCP. */
export function renderJa4(hello: ClientHello): string {
  const versions = plain(hello.supportedVersions);
  const version = versions.length > 0 ? Math.max(...versions) : hello.version;
  const ciphers = plain(hello.ciphers);
  const extensions = plain(hello.extensions);
  const listed = extensions
    .filter((type) => type !== 0 && type !== 16)
    .map(hex)
    .sort()
    .join(',');
  const algorithms = plain(hello.signatureAlgorithms).map(hex).join(',');
  const head = `t${ja4Versions[version] ?? '00'}${extensions.includes(0) ? 'd' : 'i'}${two(ciphers.length)}${two(extensions.length)}${ja4Alpn(hello.alpn[0])}`;
  const tail = extensions.length === 0 ? '' : algorithms === '' ? listed : `${listed}_${algorithms}`;
  return `${head}_${shortHash(ciphers.map(hex).sort().join(','))}_${shortHash(tail)}`;
}

const versionNames: Readonly<Record<number, string>> = {
  772: 'TLSv1.3',
  771: 'TLSv1.2',
  770: 'TLSv1.1',
  769: 'TLSv1',
  768: 'SSLv3',
  2: 'SSLv2',
};

/** As a finding; `version` is the highest the client offers until the handshake settles one. */
export function describeHello(hello: ClientHello): TlsDetails {
  const offered = plain(hello.supportedVersions);
  const version = offered.length > 0 ? Math.max(...offered) : hello.version;
  return {
    version: versionNames[version] ?? `0x${hex(version)}`,
    ja3: createHash('md5').update(renderJa3(hello)).digest('hex'),
    ja4: renderJa4(hello),
    ...(hello.serverName === undefined ? {} : { serverName: hello.serverName }),
    ...(hello.alpn.length > 0 ? { alpn: hello.alpn.slice(0, 8).map((name) => name.slice(0, 32)) } : {}),
  };
}

/** Suites up to TLS 1.2 that an ECDSA certificate serves; TLS 1.3 suites fit every certificate. */
const ecdsaSuites = new Set([
  0xc006, 0xc007, 0xc008, 0xc009, 0xc00a, 0xc023, 0xc024, 0xc02b, 0xc02c, 0xc072, 0xc073, 0xc0ac, 0xc0ad, 0xc0ae, 0xc0af, 0xcca9,
]);

/** Which kind of certificate the client can use. */
export const certificateKind = (hello: ClientHello): 'ec' | 'rsa' => {
  if (hello.supportedVersions.includes(0x0304)) return 'ec';
  return hello.ciphers.some((suite) => ecdsaSuites.has(suite)) ? 'ec' : 'rsa';
};
