// PostgreSQL: TLS on request, the start-up's user and database, a clear-text password prompt, and its refusal.
// Source: PostgreSQL documentation 55.2 and 55.7.

import { clip } from '../line.ts';
import type { Conversation, Dialogue, Responder } from '../responder.ts';

const renderError = (severity: string, code: string, message: string): Buffer => {
  const body = Buffer.from(`S${severity}\0V${severity}\0C${code}\0M${message}\0Fauth.c\0L334\0Rauth_failed\0\0`, 'utf8');
  const head = Buffer.alloc(5);
  head[0] = 0x45;
  head.writeUInt32BE(4 + body.length, 1);
  return Buffer.concat([head, body]);
};

class PostgresDialogue implements Dialogue {
  #user: string | undefined = undefined;

  receive(bytes: Buffer, talk: Conversation): number {
    return this.#user === undefined ? this.#start(bytes, talk) : this.#password(bytes, talk);
  }

  #start(bytes: Buffer, talk: Conversation): number {
    if (bytes.length < 8) return 0;
    const length = bytes.readUInt32BE(0);
    const code = bytes.readUInt32BE(4);
    if (length < 8 || length > 10_000) {
      talk.send(renderError('FATAL', '08P01', 'invalid length of startup packet'));
      talk.end();
      return bytes.length;
    }
    if (bytes.length < length) return 0;
    if (code === 80877103) {
      talk.send(talk.encrypted ? 'N' : 'S');
      if (!talk.encrypted) talk.startTls();
    } else if (code === 80877104) talk.send('N');
    else if (code >>> 16 === 3) {
      const words = bytes.toString('latin1', 8, length).split('\0');
      const at = words.findIndex((word, index) => index % 2 === 0 && word === 'user');
      this.#user = clip(at >= 0 ? (words[at + 1] ?? '') : '', 128);
      talk.find({ userName: this.#user });
      talk.send(Buffer.from('520000000800000003', 'hex'));
    } else {
      if (code !== 80877102) talk.send(renderError('FATAL', '0A000', 'unsupported frontend protocol'));
      talk.end();
    }
    return length;
  }

  #password(bytes: Buffer, talk: Conversation): number {
    if (bytes.length < 5) return 0;
    const length = bytes.readUInt32BE(1);
    if (bytes[0] !== 0x70 || length < 4 || length > 10_000) {
      talk.send(renderError('FATAL', '08P01', 'expected password response'));
      talk.end();
      return bytes.length;
    }
    if (bytes.length < 1 + length) return 0;
    const password = bytes.toString('latin1', 5, 1 + length).replace(/\0[\s\S]*$/, '');
    const user = this.#user ?? '';
    talk.find({ userName: user, password: clip(password) });
    talk.send(renderError('FATAL', '28P01', `password authentication failed for user "${user}"`));
    talk.end();
    return 1 + length;
  }
}

export const postgres: Responder = { protocol: 'postgres', open: () => new PostgresDialogue() };
