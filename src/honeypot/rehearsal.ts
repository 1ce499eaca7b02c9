// A responder's conversation without a socket, for tests: what it was told, what it said, and that it never claims bytes it
// was not given.

import assert from 'node:assert/strict';
import type { NameBook } from '../model/name-book.ts';
import type { SessionFindings } from '../model/session.ts';
import { plainNames, plainPersona } from './loopback-listener.ts';
import type { Conversation, Dialogue, Responder } from './responder.ts';

/** A conversation without a socket. */
export class Rehearsal implements Conversation {
  readonly persona = plainPersona;
  readonly host = 'srv-4711';
  readonly names: NameBook;
  readonly source = { ip: '192.0.2.7', port: 40_000 };
  readonly destination: { ip: string; port: number };
  encrypted = false;
  sent = Buffer.alloc(0);
  sentBytes = 0;
  ended = false;
  tls = 0;
  redetected: number | undefined;
  found: SessionFindings = {};
  readonly #dialogue: Dialogue;
  #waiting = Buffer.alloc(0);

  constructor(responder: Responder, port = 4444, greet = false, names = plainNames) {
    this.names = names;
    this.destination = { ip: '198.51.100.9', port };
    this.#dialogue = responder.open(this);
    if (greet) this.#dialogue.greet?.(this);
  }
  send(bytes: Uint8Array | string): void {
    const buffer = typeof bytes === 'string' ? Buffer.from(bytes) : Buffer.from(bytes);
    this.sentBytes += buffer.length;
    if (this.sent.length < 1 << 16) this.sent = Buffer.concat([this.sent, buffer]);
  }
  find(findings: SessionFindings): void {
    this.found = { ...this.found, ...findings };
  }
  end(): void {
    this.ended = true;
  }
  startTls(): void {
    this.tls += 1;
  }
  redetect(port: number): void {
    this.redetected = port;
  }
  /** Feeds as a session would; gives what was sent in answer, as latin-1. */
  say(bytes: Buffer | string): string {
    const before = this.sent.length;
    let view = Buffer.concat([this.#waiting, typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes]);
    while (view.length > 0 && !this.ended && this.redetected === undefined) {
      const used = this.#dialogue.receive(view, this);
      assert.ok(Number.isInteger(used) && used >= 0 && used <= view.length, `consumed ${used} of ${view.length}`);
      if (used === 0) break;
      view = view.subarray(used);
    }
    this.#waiting = Buffer.from(view);
    return this.sent.toString('latin1', before);
  }
  get waiting(): number {
    return this.#waiting.length;
  }
}
