// One process of an agent's program, as its keeper sees it: started, spoken to, ended. Owns the process; what it is told and
// when is agent-keeper.ts.

import { type ChildProcess, spawn } from 'node:child_process';
import type { AgentProgram } from './agent-programs.ts';
import { type KeeperMessage, keeperProtocol, keeperVariable, parseWorkerMessage, type WorkerMessage } from './keeper-messages.ts';

export interface WorkerEvents {
  said(message: WorkerMessage): void;
  /** Once, also when it could not be started. `code` is its exit code, null for a signal. */
  gone(exit: string, code: number | null): void;
}

export interface WorkerSetting {
  /** Node, and what it is given before the program. */
  readonly command: string;
  readonly nodeArguments: readonly string[];
  /** For the program, as the keeper got them. */
  readonly arguments: readonly string[];
  readonly environment: Readonly<Record<string, string | undefined>>;
}

export class WorkerProcess {
  readonly program: AgentProgram;
  readonly #process: ChildProcess;
  readonly #startedMs = performance.now();
  #killTimer: NodeJS.Timeout | undefined;
  #gone = false;

  constructor(program: AgentProgram, setting: WorkerSetting, events: WorkerEvents) {
    this.program = program;
    this.#process = spawn(setting.command, [...setting.nodeArguments, program.path, ...setting.arguments], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      env: { ...setting.environment, [keeperVariable]: keeperProtocol },
      windowsHide: true,
    });
    const gone = (exit: string, code: number | null): void => {
      if (this.#gone) return;
      this.#gone = true;
      clearTimeout(this.#killTimer);
      events.gone(exit, code);
    };
    this.#process.on('message', (value) => {
      const message = this.#gone ? undefined : parseWorkerMessage(value);
      if (message) events.said(message);
    });
    this.#process.on('error', (error) => {
      if (this.#process.pid === undefined) gone(error.message, null);
    });
    this.#process.on('exit', (code, signal) => gone(signal ? `signal ${signal}` : `exit code ${code}`, code));
  }

  get pid(): number | undefined {
    return this.#process.pid;
  }

  get gone(): boolean {
    return this.#gone;
  }

  get livedMs(): number {
    return performance.now() - this.#startedMs;
  }

  /** Nothing happens when it has ended: `gone` tells. */
  tell(message: KeeperMessage): void {
    if (!this.#process.connected) return;
    this.#process.send(message, () => {});
  }

  /** In order, by force after `graceMs`. */
  end(graceMs: number): void {
    this.tell({ kind: 'end' });
    this.#killTimer ??= setTimeout(() => this.kill(), graceMs);
  }

  kill(): void {
    this.#process.kill('SIGKILL');
  }
}
