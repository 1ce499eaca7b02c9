// Everything remembered of one source, and the table of all of them: bounded in number and bytes. When it is full, sources
// that touched hardly anything go first, so that a flood of forged ones does not push the patient ones out.

import type { Micros } from '../../base/clock.ts';
import { type Linked, RecencyList } from '../../base/recency-list.ts';
import { parseIpv4Number } from '../../model/address.ts';
import type { Episode } from './episode.ts';
import type { Episodes } from './episodes.ts';
import type { FirstPhases } from './first-phases.ts';
import type { Guess } from './guess-detector.ts';
import type { NumberMap } from './number-map.ts';
import { mix32 } from './number-set.ts';
import { TouchList } from './touch-list.ts';
import type { Visit } from './visit-detector.ts';
import type { Walk } from './walk-detector.ts';

/** Sources with more touches than this are kept before others. */
const manyTouches = 3;
const baseBytes = 400;
/** Places of a table of one size for ever; a power of two. */
const shortcuts = 16_384;

export class SourceState implements Linked {
  // What every event needs comes first: it lies together in memory.
  /** The address as signed 32 bits, where it has a place among the shortcuts. */
  address = 0;
  touchCount = 0;
  readonly touches: TouchList;
  /** The scan its latest touches were part of. */
  scan: Episode | undefined;
  /** Touches up to here are in a slow scan, and in no other one after it. */
  slowUntil: Micros = Number.NEGATIVE_INFINITY;
  /** Made when first needed, as those below. */
  episodes: Episodes | undefined;
  /** Of its newest event. */
  latest: Micros = Number.NEGATIVE_INFINITY;
  /** As a SYN or a payload showed. */
  tool: string | undefined;
  /** Which of the two lists holds it, and since which touch of any source it is where it is there. */
  kept = false;
  placedAt = 0;
  firstPhases: FirstPhases | undefined;
  before: Linked | undefined = undefined;
  after: Linked | undefined = undefined;
  listed = false;
  visits: NumberMap<Visit> | undefined;
  guesses: NumberMap<Guess> | undefined;
  walks: NumberMap<Walk> | undefined;
  readonly key: string;
  readonly ip: string;
  /** Its place among the shortcuts; -1 where it has none. */
  shortcut = -1;
  bytes = 0;

  constructor(key: string, ip: string, touches: TouchList) {
    this.key = key;
    this.ip = ip;
    this.touches = touches;
  }

  measure(): number {
    let bytes = baseBytes + this.touches.byteLength + (this.firstPhases?.byteLength ?? 0);
    if (this.episodes) for (const episode of this.episodes.values) bytes += episode.byteLength;
    if (this.visits) bytes += this.visits.size * 250;
    if (this.guesses) for (const guess of this.guesses.values) bytes += guess.byteLength;
    if (this.walks) for (const walk of this.walks.values) bytes += walk.byteLength;
    return bytes;
  }
}

export class SourceTable {
  readonly #most: number;
  readonly #mostBytes: number;
  readonly #mostTouches: number;
  readonly #sources = new Map<string, SourceState>();
  /** By IPv4 address, the latest at each place: most are found without a look at any text. */
  readonly #shortcuts: (SourceState | undefined)[] = new Array(shortcuts).fill(undefined);
  /** By when they were last touched. */
  readonly #slight = new RecencyList<SourceState>();
  readonly #weighty = new RecencyList<SourceState>();
  #bytes = 0;
  #evicted = 0;
  #touches = 0;

  /** `mostTouches` different targets are remembered of each. */
  constructor(most: number, mostBytes: number, mostTouches: number) {
    this.#most = most;
    this.#mostBytes = mostBytes;
    this.#mostTouches = mostTouches;
  }

  get size(): number {
    return this.#sources.size;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Sources forgotten to make room. */
  get evicted(): number {
    return this.#evicted;
  }

  /** The source whose key is its address. */
  of(ip: string): SourceState {
    const address = parseIpv4Number(ip);
    if (address < 0) return this.get(ip, ip);
    const place = mix32(address) & (shortcuts - 1);
    const near = this.#shortcuts[place];
    if (near !== undefined && near.address === (address | 0)) return near;
    const state = this.get(ip, ip);
    state.shortcut = place;
    state.address = address | 0;
    this.#shortcuts[place] = state;
    return state;
  }

  get(key: string, ip: string): SourceState {
    let state = this.#sources.get(key);
    if (!state) {
      state = new SourceState(key, ip, new TouchList(this.#mostTouches));
      this.#sources.set(key, state);
      this.#weigh(state);
    }
    return state;
  }

  /** After every event of it. */
  touched(state: SourceState): void {
    const count = ++state.touchCount;
    this.#touches += 1;
    if (!state.kept && count > manyTouches) {
      this.#slight.remove(state);
      state.kept = true;
      state.placedAt = 0;
    }
    // Among those touched last its place says nothing: to move it would cost a look at three others.
    if (state.placedAt === 0 || this.#touches - state.placedAt > this.#sources.size >>> 3) {
      (state.kept ? this.#weighty : this.#slight).touch(state);
      state.placedAt = this.#touches;
    }
    // What it costs is looked up now and then: in between it grows by little.
    if (count < 4 || (count & 31) === 0) this.#weigh(state);
    if (this.#sources.size > this.#most || this.#bytes > this.#mostBytes) this.#makeRoom(state);
  }

  /** The weighty first. */
  *[Symbol.iterator](): Generator<SourceState> {
    yield* this.#weighty;
    yield* this.#slight;
  }

  #weigh(state: SourceState): void {
    const bytes = state.measure();
    this.#bytes += bytes - state.bytes;
    state.bytes = bytes;
  }

  /** `busy` was touched last: it stays, as long as there is another. */
  #makeRoom(busy: SourceState): void {
    while (this.#sources.size > this.#most || this.#bytes > this.#mostBytes) {
      // A quarter of the room is for newcomers: else none of them could ever become weighty.
      const newcomers = this.#slight.size * 4 > this.#most || this.#weighty.size === 0;
      const [one, other] = newcomers ? [this.#slight, this.#weighty] : [this.#weighty, this.#slight];
      const victim = one.oldest === busy || one.oldest === undefined ? other.oldest : one.oldest;
      if (victim === undefined || victim === busy) return;
      this.#forget(victim);
    }
  }

  #forget(state: SourceState): void {
    (state.kept ? this.#weighty : this.#slight).remove(state);
    this.#sources.delete(state.key);
    if (state.shortcut >= 0 && this.#shortcuts[state.shortcut] === state) this.#shortcuts[state.shortcut] = undefined;
    this.#bytes -= state.bytes;
    this.#evicted += 1;
  }
}
