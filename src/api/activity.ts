// Counts of what arrived, second by second over the last quarter of an hour, for the rate picture. Fixed memory.
// Not a store: what happened earlier, or per port, is asked of the store (top.ts, counts.ts).

import type { Micros } from '../base/clock.ts';
import { RecencyMap } from '../base/recency-map.ts';
import type { WeirEvent } from '../model/event.ts';
import { isFirstRecord, type SessionRecord } from '../model/session.ts';
import type { Store } from '../record/store.ts';

export interface ActivityPoint {
  /** Seconds since 1970, UTC; the start of the interval. */
  readonly at: number;
  readonly sessions: number;
  /** Probe packets. */
  readonly probes: number;
}

/** How far back the picture goes. */
export const activitySpanSeconds = 900;
const seedStepSeconds = 30;
/** Sessions of agents that are known to be counted: an agent and its gateway may both begin one. */
const maxCounted = 16_384;

/** Packets in a probe record. */
export function probePackets(targets: readonly { readonly count: number }[], unlisted: number): number {
  let packets = unlisted;
  for (const target of targets) packets += target.count;
  return packets;
}

/** A ring of one bucket per second. A session counts once, in the second it began. */
export class Activity {
  readonly #seconds = new Float64Array(activitySpanSeconds);
  readonly #sessions = new Uint32Array(activitySpanSeconds);
  readonly #probes = new Uint32Array(activitySpanSeconds);
  readonly #counted = new RecencyMap<string, true>();
  #newest = 0;
  sessionsSeen = 0;
  probesSeen = 0;
  alertsSeen = 0;

  feed(event: WeirEvent): void {
    if (event.kind === 'session') {
      if (!isFirstRecord(event.session) || this.#isCounted(event.session)) return;
      this.sessionsSeen += 1;
      this.#add(event.session.start, 1, 0);
    } else if (event.kind === 'probe') {
      const packets = probePackets(event.probe.targets, event.probe.unlisted);
      this.probesSeen += packets;
      this.#add(event.probe.start, 0, packets);
    } else if (event.kind === 'alert') this.alertsSeen += 1;
  }

  #isCounted({ id, agent }: SessionRecord): boolean {
    if (agent === undefined) return false;
    if (this.#counted.get(id)) return true;
    this.#counted.set(id, true);
    const oldest = this.#counted.oldest;
    if (oldest && this.#counted.size > maxCounted) this.#counted.delete(oldest[0]);
    return false;
  }

  #add(at: Micros, sessions: number, probes: number): void {
    const second = Math.floor(at / 1e6);
    if (second <= this.#newest - activitySpanSeconds) return;
    if (second > this.#newest) this.#newest = second;
    const index = second % activitySpanSeconds;
    if (this.#seconds[index] !== second) {
      // A clock that ran ahead leaves younger buckets behind: those win over late arrivals.
      if (this.#seconds[index] > second) return;
      this.#seconds[index] = second;
      this.#sessions[index] = 0;
      this.#probes[index] = 0;
    }
    this.#sessions[index] += sessions;
    this.#probes[index] += probes;
  }

  /** Fills the time before this process from the store, spread evenly inside each half minute. */
  async seed(store: Store, now: Micros): Promise<void> {
    const end = Math.floor(now / 1e6 / seedStepSeconds) * seedStepSeconds;
    for (let at = end - activitySpanSeconds + seedStepSeconds; at < end; at += seedStepSeconds) {
      const { sessions, probes } = await store.counts({ since: at * 1e6, until: (at + seedStepSeconds) * 1e6, limit: 1 });
      if (sessions === 0 && probes === 0) continue;
      for (let second = 0; second < seedStepSeconds; second += 1) {
        const share = (total: number): number =>
          Math.floor((total * (second + 1)) / seedStepSeconds) - Math.floor((total * second) / seedStepSeconds);
        this.#add((at + second) * 1e6, share(sessions), share(probes));
      }
    }
  }

  /** Intervals of `stepSeconds` that cover the last `spanSeconds` before `now`, oldest first, none left out. */
  series(now: Micros, spanSeconds: number, stepSeconds: number): ActivityPoint[] {
    const last = Math.floor(now / 1e6);
    const first = Math.floor((last - spanSeconds) / stepSeconds) * stepSeconds + stepSeconds;
    const points: ActivityPoint[] = [];
    for (let at = first; at <= last; at += stepSeconds) {
      let sessions = 0;
      let probes = 0;
      for (let second = at; second < at + stepSeconds; second += 1) {
        const index = second % activitySpanSeconds;
        if (this.#seconds[index] !== second) continue;
        sessions += this.#sessions[index];
        probes += this.#probes[index];
      }
      points.push({ at, sessions, probes });
    }
    return points;
  }
}
