// SMB 1 and 2 as a Windows server shows them to scanners: negotiate, session set-up with NTLM, an IPC$ nobody gets far in.
// Sources: MS-SMB2 2.2.3 to 2.2.6, MS-SMB 2.2.4, MS-CIFS 2.2.3 and 2.2.4, RFC 1002 4.3, MS-SPNG.

import { randomBytes } from 'node:crypto';
import { der, octets, oid, sequence } from '../../model/der.ts';
import { addressNumber } from '../../model/host-name.ts';
import type { Conversation, Dialogue, Responder } from '../responder.ts';
import { findNtlm, parseAuthenticate, renderChallenge } from './ntlm.ts';

const moreProcessing = 0xc0000016;
const logonFailure = 0xc000006d;
const accessDenied = 0xc0000022;
const notSupported = 0xc00000bb;
const insufficientResources = 0xc0000205;

const spnego = '1.3.6.1.5.5.2';
const ntlmssp = '1.3.6.1.4.1.311.2.2.10';

/** What a server offers: NTLM alone. */
const offer = der(0x60, oid(spnego), der(0xa0, sequence(der(0xa0, sequence(oid(ntlmssp))))));

const challengeToken = (host: string): Buffer =>
  der(0xa1, sequence(der(0xa0, der(0x0a, Buffer.from([1]))), der(0xa1, oid(ntlmssp)), der(0xa2, octets(renderChallenge(host)))));

const frame = (message: Buffer): Buffer => {
  const head = Buffer.alloc(4);
  head.writeUInt32BE(message.length);
  return Buffer.concat([head, message]);
};

const fileTime = (): Buffer => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE((BigInt(Date.now()) + 11_644_473_600_000n) * 10_000n);
  return bytes;
};

const guid = (ip: string): Buffer => {
  const bytes = Buffer.alloc(16, 0x5a);
  bytes.writeUInt32LE(addressNumber(ip), 0);
  bytes.writeUInt32LE(Math.imul(addressNumber(ip), 2_654_435_761) >>> 0, 8);
  return bytes;
};

class SmbDialogue implements Dialogue {
  #messages = 0;

  receive(bytes: Buffer, talk: Conversation): number {
    if (bytes.length < 4) return 0;
    const length = bytes.readUIntBE(1, 3) & 0x1ffff;
    if (length > 60_000 || ++this.#messages > 2000) return end(bytes, talk);
    if (bytes.length < 4 + length) return 0;
    const used = 4 + length;
    const message = bytes.subarray(4, used);
    if (bytes[0] === 0x81) talk.send(Buffer.from([0x82, 0, 0, 0]));
    else if (bytes[0] === 0x85 || length === 0) return used;
    else if (bytes[0] !== 0) return end(bytes, talk);
    else if (message.length >= 32 && message.readUInt32BE(0) === 0xff534d42) this.#one(message, talk);
    else if (message.length >= 64 && message.readUInt32BE(0) === 0xfe534d42) this.#two(message, talk);
    else return end(bytes, talk);
    return used;
  }

  // ---- version 2

  #two(message: Buffer, talk: Conversation): void {
    const command = message.readUInt16LE(12);
    if (command === 0) this.#reply2(message, 0, negotiate2(message, talk), talk);
    else if (command === 1) {
      const authenticate = findNtlm(message, 3);
      if (authenticate >= 0) {
        this.#login(message.subarray(authenticate), talk);
        this.#reply2(message, logonFailure, Buffer.from([9, 0, 0, 0, 0, 0, 0, 0, 0]), talk);
      } else if (findNtlm(message, 1) >= 0) {
        const token = challengeToken(talk.host);
        const body = Buffer.alloc(8);
        body.writeUInt16LE(9, 0);
        body.writeUInt16LE(72, 4);
        body.writeUInt16LE(token.length, 6);
        this.#reply2(message, moreProcessing, Buffer.concat([body, token]), talk, 0x400000000001n);
      } else this.#reply2(message, notSupported, Buffer.from([9, 0, 0, 0, 0, 0, 0, 0, 0]), talk);
    } else if (command === 13) this.#reply2(message, 0, Buffer.from([4, 0, 0, 0]), talk);
    else this.#reply2(message, accessDenied, Buffer.from([9, 0, 0, 0, 0, 0, 0, 0, 0]), talk);
  }

