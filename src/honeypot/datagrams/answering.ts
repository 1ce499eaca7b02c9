// UDP protocols whose honest answer fits into the question: NTP, SNMP, CLDAP, TFTP, SIP, memcached, CoAP, ONC RPC, STUN,
// DTLS and QUIC hellos, game queries, BACnet. Larger answers are never given. Sources are named beside each.

import { createHmac, randomBytes } from 'node:crypto';
import { der, integer, octets, sequence } from '../../model/der.ts';
import type { DatagramResponder } from '../datagram.ts';
import { answerRpc } from '../responders/infrastructure.ts';
import { readElement, readElements } from '../responders/ldap.ts';
import { answerSip, parseMessage } from '../responders/sip.ts';

const cookieSecret = randomBytes(32);

/** RFC 5905 section 7.3: a server's answer to a client is as long as its question. */
const ntp: DatagramResponder = {
  protocol: 'ntp',
  ports: [123],
  recognises: (payload, port) => {
    const mode = (payload[0] ?? 0) & 7;
    const version = ((payload[0] ?? 0) >> 3) & 7;
    if (version < 1 || version > 4) return false;
    if (mode === 3) return payload.length >= 48 && payload.length <= 128;
    // Control and private requests (monlist): recorded, never answered.
    return port === 123 && (mode === 6 || mode === 7) && payload.length >= 8 && (payload[0] & 0x80) === 0;
  },
  answer({ payload }) {
    if ((payload[0] & 7) !== 3 || payload.length < 48) return undefined;
    const answer = Buffer.alloc(48);
    const seconds = Date.now() / 1000 + 2_208_988_800;
    const stamp = (at: number, back: number): void => {
      answer.writeUInt32BE(Math.floor(seconds - back) >>> 0, at);
      answer.writeUInt32BE(Math.floor(((seconds - back) % 1) * 2 ** 32) >>> 0, at + 4);
    };
    answer[0] = (payload[0] & 0x38) | 4;
    answer[1] = 2;
    answer[2] = payload[2];
    answer[3] = 0xe9;
    answer.writeUInt32BE(0x00000a3c, 4);
    answer.writeUInt32BE(0x00000612, 8);
    // A reference in documentation space; the client only compares it.
    answer.set([192, 0, 2, 123], 12);
    stamp(16, 411);
    payload.copy(answer, 24, 40, 48);
    stamp(32, 0);
    stamp(40, 0);
    return answer;
  },
};

/** RFC 3416: versions 1 and 2c answer with the question's names and no values, which is as long as the question. */
const snmp: DatagramResponder = {
  protocol: 'snmp',
  ports: [161],
  recognises: (payload) => {
    if (payload[0] !== 0x30) return false;
    const message = readElement(payload, 0);
    if (!message || message === 'more') return false;
    const [version, second] = readElements(message.body);
    return version?.tag === 2 && version.body.length === 1 && version.body[0] <= 3 && (second?.tag === 4 || second?.tag === 0x30);
  },
  answer({ payload, find }) {
    const message = readElement(payload, 0);
    if (!message || message === 'more') return undefined;
    const [version, community, request] = readElements(message.body);
    if (community?.tag !== 4 || request === undefined) return undefined;
    const name = community.body.toString('latin1', 0, 128);
    find({ password: name, tags: ['snmp-community'] });
    // Agents stay silent to strangers' communities.
    if ((name !== 'public' && name !== 'private') || (request.tag !== 0xa0 && request.tag !== 0xa1)) return undefined;
    const [id, , , bindings] = readElements(request.body);
    if (!id || !bindings || id.tag !== 2 || bindings.tag !== 0x30) return undefined;
    const old = version.body[0] === 0;
    // noSuchName with the first index; in version 2 every value becomes noSuchObject.
    const values = old
      ? bindings.body
      : Buffer.concat(
          readElements(bindings.body).map(({ body }) => {
            const [variable] = readElements(body);
            return sequence(der(6, variable?.body ?? Buffer.alloc(0)), der(0x80));
          }),
        );
    return sequence(
      der(2, version.body),
      octets(community.body),
      der(0xa2, der(2, id.body), integer(old ? 2 : 0), integer(old ? 1 : 0), sequence(values)),
    );
  },
};

