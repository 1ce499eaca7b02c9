// The process an agent is started as: runs the current program as its child, again when it dies, and exchanges it for another that
// has proven itself, or not. Holds no socket and hears nobody but its children, so it need not be exchanged itself.

import { asWeirError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { AgentProgram, AgentPrograms } from './agent-programs.ts';
import {
  beginTrial,
  stepTrial,
  type Trial,
  type TrialAction,
  type TrialEvent,
  type TrialLimits,
  trialLimits,
  type WorkerState,
} from './agent-trial.ts';
import type { ProgramOffer, UpgradeNews, WorkerMessage } from './keeper-messages.ts';
import { WorkerProcess, type WorkerSetting } from './worker-process.ts';

export interface KeeperOptions {
  readonly programs: AgentPrograms;
  readonly worker: WorkerSetting;
  readonly log: Log;
  readonly limits?: Partial<TrialLimits>;
}

const tickMs = 100;
const endGraceMs = 10_000;
const dismissGraceMs = 5_000;
/** A program that lived this long resets the back-off. */
const steadyMs = 10_000;
const backOffMs = [0, 0, 100, 500, 1000, 2000, 5000];
/** A program that came over the link and dies so often in a row, never having been steady, gives way to the one before it. */
const deathsBeforeReturn = 5;

const unknownState: WorkerState = { linked: false, health: 'degraded', reasons: [], refused: 0, ruled: false };

interface Running {
  readonly process: WorkerProcess;
  ready: boolean;
  /** It said at least once that it listens. */
  opened: boolean;
}

/** One program is tried in the place of another. */
interface Exchange {
  readonly program: AgentProgram;
  readonly fresh: Running;
  readonly ticker: NodeJS.Timeout;
  trial: Trial;
}

export class AgentKeeper {
  readonly #options: KeeperOptions;
  readonly #limits: TrialLimits;
  readonly #ended: Promise<number>;
  #settle: (code: number) => void = () => {};
  /** The present program's process; none between a death and the next start. */
  #main: Running | undefined;
  #said: WorkerState = unknownState;
  #exchange: Exchange | undefined;
  /** For the gateway, until a program has passed it on. */
  #news: UpgradeNews | undefined;
  #restart: NodeJS.Timeout | undefined;
  /** All that live, those that were let go too. */
  readonly #processes = new Set<WorkerProcess>();
  #deaths = 0;
  #everOpened = false;
  /** The present program has run for a while, in this keeper's life. */
  #steady = false;
  #ending: number | undefined;

  constructor(options: KeeperOptions) {
    this.#options = options;
    this.#limits = { ...trialLimits, ...options.limits };
    this.#ended = new Promise((resolve) => {
      this.#settle = resolve;
    });
  }

  /** Resolves with the exit code: 0 after `end`, otherwise that of a program that would not even start. */
  run(): Promise<number> {
    this.#start();
    return this.#ended;
  }

  /** Everything ends in order; `run` resolves. Idempotent. */
  end(): void {
    this.#finish(0);
  }

  #finish(code: number): void {
    if (this.#ending !== undefined) return;
    this.#ending = code;
    clearInterval(this.#exchange?.ticker);
    clearTimeout(this.#restart);
    for (const process of this.#processes) process.end(endGraceMs);
    this.#settleWhenAlone();
  }

  #settleWhenAlone(): void {
    if (this.#ending !== undefined && this.#processes.size === 0) this.#settle(this.#ending);
  }

  #spawn(program: AgentProgram): Running {
    const process = new WorkerProcess(program, this.#options.worker, {
      said: (message) => this.#heard(running, message),
      gone: (exit, code) => this.#gone(running, exit, code),
    });
    const running: Running = { process, ready: false, opened: false };
    this.#processes.add(process);
    return running;
  }

  #start(): void {
    this.#said = unknownState;
    this.#main = this.#spawn(this.#options.programs.current);
  }

  #heard(running: Running, message: WorkerMessage): void {
    if (this.#ending !== undefined) return;
    if (running === this.#exchange?.fresh) this.#heardFresh(running, message);
    else if (running === this.#main) this.#heardMain(running, message);
  }

  #heardMain(running: Running, message: WorkerMessage): void {
    switch (message.kind) {
      case 'ready':
        running.ready = true;
        running.process.tell({ kind: 'open' });
        break;
      case 'open':
        running.opened = true;
        this.#everOpened = true;
        if (this.#news) running.process.tell({ kind: 'news', news: this.#news });
        break;
      case 'told':
        if (this.#news?.state === message.state) this.#news = undefined;
        break;
      case 'idle':
        this.#step({ kind: 'old-idle' });
        break;
      case 'said':
        this.#said = message.state;
        break;
      case 'staged':
        void this.#try(message.offer);
        break;
    }
  }

  #heardFresh(running: Running, message: WorkerMessage): void {
    if (message.kind === 'ready' && !running.ready) {
      running.ready = true;
      const { version } = running.process.program;
      if (message.version === version) this.#step({ kind: 'new-ready' });
      else this.#step({ kind: 'new-refused', why: `it is version ${message.version}, ${version} was offered` });
    } else if (message.kind === 'open') {
      running.opened = true;
      this.#step({ kind: 'new-open' });
    } else if (message.kind === 'said') this.#step({ kind: 'new-said', state: message.state });
  }

  #gone(running: Running, exit: string, code: number | null): void {
    this.#processes.delete(running.process);
    if (this.#ending !== undefined) this.#settleWhenAlone();
    else if (running === this.#exchange?.fresh) this.#step({ kind: 'new-dead', exit });
    else if (running === this.#main) {
      this.#main = undefined;
      if (this.#exchange) this.#step({ kind: 'old-dead' });
      else this.#mainGone(running, exit, code);
    }
  }

  #mainGone(running: Running, exit: string, code: number | null): void {
    const { program, livedMs } = running.process;
    if (!this.#everOpened && code !== null && (running.ready || program.installed)) {
      // It has said why: wrong options, no token, no right. Another start would say the same.
      this.#finish(code);
      return;
    }
    if (livedMs >= steadyMs) this.#steady = true;
    this.#deaths = livedMs >= steadyMs ? 1 : this.#deaths + 1;
    if (!program.installed && !this.#steady && (!running.ready || this.#deaths >= deathsBeforeReturn)) {
      void this.#goBack(program, exit);
      return;
    }
    const inMs = backOffMs[Math.min(this.#deaths, backOffMs.length) - 1];
    this.#options.log.warn('the agent died, starting it again', { version: program.version, exit, inMs });
    this.#restart = setTimeout(() => this.#start(), inMs);
  }

  async #goBack({ version }: AgentProgram, exit: string): Promise<void> {
    const { programs, log } = this.#options;
    await programs.goBack();
    log.error('this version does not run, back to the one before', { version, exit, back: programs.current.version });
    this.#deaths = 0;
    this.#news = { version, state: 'failed', reason: `it does not run: ${exit}` };
    if (this.#ending === undefined) this.#start();
  }

  async #try(offer: ProgramOffer): Promise<void> {
    const { programs, log } = this.#options;
    const old = this.#main;
    const program = await programs.find(offer);
    if (!old || this.#main !== old || !old.opened || this.#exchange || this.#ending !== undefined) return;
    const { version, sha256 } = offer;
    if (!program) {
      this.#tell({ version, state: 'failed', reason: 'the program is damaged on disk' });
      return;
    }
    log.info('another program is tried', { version, sha256, present: old.process.program.version });
    this.#exchange = {
      program,
      fresh: this.#spawn(program),
      ticker: setInterval(() => this.#step({ kind: 'tick' }), tickMs),
      trial: beginTrial(this.#said, performance.now(), this.#limits),
    };
  }

  #step(event: TrialEvent): void {
    const exchange = this.#exchange;
    if (!exchange || this.#ending !== undefined) return;
    const { trial, actions } = stepTrial(exchange.trial, event, performance.now(), this.#limits);
    if (trial.phase !== exchange.trial.phase)
      this.#options.log.debug('the exchange goes on', { from: exchange.trial.phase, to: trial.phase });
    exchange.trial = trial;
    for (const action of actions) this.#act(action, exchange);
    if (trial.phase === 'over') this.#over(exchange);
  }

  #act(action: TrialAction, { program, fresh }: Exchange): void {
    const { version } = program;
    const old = this.#main?.process;
    switch (action) {
      case 'close-old':
        old?.tell({ kind: 'news', news: { version, state: 'staged' } });
        old?.tell({ kind: 'close' });
        break;
      case 'open-new':
        fresh.process.tell({ kind: 'open' });
        break;
      case 'commit':
        this.#options.programs.commit(program).then(
          () => this.#step({ kind: 'committed' }),
          (error: unknown) => this.#step({ kind: 'commit-failed', why: asWeirError(error).message }),
        );
        break;
      case 'kill-new':
        fresh.process.kill();
        break;
      case 'kill-old':
        old?.kill();
        break;
      case 'open-old':
        old?.tell({ kind: 'open' });
        break;
      case 'start-old':
        this.#start();
        break;
      case 'dismiss-old':
        old?.end(dismissGraceMs);
        break;
    }
  }

  #over({ program, fresh, ticker, trial }: Exchange): void {
    const { log } = this.#options;
    const { version } = program;
    clearInterval(ticker);
    this.#exchange = undefined;
    if (trial.failed !== undefined) {
      log.error('the other program was not kept', { version, reason: trial.failed });
      this.#tell({ version, state: 'failed', reason: trial.failed });
      return;
    }
    log.info('the other program stays', { version });
    this.#deaths = 0;
    this.#steady = false;
    this.#said = trial.said ?? unknownState;
    this.#main = trial.newAlive ? fresh : undefined;
    this.#tell({ version, state: 'committed' });
    if (!trial.newAlive) this.#start();
  }

  /** By the present program; by the next one, when it dies before it could, or is not open. */
  #tell(news: UpgradeNews): void {
    this.#news = news;
    this.#main?.process.tell({ kind: 'news', news });
  }
}
