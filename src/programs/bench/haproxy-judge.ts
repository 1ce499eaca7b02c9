// A real HAProxy that says of each header whether it takes it and what it understood. Behind a UNIX socket in a directory of
// its own, as an account without rights: no address, no port, no namespace is needed. The caller closes it.

import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { WeirError } from '../../base/errors.ts';
import { until } from '../../kernel/namespace-lab.ts';

export interface Judgement {
  readonly accepted: boolean;
  /** The first line of HAProxy's answer; empty when it closed without one. */
  readonly status: string;
  /** What it understood, when the request behind the header arrived in one piece. */
  readonly seen?: HaproxySight;
}

/** Empty texts where HAProxy knows nothing; ports of 0 are empty too. */
export interface HaproxySight {
  readonly source: string;
  readonly sourcePort: string;
  readonly destination: string;
  readonly destinationPort: string;
  /** Upper-case hexadecimal. */
  readonly authority: string;
  readonly uniqueId: string;
}

/** What stands behind each header: HAProxy answers it when it takes the header for one. */
export const request: Uint8Array = Buffer.from('GET / HTTP/1.0\r\n\r\n', 'latin1');

/** Below HAProxy's accept queue, so that no connection is refused for want of room. */
const mostAtOnce = 128;
const answerWithinMs = 10_000;

const configurationOf = (socket: string): string => `
global
  nbthread 1
  maxconn 2000
  user nobody
  group nogroup
defaults
  mode http
  timeout client 5s
  timeout http-request 1s
frontend judge
  bind unix@${socket} accept-proxy mode 600
  http-request return status 200 content-type text/plain lf-string "|%[src]|%[src_port]|%[dst]|%[dst_port]|%[fc_pp_authority,hex]|%[fc_pp_unique_id,hex]|"
`;

export class HaproxyJudge {
  readonly #directory: string;
  readonly #socket: string;
  readonly #child: ChildProcess;
  #words = '';
  #pending = 0;
  #waiting: (() => void)[] = [];

  private constructor(parent: string) {
    this.#directory = mkdtempSync(join(parent, 'weir-judge-'));
    this.#socket = join(this.#directory, 'in');
    const file = join(this.#directory, 'haproxy.cfg');
    writeFileSync(file, configurationOf(this.#socket));
    this.#child = spawn('haproxy', ['-db', '-f', file], { stdio: ['ignore', 'ignore', 'pipe'] });
    process.once('exit', this.#leave);
    this.#child.on('error', (error) => {
      this.#words += error.message;
    });
    this.#child.stderr?.on('data', (chunk: Buffer) => {
      if (this.#words.length < 4096) this.#words += chunk.toString('latin1');
    });
  }

  /** Throws `tool-missing` when HAProxy is not there or does not start. */
  static async open(parent: string): Promise<HaproxyJudge> {
    const judge = new HaproxyJudge(parent);
    try {
      await until('HAProxy answers', () => judge.#answers());
      return judge;
    } catch (cause) {
      await judge.close();
      throw new WeirError(
        'tool-missing',
        `HAProxy does not start: ${judge.#words || 'no answer'}`,
        { program: 'haproxy' },
        cause,
      );
    }
  }

  async #answers(): Promise<boolean> {
    if (this.#child.pid === undefined || this.#child.exitCode !== null) throw new Error('it ended');
    return this.ask(Buffer.from('PROXY UNKNOWN\r\n')).then(
      ({ accepted }) => accepted,
      () => false,
    );
  }

  /** At most 128 are asked at once; who asks more waits here. */
  async room(): Promise<void> {
    while (this.#pending >= mostAtOnce) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  /** When nothing is asked any more. */
  async idle(): Promise<void> {
    while (this.#pending > 0) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  /** `header` and the request go out in one write: HAProxy does not wait for the rest of a header. Rejects when it cannot be asked. */
  ask(header: Uint8Array): Promise<Judgement> {
    this.#pending += 1;
    return new Promise<Judgement>((resolve, reject) => {
      let answer = '';
      let failed: NodeJS.ErrnoException | undefined;
      const socket = connect({ path: this.#socket });
      socket.setTimeout(answerWithinMs, () => socket.destroy(new Error(`no answer within ${answerWithinMs} ms`)));
      socket.on('data', (chunk) => {
        if (answer.length < 4096) answer += chunk.toString('latin1');
      });
      socket.on('error', (error) => {
        failed = error;
      });
      socket.on('close', () => {
        this.#pending -= 1;
        for (const wake of this.#waiting.splice(0)) wake();
        // A refused connection is reset because its bytes were not read, and writing to it may fail.
        const refused = failed?.code === 'ECONNRESET' || failed?.code === 'EPIPE';
        if (failed && !(refused && failed.syscall !== 'connect')) reject(failed);
        else resolve(judgementOf(answer));
      });
      socket.write(Buffer.concat([header, request]));
    });
  }

  async close(): Promise<void> {
    const child = this.#child;
    if (child.pid !== undefined && child.exitCode === null && child.signalCode === null) {
      const gone = new Promise((resolve) => child.once('exit', resolve));
      child.kill('SIGKILL');
      await gone;
    }
    process.off('exit', this.#leave);
    this.#leave();
  }

  /** Also when somebody ends the process first. */
  readonly #leave = (): void => {
    this.#child.kill('SIGKILL');
    rmSync(this.#directory, { recursive: true, force: true });
  };
}

function judgementOf(answer: string): Judgement {
  const status = answer.slice(0, Math.max(0, answer.indexOf('\r\n')));
  if (!/^HTTP\/1\.\d 200 /.test(status)) return { accepted: answer !== '', status };
  const [, source, sourcePort, destination, destinationPort, authority, uniqueId] = answer.split('|');
  return { accepted: true, status, seen: { source, sourcePort, destination, destinationPort, authority, uniqueId } };
}
