// Finds who comes to the same port of the same decoy over and over: with something to say, saying nothing, or in such numbers
// that it is a flood. Sessions that guess, exploit or crawl are explained by that and do not come here.

import type { Micros } from '../../base/clock.ts';
import type { BehaviourThresholds } from '../../model/analysis-settings.ts';
import type { Behaviour } from '../../model/insight.ts';
import type { Describe, Episode } from './episode.ts';
import { aboutTarget, type EpisodeTable } from './episode-table.ts';
import { episodeKey } from './episodes.ts';
import { NumberMap } from './number-map.ts';
import { mix32 } from './number-set.ts';
import { portText } from './port-bits.ts';
import { SlidingCount } from './sliding-count.ts';
import type { SourceState } from './source-state.ts';
import { spanText, thresholdText } from './span-text.ts';
import { type Touch, targetNumber } from './touch.ts';

/** Targets of one source watched at once; the one begun first goes. */
const maxVisits = 16;
const maxRecords = 8;

export interface Visit {
  readonly spoke: SlidingCount;
  readonly silent: SlidingCount;
  readonly packets: SlidingCount;
  /** The newest. */
  readonly records: string[];
}

type Kind = 'spoke' | 'silent' | 'packets';

/** As TouchList keeps them. */
const kindNumbers = { spoke: 1, silent: 2, datagrams: 3, packets: 4, done: 5 } as const;

const behaviours: Readonly<Record<Kind, Behaviour>> = {
  spoke: 'repeated-access',
  silent: 'silent-opener',
  packets: 'flood',
};

export class VisitDetector {
  readonly #thresholds: BehaviourThresholds;
  readonly #table: EpisodeTable;
  readonly #describe: Readonly<Record<Kind, Describe>>;

  constructor(thresholds: BehaviourThresholds, table: EpisodeTable) {
    this.#thresholds = thresholds;
    this.#table = table;
    const { repeatedSessions, silentSessions, floodPackets } = thresholds;
    const repeat = thresholdText(thresholds.repeatWindowMs);
    const flood = thresholdText(thresholds.floodWindowMs);
    this.#describe = {
      spoke: (visit) => [
        `${visit.hits} sessions with ${where(visit)} in ${span(visit)}, each with something to say (threshold: ${repeatedSessions} in ${repeat}).`,
      ],
      silent: (visit) => [
        `${visit.hits} connections to ${where(visit)} in ${span(visit)} without a word (threshold: ${silentSessions} in ${repeat}).`,
      ],
      packets: (visit) => [
        `${visit.hits} packets or silent sessions to ${where(visit)} in ${span(visit)} (threshold: ${floodPackets} in ${flood}).`,
      ],
    };
  }

  /** A session that ended. A touch that is part of a scan is no visit. */
  session(state: SourceState, touch: Touch, kind: 'spoke' | 'silent' | 'datagrams'): void {
    if (this.#isFirst(state, touch, kindNumbers[kind], 1)) return;
    this.#count(state, touch, touch.at, kind === 'silent' ? 'silent' : 'spoke', 1);
    if (kind !== 'spoke') this.#count(state, touch, touch.at, 'packets', 1);
  }

  /** What was counted as visits of the touch's target until its sessions were known to guess. */
  forget({ visits }: SourceState, touch: Touch): void {
    visits?.delete(targetNumber(touch));
  }

  /** Packets that made no session. */
  packets(state: SourceState, touch: Touch, count: number): void {
    if (!this.#isFirst(state, touch, kindNumbers.packets, count)) this.#count(state, touch, touch.at, 'packets', count);
  }

  /** Most visits are the only one: it is noted with the touch alone, and counted when there is a second. */
  #isFirst(state: SourceState, touch: Touch, kind: number, count: number): boolean {
    const { touches } = state;
    const { index } = touch;
    if (index < 0) return true;
    const before = touches.firstKind(index);
    if (before === kindNumbers.done) return false;
    if (before === 0 && count === 1) {
      touches.setFirst(index, kind, touch.at);
      return true;
    }
    const at = touches.firstVisit(index);
    touches.setFirst(index, kindNumbers.done, at);
    if (before === kindNumbers.spoke || before === kindNumbers.datagrams) this.#count(state, touch, at, 'spoke', 1);
    if (before === kindNumbers.silent) this.#count(state, touch, at, 'silent', 1);
    if (before > kindNumbers.spoke) this.#count(state, touch, at, 'packets', 1);
    return false;
  }

  #count(state: SourceState, touch: Touch, at: Micros, kind: Kind, count: number): void {
    const behaviour = behaviours[kind];
    const target = mix32(touch.host ^ mix32(touch.port));
    let episode = this.#table.active(state.episodes, episodeKey(behaviour, target), at);
    if (!episode) {
      const visit = visitOf(state, targetNumber(touch));
      if (visit.records[visit.records.length - 1] !== touch.record) visit.records.push(touch.record);
      if (visit.records.length > maxRecords) visit.records.shift();
      const total = visit[kind].add(at, count, this.#windowOf(kind));
      if (total < this.#thresholdOf(kind)) return;
      episode = this.#table.open(state, behaviour, target, {
        about: { key: aboutTarget(touch.hostName, touch.port), destination: touch.hostName, port: touch.port },
        start: Math.min(visit[kind].first, at),
        at,
        describe: this.#describe[kind],
      });
      if (!episode) return;
      // Those before this one; it is counted below like all that follow.
      episode.count(visit[kind].first, total - count);
      for (const record of visit.records) episode.rest(record);
      episode.severity = kind === 'packets' ? 'medium' : 'info';
      if (kind === 'packets') episode.learn(['T1498', 'T1499']);
    }
    episode.count(at, count);
    episode.target(touch.host, touch.hostName, touch.port);
    episode.flags |= touch.flags;
    episode.diversion = touch.diversion;
    if (state.tool !== undefined) episode.tool = state.tool;
    this.#table.mark(episode);
  }

  #windowOf(kind: Kind): Micros {
    return (kind === 'packets' ? this.#thresholds.floodWindowMs : this.#thresholds.repeatWindowMs) * 1000;
  }

  #thresholdOf(kind: Kind): number {
    const { repeatedSessions, silentSessions, floodPackets } = this.#thresholds;
    return kind === 'spoke' ? repeatedSessions : kind === 'silent' ? silentSessions : floodPackets;
  }
}

function visitOf(state: SourceState, target: number): Visit {
  state.visits ??= new NumberMap();
  const { visits } = state;
  let visit = visits.get(target);
  if (visit) return visit;
  visits.makeRoom(maxVisits);
  visit = { spoke: new SlidingCount(), silent: new SlidingCount(), packets: new SlidingCount(), records: [] };
  visits.set(target, visit);
  return visit;
}

const where = ({ about }: Episode): string =>
  `port ${about.port === undefined ? '?' : portText(about.port)} of ${about.destination}`;
const span = ({ start, end }: Episode): string => spanText(end - start);
