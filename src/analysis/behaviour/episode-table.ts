// The behaviours that last, which of them have to be told, and those a former process told, so that a restart goes on with
// the same verdicts. Bounded by the sources that hold them; what is told is flush's.

import type { Micros } from '../../base/clock.ts';
import type { BehaviourThresholds } from '../../model/analysis-settings.ts';
import { derivedIdentifier } from '../../model/identifier.ts';
import type { Behaviour, Verdict } from '../../model/insight.ts';
import { type About, type Describe, Episode } from './episode.ts';
import { Episodes, episodeKey } from './episodes.ts';
import { portKeyOf } from './port-bits.ts';
import type { SourceState } from './source-state.ts';

/** A verdict is told again at most so often. */
const tellEveryMs = 1000;
/** A behaviour that goes on is told as another one each day: a verdict stays where its day is kept. */
const longestMicros = 24 * 3600 * 1e6;
/** A slow scanner may rest so long. */
const slowPauseMicros = 24 * 3600 * 1e6;
/** Verdicts of former processes that can be gone on with. */
const maxKnown = 20_000;
/** Events come so much out of order. */
const latenessMicros = 60 * 1e6;
/** Of one source at once. */
const maxEpisodes = 64;

const nothing: readonly Episode[] = [];

export interface Opening {
  readonly about: About;
  /** Of the first event it rests on, and of the one that made it. */
  readonly start: Micros;
  readonly at: Micros;
  readonly describe: Describe;
}

export class EpisodeTable {
  readonly #pause: Micros;
  readonly #slowLongest: Micros;
  readonly #known = new Map<string, Verdict[]>();
  #knownCount = 0;
  #dirty: Episode[] = [];
  /** Beside each, when it was told: thousands wait for their second, and none is looked at before it passed. */
  #dirtyToldAt: number[] = [];
  /** Of those the one longest ago. */
  #longestAgo = Number.POSITIVE_INFINITY;
  #founded = 0;
  #refused = 0;

  constructor({ pauseMs, slowWindowMs }: BehaviourThresholds) {
    this.#pause = pauseMs * 1000;
    this.#slowLongest = Math.max(slowWindowMs * 1000, longestMicros);
  }

  get founded(): number {
    return this.#founded;
  }

  /** Not told because their source had too many at once. */
  get refused(): number {
    return this.#refused;
  }

  /** Episodes with something to tell. */
  get pending(): number {
    return this.#dirty.length;
  }

  /** Lets go what is over for good: also for an event that comes late. What has to be told of it still is. */
  settle({ episodes, latest }: SourceState): void {
    for (const { behaviour, end } of episodes?.values ?? nothing)
      if (end + this.pauseOf(behaviour) + latenessMicros < latest) {
        episodes?.deleteWhere((one) => one.end + this.pauseOf(one.behaviour) + latenessMicros < latest);
        return;
      }
  }

  /** Verdicts of a former process. Which of them are gone on with is found out when the same happens again. */
  restore(verdicts: readonly Verdict[]): void {
    for (const verdict of verdicts) {
      if (this.#knownCount >= maxKnown) return;
      const key = identity(verdict.behaviour, verdict.source, aboutOf(verdict));
      const list = this.#known.get(key);
      if (list) list.push(verdict);
      else this.#known.set(key, [verdict]);
      this.#knownCount += 1;
    }
  }

  pauseOf(behaviour: Behaviour): Micros {
    return behaviour === 'slow-scan' ? Math.max(this.#pause, slowPauseMicros) : this.#pause;
  }

  #longestOf(behaviour: Behaviour): Micros {
    return behaviour === 'slow-scan' ? this.#slowLongest : longestMicros;
  }

  /** Whether an event at `at` belongs to it. */
  lasts({ behaviour, start, end }: Episode, at: Micros): boolean {
    const pause = this.pauseOf(behaviour);
    return at <= end + pause && at >= start - pause && at - start < this.#longestOf(behaviour);
  }

  /** The episode an event at `at` belongs to. One that is over is let go. */
  active(episodes: Episodes | undefined, key: number, at: Micros): Episode | undefined {
    const episode = episodes?.get(key);
    if (!episode || this.lasts(episode, at)) return episode;
    episodes?.delete(key);
    return undefined;
  }

  /** A new one, or one a former process told. */
  #found(behaviour: Behaviour, source: string, { about, start, at, describe }: Opening): Episode {
    const episode = new Episode(behaviour, source, about, start, describe);
    const known = this.#adopt(episode, start, at);
    if (known) {
      episode.id = known.id;
      episode.start = Math.min(known.start, start);
      episode.end = known.end;
      episode.hits = known.hits;
      episode.countedUntil = known.end;
      episode.floor = known;
      episode.severity = known.severity;
      episode.tool = known.tool;
      episode.learn(known.techniques, known.cves);
      for (const record of known.records) episode.rest(record);
    } else {
      episode.id = verdictId(behaviour, source, about.key, start);
      this.#founded += 1;
    }
    return episode;
  }

