// An agent's program below its keeper: loads, says so, takes everything when it is told to, lets go of it when another is tried,
// takes it again. What "everything" is, is agent-run.ts.

import type { Readable } from 'node:stream';
import { asWeirError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { stageProgram } from './agent-programs.ts';
import type { WorkerState } from './agent-trial.ts';
import { type ProgramOffer, parseKeeperMessage, type UpgradeNews, type WorkerMessage } from './keeper-messages.ts';

/** What is open while the agent works. */
export interface OpenHouse {
  state(): WorkerState;
  /** False: not now; it is said again when the link is up. */
  tellUpgrade(news: UpgradeNews): boolean;
  fetchProgram(version: string): Readable;
  /** Everything is let go of when it resolves: ports, link, spool. */
  close(): Promise<void>;
}

export interface HouseHooks {
  /** It may have changed. */
  onState(state: WorkerState): void;
  onOffer(offer: ProgramOffer): void;
  /** Nobody waits for it any more. */
  readonly signal: AbortSignal;
}

export interface WorkerOptions {
  readonly version: string;
  readonly data: string;
  readonly log: Log;
  /** May be called again after `close`. Throws `already-running` while another still holds the data directory. */
  open(hooks: HouseHooks): Promise<OpenHouse>;
}

/** How long a former process may take to let go of the data directory. */
const inheritMs = 8_000;
const retryMs = 50;

/** Resolves when the keeper has ended it, or is gone. Rejects with what makes opening impossible. */
export async function serveKeeper(options: WorkerOptions): Promise<void> {
  const worker = new AgentWorker(options);
  try {
    await worker.run();
  } finally {
    await worker.close();
  }
}

class AgentWorker {
  readonly #options: WorkerOptions;
  readonly #stop = new AbortController();
  #house: OpenHouse | undefined;
  /** One after the other. */
  #work: Promise<void> = Promise.resolve();
  /** As it was said last. */
  #said = '';
  #news: UpgradeNews | undefined;
  #staging = false;

  constructor(options: WorkerOptions) {
    this.#options = options;
  }

  run(): Promise<void> {
    return new Promise((resolve, reject) => {
      const over = (): void => {
        this.#stop.abort();
        resolve();
      };
      // A terminal's and a service manager's signals are the keeper's to judge.
      for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => {});
      process.on('disconnect', over);
      // It may have died while this program loaded.
      if (!process.connected) {
        over();
        return;
      }
      process.on('message', (value) => {
        const message = parseKeeperMessage(value);
        if (message?.kind === 'end') over();
        else if (message?.kind === 'news') this.#tellNews(message.news);
        else if (message) {
          this.#work = this.#work.then(() => (message.kind === 'open' ? this.#open() : this.#close()));
          this.#work.catch(reject);
        }
      });
      this.#say({ kind: 'ready', version: this.#options.version });
    });
  }

  async close(): Promise<void> {
    this.#stop.abort();
    await this.#work.catch(() => {});
    await this.#house?.close();
    this.#house = undefined;
    if (process.connected) process.disconnect();
  }

  async #open(): Promise<void> {
    if (this.#house || this.#stop.signal.aborted) return;
    const untilMs = performance.now() + inheritMs;
    for (;;) {
      try {
        this.#house = await this.#options.open({
          onState: (state) => this.#changed(state),
          onOffer: (offer) => void this.#take(offer),
          signal: this.#stop.signal,
        });
        this.#say({ kind: 'open' });
        this.#changed(this.#house.state());
        return;
      } catch (error) {
        if (asWeirError(error).code !== 'already-running' || performance.now() >= untilMs || this.#stop.signal.aborted)
          throw error;
        await new Promise((resolve) => setTimeout(resolve, retryMs));
      }
    }
  }

  async #close(): Promise<void> {
    const house = this.#house;
    this.#house = undefined;
    this.#said = '';
    await house?.close();
    this.#say({ kind: 'idle' });
  }

  #changed(state: WorkerState): void {
    if (!this.#house) return;
    if (state.linked && this.#news) this.#tellNews(this.#news);
    const said = JSON.stringify(state);
    if (said === this.#said) return;
    this.#said = said;
    this.#say({ kind: 'said', state });
  }

  /** Kept until there is a link; the latest counts. */
  #tellNews(news: UpgradeNews): void {
    const told = this.#house?.tellUpgrade(news) ?? false;
    this.#news = told ? undefined : news;
    if (told) this.#say({ kind: 'told', state: news.state });
  }

  async #take(offer: ProgramOffer): Promise<void> {
    const { data, log } = this.#options;
    const house = this.#house;
    if (!house || this.#staging) return;
    this.#staging = true;
    try {
      await stageProgram(data, offer, house.fetchProgram(offer.version));
      log.info('another program is here', { version: offer.version, sha256: offer.sha256 });
      this.#say({ kind: 'staged', offer });
    } catch (error) {
      const reason = asWeirError(error).message;
      log.error('another program was not taken', { version: offer.version, reason });
      this.#tellNews({ version: offer.version, state: 'failed', reason });
    } finally {
      this.#staging = false;
    }
  }

  #say(message: WorkerMessage): void {
    if (process.connected) process.send?.(message, () => {});
  }
}
