// MQTT broker for every client: takes the CONNECT's credentials, acknowledges subscriptions and messages, forwards nothing.
// Sources: MQTT 3.1.1 sections 2 and 3, MQTT 5.0 section 3.2.

import { clip } from '../line.ts';
import type { Conversation, Dialogue, Responder } from '../responder.ts';

/** A string with two bytes of length at `at`; the offset behind it, or undefined when cut. */
function field(bytes: Buffer, at: number): { text: string; next: number } | undefined {
  if (bytes.length < at + 2) return undefined;
  const next = at + 2 + bytes.readUInt16BE(at);
  return bytes.length < next ? undefined : { text: bytes.toString('latin1', at + 2, next), next };
}

function connectFindings(body: Buffer, talk: Conversation): number {
  const name = field(body, 0);
  if (!name || body.length < name.next + 4) return 4;
  const level = body[name.next];
  const flags = body[name.next + 1];
  let at = name.next + 4;
  // Properties of version 5; longer ones than a byte tells are not looked behind.
  if (level === 5) at += 1 + (body[at] ?? 0);
  const client = field(body, at);
  if (!client) return level;
  at = client.next;
  if (flags & 4) {
    if (level === 5) at += 1 + (body[at] ?? 0);
    const topic = field(body, at);
    const text = topic && field(body, topic.next);
    if (!text) return level;
    at = text.next;
  }
  const user = flags & 0x80 ? field(body, at) : undefined;
  if (user) {
    const password = flags & 0x40 ? field(body, user.next) : undefined;
    talk.find({ userName: clip(user.text), ...(password ? { password: clip(password.text) } : {}) });
  }
  return level;
}

class MqttDialogue implements Dialogue {
  #level = 4;
  #connected = false;

  receive(bytes: Buffer, talk: Conversation): number {
    let length = 0;
    let at = 1;
    for (;;) {
      if (at >= bytes.length) return at > 4 ? this.#broken(bytes, talk) : 0;
      length += (bytes[at] & 0x7f) * 128 ** (at - 1);
      at += 1;
      if ((bytes[at - 1] & 0x80) === 0) break;
      if (at > 4) return this.#broken(bytes, talk);
    }
    if (length > 60_000) return this.#broken(bytes, talk);
    if (bytes.length < at + length) return 0;
    const type = bytes[0] >> 4;
    const body = bytes.subarray(at, at + length);
    if (!this.#connected && type !== 1) return this.#broken(bytes, talk);
    const id = body.length >= 2 ? body.subarray(0, 2) : Buffer.alloc(2);
    if (type === 1) {
      this.#level = connectFindings(body, talk);
      this.#connected = true;
      talk.send(Buffer.from(this.#level === 5 ? '2003000000' : '20020000', 'hex'));
    } else if (type === 3 && bytes[0] & 6) {
      const topic = field(body, 0);
      if (topic && body.length >= topic.next + 2)
        talk.send(Buffer.concat([Buffer.from([bytes[0] & 4 ? 0x50 : 0x40, 2]), body.subarray(topic.next, topic.next + 2)]));
    } else if (type === 6) talk.send(Buffer.concat([Buffer.from([0x70, 2]), id]));
    else if (type === 8)
      talk.send(
        this.#level === 5
          ? Buffer.concat([Buffer.from([0x90, 4]), id, Buffer.from([0, 0])])
          : Buffer.concat([Buffer.from([0x90, 3]), id, Buffer.from([0])]),
      );
    else if (type === 10)
      talk.send(
        this.#level === 5
          ? Buffer.concat([Buffer.from([0xb0, 4]), id, Buffer.from([0, 0])])
          : Buffer.concat([Buffer.from([0xb0, 2]), id]),
      );
    else if (type === 12) talk.send(Buffer.from([0xd0, 0]));
    else if (type === 14) talk.end();
    return at + length;
  }

  #broken(bytes: Buffer, talk: Conversation): number {
    talk.end();
    return bytes.length;
  }
}

export const mqtt: Responder = { protocol: 'mqtt', open: () => new MqttDialogue() };
