// Owns the control sockets: one JSON line in, one JSON line out, over a unix socket whose file permissions are the
// guard. Refuses long lines, many connections and unknown verbs. What the verbs do belongs to the program that
// passes them in; the recorder's own interface is HTTP (http-server.ts).

import { chmodSync, lstatSync, unlinkSync } from 'node:fs';
import net from 'node:net';
import { asWeirError, type ErrorCode, errorCodes, WeirError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';

/** Longest request line, newline excluded. A verb that needs more takes a file name. */
export const controlRequestBytes = 1 << 20;
/** Longest answer line: the plan of 65,536 single decoys fits. */
export const controlAnswerBytes = 64 << 20;
const maxConnections = 64;
const maxInFlight = 16;
const connectionIdleMs = 60_000;

/** `args` is whatever the caller sent as JSON: check it. The result must be JSON; undefined becomes null. */
export type ControlVerb = (args: unknown) => Promise<unknown> | unknown;

export interface ControlServerOptions {
  readonly path: string;
  /** Permission bits of the socket file, such as 0o600. */
  readonly mode: number;
  readonly log: Log;
  readonly verbs: Readonly<Record<string, ControlVerb>>;
}

interface WireError {
  readonly code: ErrorCode;
  readonly message: string;
  readonly details: Readonly<Record<string, unknown>>;
}

interface Answer {
  readonly id: number;
  readonly result?: unknown;
  readonly error?: WireError;
}

const wireError = (error: unknown): WireError => {
  const { code, message, details } = asWeirError(error);
  return { code, message, details };
};

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

function errorFromWire(value: unknown): WeirError {
  if (!isRecord(value)) return new WeirError('fault', 'the answer carries no readable error');
  const code = typeof value.code === 'string' && Object.hasOwn(errorCodes, value.code) ? (value.code as ErrorCode) : 'fault';
  const message = typeof value.message === 'string' ? value.message : 'no message';
  return new WeirError(code, message, isRecord(value.details) ? value.details : {});
}

/** Splits a stream into lines without ever holding more than `maxBytes` of an unfinished one. */
class LineReader {
  #parts: Buffer[] = [];
  #bytes = 0;
  readonly #maxBytes: number;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** The lines completed by `chunk`, or undefined once a line is longer than the bound. */
  take(chunk: Buffer): Buffer[] | undefined {
    const lines: Buffer[] = [];
    let rest = chunk;
    for (let at = rest.indexOf(10); at >= 0; at = rest.indexOf(10)) {
      if (this.#bytes + at > this.#maxBytes) return undefined;
      lines.push(this.#parts.length ? Buffer.concat([...this.#parts, rest.subarray(0, at)]) : rest.subarray(0, at));
      this.#parts = [];
      this.#bytes = 0;
      rest = rest.subarray(at + 1);
    }
    if (rest.length > 0) {
      this.#bytes += rest.length;
      if (this.#bytes > this.#maxBytes) return undefined;
      this.#parts.push(rest);
    }
    return lines;
  }
}

/** True when something accepts connections on the socket file. */
function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = net.connect({ path });
    probe.once('connect', () => {
      probe.destroy();
      resolve(true);
    });
    probe.once('error', () => resolve(false));
  });
}

/**
 * Makes room for a unix socket: a dead socket file is removed, a living one is `already-running`, anything that is
 * not a socket is left alone and refused as `bad-request`.
 */
export async function clearSocketPath(path: string): Promise<void> {
  let stat: ReturnType<typeof lstatSync>;
  try {
    stat = lstatSync(path);
  } catch {
    return;
  }
  if (!stat.isSocket()) throw new WeirError('bad-request', `${path} exists and is not a socket`, { path });
  if (await answers(path)) throw new WeirError('already-running', `another process answers on ${path}`, { path });
  unlinkSync(path);
}

/** Listens on a unix socket with exactly these permission bits from the first moment on. */
export async function listenOnSocketFile(server: net.Server, path: string, mode: number): Promise<void> {
  await clearSocketPath(path);
  await new Promise<void>((resolve, reject) => {
    const previous = process.umask(0o177);
    server.once('error', reject);
    try {
      server.listen({ path }, () => {
        server.off('error', reject);
        resolve();
      });
    } finally {
      process.umask(previous);
    }
  });
  chmodSync(path, mode);
}

/** Answers one verb per line. Requests of one connection are answered as they finish, matched by `id`. */
export class ControlServer {
  readonly #options: ControlServerOptions;
  readonly #server: net.Server;
  readonly #connections = new Set<net.Socket>();

  constructor(options: ControlServerOptions) {
    this.#options = options;
    this.#server = net.createServer((socket) => this.#serve(socket));
    this.#server.maxConnections = maxConnections;
  }

  /** Throws `already-running` when another process answers on the path; replaces a dead socket file. */
  async listen(): Promise<void> {
    try {
      await listenOnSocketFile(this.#server, this.#options.path, this.#options.mode);
    } catch (error) {
      if (error instanceof WeirError) throw error;
      const errno = (error as NodeJS.ErrnoException).code;
      throw new WeirError(
        errno === 'EACCES' ? 'not-permitted' : 'system-call',
        `cannot listen on ${this.#options.path}: ${(error as Error).message}`,
        { path: this.#options.path, errno },
        error,
      );
    }
    this.#server.on('error', (error) => this.#options.log.error('control socket', { error: error.message }));
  }

  /** Ends open connections; the socket file is removed. */
  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const socket of this.#connections) socket.destroy();
    await closed;
  }

  #serve(socket: net.Socket): void {
    this.#connections.add(socket);
    socket.on('close', () => this.#connections.delete(socket));
    socket.on('error', () => socket.destroy());
    socket.setTimeout(connectionIdleMs, () => {
      if (inFlight === 0) socket.destroy();
    });
    const reader = new LineReader(controlRequestBytes);
    let inFlight = 0;
    const send = (answer: Answer): void => {
      if (socket.destroyed) return;
      let text: string;
      try {
        text = JSON.stringify(answer);
      } catch (error) {
        text = JSON.stringify({ id: answer.id, error: wireError(error) });
      }
      if (Buffer.byteLength(text) > controlAnswerBytes) {
        const error = new WeirError('fault', `the answer is longer than ${controlAnswerBytes} bytes`);
        text = JSON.stringify({ id: answer.id, error: wireError(error) });
      }
      socket.write(`${text}\n`);
    };
    socket.on('data', (chunk: Buffer) => {
      const lines = reader.take(chunk);
      if (!lines) {
        send({ id: 0, error: wireError(new WeirError('bad-request', `a request is longer than ${controlRequestBytes} bytes`)) });
        socket.end();
        socket.removeAllListeners('data');
        socket.resume();
        return;
      }
      for (const line of lines) {
        inFlight += 1;
        if (inFlight >= maxInFlight) socket.pause();
        void this.#answer(line).then((answer) => {
          inFlight -= 1;
          if (inFlight < maxInFlight) socket.resume();
          send(answer);
        });
      }
    });
  }

  async #answer(line: Buffer): Promise<Answer> {
    let id = 0;
    try {
      let request: unknown;
      try {
        request = JSON.parse(line.toString('utf8'));
      } catch {
        throw new WeirError('bad-request', 'a request must be one JSON object on one line');
      }
      if (!isRecord(request) || typeof request.verb !== 'string')
        throw new WeirError('bad-request', 'a request must be {"id":1,"verb":"..","args":..}');
      if (typeof request.id === 'number') id = request.id;
      if (!Object.hasOwn(this.#options.verbs, request.verb)) {
        throw new WeirError('not-found', `no such verb: ${request.verb.slice(0, 64)}`, {
          verbs: Object.keys(this.#options.verbs),
        });
      }
      const result = await this.#options.verbs[request.verb](request.args);
      return { id, result: result ?? null };
    } catch (error) {
      const known = asWeirError(error);
      if (known.code === 'fault') this.#options.log.error('control verb failed', { error: known.message, stack: known.stack });
      return { id, error: wireError(known) };
    }
  }
}

/**
 * Calls one verb and gives its result. Throws what the verb threw (code, message and details survive), `not-running`
 * when nobody answers on the path, `not-permitted` when the caller may not open it, `timeout` after `timeoutMs`.
 */
export function callControl(path: string, verb: string, args: unknown, timeoutMs: number): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const socket = net.connect({ path });
    const reader = new LineReader(controlAnswerBytes);
    const timer = setTimeout(
      () => fail(new WeirError('timeout', `${verb}: no answer within ${timeoutMs} ms`, { path, verb, timeoutMs })),
      timeoutMs,
    );
    const fail = (error: WeirError): void => {
      clearTimeout(timer);
      socket.destroy();
      reject(error);
    };
    socket.on('error', (error: NodeJS.ErrnoException) => {
      const denied = error.code === 'EACCES' || error.code === 'EPERM';
      const absent = error.code === 'ENOENT' || error.code === 'ECONNREFUSED';
      const code: ErrorCode = denied ? 'not-permitted' : absent ? 'not-running' : 'system-call';
      const message = denied ? `${path}: permission denied` : absent ? `nothing answers on ${path}` : `${path}: ${error.message}`;
      fail(new WeirError(code, message, { path, errno: error.code }, error));
    });
    socket.on('close', () => fail(new WeirError('not-running', `${path} closed before it answered ${verb}`, { path, verb })));
    socket.on('data', (chunk: Buffer) => {
      const lines = reader.take(chunk);
      if (!lines)
        return fail(new WeirError('fault', `the answer to ${verb} is longer than ${controlAnswerBytes} bytes`, { path }));
      if (lines.length === 0) return;
      let answer: unknown;
      try {
        answer = JSON.parse(lines[0].toString('utf8'));
      } catch {
        return fail(new WeirError('fault', `the answer to ${verb} is not JSON`, { path }));
      }
      if (!isRecord(answer)) return fail(new WeirError('fault', `the answer to ${verb} is not an object`, { path }));
      if (answer.error !== undefined) return fail(errorFromWire(answer.error));
      clearTimeout(timer);
      socket.destroy();
      resolve(answer.result);
    });
    socket.write(`${JSON.stringify({ id: 1, verb, args: args ?? null })}\n`);
  });
}
