// The measured side of `weir bench analysis`, as a program of its own so that it can be held on one processor. Prints one line
// of JSON with the seconds of every part in every round. Reads rules and tables of the installation, writes only below `--data`.

import { mkdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { Analyser, type AnalyserStore, type AnalysisPartName } from '../../analysis/analyser.ts';
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
  /** Milliseconds each part of `everything` took in all, by the clock: its share of the processor time above. */
  readonly partMs: Readonly<Record<string, number>>;
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
/** As many as the journal's reader hands over at once: what waits in memory must not be what is measured. */
const batchEvents = 2000;
/** At the speed that is promised: says how many events a second is, after which a behaviour that goes on is told again. */
const eventMicros = 10;

const collectYoung = (): void => {
  (globalThis as { gc?: (options: { type: 'minor' }) => void }).gc?.({ type: 'minor' });
};

async function measure(): Promise<AnalysisRounds> {
  const data = values.data ?? '.';
  let taken = 0;
  const clock = () => start + taken * eventMicros;
  const country = createRequire(import.meta.url).resolve('@ip-location-db/geo-whois-asn-country-mmdb/package.json');
  const naivePlaces = parts.openNaivePlaces(path.join(path.dirname(country), 'geo-whois-asn-country.mmdb'));
  const rounds = Number(values.rounds);
  const times: Record<string, number[]> = {};
  const found: Record<string, number> = {};
  const mix = new AnalysisMix(7, start);
  // Each has its own: what fills one must not push out what another remembers.
  const load = (name: string) => {
    const own = path.join(data, name);
    mkdirSync(own, { recursive: true });
    return loadAnalysis({ settings: defaultAnalysis, data: own, packageRoot: values.root ?? '.', log: silentLog, clock });
  };
  const everything = await load('everything');
  const required = await load('required');
  const partMs: Record<string, number> = {};
  let part: AnalysisPartName | undefined;
  let since = 0;
  const onPart = (next: AnalysisPartName | undefined): void => {
    const now = performance.now();
    if (part !== undefined) partMs[part] = (partMs[part] ?? 0) + now - since;
    part = next;
    since = now;
  };
  const whole = new Analyser({ store: emptyStore, parts: everything, log: silentLog, onPart });
  const { places, signatures, createBehaviours } = required;
  const four = new Analyser({
    store: emptyStore,
    parts: { places, ...(signatures && { signatures }), ...(createBehaviours && { createBehaviours }) },
    log: silentLog,
  });
  await whole.begin();
  await four.begin();
  const rollups = parts.createRollups();
  const memory = new RememberedMatches((view) => everything.rules.match(view), everything.rules.ports);
  const unremembered = { signatures: { match: (view: SessionView) => memory.match(view), size: everything.rules.size } };
  // The first round is the compiler's, and fills the memories.
  for (let round = -1; round < rounds; round += 1) {
    const spent: Record<string, number> = {};
    // It forgets nothing, and would fill the memory of all others.
    const naiveBehaviour = parts.createNaiveBehaviour();
    for (let done = 0; done < Number(values.events); done += batchEvents) {
      const events = parts.throughJournal(mix.next(batchEvents));
      taken += events.length;
      const views = parts.viewsOf(events);
      const different = parts.allDifferent(views, (round + 1) * Number(values.events) + done);
      const works: readonly (readonly [string, () => number | Promise<number>])[] = [
        ['required', async () => rollups(events) + (await parts.analyse(four, events))],
        [
          'everything',
          async () => {
            const count = await parts.analyse(whole, events);
            onPart(undefined);
            return count;
          },
        ],
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
    if (round < 0) for (const name of Object.keys(partMs)) delete partMs[name];
    else
      for (const [name, ms] of Object.entries(spent)) {
        times[name] ??= [];
        times[name].push(ms);
      }
  }
  return {
    counts: mix.counts(),
    rules: everything.rules.size,
    times,
    partMs,
    found,
    residentBytes: process.memoryUsage().rss,
  };
}

process.stdout.write(`${JSON.stringify(await measure())}\n`);
