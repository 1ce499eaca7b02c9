// One supervised child process: started, restarted after a crash with a bounded back-off, drained on request.
// Which children there are, with which privileges, is up.ts.

import { type ChildProcess, spawn } from 'node:child_process';
import { type Clock, type Micros, systemClock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';

export interface ChildSpecification {
  readonly name: string;
  readonly command: string;
  readonly arguments: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  /** Descriptors it inherits, as its 3, 4, …; they stay the caller's, open as long as it may be started again. */
  readonly descriptors?: readonly number[];
}

export interface ChildStatus {
  readonly name: string;
  readonly pid: number | undefined;
  readonly state: 'running' | 'restarting' | 'stopped';
  readonly started: Micros | undefined;
  readonly restarts: number;
  readonly lastExit: string | undefined;
}

/** A process that lived this long resets the back-off. */
const steadyMs = 10_000;
const backoffMs = [0, 0, 0, 0, 100, 200, 500, 1000, 2000, 5000];

export interface ChildEvents {
  started(name: string, pid: number, restarts: number): void;
  died(name: string, pid: number, exit: string, restarts: number): void;
}

/** The child's standard input is its lifeline: it ends itself when that closes. Its standard error is ours. */
export class Child {
  readonly #specification: ChildSpecification;
  readonly #events: ChildEvents;
  readonly #log: Log;
  readonly #clock: Clock;
  #process: ChildProcess | undefined;
  #started: Micros | undefined;
  #restarts = 0;
  #failures = 0;
  #lastExit: string | undefined;
  #stopping = false;
  #timer: NodeJS.Timeout | undefined;
  #exited: (() => void)[] = [];

  constructor(specification: ChildSpecification, events: ChildEvents, log: Log, clock: Clock = systemClock) {
    this.#specification = specification;
    this.#events = events;
    this.#log = log;
    this.#clock = clock;
  }

  start(): void {
    if (this.#stopping || this.#process) return;
    const { name, command, arguments: argv, environment, descriptors = [] } = this.#specification;
    const child = spawn(command, argv, { stdio: ['pipe', 'ignore', 'inherit', ...descriptors], env: environment });
    this.#process = child;
    this.#started = this.#clock();
    let reported = false;
    const ended = (exit: string): void => {
      if (reported) return;
      reported = true;
      this.#ended(child.pid ?? 0, exit);
    };
    child.stdin?.on('error', () => {});
    child.on('error', (error) => ended(error.message));
    child.on('exit', (code, signal) => ended(signal ? `signal ${signal}` : `exit code ${code}`));
    if (child.pid !== undefined) this.#events.started(name, child.pid, this.#restarts);
  }

  #ended(pid: number, exit: string): void {
    this.#process = undefined;
    this.#lastExit = exit;
    for (const resolve of this.#exited.splice(0)) resolve();
    if (this.#stopping) return;
    const livedMs = this.#started === undefined ? 0 : (this.#clock() - this.#started) / 1000;
    this.#failures = livedMs >= steadyMs ? 0 : this.#failures + 1;
    this.#restarts += 1;
    const delayMs = backoffMs[Math.min(Math.max(this.#failures - 1, 0), backoffMs.length - 1)];
    this.#log.warn(`${this.#specification.name} died, starting it again`, { pid, exit, inMs: delayMs });
    this.#events.died(this.#specification.name, pid, exit, this.#restarts);
    this.#timer = setTimeout(() => this.start(), delayMs);
  }

  /** Ends it where it stands; it is started again. Without a process nothing happens. */
  kill(): void {
    this.#process?.kill('SIGKILL');
  }

  /** SIGTERM, then SIGKILL after `graceMs`. Resolves when the process is gone. */
  async stop(graceMs: number): Promise<void> {
    this.#stopping = true;
    clearTimeout(this.#timer);
    const child = this.#process;
    if (!child) return;
    const gone = new Promise<void>((resolve) => this.#exited.push(resolve));
    child.kill('SIGTERM');
    const timer = setTimeout(() => {
      this.#log.warn(`${this.#specification.name} did not end in time, killing it`, { graceMs });
      child.kill('SIGKILL');
    }, graceMs);
    await gone;
    clearTimeout(timer);
  }

  status(): ChildStatus {
    return {
      name: this.#specification.name,
      pid: this.#process?.pid,
      state: this.#process ? 'running' : this.#stopping ? 'stopped' : 'restarting',
      started: this.#started,
      restarts: this.#restarts,
      lastExit: this.#lastExit,
    };
  }
}

/** Calls `onLost` once when the supervisor closes our standard input, which happens when it dies. */
export function watchLifeline(onLost: () => void): void {
  process.stdin.on('end', onLost);
  process.stdin.on('error', onLost);
  process.stdin.resume();
}
