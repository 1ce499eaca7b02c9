// The SYNs a source sent without a stack of its own: what a second phase refers to. Bounded for each source, the newest stay.
// The marks are those of the Spoki telescope (Hiesgen et al., USENIX Security 2022), which found most SYNs of today to bear one.

import type { Micros } from '../../base/clock.ts';
import { parseIpv4Number } from '../../model/address.ts';
import type { ProbeRecord } from '../../model/event.ts';
import type { SynDetails } from '../../model/session.ts';
import { makeRoom } from './source-state.ts';

const mostTargets = 4096;
const mostRecords = 512;
/** No initial TTL of a client's system is above 128 but 255, and few paths have 55 hops. */
const highTtl = 200;
/** What ZMap writes into every packet. */
const zmapIpId = 54_321;

/** What is irregular about a SYN, in words; empty for one of an ordinary stack. */
export function irregularities(syn: SynDetails, destination: string | undefined): string[] {
  const found: string[] = [];
  if (syn.options === '') found.push('no TCP options');
  if (syn.ttl > highTtl) found.push(`TTL ${syn.ttl}`);
  if (syn.ipId === zmapIpId) found.push('IP id 54321 as ZMap writes it');
  const target = destination === undefined ? -1 : parseIpv4Number(destination);
  if (syn.system === 'Mirai' || (target >= 0 && syn.sequence === target))
    found.push('the destination as sequence number as Mirai writes it');
  return found;
}

/** The same asked of every SYN: whether there is anything irregular. */
export const isIrregular = (syn: SynDetails, destination: string | undefined): boolean =>
  syn.options === '' ||
  syn.ttl > highTtl ||
  syn.ipId === zmapIpId ||
  syn.system === 'Mirai' ||
  (destination !== undefined && syn.sequence === parseIpv4Number(destination));

export interface FirstPhase {
  readonly record: string;
  readonly at: Micros;
  readonly syn: SynDetails;
  /** The first of the record, of which the SYN is. */
  readonly destination: string | undefined;
}

export class FirstPhases {
  /** A record's place is its number modulo `mostRecords`. */
  readonly #phases: FirstPhase[] = [];
  #nextPhase = 0;
  /** The number of the latest record of each target, the target longest ago first. */
  readonly #targets = new Map<number, number>();

  get byteLength(): number {
    return 300 + this.#targets.size * 60 + this.#phases.length * 100;
  }

  begin({ id, start, targets }: ProbeRecord, syn: SynDetails): void {
    this.#phases[this.#nextPhase % mostRecords] = { record: id, at: start, syn, destination: targets[0]?.ip };
    this.#nextPhase += 1;
  }

  /** A target of the record that was begun last, as targetNumber. */
  add(target: number): void {
    this.#targets.delete(target);
    makeRoom(this.#targets, mostTargets);
    this.#targets.set(target, this.#nextPhase - 1);
  }

  /** The latest, when it was before `at` and not longer before than `window`. */
  find(target: number, at: Micros, window: Micros): FirstPhase | undefined {
    const number = this.#targets.get(target);
    if (number === undefined || this.#nextPhase - number > mostRecords) return undefined;
    const phase = this.#phases[number % mostRecords];
    return phase.at <= at && at - phase.at <= window ? phase : undefined;
  }
}
