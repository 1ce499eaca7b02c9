// An agent's keeper under test, as real processes: a gateway that offers programs and hears how it went, and a client that counts
// every moment in which the agent's port does not answer. Owns a directory, two servers and the keeper.

import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { UpgradeNews } from '../../src/programs/keeper-messages.ts';
import { renderWorker, type WorkerText } from './keeper-worker.ts';

const built = (name: string): string => fileURLToPath(new URL(`./${name}.js`, import.meta.url));
const boundMs = 20_000;

type Heard = { readonly hello: string; readonly pid: number } | { readonly news: UpgradeNews };

export class KeeperBed {
  readonly directory = mkdtempSync(join(tmpdir(), 'weir-keeper-'));
  readonly data = join(this.directory, 'data');
  readonly heard: Heard[] = [];
  /** Of the keeper and its programs. */
  log = '';
  port = 0;
  keeper!: ChildProcess;
  readonly #gateway = net.createServer((socket) => this.#serve(socket));
  #link: net.Socket | undefined;
  #files = 0;

  static async open(): Promise<KeeperBed> {
    const bed = new KeeperBed();
    mkdirSync(bed.data);
    const free = net.createServer().listen(0, '127.0.0.1');
    await once(free, 'listening');
    bed.port = (free.address() as net.AddressInfo).port;
    free.close();
    await once(free, 'close');
    bed.#gateway.listen(0, '127.0.0.1');
    await once(bed.#gateway, 'listening');
    return bed;
  }

  write(text: WorkerText, filling = ''): string {
    this.#files += 1;
    const path = join(this.directory, `program-${this.#files}.mjs`);
    writeFileSync(path, renderWorker(built('keeper-worker'), text, filling));
    return path;
  }

  /** With this program installed. */
  start(installed: string, version = '1.0.0'): void {
    const { port } = this.#gateway.address() as net.AddressInfo;
    this.keeper = spawn(
      process.execPath,
      [built('keeper-process'), this.data, installed, version, String(this.port), String(port), this.data],
      { stdio: ['ignore', 'ignore', 'pipe'] },
    );
    this.keeper.stderr?.on('data', (bytes) => {
      this.log += String(bytes);
    });
  }

  offer(file: string, version: string, more: { readonly sha256?: string; readonly bytes?: number } = {}): void {
    const content = readFileSync(file);
    const sha256 = createHash('sha256').update(content).digest('hex');
    this.#link?.write(`${JSON.stringify({ offer: { version, sha256, bytes: content.length, ...more }, file })}\n`);
  }

  /** Waits until it holds; half of what is waited for, such as the end of a process of a process, makes no event here. */
  async until(what: string, holds: () => boolean): Promise<void> {
    const endMs = performance.now() + boundMs;
    while (!holds()) {
      if (performance.now() > endMs)
        throw new Error(`${what}: not within ${boundMs} ms\n${JSON.stringify(this.heard)}\n${this.log}`);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  get news(): UpgradeNews[] {
    return this.heard.flatMap((one) => ('news' in one ? [one.news] : []));
  }

  hellos(version: string): number[] {
    return this.heard.flatMap((one) => ('hello' in one && one.hello === version ? [one.pid] : []));
  }

  /** Who answers, `VERSION PID`; undefined: nobody. */
  ask(): Promise<string | undefined> {
    return new Promise((resolve) => {
      let text = '';
      const socket = net.connect(this.port, '127.0.0.1');
      socket.setTimeout(2000, () => socket.destroy());
      socket.on('data', (bytes) => {
        text += String(bytes);
      });
      socket.on('error', () => {});
      socket.on('close', () => resolve(text === '' ? undefined : text.trim()));
    });
  }

  async answersAs(version: string): Promise<number> {
    const end = performance.now() + boundMs;
    for (;;) {
      const answer = await this.ask();
      if (answer?.startsWith(`${version} `)) return Number(answer.split(' ')[1]);
      if (performance.now() > end) throw new Error(`${version} never answered, but ${answer}\n${this.log}`);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  /** Asks all the time until `stop`, which gives the longest time without an answer, and who answered. */
  watch(): { stop(): Promise<{ readonly gapMs: number; readonly answered: number; readonly versions: readonly string[] }> } {
    let over = false;
    let gapMs = 0;
    let answered = 0;
    const versions = new Set<string>();
    const work = (async () => {
      let last = performance.now();
      while (!over) {
        const answer = await this.ask();
        const now = performance.now();
        if (answer === undefined) {
          gapMs = Math.max(gapMs, now - last);
          await new Promise((resolve) => setTimeout(resolve, 2));
        } else {
          gapMs = Math.max(gapMs, now - last);
          answered += 1;
          versions.add(answer.split(' ')[0]);
          last = now;
        }
      }
    })();
    return {
      stop: async () => {
        over = true;
        await work;
        return { gapMs, answered, versions: [...versions] };
      },
    };
  }

  async close(): Promise<void> {
    if (this.keeper && this.keeper.exitCode === null && this.keeper.signalCode === null) {
      const gone = once(this.keeper, 'exit');
      this.keeper.kill('SIGTERM');
      await gone;
    }
    this.#link?.destroy();
    this.#gateway.close();
    rmSync(this.directory, { recursive: true, force: true });
  }

  #serve(socket: net.Socket): void {
    this.#link = socket;
    socket.on('error', () => {});
    let text = '';
    socket.on('data', (bytes) => {
      text += String(bytes);
      const lines = text.split('\n');
      text = lines.pop() ?? '';
      for (const line of lines) this.heard.push(JSON.parse(line) as Heard);
    });
  }
}
