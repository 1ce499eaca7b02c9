// `status.json` in an agent's data directory: what it says of itself, for `weir agent status` and for people. Written when
// something changes and now and then; a reader tells from it whether its agent still lives.

import { join } from 'node:path';
import { renderMicros, systemClock } from '../base/clock.ts';
import { readWhole, writeDurably } from '../base/durable-file.ts';
import { asWeirError, WeirError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { printable } from '../base/printable.ts';
import type { AgentReport } from './agent-life.ts';

export type AgentStatusFile = AgentReport & { readonly pid: number; readonly at: string; readonly ended?: boolean };

const everyMs = 10_000;
const soonMs = 250;
/** Older than this, its agent is gone or stuck. */
const staleMs = 35_000;

const pathOf = (data: string): string => join(data, 'status.json');

export class StatusFile {
  readonly #data: string;
  readonly #log: Log;
  #report: (() => AgentReport) | undefined;
  #timer: NodeJS.Timeout | undefined;
  #soon: NodeJS.Timeout | undefined;
  #writing: Promise<void> = Promise.resolve();
  #complained = false;

  constructor(data: string, log: Log) {
    this.#data = data;
    this.#log = log;
  }

  start(report: () => AgentReport): void {
    this.#report = report;
    this.#timer = setInterval(() => this.#write(), everyMs).unref();
    this.changed();
  }

  /** Written within a moment, several changes together. */
  changed(): void {
    if (!this.#report) return;
    this.#soon ??= setTimeout(() => {
      this.#soon = undefined;
      this.#write();
    }, soonMs).unref();
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    clearTimeout(this.#soon);
    this.#write(true);
    this.#report = undefined;
    await this.#writing;
  }

  #write(ended = false): void {
    const report = this.#report;
    if (!report) return;
    this.#writing = this.#writing.then(async () => {
      const status: AgentStatusFile = { pid: process.pid, at: renderMicros(systemClock()), ...(ended && { ended }), ...report() };
      try {
        await writeDurably(pathOf(this.#data), `${JSON.stringify(status)}\n`);
        this.#complained = false;
      } catch (error) {
        if (!this.#complained) this.#log.warn('the status cannot be written', { error: asWeirError(error).message });
        this.#complained = true;
      }
    });
  }
}

/** Throws `not-found` when there was never an agent here. `running` by the file's age: the number of a process says little. */
export async function readAgentStatus(data: string): Promise<AgentStatusFile & { readonly running: boolean }> {
  const text = await readWhole(pathOf(data));
  if (text === undefined)
    throw new WeirError('not-found', `no agent ever ran in ${data}`, { next: 'name its directory with --data' });
  try {
    const status = JSON.parse(text) as AgentStatusFile;
    return { ...status, running: status.ended !== true && Math.abs(Date.now() - Date.parse(status.at)) < staleMs };
  } catch (error) {
    throw new WeirError('not-found', `the status in ${data} does not parse`, {}, error);
  }
}

export function renderAgentStatus(status: AgentStatusFile & { readonly running: boolean }): string {
  const { link, spool, refused } = status;
  const linked =
    link.state === 'linked'
      ? `linked to a gateway of version ${link.welcome.version}${status.latencyMicros === undefined ? '' : `, ${(status.latencyMicros / 1000).toFixed(1)} ms`}`
      : link.state === 'away'
        ? `away: ${link.reason}`
        : link.state;
  const lines = [
    `agent      ${status.agent ?? 'not enrolled'}, version ${status.version}, ${status.running ? `running (${status.pid})` : `not running since ${status.at}`}`,
    `link       ${linked}`,
    `health     ${status.health}`,
    ...status.reasons.map((reason) => `           ${reason}`),
    `rules      ${status.rules ?? 'none yet'}, ${status.listeners} sockets open, ${refused.length} refused`,
    `addresses  ${status.addresses.join(' ')}`,
    `flows      ${status.openFlows} open, ${status.flows} handed over, ${status.answeredAlone} answered here, ${status.shed} shed`,
    `spool      ${spool.records} records wait (${spool.bytes} bytes), ${spool.droppedRecords} dropped`,
    `clock      ${(status.skewMicros / 1e6).toFixed(3)} s ahead of the gateway's`,
    `memory     ${Math.round(status.memoryBytes / 2 ** 20)} MiB`,
  ];
  return `${lines.map((line) => printable(line, 500)).join('\n')}\n`;
}
