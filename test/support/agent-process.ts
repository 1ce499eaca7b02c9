// An agent as a process of its own, for tests that cut its link or kill it: started, waited for by its status file, ended.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import type { AgentStatusFile } from '../../src/programs/agent-status.ts';
import { readAgentStatus } from '../../src/programs/agent-status.ts';

const home = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');
export const agentProgram = path.join(home, 'src/programs/agent.js');

export interface AgentStart {
  readonly data: string;
  readonly gateway?: string;
  readonly token?: string;
  readonly more?: readonly string[];
  /** Before the program: `ip netns exec NAME`, `setpriv ...`. */
  readonly prefix?: readonly string[];
  readonly program?: string;
  /** By a keeper, whose process this is then; otherwise alone, so that what is killed is the agent itself. */
  readonly kept?: boolean;
}

export class AgentProcess {
  readonly data: string;
  readonly #process: ChildProcess;
  readonly exited: Promise<number | null>;
  output = '';

  constructor({ data, gateway, token, more = [], prefix = [], program = agentProgram, kept = false }: AgentStart) {
    this.data = data;
    const own = [process.execPath, program, ...(kept ? [] : ['--alone']), '--data', data];
    if (gateway !== undefined) own.push('--gateway', gateway);
    if (token !== undefined) own.push('--token', token);
    const [command, ...argv] = [...prefix, ...own, ...more];
    this.#process = spawn(command, argv, { stdio: ['ignore', 'ignore', 'pipe'], env: { PATH: process.env.PATH } });
    this.#process.stderr?.on('data', (bytes: Buffer) => {
      this.output = (this.output + bytes.toString()).slice(-64 * 1024);
    });
    this.exited = once(this.#process, 'exit').then(([code]) => code as number | null);
  }

  get pid(): number {
    return this.#process.pid ?? 0;
  }

  /** Throws with what it logged when the process ends or the time is over first. */
  async until(condition: (status: AgentStatusFile) => boolean, what: string, limitMs = 15_000): Promise<AgentStatusFile> {
    const deadline = Date.now() + limitMs;
    for (;;) {
      try {
        const status = await readAgentStatus(this.data);
        if (status.pid === this.pid && condition(status)) return status;
      } catch {
        // Not written yet.
      }
      if (this.#process.exitCode !== null || Date.now() > deadline) throw new Error(`${what}: not in time\n${this.output}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  linked(): Promise<AgentStatusFile> {
    return this.until(
      ({ link, rules, listeners }) => link.state === 'linked' && rules !== undefined && listeners > 0,
      'linked with rules',
    );
  }

  away(): Promise<AgentStatusFile> {
    return this.until(({ link }) => link.state !== 'linked', 'away');
  }

  async end(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null> {
    if (this.#process.exitCode === null && this.#process.signalCode === null) this.#process.kill(signal);
    return this.exited;
  }
}
