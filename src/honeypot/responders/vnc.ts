// VNC: version, password authentication with a challenge, failure. Source: RFC 6143 sections 7.1 and 7.2.2.

import { randomBytes } from 'node:crypto';
import type { Conversation, Dialogue, Responder } from '../responder.ts';

class VncDialogue implements Dialogue {
  #step: 'version' | 'type' | 'response' = 'version';
  #minor = 8;

  greet(talk: Conversation): void {
    const banner = talk.persona.banners.vnc ?? '';
    talk.send(/^RFB \d{3}\.\d{3}$/.test(banner) ? `${banner}\n` : 'RFB 003.008\n');
  }

  receive(bytes: Buffer, talk: Conversation): number {
    if (this.#step === 'version') {
      if (bytes.length < 12) return 0;
      const match = /^RFB 00(\d)\.00(\d)\n$/.exec(bytes.toString('latin1', 0, 12));
      if (!match) return this.#end(bytes, talk);
      this.#minor = match[1] === '3' ? Number(match[2]) : 8;
      if (this.#minor < 7) {
        talk.send(Buffer.concat([Buffer.from([0, 0, 0, 2]), randomBytes(16)]));
        this.#step = 'response';
      } else {
        talk.send(Buffer.from([1, 2]));
        this.#step = 'type';
      }
      return 12;
    }
    if (this.#step === 'type') {
      if (bytes[0] !== 2) return this.#end(bytes, talk);
      talk.send(randomBytes(16));
      this.#step = 'response';
      return 1;
    }
    if (bytes.length < 16) return 0;
    const reason = Buffer.from('Authentication failed');
    const length = Buffer.alloc(4);
    length.writeUInt32BE(reason.length);
    talk.find({ tags: ['login-attempt'] });
    talk.send(Buffer.concat([Buffer.from([0, 0, 0, 1]), ...(this.#minor >= 8 ? [length, reason] : [])]));
    return this.#end(bytes.subarray(0, 16), talk);
  }

  #end(bytes: Buffer, talk: Conversation): number {
    talk.end();
    return bytes.length;
  }
}

export const vnc: Responder = { protocol: 'vnc', serverFirst: true, open: () => new VncDialogue() };
