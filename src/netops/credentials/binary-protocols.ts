// Credentials in protocols of records: LDAP simple bind, SOCKS5, MQTT, PostgreSQL and MySQL, SNMP communities. Pure; lengths are believed
// within the bytes that are there.
// Sources: RFC 4511, RFC 1929, MQTT 3.1.1 and 5.0, the PostgreSQL and MySQL protocol documentation, RFC 1901.

import type { Micros } from '../../base/clock.ts';
import { type Credential, type CredentialReader, type CredentialSink, cut, decodeText } from './credential.ts';

/** Enough for any login; what a client says later is not kept. */
const mostBytes = 16_384;

/** Gathers the client's first bytes and asks `parse` for a credential until it has one, or says there is none. */
function openGatherer(
  sink: CredentialSink,
  parse: (bytes: Buffer, at: Micros) => Credential | 'more' | undefined,
): CredentialReader {
  let kept: Buffer | undefined = Buffer.alloc(0);
  return {
    server() {},
    client(bytes, at) {
      if (!kept) return;
      kept = Buffer.concat([kept, bytes]);
      const found = parse(kept, at);
      if (found === 'more' && kept.length < mostBytes) return;
      kept = undefined;
      if (found !== undefined && found !== 'more') sink(found);
    },
  };
}

/** A BER element's content: from, to; undefined when it is not whole. */
export function berElement(bytes: Buffer, at: number): { tag: number; from: number; to: number } | undefined {
  if (at + 2 > bytes.length) return undefined;
  const first = bytes[at + 1];
  if (first < 0x80) return at + 2 + first <= bytes.length ? { tag: bytes[at], from: at + 2, to: at + 2 + first } : undefined;
  const count = first & 0x7f;
  if (count < 1 || count > 3 || at + 2 + count > bytes.length) return undefined;
  const length = bytes.readUIntBE(at + 2, count);
  const from = at + 2 + count;
  return from + length <= bytes.length ? { tag: bytes[at], from, to: from + length } : undefined;
}

const text = (bytes: Buffer, { from, to }: { from: number; to: number }): string => cut(decodeText(bytes.subarray(from, to)));

export const openLdapReader = (sink: CredentialSink): CredentialReader =>
  openGatherer(sink, (bytes, at) => {
    const message = berElement(bytes, 0);
    if (!message) return bytes[0] === 0x30 ? 'more' : undefined;
    const id = berElement(bytes, message.from);
    const operation = id && berElement(bytes, id.to);
    if (operation?.tag !== 0x60) return undefined;
    const version = berElement(bytes, operation.from);
    const name = version && berElement(bytes, version.to);
    const secret = name && berElement(bytes, name.to);
    // 0x80: simple; another mechanism hides it. An empty one is an anonymous bind.
    if (secret?.tag !== 0x80 || secret.from === secret.to) return undefined;
    return {
      protocol: 'ldap',
      kind: 'password',
      user: text(bytes, name as { from: number; to: number }),
      secret: text(bytes, secret),
      at,
    };
  });

/** The greeting with its methods, then user name and password (RFC 1929). */
export const openSocksReader = (sink: CredentialSink): CredentialReader =>
  openGatherer(sink, (bytes, at) => {
    if (bytes[0] !== 5) return undefined;
    const start = 2 + (bytes[1] ?? 0);
    if (bytes.length < start + 2) return 'more';
    if (bytes[start] !== 1) return undefined;
    const secretAt = start + 2 + bytes[start + 1];
    if (bytes.length < secretAt + 1 || bytes.length < secretAt + 1 + bytes[secretAt]) return 'more';
    const user = text(bytes, { from: start + 2, to: secretAt });
    return {
      protocol: 'socks5',
      kind: 'password',
      user,
      secret: text(bytes, { from: secretAt + 1, to: secretAt + 1 + bytes[secretAt] }),
      at,
    };
  });

export const openMqttReader = (sink: CredentialSink): CredentialReader =>
  openGatherer(sink, (bytes, at) => {
    if (bytes[0] !== 0x10) return undefined;
    let header = 1;
    let length = 0;
    for (let shift = 0; shift < 28; shift += 7) {
      if (header >= bytes.length) return 'more';
      const byte = bytes[header];
      header += 1;
      length |= (byte & 0x7f) << shift;
      if (byte < 0x80) break;
    }
    if (bytes.length < header + length) return length <= mostBytes ? 'more' : undefined;
    const end = header + length;
    let next = header;
    const take = (): string | undefined => {
      if (next + 2 > end) return undefined;
      const size = bytes.readUInt16BE(next);
      if (next + 2 + size > end) return undefined;
      next += 2 + size;
      return cut(decodeText(bytes.subarray(next - size, next)));
    };
    const name = take();
    if ((name !== 'MQTT' && name !== 'MQIsdp') || next + 4 > end) return undefined;
    const [version, flags] = [bytes[next], bytes[next + 1]];
    next += 4;
    // Version 5 has properties, of a length below 128 wherever people write passwords.
    if (version === 5) next += 1 + bytes[next];
    take();
    if (flags & 4) {
      if (version === 5) next += 1 + bytes[next];
      take();
      take();
    }
    const user = flags & 0x80 ? take() : undefined;
    const secret = flags & 0x40 ? take() : undefined;
    return secret === undefined
      ? undefined
      : { protocol: 'mqtt', kind: 'password', ...(user === undefined ? {} : { user }), secret, at };
  });

