// Sees to it that what Weir applied stays: has changes told by the kernel, looks again from time to time anyway, and asks
// for repair of the networks concerned, one run at a time. What is wrong and how it is put right is each repairable's;
// while it applies, rolls back or takes down it makes a repair wait, for it does one thing at a time.

import { type Clock, systemClock } from '../base/clock.ts';
import { asWeirError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { type ChangeKind, ChangeWatch, type ChangeWatchOptions } from '../kernel/change-watch.ts';
import { readNamespaceIdentity } from '../kernel/namespace-handle.ts';
import { NamespaceNamesWatch } from '../kernel/namespace-names-watch.ts';
import type { Repair } from './annex.ts';
import { type RepairOutcome, type RepairRequest, repairKey } from './repair.ts';
import { RepairLedger, type Trouble } from './repair-ledger.ts';

/** Something whose objects in the kernel can be put back. Cheap when nothing is to be done. */
export interface Repairable {
  readonly name: string;
  repair(request: RepairRequest): Promise<RepairOutcome>;
}

export interface WatchedNetwork {
  /** Empty: the machine's own. */
  readonly name: string;
  /** Path of its namespace; absent: the one this process is in. */
  readonly netns?: string;
}

export interface ReconcilerOptions {
  readonly repairables: readonly Repairable[];
  readonly log: Log;
  readonly onRepair: (repair: Repair) => void;
  readonly onTrouble: (trouble: Trouble) => void;
  readonly clock?: Clock;
  /** From the first change told to the look at it. */
  readonly delayMs?: number;
  readonly everyMs?: number;
  /** Beyond this many repairs of one object within a minute it is repaired once a minute. */
  readonly repairsPerMinute?: number;
  readonly openWatch?: (options: ChangeWatchOptions) => Pick<ChangeWatch, 'close' | 'overruns'>;
}

export interface ReconcileStatus {
  readonly repairs: number;
  readonly lastRepair?: { readonly at: number; readonly message: string };
  /** Looks, whether or not anything was wrong. */
  readonly runs: number;
  readonly failures: number;
  /** Sentences: what is held back because somebody else keeps changing it, what could not be put back. */
  readonly reasons: readonly string[];
  /** Times the kernel told changes faster than they were read; each led to a look at that network. */
  readonly overruns: number;
}

/** Networks looked at in one periodic turn; where there are more it is these now and those in the next turn. */
const networksPerTurn = 25;
/** A run is followed by a rest of this many times its own length, up to a bound: repair never takes the machine over. */
const restFactor = 2;
const maxRestMicros = 1_000_000;

interface Watch {
  readonly network: WatchedNetwork;
  readonly identity: bigint | undefined;
  readonly watch: Pick<ChangeWatch, 'close' | 'overruns'>;
}

/** Looks for the first time once `watch` was called. */
export class Reconciler {
  readonly #options: ReconcilerOptions;
  readonly #clock: Clock;
  readonly #delayMs: number;
  readonly #everyMs: number;
  readonly #ledger: RepairLedger;
  readonly #watches = new Map<string, Watch>();
  #watched: readonly WatchedNetwork[] = [];
  #names: NamespaceNamesWatch | undefined;
  #dirty = new Set<string>();
  #timer: NodeJS.Timeout | undefined;
  #retry: NodeJS.Timeout | undefined;
  #period: NodeJS.Timeout | undefined;
  #running: Promise<void> | undefined;
  #nextTurn = 0;
  #restUntil = 0;
  #closedOverruns = 0;
  #repairs = 0;
  #runs = 0;
  #failures = 0;
  #lastRepair: ReconcileStatus['lastRepair'];
  #closed = false;

  constructor(options: ReconcilerOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#delayMs = options.delayMs ?? 75;
    this.#everyMs = options.everyMs ?? 10_000;
    this.#ledger = new RepairLedger(this.#clock, options.repairsPerMinute ?? 10);
  }

  /** Watches exactly these networks from now on; call it again whenever there are others. Looks at new ones soon. */
  watch(networks: readonly WatchedNetwork[]): void {
    if (this.#closed) return;
    this.#watched = networks;
    this.#renewWatches();
    this.#period ??= setInterval(() => this.#turn(), this.#everyMs);
  }

  /** Something in this network may not be as it should: the next run looks. */
  noteChange(network: string): void {
    this.#dirty.add(network);
    this.#schedule();
  }

  /** Looks at everything now; resolves after that run. */
  async lookNow(): Promise<void> {
    while (this.#running) await this.#running;
    if (!this.#closed) await this.#start(undefined);
  }

  status(): ReconcileStatus {
    let overruns = this.#closedOverruns;
    for (const { watch } of this.#watches.values()) overruns += watch.overruns;
    return {
      repairs: this.#repairs,
      ...(this.#lastRepair ? { lastRepair: this.#lastRepair } : {}),
      runs: this.#runs,
      failures: this.#failures,
      reasons: this.#ledger.reasons(),
      overruns,
    };
  }

  /** Waits for a run under way. Idempotent. */
  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    clearTimeout(this.#retry);
    clearInterval(this.#period);
    for (const name of [...this.#watches.keys()]) this.#closeWatch(name);
    this.#names?.close();
    this.#names = undefined;
    await this.#running;
  }

  /** A share of the networks, so that many of them are not all read at the same moment. */
  #turn(): void {
    this.#renewWatches();
    const count = this.#watched.length;
    for (let index = 0; index < Math.min(count, networksPerTurn); index += 1)
      this.#dirty.add(this.#watched[(this.#nextTurn + index) % count].name);
    this.#nextTurn = count === 0 ? 0 : (this.#nextTurn + networksPerTurn) % count;
    this.#schedule();
  }

  /** A namespace made anew under the same name needs a new watch: the old one hears the old namespace. */
  #renewWatches(): void {
    if (this.#closed) return;
    const wanted = new Map(this.#watched.map((network) => [network.name, network]));
    for (const [name, { network, identity }] of this.#watches) {
      const netns = wanted.get(name)?.netns;
      const same = wanted.has(name) && netns === network.netns;
      if (!same || (netns !== undefined && readNamespaceIdentity(netns) !== identity)) this.#closeWatch(name);
    }
    for (const network of wanted.values())
      if (!this.#watches.has(network.name)) {
        this.#openWatch(network);
        this.noteChange(network.name);
      }
    this.#watchNames();
  }

  #openWatch(network: WatchedNetwork): void {
    const open = this.#options.openWatch ?? ((options) => new ChangeWatch(options));
    const { name, netns } = network;
    const identity = netns === undefined ? undefined : readNamespaceIdentity(netns);
    try {
      const watch = open({ ...(netns === undefined ? {} : { netns }), onChange: (kinds) => this.#hear(name, kinds) });
      this.#watches.set(name, { network, identity, watch });
    } catch (error) {
      // Its namespace is gone, most likely: the run that follows makes it again, and then the watch is opened.
      this.#options.log.debug('no watch on a network namespace', { network: name, error: asWeirError(error).message });
    }
  }

  #hear(network: string, kinds: ReadonlySet<ChangeKind>): void {
    if (kinds.has('link') || kinds.has('unknown')) {
      this.#ledger.hurry(network);
      this.#scheduleRetry();
    }
    this.noteChange(network);
  }

  #closeWatch(name: string): void {
    const entry = this.#watches.get(name);
    if (!entry) return;
    this.#watches.delete(name);
    this.#closedOverruns += entry.watch.overruns;
    entry.watch.close();
  }

  #watchNames(): void {
    if (!this.#watched.some(({ netns }) => netns !== undefined)) {
      this.#names?.close();
      this.#names = undefined;
      return;
    }
    this.#names ??= NamespaceNamesWatch.open((path) => {
      for (const { name, netns } of this.#watched) if (netns === path) this.noteChange(name);
    });
  }

  #schedule(): void {
    if (this.#closed || this.#timer || this.#running) return;
    this.#timer = setTimeout(
      () => {
        this.#timer = undefined;
        const networks = this.#dirty;
        this.#dirty = new Set();
        void this.#start(networks);
      },
      Math.max(this.#delayMs, Math.ceil((this.#restUntil - this.#clock()) / 1000)),
    );
  }

  async #start(networks: ReadonlySet<string> | undefined): Promise<void> {
    this.#running = this.#run(networks);
    await this.#running;
    this.#running = undefined;
    if (this.#dirty.size > 0) this.#schedule();
    this.#scheduleRetry();
  }

  /** Never rejects. */
  async #run(networks: ReadonlySet<string> | undefined): Promise<void> {
    const startedAt = this.#clock();
    const failed = new Set<string>();
    let repaired = 0;
    for (const repairable of this.#options.repairables) {
      if (this.#closed) return;
      const { repairs, failures } = await this.#ask(repairable, networks);
      for (const repair of repairs) this.#noteRepair(repair);
      for (const failure of failures) {
        failed.add(repairKey(failure));
        this.#noteFailure(failure);
      }
      repaired += repairs.length;
    }
    this.#ledger.settle(networks, failed, startedAt);
    this.#runs += 1;
    const now = this.#clock();
    this.#restUntil = now + Math.min(maxRestMicros, (now - startedAt) * restFactor);
    if (repaired > 0) this.#renewWatches();
  }

  async #ask(repairable: Repairable, networks: ReadonlySet<string> | undefined): Promise<RepairOutcome> {
    const whole = { network: '', object: 'process', subject: repairable.name } as const;
    const isHeld = (key: string): boolean => this.#ledger.isHeld(key);
    if (isHeld(repairKey(whole))) return { repairs: [], failures: [] };
    try {
      return await repairable.repair({ ...(networks ? { networks } : {}), isHeld });
    } catch (error) {
      const message = `cannot look after the ${repairable.name}: ${asWeirError(error).message}`;
      return { repairs: [], failures: [{ ...whole, message }] };
    }
  }

  /** What failed is tried again when its time has come, also when nothing changes. */
  #scheduleRetry(): void {
    clearTimeout(this.#retry);
    const at = this.#ledger.nextRetry();
    if (this.#closed || at === undefined) return;
    const waitMs = Math.max(0, Math.ceil((at - this.#clock()) / 1000));
    this.#retry = setTimeout(() => {
      const due = this.#ledger.due();
      for (const network of due) this.noteChange(network);
      // Timers and clocks need not agree to the microsecond.
      if (due.size === 0) this.#scheduleRetry();
    }, waitMs);
  }

  #noteRepair(repair: Repair): void {
    this.#repairs += 1;
    this.#lastRepair = { at: this.#clock(), message: repair.message };
    this.#options.log.info(repair.message, { event: 'repaired', network: repair.network });
    this.#call(() => this.#options.onRepair(repair));
    this.#tell(this.#ledger.noteRepair(repair));
  }

  #noteFailure(failure: Repair): void {
    this.#failures += 1;
    this.#options.log.warn('a repair failed', { network: failure.network, message: failure.message });
    this.#tell(this.#ledger.noteFailure(failure));
  }

  #tell(trouble: Trouble | undefined): void {
    if (trouble) this.#call(() => this.#options.onTrouble(trouble));
  }

  /** Who is told may fail at what it does then; that is no reason to stop looking. */
  #call(tell: () => void): void {
    try {
      tell();
    } catch (error) {
      this.#options.log.error('what a repair led to failed', { error: asWeirError(error).message });
    }
  }
}
