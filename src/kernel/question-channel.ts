// Questions and answers between two halves of a program, one without privilege and one with it, over a socketpair: JSON of bounded length, each
// answer with at most one descriptor. Asked to be waited for, or at once. What may be asked is the answering half's to say.
// Sources: unix(7), cmsg(3).

import { asWeirError, type ErrorCode, errorCodes, WeirError } from '../base/errors.ts';
import {
  closeDescriptor,
  EAGAIN,
  EINTR,
  errnoName,
  MSG_CTRUNC,
  MSG_TRUNC,
  openSocketPair,
  receiveMessage,
  SCM_RIGHTS,
  SO_SNDBUFFORCE,
  SOCK_SEQPACKET,
  SOL_SOCKET,
  sendMessage,
  trySocketOption,
  waitForDescriptor,
} from './libc.ts';
import { findControl, MessageBatch } from './message-header.ts';
import { Readiness } from './readiness.ts';

export interface Answer {
  readonly value: unknown;
  /** Belongs to whoever gets it. */
  readonly fd?: number;
}

/** Of one message; the kernel takes a message whole or not at all. */
const longestMessage = 192 << 10;
const controlBytes = 24;
/** Questions without an answer yet. */
const maxWaiting = 64;
/** Where a question does not say. */
const answerWithinMs = 20_000;
const sendWithinMs = 5000;
const messagesPerTurn = 64;

/** A pair for the two halves, with room for the longest messages. */
export function openQuestionPair(): [asking: number, answering: number] {
  const pair = openSocketPair(SOCK_SEQPACKET);
  for (const fd of pair) trySocketOption(fd, SOL_SOCKET, SO_SNDBUFFORCE, 8 * longestMessage);
  return pair;
}

/** Whole messages of one end. Does not own the descriptor. */
class MessageEnd {
  readonly #fd: number;
  readonly #in = new MessageBatch({ count: 1, nameBytes: 0, dataBytes: longestMessage, controlBytes });
  readonly #out = new MessageBatch({ count: 1, nameBytes: 0, dataBytes: longestMessage, controlBytes });

  constructor(fd: number) {
    this.#fd = fd;
  }

