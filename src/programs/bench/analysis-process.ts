// The measured side of `weir bench analysis`, as a program of its own so that it can be held on one processor. Prints one line
// of JSON with the seconds of every part in every round. Reads rules and tables of the installation, writes only below `--data`.

import { createRequire } from 'node:module';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { Analyser, type AnalyserStore } from '../../analysis/analyser.ts';
import type { SessionView } from '../../analysis/session-view.ts';
import { RememberedMatches } from '../../analysis/signatures/remembered-matches.ts';
import { silentLog } from '../../base/log.ts';
import { defaultAnalysis } from '../../config/analysis-schema.ts';
import { loadAnalysis } from '../recorder-analysis.ts';
import { AnalysisMix, type MixCounts } from './analysis-mix.ts';
import * as parts from './analysis-parts.ts';

const { values } = parseArgs({
  options: {
    data: { type: 'string' },
    root: { type: 'string' },
    rounds: { type: 'string', default: '5' },
    events: { type: 'string', default: '100000' },
  },
});

export interface AnalysisRounds {
  readonly counts: MixCounts;
  readonly rules: number;
  /** Milliseconds of processor time of each round, all threads of the process together, by name. */
  readonly times: Readonly<Record<string, readonly number[]>>;
  /** What each found in all: that it did its work. */
  readonly found: Readonly<Record<string, number>>;
  /** Of this process at the end. */
  readonly residentBytes: number;
}

const emptyStore: AnalyserStore = {
  session: async () => undefined,
  sessions: async () => [],
  probes: async () => [],
  families: async () => [],
  insights: async () => [],
  verdicts: async () => [],
};

const start = 1_767_312_000_000_000;
/** Generated and looked at at once: what waits in memory must not be what is measured. */
const sliceEvents = 10_000;
/** At the speed that is promised: says how many events a second is, after which a behaviour that goes on is told again. */
const eventMicros = 10;

const collectYoung = (): void => {
  (globalThis as { gc?: (options: { type: 'minor' }) => void }).gc?.({ type: 'minor' });
};

async function measure(): Promise<AnalysisRounds> {
  const data = values.data ?? '.';
  let taken = 0;
  const loaded = await loadAnalysis({
    settings: defaultAnalysis,
    data,
    packageRoot: values.root ?? '.',
    log: silentLog,
    clock: () => start + taken * eventMicros,
  });
  const country = createRequire(import.meta.url).resolve('@ip-location-db/geo-whois-asn-country-mmdb/package.json');
  const naivePlaces = parts.openNaivePlaces(path.join(path.dirname(country), 'geo-whois-asn-country.mmdb'));
  const rounds = Number(values.rounds);
  const times: Record<string, number[]> = {};
  const found: Record<string, number> = {};
  const mix = new AnalysisMix(7, start);
  const gathering = parts.createGathering();
  const families = parts.createFamilies(loaded);
  const behaviour = parts.createBehaviour(loaded);
  // Its own memory: what fills it must not push out what the others remember.
  const memory = new RememberedMatches((view) => loaded.rules.match(view), loaded.rules.ports);
  const unremembered = { signatures: { match: (view: SessionView) => memory.match(view), size: loaded.rules.size } };
  const analyser = new Analyser({ store: emptyStore, parts: loaded, log: silentLog });
  await analyser.begin();
  // The first round is the compiler's, and fills the memories.
  for (let round = -1; round < rounds; round += 1) {
    const spent: Record<string, number> = {};
    // It forgets nothing, and would fill the memory of all others.
    const naiveBehaviour = parts.createNaiveBehaviour();
    for (let done = 0; done < Number(values.events); done += sliceEvents) {
      const events = mix.next(sliceEvents);
      taken += events.length;
      const views = parts.viewsOf(events);
      const different = parts.allDifferent(views, (round + 1) * Number(values.events) + done);
      let hits: ReturnType<typeof parts.matchSignatures> = [];
      const works: readonly (readonly [string, () => number | Promise<number>])[] = [
        ['gathering and rollups', () => gathering(events)],
        [
          'signatures',
          () => {
            hits = parts.matchSignatures(loaded, views);
            return hits.reduce((sum, { length }) => sum + length, 0);
          },
        ],
        ['facts', () => parts.extractAll(loaded, views, hits)],
        ['families', () => families(views)],
        ['behaviour', () => behaviour(events, views, hits)],
        ['places', () => parts.lookUpPlaces(loaded, events)],
        ['whole', () => parts.analyseAll(analyser, events)],
        ['signatures, nothing twice', () => parts.matchSignatures(unremembered, different).length],
        ['naive behaviour', () => naiveBehaviour(events)],
        ['naive signatures', () => parts.matchNaively(views)],
        ['naive places', () => naivePlaces(events)],
      ];
      for (const [name, work] of works) {
        // What was made for the measurement is not collected in it.
        collectYoung();
        const began = process.cpuUsage();
        found[name] = (found[name] ?? 0) + (await work());
        const { user, system } = process.cpuUsage(began);
        spent[name] = (spent[name] ?? 0) + (user + system) / 1000;
      }
    }
    if (round >= 0)
      for (const [name, ms] of Object.entries(spent)) {
        times[name] ??= [];
        times[name].push(ms);
      }
  }
  return {
    counts: mix.counts(),
    rules: loaded.signatures?.size ?? 0,
    times,
    found,
    residentBytes: process.memoryUsage().rss,
  };
}

process.stdout.write(`${JSON.stringify(await measure())}\n`);
