// Java's protocols: AJP13 pings and requests, WebLogic's T3 greeting, RMI's handshake, JDWP's first commands.
// Serialised objects that follow are recorded, never read. Sources: AJPv13 specification, RMI wire protocol, JDWP specification.

import { takeLine } from '../line.ts';
import type { Conversation, Dialogue, Responder } from '../responder.ts';

const ajpText = (text: string): Buffer => {
  const bytes = Buffer.alloc(3 + text.length);
  bytes.writeUInt16BE(text.length);
  bytes.write(text, 2, 'latin1');
  return bytes;
};
const ajpPacket = (body: Buffer): Buffer => {
  const head = Buffer.from([0x41, 0x42, 0, 0]);
  head.writeUInt16BE(body.length, 2);
  return Buffer.concat([head, body]);
};

const ajpBody =
  '<!doctype html><html lang="en"><head><title>HTTP Status 404 - Not Found</title></head><body><h1>HTTP Status 404 - Not Found</h1></body></html>';

const notFound = Buffer.concat([
  ajpPacket(
    Buffer.concat([
      Buffer.from([4, 1, 0x94]),
      ajpText('Not Found'),
      Buffer.from([0, 2, 0xa0, 1]),
      ajpText('text/html;charset=utf-8'),
      Buffer.from([0xa0, 3]),
      ajpText(String(ajpBody.length)),
    ]),
  ),
  ajpPacket(Buffer.concat([Buffer.from([3]), ajpText(ajpBody)])),
  ajpPacket(Buffer.from([5, 1])),
]);

const ajpDialogue: Dialogue = {
  receive(bytes, talk) {
    if (bytes.length < 4) return 0;
    const length = bytes.readUInt16BE(2);
    if (bytes[0] !== 0x12 || bytes[1] !== 0x34 || length > 16_384) {
      talk.end();
      return bytes.length;
    }
    if (bytes.length < 4 + length) return 0;
    if (bytes[4] === 10 && length > 0) talk.send(ajpPacket(Buffer.from([9])));
    else if (bytes[4] === 2 && length > 0) talk.send(notFound);
    else if (bytes[4] === 7 && length > 0) talk.end();
    return 4 + length;
  },
};

class T3Dialogue implements Dialogue {
  #greeted = false;

  receive(bytes: Buffer, talk: Conversation): number {
    if (!this.#greeted) {
      const end = bytes.indexOf('\n\n');
      if (end < 0 && bytes.length < 2048) return 0;
      this.#greeted = true;
      const version = /^t3s? (\d{1,2}\.[\d.]{1,12})/.exec(takeLine(bytes)?.text ?? '');
      talk.send(
        `HELO:${talk.persona.banners.t3 ?? version?.[1] ?? '12.2.1'}.0.false\nAS:2048\nHL:19\nMS:10000000\nPN:DOMAIN\n\n`,
      );
      return end < 0 ? bytes.length : end + 2;
    }
    return bytes.length;
  }
}

class RmiDialogue implements Dialogue {
  #step: 'header' | 'endpoint' | 'calls' = 'header';

  receive(bytes: Buffer, talk: Conversation): number {
    if (this.#step === 'header') {
      if (bytes.length < 7) return 0;
      if (bytes[6] === 0x4b) {
        const host = Buffer.from(talk.source.ip, 'latin1');
        const port = Buffer.alloc(4);
        port.writeUInt32BE(talk.source.port);
        talk.send(Buffer.concat([Buffer.from([0x4e, 0, host.length]), host, port]));
        this.#step = 'endpoint';
      } else this.#step = 'calls';
      return 7;
    }
    if (this.#step === 'endpoint') {
      if (bytes.length < 2) return 0;
      const used = 2 + bytes.readUInt16BE(0) + 4;
      if (used > 1024) {
        this.#step = 'calls';
        return bytes.length;
      }
      if (bytes.length < used) return 0;
      this.#step = 'calls';
      return used;
    }
    if (bytes[0] === 0x52) {
      talk.send(Buffer.from([0x53]));
      return 1;
    }
    return bytes.length;
  }
}

const jdwpText = (text: string): Buffer => {
  const bytes = Buffer.alloc(4 + Buffer.byteLength(text));
  bytes.writeUInt32BE(bytes.length - 4);
  bytes.write(text, 4);
  return bytes;
};

class JdwpDialogue implements Dialogue {
  #shaken = false;

  receive(bytes: Buffer, talk: Conversation): number {
    if (!this.#shaken) {
      if (bytes.length < 14) return 0;
      this.#shaken = true;
      talk.send('JDWP-Handshake');
      return 14;
    }
    if (bytes.length < 11) return 0;
    const length = bytes.readUInt32BE(0);
    if (length < 11 || length > 60_000) {
      talk.end();
      return bytes.length;
    }
    if (bytes.length < length) return 0;
    if (bytes[8] & 0x80) return length;
    const [set, command] = [bytes[9], bytes[10]];
    let body: Buffer = Buffer.alloc(0);
    let error = 0;
    if (set === 1 && command === 1)
      body = Buffer.concat([
        jdwpText('Java Debug Wire Protocol (Reference Implementation) version 1.8'),
        Buffer.from([0, 0, 0, 1, 0, 0, 0, 8]),
        jdwpText('1.8.0_292'),
        jdwpText('OpenJDK 64-Bit Server VM'),
      ]);
    else if (set === 1 && command === 7) body = Buffer.from('0000000800000008000000080000000800000008', 'hex');
    else if (set === 1 && (command === 2 || command === 3 || command === 4)) body = Buffer.alloc(4);
    else if (set === 1 && (command === 8 || command === 9)) body = Buffer.alloc(0);
    else error = 99;
    const head = Buffer.alloc(11);
    head.writeUInt32BE(11 + body.length, 0);
    bytes.copy(head, 4, 4, 8);
    head[8] = 0x80;
    head.writeUInt16BE(error, 9);
    talk.send(Buffer.concat([head, body]));
    return length;
  }
}

export const ajp: Responder = { protocol: 'ajp', open: () => ajpDialogue };
export const t3: Responder = { protocol: 't3', open: () => new T3Dialogue() };
export const rmi: Responder = { protocol: 'rmi', open: () => new RmiDialogue() };
export const jdwp: Responder = { protocol: 'jdwp', open: () => new JdwpDialogue() };
