// Finds who walks over paths of a web server to see what is there, as nikto, dirb and the like do: by how many different ones
// were asked for that are not. A browser's pages are there.

import type { Micros } from '../../base/clock.ts';
import type { BehaviourThresholds } from '../../model/analysis-settings.ts';
import type { AnsweredPaths } from './answered-paths.ts';
import type { Episode } from './episode.ts';
import type { EpisodeTable } from './episode-table.ts';
import { episodeKey } from './episodes.ts';
import { NumberMap } from './number-map.ts';
import { NumberSet } from './number-set.ts';
import type { SourceState } from './source-state.ts';
import { spanText, thresholdText } from './span-text.ts';
import { type Touch, targetNumber, textNumber } from './touch.ts';

const maxWalks = 8;
const maxShown = 10;
const crawlerKey = episodeKey('crawler', 0);

export class Walk {
  /** Different paths that are not there, with the time each was last asked for. */
  readonly recent = new Map<number, Micros>();
  readonly records: string[] = [];
  sessions = 0;
  first: Micros = Number.POSITIVE_INFINITY;
  readonly shown: string[] = [];

  get byteLength(): number {
    return 500 + this.recent.size * 60 + this.shown.length * 100;
  }
}

export class WalkDetector {
  readonly #thresholds: BehaviourThresholds;
  readonly #table: EpisodeTable;
  readonly #window: Micros;

  constructor(thresholds: BehaviourThresholds, table: EpisodeTable) {
    this.#thresholds = thresholds;
    this.#table = table;
    this.#window = thresholds.crawlWindowMs * 1000;
  }

  /** True when the session was part of a crawl. */
  session(state: SourceState, touch: Touch, requests: AnsweredPaths): boolean {
    const active = this.#table.active(state.episodes, crawlerKey, touch.at);
    if (active) {
      active.paths ??= new NumberSet();
      for (const path of requests.paths) active.paths.add(textNumber(path));
      this.#extend(active, state, touch);
      return true;
    }
    return this.#watch(state, touch, requests);
  }

  #watch(state: SourceState, touch: Touch, { paths, statuses }: AnsweredPaths): boolean {
    let walk: Walk | undefined;
    for (const [index, path] of paths.entries()) {
      const status = statuses[index];
      if (status !== undefined && status < 400) continue;
      walk ??= walkOf(state, targetNumber(touch));
      const number = textNumber(path);
      if (!walk.recent.delete(number) && walk.shown.length < maxShown) walk.shown.push(path);
      walk.recent.set(number, touch.at);
    }
    if (!walk) return false;
    walk.sessions += 1;
    walk.first = Math.min(walk.first, touch.at);
    walk.records.push(touch.record);
    if (walk.records.length > 8) walk.records.shift();
    if (!this.#enough(walk, touch.at)) return false;
    const done = walk;
    const episode = this.#table.open(state, 'crawler', 0, {
      about: { key: '' },
      start: Math.min(...walk.recent.values(), touch.at),
      at: touch.at,
      describe: (one) => this.#describe(one, done.shown),
    });
    // Without room for it too: what was gathered would grow without end.
    state.walks?.delete(targetNumber(touch));
    if (!episode) return false;
    episode.paths = new NumberSet();
    for (const path of walk.recent.keys()) episode.paths.add(path);
    episode.count(episode.start, walk.sessions - 1);
    for (const record of walk.records) episode.rest(record);
    episode.severity = 'low';
    episode.learn(['T1595.003']);
    this.#extend(episode, state, touch);
    return true;
  }

  /** Older ones are let go when there would be enough, so there are never more. */
  #enough(walk: Walk, at: Micros): boolean {
    const wanted = this.#thresholds.crawledPaths;
    if (walk.recent.size < wanted) return false;
    for (const [path, asked] of walk.recent) if (asked < at - this.#window || asked > at + this.#window) walk.recent.delete(path);
    if (walk.recent.size >= wanted) return true;
    walk.sessions = 0;
    walk.shown.length = 0;
    return false;
  }

  #extend(episode: Episode, state: SourceState, touch: Touch): void {
    episode.count(touch.at, 1);
    episode.target(touch.host, touch.hostName, touch.port);
    episode.flags |= touch.flags;
    episode.rest(touch.record);
    episode.diversion = touch.diversion;
    if (state.tool !== undefined) episode.tool = state.tool;
    this.#table.mark(episode);
  }

  #describe(episode: Episode, shown: readonly string[]): string[] {
    const { crawledPaths, crawlWindowMs } = this.#thresholds;
    return [
      `${episode.paths?.size ?? 0} different paths of ${episode.hostText} in ${spanText(episode.end - episode.start)}, by ${episode.hits} sessions (threshold: ${crawledPaths} that are not there in ${thresholdText(crawlWindowMs)}).`,
      `First asked for, and not there: ${shown.join(' ')}`,
    ];
  }
}

function walkOf(state: SourceState, target: number): Walk {
  state.walks ??= new NumberMap();
  const { walks } = state;
  let walk = walks.get(target);
  if (walk) return walk;
  walks.makeRoom(maxWalks);
  walk = new Walk();
  walks.set(target, walk);
  return walk;
}
