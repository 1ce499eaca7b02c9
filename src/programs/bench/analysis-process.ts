// The measured side of `weir bench analysis`, as a program of its own so that it can be held on one processor. Prints one line
// of JSON with the seconds of every part in every round. Reads rules and tables of the installation, writes only below `--data`.

import { createRequire } from 'node:module';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { Analyser, type AnalyserStore } from '../../analysis/analyser.ts';
import { silentLog } from '../../base/log.ts';
import { defaultAnalysis } from '../../config/analysis-schema.ts';
import { loadAnalysis } from '../recorder-analysis.ts';
import { analysisMix, type MixCounts } from './analysis-mix.ts';
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
  /** Milliseconds of each round, by name. */
  readonly times: Readonly<Record<string, readonly number[]>>;
  /** What each found in the last round: that it did its work. */
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
const dayMicros = 86_400 * 1e6;

async function measure(): Promise<AnalysisRounds> {
  const data = values.data ?? '.';
  const loaded = await loadAnalysis({ settings: defaultAnalysis, data, packageRoot: values.root ?? '.', log: silentLog });
  const country = createRequire(import.meta.url).resolve('@ip-location-db/geo-whois-asn-country-mmdb/package.json');
  const naivePlaces = parts.openNaivePlaces(path.join(path.dirname(country), 'geo-whois-asn-country.mmdb'));
  const rounds = Number(values.rounds);
  const times: Record<string, number[]> = {};
  const found: Record<string, number> = {};
  let counts: MixCounts | undefined;
  // The first round is the compiler's.
  for (let round = -1; round < rounds; round += 1) {
    const mix = analysisMix(Number(values.events), round + 100, start + round * dayMicros);
    counts = mix.counts;
    const { events } = mix;
    const views = parts.viewsOf(events);
    let hits: ReturnType<typeof parts.matchSignatures> = [];
    const analyser = new Analyser({ store: emptyStore, parts: loaded, log: silentLog });
    await analyser.begin();
    const works: readonly (readonly [string, () => number | Promise<number>])[] = [
      ['gathering and rollups', () => parts.gatherAndRollUp(events)],
      [
        'signatures',
        () => {
          hits = parts.matchSignatures(loaded, views);
          return hits.reduce((sum, { length }) => sum + length, 0);
        },
      ],
      ['facts', () => parts.extractAll(loaded, views, hits)],
      ['families', () => parts.assignFamilies(loaded, views)],
      ['behaviour', () => parts.judgeBehaviour(loaded, events, views, hits)],
      ['places', () => parts.lookUpPlaces(loaded, events)],
      ['whole', () => parts.analyseAll(analyser, events)],
      ['naive behaviour', () => parts.judgeNaively(events)],
      ['naive signatures', () => parts.matchNaively(views)],
      ['naive places', () => naivePlaces(events)],
    ];
    for (const [name, work] of works) {
      globalThis.gc?.();
      const began = performance.now();
      found[name] = await work();
      if (round >= 0) {
        times[name] ??= [];
        times[name].push(performance.now() - began);
      }
    }
  }
  return {
    counts: counts as MixCounts,
    rules: loaded.signatures?.size ?? 0,
    times,
    found,
    residentBytes: process.memoryUsage().rss,
  };
}

process.stdout.write(`${JSON.stringify(await measure())}\n`);