  #reply2(request: Buffer, status: number, body: Buffer, talk: Conversation, session?: bigint): void {
    const head = Buffer.alloc(64);
    request.copy(head, 0, 0, 64);
    head.writeUInt32LE(status, 8);
    head.writeUInt16LE(1, 14);
    head.writeUInt32LE(1, 16);
    head.writeUInt32LE(0, 20);
    if (session !== undefined) head.writeBigUInt64LE(session, 40);
    head.fill(0, 48, 64);
    talk.send(frame(Buffer.concat([head, body])));
  }

  #login(authenticate: Buffer, talk: Conversation): void {
    const user = parseAuthenticate(authenticate);
    talk.find({ ...(user === undefined ? {} : { userName: user }), tags: ['login-attempt'] });
  }

  // ---- version 1

  #one(message: Buffer, talk: Conversation): void {
    switch (message[4]) {
      case 0x72:
        this.#negotiate1(message, talk);
        return;
      case 0x73:
        this.#session1(message, talk);
        return;
      case 0x75:
        // Tree connect: the path is recorded, IPC$ is always there.
        this.#reply1(message, 0, Buffer.from('03ff00380001 00'.replace(' ', ''), 'hex'), Buffer.from('IPC\0\0', 'latin1'), talk, {
          tree: 0x800,
        });
        return;
      case 0x25:
        // PeekNamedPipe of an unpatched server; its scanners look for this status.
        this.#reply1(message, insufficientResources, Buffer.from([0]), Buffer.alloc(0), talk);
        return;
      case 0x2b:
        this.#reply1(message, 0, Buffer.from([1, 1, 0]), message.subarray(37, Math.min(message.length, 37 + 256)), talk);
        return;
      case 0x32:
        this.#reply1(message, 0xc0000002, Buffer.from([0]), Buffer.alloc(0), talk);
        return;
      case 0x74:
        this.#reply1(message, 0, Buffer.from([2, 0xff, 0, 0, 0]), Buffer.alloc(0), talk);
        return;
      default:
        this.#reply1(message, accessDenied, Buffer.from([0]), Buffer.alloc(0), talk);
    }
  }

  #negotiate1(message: Buffer, talk: Conversation): void {
    const dialects = message
      .toString('latin1', 35, Math.min(message.length, 1024))
      .split('\x02')
      .slice(1)
      .map((name) => name.replace(/\0.*$/, ''));
    if (dialects.includes('SMB 2.???') || dialects.includes('SMB 2.002')) {
      const request = Buffer.alloc(64);
      request.writeUInt32BE(0xfe534d42, 0);
      request.writeUInt16LE(64, 4);
      this.#reply2(request, 0, negotiate2(undefined, talk, dialects.includes('SMB 2.???') ? 0x02ff : 0x0202), talk);
      return;
    }
    const index = Math.max(0, dialects.indexOf('NT LM 0.12'));
    const words = Buffer.alloc(35);
    words[0] = 17;
    words.writeUInt16LE(index, 1);
    words[3] = 3;
    words.writeUInt16LE(50, 4);
    words.writeUInt16LE(1, 6);
    words.writeUInt32LE(0x1104, 8);
    words.writeUInt32LE(65_536, 12);
    words.writeUInt32LE(0, 16);
    const extended = (message.readUInt16LE(10) & 0x800) !== 0;
    words.writeUInt32LE(extended ? 0x8001f3fd : 0x0001f3fd, 20);
    fileTime().copy(words, 24);
    words[34] = extended ? 0 : 8;
    const data = extended
      ? Buffer.concat([guid(talk.destination.ip), offer])
      : Buffer.concat([
          randomBytes(8),
          Buffer.from('WORKGROUP\0', 'utf16le'),
          Buffer.from(`${talk.host.toUpperCase()}\0`, 'utf16le'),
        ]);
    this.#reply1(message, 0, words, data, talk);
  }

  #session1(message: Buffer, talk: Conversation): void {
    const system = talk.persona.banners.smb ?? 'Windows Server 2012 R2 Standard 9600';
    const names = Buffer.from(`${system}\0${system.replace(/ \d{4,5}.*$/, '')} 6.3\0WORKGROUP\0`, 'utf16le');
    const authenticate = findNtlm(message, 3);
    if (authenticate >= 0) {
      this.#login(message.subarray(authenticate), talk);
      this.#reply1(message, logonFailure, Buffer.from([0]), Buffer.alloc(0), talk);
    } else if (findNtlm(message, 1) >= 0) {
      const token = challengeToken(talk.host);
      const words = Buffer.from([4, 0xff, 0, 0, 0, 0, 0, 0, 0]);
      words.writeUInt16LE(token.length, 7);
      // Unicode strings start at an even offset from the header.
      const pad = (32 + words.length + 2 + token.length) % 2 ? Buffer.alloc(1) : Buffer.alloc(0);
      this.#reply1(message, moreProcessing, words, Buffer.concat([token, pad, names]), talk, { user: 0x800 });
    } else
      this.#reply1(message, 0, Buffer.from([3, 0xff, 0, 0, 0, 1, 0]), Buffer.concat([Buffer.alloc(1), names]), talk, {
        user: 0x800,
      });
  }

  #reply1(
    request: Buffer,
    status: number,
    words: Buffer,
    data: Buffer,
    talk: Conversation,
    ids: { user?: number; tree?: number } = {},
  ): void {
    const head = Buffer.alloc(32);
    request.copy(head, 0, 0, 32);
    head.writeUInt32LE(status, 5);
    head[9] = 0x98;
    head.writeUInt16LE(0xc807 & (request.readUInt16LE(10) | 0x8007), 10);
    if (ids.user !== undefined) head.writeUInt16LE(ids.user, 28);
    if (ids.tree !== undefined) head.writeUInt16LE(ids.tree, 24);
    const count = Buffer.alloc(2);
    count.writeUInt16LE(data.length);
    talk.send(frame(Buffer.concat([head, words, count, data])));
  }
}

