// Upgrades of agents at the gateway: takes a program, rolls it out by stages, tells how far that is. One roll-out at a time; it goes
// on when nobody looks, and ends with the gateway. What a stage may be is relay/agents/roll-out.ts.

import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { WeirError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { AgentRollOut, AgentStatus, AgentUpgradeOrder } from '../model/agent.ts';
import { ProgramShelf, type ShelfProgram } from '../relay/agents/program-shelf.ts';
import { beginRollOut, describeRollOut, offerFailed, type RollOut, stepRollOut } from '../relay/agents/roll-out.ts';

/** What of LinkServer is asked here. */
export interface UpgradeLinks {
  statuses(): readonly AgentStatus[];
  /** False: it is not linked. */
  offerUpgrade(agent: string, offer: ShelfProgram): boolean;
}

export interface AgentUpgradesOptions {
  readonly shelf: ProgramShelf;
  readonly links: UpgradeLinks;
  readonly log: Log;
  /** Monotonic. */
  readonly nowMs?: () => number;
}

export const defaultStageMs = 60_000;
const lookEveryMs = 250;
/** How long `progress` waits for a change. */
const progressMs = 15_000;

/** Below the data directory's `agents`. Throws `disk-full`, `not-permitted`, `system-call`. */
export const openProgramShelf = (agents: string): Promise<ProgramShelf> => ProgramShelf.open(join(agents, 'program'));

export class AgentUpgrades {
  readonly #options: AgentUpgradesOptions;
  readonly #nowMs: () => number;
  #program: ShelfProgram | undefined;
  #rollOut: RollOut | undefined;
  #change = 0;
  #told = '';
  #timer: NodeJS.Timeout | undefined;
  #waiting: (() => void)[] = [];

  constructor(options: AgentUpgradesOptions) {
    this.#options = options;
    this.#nowMs = options.nowMs ?? (() => performance.now());
  }

  /** For LinkServer. */
  program(version: string): Readable | undefined {
    return this.#options.shelf.read(version);
  }

  /** See ProgramShelf.put. Throws `already-running` while the version is rolled out. */
  put(program: ShelfProgram, offset: number, piece: Uint8Array): Promise<number> {
    const present = this.#rollOut;
    if (present && !present.over && present.version === program.version && this.#program?.sha256 !== program.sha256)
      return Promise.reject(running(present));
    return this.#options.shelf.put(program, offset, piece);
  }

  /** Throws `not-found` (no such program here), `already-running`. */
  begin(order: AgentUpgradeOrder & { readonly names: readonly string[] }): AgentRollOut {
    const { shelf, links, log } = this.#options;
    const present = this.#rollOut;
    if (present && !present.over) throw running(present);
    const program = shelf.find(order.sha256);
    if (!program) throw new WeirError('not-found', 'the gateway has no such program', { sha256: order.sha256 });
    const { names, stage, force, withinMs = defaultStageMs } = order;
    const wish = {
      version: program.version,
      agents: [...new Set(names)],
      withinMs,
      ...(stage === undefined ? {} : { stage }),
      ...(force === undefined ? {} : { force }),
    };
    this.#program = program;
    this.#rollOut = beginRollOut(wish, links.statuses(), this.#nowMs());
    log.info('an upgrade of agents begins', { version: program.version, sha256: program.sha256, agents: wish.agents.length });
    if (this.#rollOut.over) this.#settle(this.#rollOut);
    else {
      this.#timer = setInterval(() => this.look(), lookEveryMs);
      this.look();
    }
    return this.#describe(this.#rollOut);
  }

  /** When there was a change after `change`, or after a while. Throws `not-found`: there was none since the gateway began. */
  async progress(change: number): Promise<AgentRollOut> {
    if (this.#rollOut && !this.#rollOut.over && this.#change <= change && this.#waiting.length < 64) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, progressMs).unref();
        this.#waiting.push(() => {
          clearTimeout(timer);
          resolve();
        });
      });
    }
    if (!this.#rollOut) throw new WeirError('not-found', 'no upgrade of agents was begun since the gateway started');
    return this.#describe(this.#rollOut);
  }

  /** Nobody more is asked; those that were go on by themselves. Throws `not-found` when there is none. */
  stop(): AgentRollOut {
    if (!this.#rollOut || this.#rollOut.over) throw new WeirError('not-found', 'no upgrade of agents is under way');
    this.#rollOut = { ...this.#rollOut, over: true };
    this.#options.log.warn('an upgrade of agents was stopped', { version: this.#rollOut.version });
    this.#settle(this.#rollOut);
    return this.#describe(this.#rollOut);
  }

  /** Something about the agents may have changed. */
  look(): void {
    const before = this.#rollOut;
    const program = this.#program;
    if (!before || !program || before.over) return;
    const { links, log } = this.#options;
    const { next, offer } = stepRollOut(before, links.statuses(), this.#nowMs());
    let rollOut = next;
    for (const agent of offer) {
      if (rollOut.over) break;
      if (!links.offerUpgrade(agent, program)) rollOut = offerFailed(rollOut, agent);
    }
    this.#rollOut = rollOut;
    if (rollOut.failed) log.error('an upgrade of agents stopped', { version: rollOut.version, ...rollOut.failed });
    else if (rollOut.over) log.info('an upgrade of agents is through', { version: rollOut.version });
    this.#settle(rollOut);
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    this.#wake();
    await this.#options.shelf.close();
  }

  #settle(rollOut: RollOut): void {
    if (rollOut.over) clearInterval(this.#timer);
    const { change: _, ...told } = this.#describe(rollOut);
    const text = JSON.stringify(told);
    if (text === this.#told) return;
    this.#told = text;
    this.#change += 1;
    this.#wake();
  }

  #wake(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }

  #describe(rollOut: RollOut): AgentRollOut {
    const { version, over, failed, stages } = rollOut;
    return {
      version,
      change: this.#change,
      over,
      ...(failed ? { stoppedBy: failed.agent } : {}),
      stages: stages.length,
      agents: describeRollOut(rollOut),
    };
  }
}

const running = ({ version }: RollOut): WeirError =>
  new WeirError('already-running', `an upgrade of agents to ${version} is under way`, {
    next: 'wait for it, or end it with weir agents upgrade --stop',
  });
