// Imported records on their way into the journal: what is there already is told and not written again, the rest is durable
// before it is acknowledged. Goes no faster than the store takes it. One import or several: each batch by itself.

import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { Clock } from '../base/clock.ts';
import { WeirError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { WeirEvent } from '../model/event.ts';
import { identifierTime } from '../model/identifier.ts';
import { importDiversion, importedTag } from './importers/imported-event.ts';
import { JournalWriter } from './journal-writer.ts';
import { decodeSpoolBatch } from './spool-batch.ts';
import type { Store } from './store.ts';

/** The journal's writer under which imports are kept: `journal/import/`. */
export const importWriter = 'import';

export interface ImportIntakeOptions {
  readonly dataDirectory: string;
  readonly store: Pick<Store, 'known' | 'checkpoint'>;
  readonly clock: Clock;
  readonly log: Log;
  /** How long a batch waits for a store that takes nothing; default 2 min: the first batch also waits for analysis to load. */
  readonly patienceMs?: number;
}

export interface ImportIntakeCounters {
  batches: number;
  records: number;
  /** Handed in before. */
  known: number;
}

/** Records that may be in the journal and not yet in the store. */
const mostUnderWay = 50_000;
const lookAgainMs = 10;
/** Between two looks, at most so much counts as waiting. */
const mostLookMs = 1000;

interface Position {
  readonly segment: number;
  readonly offset: number;
}

interface UnderWay extends Position {
  readonly ids: readonly string[];
}

export class ImportIntake {
  readonly counters: ImportIntakeCounters = { batches: 0, records: 0, known: 0 };
  readonly #options: ImportIntakeOptions;
  #journal: JournalWriter | undefined;
  #underWay: UnderWay[] = [];
  readonly #ids = new Set<string>();
  #turn: Promise<unknown> = Promise.resolve();

  constructor(options: ImportIntakeOptions) {
    this.#options = options;
  }

  /**
   * Takes a batch (spool-batch.ts) of imported records; gives the positions of those that are there already. Resolves when the
   * others are durable. Throws `bad-request` for what is no such batch, `disk-full`, and `store-unavailable` when the store does
   * not keep up; nothing is lost then, and the same batch again is no harm.
   */
  take(batch: Uint8Array): Promise<readonly number[]> {
    const turn = this.#turn.then(() => this.#take(batch));
    this.#turn = turn.catch(() => {});
    return turn;
  }

  /** Resolves when everything taken is in the store. Throws `store-unavailable` when it is not in time. */
  settled(): Promise<void> {
    const turn = this.#turn.then(() => this.#wait(0));
    this.#turn = turn.catch(() => {});
    return turn;
  }

  async close(): Promise<void> {
    await this.#turn;
    await this.#journal?.close();
    this.#journal = undefined;
  }

  async #take(batch: Uint8Array): Promise<readonly number[]> {
    const records = decodeSpoolBatch(batch);
    if (!records?.every(({ event }) => isImported(event)))
      throw new WeirError('bad-request', 'these bytes are not a batch of imported records');
    const journal = await this.#open();
    await this.#wait(mostUnderWay);
    const ids = records.map(({ event }) => idOf(event));
    const stored = ids.length === 0 ? new Set<string>() : await this.#options.store.known(ids);
    const known: number[] = [];
    const fresh = new Set<string>();
    for (const [position, { event }] of records.entries()) {
      const id = ids[position];
      if (stored.has(id) || this.#ids.has(id) || fresh.has(id)) {
        known.push(position);
        continue;
      }
      if (!journal.append(event)) throw diskFull();
      fresh.add(id);
    }
    if (!(await journal.flush())) throw diskFull();
    for (const id of fresh) this.#ids.add(id);
    const { segment, offset } = journal.counters();
    if (fresh.size > 0) this.#underWay.push({ ids: [...fresh], segment, offset });
    this.counters.batches += 1;
    this.counters.records += fresh.size;
    this.counters.known += known.length;
    return known;
  }

  async #open(): Promise<JournalWriter> {
    if (this.#journal) return this.#journal;
    const { dataDirectory, clock, log } = this.#options;
    this.#journal = new JournalWriter({ directory: join(dataDirectory, 'journal', importWriter), clock, log });
    // What an earlier run left behind may not be in the store yet: nobody here knows which records those are.
    if (!(await this.#journal.flush())) throw diskFull();
    const { segment, offset } = this.#journal.counters();
    this.#underWay.push({ ids: [], segment, offset });
    await this.#wait(0);
    return this.#journal;
  }

  /** Until no more than `most` records are under way. */
  async #wait(most: number): Promise<void> {
    const { patienceMs = 120_000 } = this.#options;
    let waitedMs = 0;
    let lookedMs = performance.now();
    for (;;) {
      const at = (await this.#options.store.checkpoint())[importWriter];
      let applied = 0;
      for (const { segment, offset, ids } of this.#underWay) {
        if (!at || at.segment < segment || (at.segment === segment && at.offset < offset)) break;
        for (const id of ids) this.#ids.delete(id);
        applied += 1;
      }
      this.#underWay.splice(0, applied);
      if (most === 0 ? this.#underWay.length === 0 : this.#ids.size <= most) return;
      const nowMs = performance.now();
      // A process that was stopped for a while did not wait.
      waitedMs = applied > 0 ? 0 : waitedMs + Math.min(nowMs - lookedMs, mostLookMs);
      lookedMs = nowMs;
      if (waitedMs > patienceMs)
        throw new WeirError('store-unavailable', 'the store does not keep up with the import: what was taken is in the journal', {
          next: 'look at `weir status`, then import the same files again: what is there already is not taken twice',
        });
      await pause(lookAgainMs);
    }
  }
}

const diskFull = (): WeirError =>
  new WeirError('disk-full', 'the journal cannot be written: the import stops here', {
    next: 'make room, then import the same files again: what was taken stays, and nothing is taken twice',
  });

const idOf = (event: WeirEvent): string =>
  event.kind === 'session' ? event.session.id : event.kind === 'probe' ? event.probe.id : '';

/** Only what the importers make; whoever else may write into this socket does not put other records into the store by it. */
function isImported(event: WeirEvent): boolean {
  if (event.kind === 'session') {
    const { id, start, diversion, tags, sequence, outcome } = event.session;
    return (
      identifierTime(id) === start &&
      diversion === importDiversion &&
      tags?.includes(importedTag) === true &&
      sequence === 0 &&
      outcome !== 'open'
    );
  }
  return (
    event.kind === 'probe' && event.probe.diversion === importDiversion && identifierTime(event.probe.id) === event.probe.start
  );
}
