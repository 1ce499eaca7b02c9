// Records on their way to whoever keeps them: in batches, one under way while the next is made. What waits is bounded by the
// reader, who stops for `drain`.

import type { WeirEvent } from '../../model/event.ts';
import { SpoolBatch } from '../spool-batch.ts';
import type { RecordKind } from './import-tally.ts';
import type { Place } from './importer.ts';

/**
 * Keeps a batch (spool-batch.ts) so that it survives whatever happens, and gives the positions of those records that were
 * kept before, which is no change. The bytes are the caller's again afterwards.
 */
export type Deliver = (batch: Uint8Array) => Promise<readonly number[]>;

const batchRecords = 4000;
const batchBytes = 1 << 20;

interface Entry {
  readonly event: WeirEvent;
  readonly place: Place;
}

export class RecordQueue {
  readonly #deliver: Deliver;
  readonly #known: (place: Place, kind: RecordKind) => void;
  #entries: Entry[] = [];
  /** One is filled while the other is under way. */
  readonly #batches = [new SpoolBatch(), new SpoolBatch()];
  #turn = 0;
  #underWay: Promise<void> = Promise.resolve();

  constructor(deliver: Deliver, known: (place: Place, kind: RecordKind) => void) {
    this.#deliver = deliver;
    this.#known = known;
  }

  add(event: WeirEvent, place: Place): void {
    this.#entries.push({ event, place });
  }

  /** Sends whole batches; resolves when there is room for more. Throws what `deliver` throws. */
  async drain(): Promise<void> {
    while (this.#entries.length >= batchRecords) await this.#send();
  }

  async finish(): Promise<void> {
    while (this.#entries.length > 0) await this.#send();
    await this.#underWay;
  }

  async #send(): Promise<void> {
    const batch = this.#batches[this.#turn];
    this.#turn = 1 - this.#turn;
    batch.clear();
    let taken = 0;
    while (taken < this.#entries.length && taken < batchRecords && batch.sizeBytes < batchBytes) {
      if (!batch.add(this.#entries[taken].event)) break;
      taken += 1;
    }
    const entries = this.#entries.splice(0, taken);
    await this.#underWay;
    this.#underWay = this.#deliver(batch.bytes()).then((known) => {
      for (const position of known)
        this.#known(entries[position].place, entries[position].event.kind === 'probe' ? 'probe' : 'session');
    });
    // Whoever awaits it next is told; meanwhile nobody else should be.
    this.#underWay.catch(() => {});
  }
}