/** MS-ADTS 6.3.3: a search over UDP; without matching entries the answer is the result alone. */
const cldap: DatagramResponder = {
  protocol: 'ldap',
  ports: [389],
  recognises: (payload) => {
    if (payload[0] !== 0x30) return false;
    const message = readElement(payload, 0);
    if (!message || message === 'more') return false;
    const [id, operation] = readElements(message.body);
    return id?.tag === 2 && (operation?.tag === 0x63 || operation?.tag === 0x60);
  },
  answer({ payload }) {
    const message = readElement(payload, 0);
    if (!message || message === 'more') return undefined;
    const [id, operation] = readElements(message.body);
    return operation?.tag === 0x63 ? sequence(der(2, id.body), der(0x65, integer(0, 0x0a), octets(''), octets(''))) : undefined;
  },
};

/** RFC 1350: read and write requests get an error. */
const tftp: DatagramResponder = {
  protocol: 'tftp',
  ports: [69],
  recognises: (payload) =>
    payload.length >= 6 &&
    payload[0] === 0 &&
    (payload[1] === 1 || payload[1] === 2) &&
    payload[2] !== 0 &&
    /\0(netascii|octet|mail)\0/i.test(payload.toString('latin1', 2, 520)),
  answer({ payload }) {
    const full = Buffer.from(payload[1] === 1 ? '\0\x05\0\x01File not found\0' : '\0\x05\0\x02Access violation\0', 'latin1');
    return full.length <= payload.length ? full : Buffer.from([0, 5, 0, payload[1] === 1 ? 1 : 2, 0]);
  },
};

const sip: DatagramResponder = {
  protocol: 'sip',
  ports: [5060],
  recognises: (payload, port) => {
    const head = payload.toString('latin1', 0, 512);
    return (
      (/ SIP\/2\.0\r?\n/.test(head) && !head.startsWith('SIP/2.0 ')) ||
      (port === 5060 && /^(?:OPTIONS|REGISTER|INVITE)\b/.test(head))
    );
  },
  answer({ payload, find, persona }) {
    const message = parseMessage(payload.toString('latin1', 0, 8192));
    if (!message) return undefined;
    const server = persona.banners.sip ?? 'Asterisk PBX 16.28.0';
    const long = answerSip(message, find, server, false);
    if (long === undefined) return undefined;
    return Buffer.byteLength(long) <= payload.length
      ? Buffer.from(long)
      : Buffer.from(answerSip(message, find, server, true) ?? '');
  },
};

/** memcached doc/protocol.txt, "UDP protocol": eight bytes of frame before the text. */
const memcached: DatagramResponder = {
  protocol: 'memcached',
  ports: [11211],
  recognises: (payload) =>
    payload.length > 12 &&
    payload.readUInt32BE(4) === 0x00010000 &&
    /^(stats|version|get|gets|set|flush_all)\b/.test(payload.toString('latin1', 8, 24)),
  answer: ({ payload }) => Buffer.concat([payload.subarray(0, 8), Buffer.from('ERROR\r\n')]),
};

/** RFC 7252: a confirmable request is acknowledged with 4.04, another gets the same unasked for confirmation. */
const coap: DatagramResponder = {
  protocol: 'coap',
  ports: [5683],
  recognises: (payload, port) =>
    payload.length >= 4 &&
    payload[0] >> 6 === 1 &&
    (payload[0] & 15) <= 8 &&
    payload[1] <= 5 &&
    (port === 5683 || payload.includes('.well-known')),
  answer({ payload }) {
    const tokens = payload[0] & 15;
    if (payload.length < 4 + tokens || payload[1] === 0) return undefined;
    const confirmable = ((payload[0] >> 4) & 3) === 0;
    return Buffer.concat([Buffer.from([0x40 | (confirmable ? 0x20 : 0x10) | tokens, 0x84]), payload.subarray(2, 4 + tokens)]);
  },
};

const sunrpc: DatagramResponder = {
  protocol: 'sunrpc',
  ports: [111],
  recognises: (payload) =>
    payload.length >= 24 &&
    payload.readUInt32BE(4) === 0 &&
    payload.readUInt32BE(8) === 2 &&
    payload.readUInt32BE(12) < 0x40000000,
  answer: ({ payload }) => answerRpc(payload),
};

/** RFC 8489 section 14.2; without room for the address there is no honest answer. */
const stun: DatagramResponder = {
  protocol: 'stun',
  ports: [3478],
  recognises: (payload) =>
    payload.length >= 20 &&
    payload.readUInt32BE(4) === 0x2112a442 &&
    payload[0] < 0x40 &&
    payload.readUInt16BE(2) === payload.length - 20,
  answer({ payload, source }) {
    const parts = source.ip.split('.').map(Number);
    if (payload.readUInt16BE(0) !== 1 || parts.length !== 4) return undefined;
    const answer = Buffer.alloc(32);
    answer.writeUInt16BE(0x0101, 0);
    answer.writeUInt16BE(12, 2);
    payload.copy(answer, 4, 4, 20);
    answer.writeUInt16BE(0x0020, 20);
    answer.writeUInt16BE(8, 22);
    answer[25] = 1;
    answer.writeUInt16BE(source.port ^ 0x2112, 26);
    for (let index = 0; index < 4; index += 1) answer[28 + index] = parts[index] ^ payload[4 + index];
    return answer;
  },
};

