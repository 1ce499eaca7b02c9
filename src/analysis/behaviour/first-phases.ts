// The SYNs a source sent without a stack of its own: what a second phase refers to. Bounded for each source, the newest stay.
// The marks are those of the Spoki telescope (Hiesgen et al., USENIX Security 2022), which found most SYNs of today to bear one.

import type { Micros } from '../../base/clock.ts';
import { parseIpv4Number } from '../../model/address.ts';
import type { ProbeRecord } from '../../model/event.ts';
import type { SynDetails } from '../../model/session.ts';

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

/** Numbers of a target: host, port, number of the record of it, counted on. */
const width = 3;

export class FirstPhases {
  /** A record's place is its number modulo `mostRecords`. */
  readonly #phases: FirstPhase[] = [];
  #nextPhase = 0;
  readonly #targets: number[] = [];
  #next = 0;

  get byteLength(): number {
    return 200 + this.#targets.length * 12 + this.#phases.length * 100;
  }

  begin({ id, start, targets }: ProbeRecord, syn: SynDetails): void {
    this.#phases[this.#nextPhase % mostRecords] = { record: id, at: start, syn, destination: targets[0]?.ip };
    this.#nextPhase += 1;
  }

  /** A target of the record that was begun last. */
  add(host: number, port: number): void {
    const targets = this.#targets;
    if (targets.length < mostTargets * width) {
      targets.push(host, port, this.#nextPhase - 1);
      return;
    }
    targets[this.#next] = host;
    targets[this.#next + 1] = port;
    targets[this.#next + 2] = this.#nextPhase - 1;
    this.#next = (this.#next + width) % (mostTargets * width);
  }

  /** The latest before `at`, and not longer before than `window`. */
  find(host: number, port: number, at: Micros, window: Micros): FirstPhase | undefined {
    const targets = this.#targets;
    let best: FirstPhase | undefined;
    for (let index = 0; index < targets.length; index += width) {
      if (targets[index] !== host || targets[index + 1] !== port) continue;
      const number = targets[index + 2];
      if (this.#nextPhase - number > mostRecords) continue;
      const phase = this.#phases[number % mostRecords];
      if (phase.at <= at && at - phase.at <= window && (!best || phase.at > best.at)) best = phase;
    }
    return best;
  }
}