function negotiate2(request: Buffer | undefined, talk: Conversation, forced?: number): Buffer {
  let dialect = forced ?? 0x0210;
  if (request && request.length >= 100) {
    const offered: number[] = [];
    const count = Math.min(request.readUInt16LE(66), 16);
    for (let index = 0; index < count && 102 + index * 2 <= request.length; index += 1)
      offered.push(request.readUInt16LE(100 + index * 2));
    // 3.1.1 needs contexts; 3.0.2 is what a server of 2012 R2 would pick.
    dialect = [0x0302, 0x0300, 0x0210, 0x0202].find((known) => offered.includes(known)) ?? 0x0210;
  }
  const body = Buffer.alloc(64);
  body.writeUInt16LE(65, 0);
  body.writeUInt16LE(1, 2);
  body.writeUInt16LE(dialect, 4);
  guid(talk.destination.ip).copy(body, 8);
  body.writeUInt32LE(7, 24);
  body.writeUInt32LE(1 << 20, 28);
  body.writeUInt32LE(1 << 20, 32);
  body.writeUInt32LE(1 << 20, 36);
  fileTime().copy(body, 40);
  body.writeUInt16LE(128, 56);
  body.writeUInt16LE(offer.length, 58);
  return Buffer.concat([body, offer]);
}

function end(bytes: Buffer, talk: Conversation): number {
  talk.end();
  return bytes.length;
}

export const smb: Responder = { protocol: 'smb', open: () => new SmbDialogue() };
