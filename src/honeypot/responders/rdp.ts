// RDP: connection request with its cookie, TLS, and network level authentication up to the client's user name.
// Sources: MS-RDPBCGR 2.2.1.1 to 2.2.1.2, MS-CSSP 2.2.1, X.224.

import { der, integer, octets, sequence } from '../../model/der.ts';
import { clip } from '../line.ts';
import type { Conversation, Dialogue, Responder } from '../responder.ts';
import { readElement } from './ldap.ts';
import { findNtlm, parseAuthenticate, renderChallenge } from './ntlm.ts';

const ssl = 1;
const hybrid = 2;

/** X.224 connection confirm; with the chosen protocol when the client negotiated. */
function renderConfirm(source: number, protocol: number | undefined): Buffer {
  const negotiation = protocol === undefined ? Buffer.alloc(0) : Buffer.from([2, 0x1f, 8, 0, protocol, 0, 0, 0]);
  const head = Buffer.from([
    3,
    0,
    0,
    11 + negotiation.length,
    6 + negotiation.length,
    0xd0,
    source >> 8,
    source & 255,
    0x12,
    0x34,
    0,
  ]);
  return Buffer.concat([head, negotiation]);
}

class RdpDialogue implements Dialogue {
  #confirmed = false;
  #authentications = 0;

  receive(bytes: Buffer, talk: Conversation): number {
    if (bytes[0] === 0x30) return this.#credSsp(bytes, talk);
    if (bytes.length < 4) return 0;
    const length = bytes.readUInt16BE(2);
    if (bytes[0] !== 3 || length < 7) {
      talk.end();
      return bytes.length;
    }
    if (bytes.length < length) return 0;
    if (!this.#confirmed && (bytes[5] & 0xf0) === 0xe0) {
      this.#confirmed = true;
      this.#connect(bytes.subarray(0, length), talk);
    }
    // MCS and what follows is on record; a session behind it needs a real server.
    return length;
  }

  #connect(request: Buffer, talk: Conversation): void {
    const text = request.toString('latin1', 11, Math.min(request.length, 512));
    const cookie = /^Cookie: mstshash=([^\r\n]{1,256})\r\n/i.exec(text);
    if (cookie) talk.find({ userName: clip(cookie[1]) });
    const negotiation =
      request.length >= 19 && request[request.length - 8] === 1 ? request.readUInt32LE(request.length - 4) : undefined;
    const chosen = negotiation === undefined ? undefined : negotiation & hybrid ? hybrid : negotiation & ssl ? ssl : 0;
    talk.send(renderConfirm(request.length >= 10 ? request.readUInt16BE(8) : 0, chosen));
    if (chosen) talk.startTls();
  }

  #credSsp(bytes: Buffer, talk: Conversation): number {
    const request = readElement(bytes, 0);
    if (request === 'more') return 0;
    if (!request || ++this.#authentications > 4) {
      talk.end();
      return bytes.length;
    }
    const negotiate = findNtlm(request.body, 1);
    const authenticate = findNtlm(request.body, 3);
    if (negotiate >= 0) {
      const token = octets(renderChallenge(talk.host));
      talk.send(sequence(der(0xa0, integer(6)), der(0xa1, sequence(sequence(der(0xa0, token))))));
    } else if (authenticate >= 0) {
      const user = parseAuthenticate(request.body.subarray(authenticate));
      talk.find({ ...(user === undefined ? {} : { userName: user }), tags: ['login-attempt'] });
      // STATUS_LOGON_FAILURE as errorCode.
      talk.send(sequence(der(0xa0, integer(6)), der(0xa4, der(2, Buffer.from('c000006d', 'hex')))));
      talk.end();
    } else talk.end();
    return request.end;
  }
}

export const rdp: Responder = { protocol: 'rdp', open: () => new RdpDialogue() };