  /** A new one in its source's hands; undefined when that has too many already. */
  open(state: SourceState, behaviour: Behaviour, target: number, opening: Opening): Episode | undefined {
    state.episodes ??= new Episodes();
    const { episodes } = state;
    if (episodes.size >= maxEpisodes) {
      episodes.deleteWhere((one) => !this.lasts(one, opening.at));
      if (episodes.size >= maxEpisodes) {
        this.#refused += 1;
        return undefined;
      }
    }
    const episode = this.#found(behaviour, state.ip, opening);
    episode.tool ??= state.tool;
    episodes.set(episodeKey(behaviour, target), episode);
    return episode;
  }

  #adopt({ behaviour, source, about }: Episode, start: Micros, at: Micros): Verdict | undefined {
    if (this.#knownCount === 0) return undefined;
    const pause = this.pauseOf(behaviour);
    const longest = this.#longestOf(behaviour);
    const list = this.#known.get(identity(behaviour, source, about.key));
    return list?.find((verdict) => at >= verdict.start - pause && start <= verdict.end + pause && at - verdict.start < longest);
  }

  /** Until when its verdicts of former processes last that began too long before `at` to be gone on with. */
  toldUntil(behaviour: Behaviour, source: string, about: About, at: Micros): Micros {
    let until = Number.NEGATIVE_INFINITY;
    if (this.#knownCount === 0) return until;
    for (const { start, end } of this.#known.get(identity(behaviour, source, about.key)) ?? [])
      if (at - start >= this.#longestOf(behaviour) && end > until) until = end;
    return until;
  }

  mark(episode: Episode): void {
    if (episode.dirty) return;
    episode.dirty = true;
    this.#dirty.push(episode);
    this.#dirtyToldAt.push(episode.toldAt);
    if (episode.toldAt < this.#longestAgo) this.#longestAgo = episode.toldAt;
  }

  /** It goes on as something else: said of what was told before, and what was not is told as that alone. */
  end(episode: Episode, remark: string): void {
    if (episode.toldAt === Number.NEGATIVE_INFINITY && !episode.floor) episode.dirty = false;
    else {
      episode.remarks.push(remark);
      this.mark(episode);
    }
  }

  /** What is new or grew; at `nowMs` of any steady clock, each at most once a second unless `all`. */
  flush(nowMs: number, all: boolean): Verdict[] {
    const told: Verdict[] = [];
    if (!all && nowMs - this.#longestAgo < tellEveryMs) return told;
    const dirty = this.#dirty;
    const dirtyToldAt = this.#dirtyToldAt;
    this.#dirty = [];
    this.#dirtyToldAt = [];
    this.#longestAgo = Number.POSITIVE_INFINITY;
    for (let index = 0; index < dirty.length; index += 1) {
      const toldAt = dirtyToldAt[index];
      if (!all && nowMs - toldAt < tellEveryMs) {
        this.#dirty.push(dirty[index]);
        this.#dirtyToldAt.push(toldAt);
        if (toldAt < this.#longestAgo) this.#longestAgo = toldAt;
        continue;
      }
      const episode = dirty[index];
      if (!episode.dirty) continue;
      episode.dirty = false;
      if (!episode.grew()) continue;
      episode.toldAt = nowMs;
      told.push(episode.verdict());
    }
    return told;
  }
}

const identity = (behaviour: Behaviour, source: string, about: string): string => `${behaviour} ${source} ${about}`;

/** The same behaviour of the same source towards the same target from the same time on has the same identifier. */
const verdictId = (behaviour: Behaviour, source: string, about: string, start: Micros): string =>
  derivedIdentifier(start, `verdict ${identity(behaviour, source, about)}`);

/** The words of `About.key`, from a verdict that was stored. */
function aboutOf({ behaviour, destination, port, transport }: Verdict): string {
  const portWord = port === undefined || transport === undefined ? '' : aboutPort(portKeyOf(port, transport));
  switch (behaviour) {
    case 'port-scan':
      return destination ?? '';
    case 'sweep':
    case 'brute-force':
    case 'two-phase-scan':
      return portWord;
    case 'repeated-access':
    case 'silent-opener':
    case 'flood':
      return `${destination ?? ''} ${portWord}`;
    default:
      return '';
  }
}

export const aboutPort = (portKey: number): string => String(portKey);
/** Of one port of one decoy. */
export const aboutTarget = (destination: string, portKey: number): string => `${destination} ${aboutPort(portKey)}`;