  /** Waits where there is no room, with this thread. Throws `bad-request` (too long), `timeout`, `not-running` (nobody is there). */
  send(message: unknown, fd?: number): void {
    const bytes = Buffer.from(JSON.stringify(message));
    if (bytes.length > longestMessage)
      throw new WeirError('bad-request', `a message of ${bytes.length} bytes is too long`, { most: longestMessage });
    const end = performance.now() + sendWithinMs;
    for (;;) {
      this.#out.reset(1);
      this.#out.data.set(bytes);
      this.#out.setDataLength(0, bytes.length);
      this.#out.setControlLength(0, fd === undefined ? 0 : this.#passing(fd));
      const result = sendMessage(this.#fd, this.#out.headers);
      if (result >= 0) return;
      if (-result !== EAGAIN && -result !== EINTR)
        throw new WeirError('not-running', `the other half is gone (${errnoName(-result)})`);
      if (!waitForDescriptor(this.#fd, 'write', end - performance.now()) && performance.now() >= end)
        throw new WeirError('timeout', 'the other half does not read');
    }
  }

  /** Undefined: nothing is there; `gone`: nobody will send any more, or not what belongs here. */
  receive(): { readonly message: unknown; readonly fd?: number } | 'gone' | undefined {
    for (;;) {
      this.#in.reset(1);
      const got = receiveMessage(this.#fd, this.#in.headers);
      if (got === -EINTR) continue;
      if (got === -EAGAIN) return undefined;
      if (got <= 0) return 'gone';
      const at = findControl(this.#in.control, 0, this.#in.controlLength(0), SOL_SOCKET, SCM_RIGHTS);
      const fd = at < 0 ? undefined : new DataView(this.#in.control.buffer).getInt32(at, true);
      try {
        if (this.#in.flags(0) & (MSG_TRUNC | MSG_CTRUNC)) throw new RangeError('cut');
        const message: unknown = JSON.parse(Buffer.from(this.#in.data.buffer, 0, got).toString());
        return { message, ...(fd === undefined ? {} : { fd }) };
      } catch {
        if (fd !== undefined) closeDescriptor(fd);
        return 'gone';
      }
    }
  }

  #passing(fd: number): number {
    const control = new DataView(this.#out.control.buffer);
    control.setBigUint64(0, 20n, true);
    control.setInt32(8, SOL_SOCKET, true);
    control.setInt32(12, SCM_RIGHTS, true);
    control.setInt32(16, fd, true);
    return controlBytes;
  }
}

const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null;

function errorOf(value: unknown): WeirError {
  const { code = '', message = '', details = {} } = isRecord(value) ? value : {};
  const known = Object.hasOwn(errorCodes, String(code)) ? (code as ErrorCode) : 'fault';
  return new WeirError(known, String(message), isRecord(details) ? details : {});
}

interface Waiting {
  resolve(answer: Answer): void;
  reject(error: WeirError): void;
}

/** The half that asks. Owns the descriptor. Does not keep the process alive. */
export class QuestionChannel {
  readonly #fd: number;
  readonly #end: MessageEnd;
  readonly #readiness: Readiness;
  readonly #waiting = new Map<number, Waiting>();
  #asked = 0;
  #open = true;

  constructor(fd: number) {
    this.#fd = fd;
    this.#end = new MessageEnd(fd);
    this.#readiness = new Readiness(fd, { readable: true }, () => this.#take());
    this.#readiness.unref();
  }

  /** Rejects with what the other half threw, `not-running` when it is gone, `timeout` after `withinMs`, `fault` for too many at once. */
  ask(name: string, argument: unknown = null, withinMs = answerWithinMs): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting.delete(id);
        reject(new WeirError('timeout', `no answer in time: ${name}`));
      }, withinMs);
      const id = this.#send(name, argument, {
        resolve: ({ value, fd }) => {
          clearTimeout(timer);
          if (fd !== undefined) closeDescriptor(fd);
          resolve(value);
        },
        reject: (error) => {
          clearTimeout(timer);
          reject(error);
        },
      });
    });
  }

  /** Waits with this thread; answers to other questions that come first are given out. Throws as `ask` rejects. */
  askNow(name: string, argument: unknown = null): Answer {
    let outcome: Answer | WeirError | undefined;
    const settle = (result: Answer | WeirError): void => {
      outcome = result;
    };
    const id = this.#send(name, argument, { resolve: settle, reject: settle });
    const end = performance.now() + answerWithinMs;
    while (outcome === undefined) {
      if (!waitForDescriptor(this.#fd, 'read', end - performance.now()) && performance.now() >= end) {
        this.#waiting.delete(id);
        throw new WeirError('timeout', `no answer in time: ${name}`);
      }
      this.#take();
    }
    if (outcome instanceof WeirError) throw outcome;
    return outcome;
  }

  /** Idempotent. Whoever still waits is told. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#readiness.close();
    closeDescriptor(this.#fd);
    const gone = new WeirError('not-running', 'the half with privilege is gone');
    for (const { reject } of this.#waiting.values()) reject(gone);
    this.#waiting.clear();
  }

  #send(name: string, argument: unknown, waiting: Waiting): number {
    this.#asked += 1;
    const id = this.#asked;
    try {
      if (!this.#open) throw new WeirError('not-running', 'the half with privilege is gone');
      if (this.#waiting.size >= maxWaiting) throw new WeirError('fault', 'too many questions at once');
      this.#waiting.set(id, waiting);
      this.#end.send({ id, name, argument });
    } catch (error) {
      this.#waiting.delete(id);
      waiting.reject(asWeirError(error));
    }
    return id;
  }

  #take(): void {
    for (let count = 0; this.#open && count < messagesPerTurn; count += 1) {
      const got = this.#end.receive();
      if (got === undefined) return;
      if (got === 'gone' || !isRecord(got.message)) {
        this.close();
        return;
      }
      const { id, value, error } = got.message;
      const waiting = this.#waiting.get(Number(id));
      this.#waiting.delete(Number(id));
      if (!waiting) {
        if (got.fd !== undefined) closeDescriptor(got.fd);
      } else if (error !== undefined) waiting.reject(errorOf(error));
      else waiting.resolve({ value, ...(got.fd === undefined ? {} : { fd: got.fd }) });
    }
  }
}

/** What is answered, by name: the argument is whatever the other half sent. */
export type Answers = Readonly<Record<string, (argument: unknown) => Answer | Promise<Answer>>>;

/** The half that answers. Owns the descriptor; keeps the process alive until `onGone`, which comes once. */
export class AnswerChannel {
  readonly #fd: number;
  readonly #end: MessageEnd;
  readonly #answers: Answers;
  readonly #onGone: () => void;
  readonly #readiness: Readiness;
  #waiting = 0;
  #open = true;

  constructor(fd: number, answers: Answers, onGone: () => void) {
    this.#fd = fd;
    this.#end = new MessageEnd(fd);
    this.#answers = answers;
    this.#onGone = onGone;
    this.#readiness = new Readiness(fd, { readable: true }, () => this.#take());
  }

  #take(): void {
    for (let count = 0; this.#open && count < messagesPerTurn; count += 1) {
      const got = this.#end.receive();
      if (got === undefined) return;
      // It sends no descriptors.
      if (got !== 'gone' && got.fd !== undefined) closeDescriptor(got.fd);
      if (got === 'gone' || got.fd !== undefined || !isRecord(got.message) || this.#waiting >= maxWaiting) {
        this.#close();
        return;
      }
      const { id, name, argument } = got.message;
      this.#waiting += 1;
      void this.#answer(id, String(name), argument).finally(() => {
        this.#waiting -= 1;
      });
    }
  }

  async #answer(id: unknown, name: string, argument: unknown): Promise<void> {
    let answer: Answer | undefined;
    try {
      if (!Object.hasOwn(this.#answers, name)) throw new WeirError('bad-request', 'there is no such question');
      answer = await this.#answers[name](argument);
      if (this.#open) this.#end.send({ id, value: answer.value ?? null }, answer.fd);
    } catch (thrown) {
      const { code, message, details } = asWeirError(thrown);
      try {
        if (this.#open) this.#end.send({ id, error: { code, message: message.slice(0, 2000), details } });
      } catch {
        this.#close();
      }
    } finally {
      if (answer?.fd !== undefined) closeDescriptor(answer.fd);
    }
  }

  #close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#readiness.close();
    closeDescriptor(this.#fd);
    this.#onGone();
  }
}
