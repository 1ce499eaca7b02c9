// The parts of analysis one by one over the same events, and the shortest code that does the same, for `weir bench analysis`.
// Each takes a list of events and gives a number that depends on all of its work.

import { readFileSync } from 'node:fs';
import { Reader, type Response } from 'maxmind';
import type { Analyser, AnalysisParts } from '../../analysis/analyser.ts';
import { SessionGatherer } from '../../analysis/session-gatherer.ts';
import type { SessionView } from '../../analysis/session-view.ts';
import type { Micros } from '../../base/clock.ts';
import type { WeirEvent } from '../../model/event.ts';
import type { SignatureHit } from '../../model/insight.ts';
import { bodyBound, decodeEvent, encodeEvent } from '../../record/event-codec.ts';

export type Work = (events: readonly WeirEvent[]) => number;

const halfHour = 1800 * 1e6;
const keptBuckets = 4;

/** Exact half-hour figures as they would be kept in the stream: hits, distinct sources, ports and decoys. */
class Rollups {
  readonly #buckets = new Map<number, { hits: number; sources: Set<string>; ports: Set<number>; decoys: Set<string> }>();

  add(at: Micros, source: string, decoy: string, port: number, hits: number): void {
    const start = Math.floor(at / halfHour);
    let bucket = this.#buckets.get(start);
    if (!bucket) {
      bucket = { hits: 0, sources: new Set(), ports: new Set(), decoys: new Set() };
      this.#buckets.set(start, bucket);
      // What is over is in the store.
      const first = this.#buckets.keys().next();
      if (this.#buckets.size > keptBuckets && !first.done) this.#buckets.delete(first.value);
    }
    bucket.hits += hits;
    bucket.sources.add(source);
    bucket.ports.add(port);
    bucket.decoys.add(decoy);
  }

  get figure(): number {
    let sum = 0;
    for (const { hits, sources, ports, decoys } of this.#buckets.values()) sum += hits + sources.size + ports.size + decoys.size;
    return sum;
  }
}

export function createRollups(): Work {
  const rollups = new Rollups();
  return (events) => {
    for (const event of events) {
      if (event.kind === 'session') {
        const { start, source, destination } = event.session;
        rollups.add(start, source.ip, destination.ip, destination.port, 1);
      } else if (event.kind === 'probe')
        for (const { ip, port, count } of event.probe.targets)
          rollups.add(event.probe.start, event.probe.source, ip, port, count);
    }
    return rollups.figure;
  };
}

/** Events as the journal keeps them: bodies one after the other, and where each ends. */
export interface Written {
  readonly bytes: Buffer;
  readonly ends: readonly number[];
}

export function writeEvents(events: readonly WeirEvent[]): Written {
  const bytes = Buffer.allocUnsafe(events.reduce((sum, event) => sum + bodyBound(event), 0));
  let end = 0;
  const ends = events.map((event) => {
    end = encodeEvent(event, 0, bytes, end);
    return end;
  });
  return { bytes, ends };
}

/** The events as the journal's reader hands them over. */
export function readEvents({ bytes, ends }: Written): WeirEvent[] {
  return ends.map((end, index) => {
    const decoded = decodeEvent(bytes, ends[index - 1] ?? 0, end, 'bench');
    if (!decoded) throw new Error('the journal does not read what it wrote');
    return decoded.event;
  });
}

/** Views of the sessions that ended, made outside of what is measured. */
export function viewsOf(events: readonly WeirEvent[]): (SessionView | undefined)[] {
  const gatherer = new SessionGatherer();
  return events.map((event) => (event.kind === 'session' ? gatherer.take(event.session) : undefined));
}

const nothing: readonly SignatureHit[] = [];

export function matchSignatures(parts: AnalysisParts, views: readonly (SessionView | undefined)[]): (readonly SignatureHit[])[] {
  const { signatures } = parts;
  return views.map((view) => (view && view.input.length > 0 && signatures ? signatures.match(view) : nothing));
}

/** The same sessions, each with bytes of its own at the end, made outside of what is measured: nothing comes twice. */
export function allDifferent(views: readonly (SessionView | undefined)[], from: number): (SessionView | undefined)[] {
  return views.map(
    (view, index) =>
      view && (view.input.length === 0 ? view : { ...view, input: Buffer.concat([view.input, Buffer.from(` ${from + index}`)]) }),
  );
}

const sourceOf = (event: WeirEvent): string =>
  event.kind === 'session' ? event.session.source.ip : event.kind === 'probe' ? event.probe.source : '';

export async function analyse(analyser: Analyser, events: readonly WeirEvent[]): Promise<number> {
  const { insights } = await analyser.analyse(events);
  return insights.sessions.length + insights.verdicts.length + insights.places.length;
}

/** The shortest code: sets of ports for each source and decoy, of decoys for each source and port; unbounded, no time at all. */
export function createNaiveBehaviour(): Work {
  const sets = new Map<string, Set<number | string>>();
  const scans = new Set<string>();
  const add = (key: string, value: number | string, threshold: number): void => {
    let set = sets.get(key);
    if (!set) {
      set = new Set();
      sets.set(key, set);
    }
    set.add(value);
    if (set.size >= threshold) scans.add(key);
  };
  const touch = (source: string, decoy: string, port: number): void => {
    add(`${source} ${decoy}`, port, 15);
    add(`${source}:${port}`, decoy, 25);
  };
  return (events) => {
    for (const event of events) {
      if (event.kind === 'session') touch(event.session.source.ip, event.session.destination.ip, event.session.destination.port);
      else if (event.kind === 'probe') for (const { ip, port } of event.probe.targets) touch(event.probe.source, ip, port);
    }
    return scans.size;
  };
}

/** Twenty exploits as one alternation of the language's own engine, which backtracks. */
const twenty =
  /wget\s+http|curl\s+http|chmod\s+777|\/ws\/v1\/cluster\/apps|\/shell\?|\/editBlackAndWhiteList|\/ctrlt\/DeviceUpgrade|\/picsdesc\.xml|NewStatusURL|\/GponForm\/diag_Form|invokefunction|eval-stdin\.php|PHP_VALUE|\/wls-wsat\/|\.%2e\/bin\/sh|Search\.cgi|\$\{jndi:|\/boaform\/admin|\/manager\/html|mstshash=/i;

export function matchNaively(views: readonly (SessionView | undefined)[]): number {
  let found = 0;
  for (const view of views)
    if (view && view.input.length > 0) {
      const { buffer, byteOffset, byteLength } = view.input;
      if (twenty.test(Buffer.from(buffer, byteOffset, byteLength).toString('latin1'))) found += 1;
    }
  return found;
}

/** The reader that the MMDB format is usually read with, country alone. */
export function openNaivePlaces(file: string): Work {
  const reader = new Reader<{ readonly country_code?: string } & Response>(readFileSync(file));
  return (events) => {
    let known = 0;
    for (const event of events) if (reader.get(sourceOf(event))?.country_code) known += 1;
    return known;
  };
}