/** RFC 6347 section 4.2.1: a HelloVerifyRequest costs us nothing and asks whether the source is real. */
const dtls: DatagramResponder = {
  protocol: 'dtls',
  ports: [443, 4433, 5684],
  recognises: (payload) => payload.length >= 14 && payload[0] === 0x16 && payload[1] === 0xfe && payload[13] === 1,
  answer({ payload, source, find }) {
    const session = 59;
    if (payload.length < session + 2) return undefined;
    const cookieAt = session + 1 + payload[session];
    const cookie = createHmac('sha256', cookieSecret).update(`${source.ip} ${source.port}`).digest().subarray(0, 16);
    if ((payload[cookieAt] ?? 0) > 0) {
      if (payload.subarray(cookieAt + 1, cookieAt + 17).equals(cookie)) find({ tags: ['source-answered-challenge'] });
      return undefined;
    }
    const body = Buffer.concat([Buffer.from([0xfe, 0xff, cookie.length]), cookie]);
    const handshake = Buffer.concat([Buffer.from([3, 0, 0, body.length, 0, 0, 0, 0, 0, 0, 0, body.length]), body]);
    const record = Buffer.from([0x16, 0xfe, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, handshake.length]);
    return Buffer.concat([record, handshake]);
  },
};

/** RFC 9000 section 17.2.1: versions nobody speaks are told the one that is spoken. */
const quic: DatagramResponder = {
  protocol: 'quic',
  ports: [443, 80],
  recognises: (payload) => {
    if (payload.length < 24) return false;
    // gQUIC's public header: flags with a version, an eight byte connection identifier, `Q0..`.
    if ((payload[0] & 0xc0) === 0 && payload[0] & 1 && payload[9] === 0x51 && payload[10] === 0x30) return true;
    return (payload[0] & 0xc0) === 0xc0 && payload.length >= 1200 && payload[5] <= 20;
  },
  answer({ payload }) {
    if ((payload[0] & 0xc0) !== 0xc0 || payload.length < 1200) return undefined;
    const version = payload.readUInt32BE(1);
    const destinationLength = payload[5];
    const sourceLength = payload[6 + destinationLength];
    if (version === 0 || version === 1 || destinationLength > 20 || sourceLength === undefined || sourceLength > 20)
      return undefined;
    const destination = payload.subarray(5, 6 + destinationLength);
    const source = payload.subarray(6 + destinationLength, 7 + destinationLength + sourceLength);
    return Buffer.concat([
      Buffer.from([0x80 | (randomBytes(1)[0] & 0x7f), 0, 0, 0, 0]),
      source,
      destination,
      Buffer.from([0, 0, 0, 1]),
    ]);
  },
};

/** Source engine queries: a challenge before any information. */
const gameQuery: DatagramResponder = {
  protocol: 'source-query',
  ports: [27015],
  recognises: (payload) =>
    payload.length >= 5 && payload.readUInt32BE(0) === 0xffffffff && [0x54, 0x55, 0x56, 0x57].includes(payload[4]),
  answer: ({ payload }) =>
    payload.length >= 9 ? Buffer.concat([Buffer.from([0xff, 0xff, 0xff, 0xff, 0x41]), randomBytes(4)]) : undefined,
};

/** ASHRAE 135 annex J and clause 20.1.9: confirmed requests to a device without objects are rejected. */
const bacnet: DatagramResponder = {
  protocol: 'bacnet',
  ports: [47808],
  recognises: (payload) =>
    payload.length >= 8 && payload[0] === 0x81 && payload[1] <= 0x0b && payload.readUInt16BE(2) <= payload.length,
  answer({ payload }) {
    // Original-Unicast-NPDU, plain network header, confirmed request.
    if (payload[1] !== 0x0a || payload.length < 10 || payload[5] & 0x28 || payload[6] >> 4 !== 0) return undefined;
    return Buffer.from([0x81, 0x0a, 0, 9, 1, 0, 0x60, payload[8], 9]);
  },
};

export const answeringResponders: readonly DatagramResponder[] = [
  cldap,
  snmp,
  ntp,
  sip,
  tftp,
  memcached,
  stun,
  dtls,
  quic,
  sunrpc,
  gameQuery,
  bacnet,
  coap,
];
