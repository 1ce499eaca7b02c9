// The SYNs a source sent without a stack of its own: what a second phase refers to. Bounded for each source, the newest stay.
// The marks are those of the Spoki telescope (Hiesgen et al., USENIX Security 2022), which found most SYNs of today to bear one.

import type { Micros } from '../../base/clock.ts';
import { parseIpv4Number } from '../../model/address.ts';
import type { ProbeRecord } from '../../model/event.ts';
import type { SynDetails } from '../../model/session.ts';
import { RecentTargets } from './recent-targets.ts';

const mostTargets = 4096;
const mostRecords = 512;
/** No initial TTL of a client's system is above 128 but 255, and few paths have 55 hops. */
const highTtl = 200;
/** What ZMap writes into every packet. */
const zmapIpId = 54_321;

/** Bits of `irregularities`; a TTL that is too high stands above them. */
const noOptions = 1;
const zmap = 2;
const mirai = 4;
const ttlShift = 3;

/** What is irregular about a SYN, as one number: 0 for one of an ordinary stack. */
export function irregularities({ options, ttl, ipId, system, sequence }: SynDetails, destination: string | undefined): number {
  let marks = ttl > highTtl ? ttl << ttlShift : 0;
  if (options === '') marks |= noOptions;
  if (ipId === zmapIpId) marks |= zmap;
  if (system === 'Mirai' || (destination !== undefined && sequence === parseIpv4Number(destination))) marks |= mirai;
  return marks;
}

/** The same in words. */
export function irregularityWords(marks: number): string[] {
  const found: string[] = [];
  if ((marks & noOptions) !== 0) found.push('no TCP options');
  if (marks >>> ttlShift !== 0) found.push(`TTL ${marks >>> ttlShift}`);
  if ((marks & zmap) !== 0) found.push('IP id 54321 as ZMap writes it');
  if ((marks & mirai) !== 0) found.push('the destination as sequence number as Mirai writes it');
  return found;
}

export interface FirstPhase {
  readonly record: string;
  readonly at: Micros;
  /** Of the record's SYN, as `irregularities` says. */
  readonly marks: number;
}

export class FirstPhases {
  /** A record's place in each is its number modulo `mostRecords`. */
  readonly #records: string[] = [];
  readonly #times: Micros[] = [];
  readonly #marks: number[] = [];
  #next = 0;
  /** The number of the latest record of each. */
  readonly #targets = new RecentTargets(mostTargets, mostRecords);

  get byteLength(): number {
    return 300 + this.#targets.byteLength + this.#records.length * 70;
  }

  begin({ id, start }: ProbeRecord, marks: number): void {
    const place = this.#next % mostRecords;
    this.#records[place] = id;
    this.#times[place] = start;
    this.#marks[place] = marks;
    this.#next += 1;
  }

  /** A target of the record that was begun last, as targetNumber. */
  add(target: number): void {
    this.#targets.set(target, this.#next - 1);
  }

  /** The latest, when it was before `at` and not longer before than `window`. */
  find(target: number, at: Micros, window: Micros): FirstPhase | undefined {
    const number = this.#targets.get(target);
    if (number < 0 || this.#next - number > mostRecords) return undefined;
    const place = number % mostRecords;
    const began = this.#times[place];
    if (began > at || at - began > window) return undefined;
    return { record: this.#records[place], at: began, marks: this.#marks[place] };
  }
}