/** The startup message names the user; a password follows only when the server asks for it (R: 3 clear, 5 MD5). */
export function openPostgresReader(sink: CredentialSink): CredentialReader {
  /** Of the server until its first question; `N` before it refuses TLS. */
  let heard = Buffer.alloc(0);
  let user: string | undefined;
  let database: string | undefined;
  let kept = Buffer.alloc(0);
  let started = false;
  let over = false;
  return {
    server(bytes) {
      if (heard.length < 32) heard = Buffer.concat([heard, bytes]);
    },
    client(bytes, at) {
      if (over) return;
      kept = Buffer.concat([kept, bytes]);
      if (kept.length > mostBytes) over = true;
      if (!started) {
        if (kept.length < 8) return;
        const length = kept.readUInt32BE(0);
        if (kept.readUInt32BE(4) === 80_877_103) {
          // It asks for TLS; refused, it goes on in the clear.
          kept = kept.subarray(8);
          if (kept.length < 8) return;
        }
        if (kept.length < length || kept.length < 8) return;
        const size = kept.readUInt32BE(0);
        if (kept.readUInt32BE(4) !== 196_608 || size > kept.length) {
          over = true;
          return;
        }
        const words = kept.toString('utf8', 8, size).split('\0');
        for (let index = 0; index + 1 < words.length; index += 2)
          if (words[index] === 'user') user = cut(words[index + 1]);
          else if (words[index] === 'database') database = cut(words[index + 1]);
        kept = kept.subarray(size);
        started = true;
      }
      if (kept.length < 5) return;
      over = kept[0] !== 0x70;
      const size = kept.readUInt32BE(1);
      if (over || kept.length < 1 + size || size < 5) return;
      over = true;
      const question = heard[0] === 0x4e ? heard.subarray(1) : heard;
      const asked = question[0] === 0x52 && question.length >= 9 ? question.readUInt32BE(5) : 0;
      const kind = asked === 3 ? 'password' : asked === 5 ? 'digest' : undefined;
      if (kind)
        sink({
          protocol: 'postgresql',
          kind,
          ...(user === undefined ? {} : { user }),
          ...(database === undefined ? {} : { context: database }),
          secret: cut(kept.toString('utf8', 5, size)),
          at,
        });
    },
  };
}

/** MySQL's packets, put together from pieces: a length in three bytes, a number, the payload. Long ones are given up with all after. */
function openPackets(onPacket: (payload: Buffer) => void): (bytes: Uint8Array) => void {
  let kept = Buffer.alloc(0);
  let over = false;
  return (bytes) => {
    if (over) return;
    kept = Buffer.concat([kept, bytes]);
    while (kept.length >= 4 && kept.length >= 4 + kept.readUIntLE(0, 3)) {
      const end = 4 + kept.readUIntLE(0, 3);
      onPacket(kept.subarray(4, end));
      kept = kept.subarray(end);
    }
    over = kept.length > mostBytes;
    if (over) kept = Buffer.alloc(0);
  };
}

/** The handshake response carries a proof; the password itself only where the server switched to `mysql_clear_password`. */
export function openMysqlReader(sink: CredentialSink): CredentialReader {
  let user: string | undefined;
  let clear = false;
  let packets = 0;
  const server = openPackets((payload) => {
    if (packets === 1 && payload[0] === 0xfe) clear = payload.toString('latin1', 1).startsWith('mysql_clear_password');
  });
  let at: Micros = 0;
  const client = openPackets((payload) => {
    packets += 1;
    if (packets === 2 && clear) {
      const secret = cut(decodeText(payload).replace(/\0.*$/s, ''));
      sink({ protocol: 'mysql', kind: 'password', ...(user === undefined ? {} : { user }), secret, at });
    }
    if (packets !== 1) return;
    const end = payload.indexOf(0, 32);
    if (end < 0) return;
    user = cut(decodeText(payload.subarray(32, end)));
    const size = payload[end + 1] ?? 0;
    const proof = payload.subarray(end + 2, end + 2 + size);
    if (size > 0 && proof.length === size) sink({ protocol: 'mysql', kind: 'digest', user, secret: proof.toString('hex'), at });
  });
  return {
    server,
    client(bytes, when) {
      at = when;
      if (packets < 2) client(bytes);
    },
  };
}

/** Of a datagram of SNMP version 1 or 2c. */
export function parseCommunity(bytes: Buffer, at: Micros): Credential | undefined {
  const message = berElement(bytes, 0);
  if (message?.tag !== 0x30) return undefined;
  const version = berElement(bytes, message.from);
  if (version?.tag !== 2 || version.to - version.from !== 1 || bytes[version.from] > 1) return undefined;
  const community = berElement(bytes, version.to);
  if (community?.tag !== 4) return undefined;
  const operation = berElement(bytes, community.to);
  // 0xa2: an answer repeats what was asked with.
  if (operation === undefined || operation.tag === 0xa2 || operation.tag < 0xa0 || operation.tag > 0xa8) return undefined;
  return { protocol: 'snmp', kind: 'community', secret: text(bytes, community), at };
}
