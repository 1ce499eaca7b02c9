// The measured side of `weir bench analysis`, as a program of its own so that it can be held on one processor: of each pass one,
// so that none pays for the memory of another. Prints one line of JSON with the times of what it measured in every round. Reads
// rules and tables of the installation, writes only below `--data`.

import { createRequire } from 'node:module';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { Analyser, type AnalyserStore, type AnalysisPartName } from '../../analysis/analyser.ts';
import type { SessionView } from '../../analysis/session-view.ts';
import { RememberedMatches } from '../../analysis/signatures/remembered-matches.ts';
import { silentLog } from '../../base/log.ts';
import { defaultAnalysis } from '../../config/analysis-schema.ts';
import type { WeirEvent } from '../../model/event.ts';
import { type Loaded, loadAnalysis } from '../recorder-analysis.ts';
import { AnalysisMix, type MixCounts } from './analysis-mix.ts';
import * as parts from './analysis-parts.ts';

const { values } = parseArgs({
  options: {
    pass: { type: 'string' },
    data: { type: 'string' },
    root: { type: 'string' },
    rounds: { type: 'string', default: '5' },
    events: { type: 'string', default: '100000' },
  },
});

/**
 * `required`: rollups, and one analyser with behaviour, signatures and places. `everything`: one as the recorder has it. `peers`: the
 * shortest code that does the same as a part, and signatures of which none is remembered.
 */
export const analysisPasses = ['required', 'everything', 'peers'] as const;
export type AnalysisPass = (typeof analysisPasses)[number];

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

/** Takes the events of a batch, after so many others of the round, and makes ready what it is measured with. */
type Prepare = (events: readonly WeirEvent[], done: number) => () => number | Promise<number>;

interface Pass {
  readonly works: Readonly<Record<string, Prepare>>;
  /** Before each round. */
  readonly begin?: () => void;
  readonly partMs?: Readonly<Record<string, number>>;
  readonly rules: number;
}

const data = values.data ?? '.';
const rounds = Number(values.rounds);
const roundEvents = Number(values.events);
let taken = 0;

const load = (): Promise<Loaded> => {
  const clock = () => start + taken * eventMicros;
  return loadAnalysis({ settings: defaultAnalysis, data, packageRoot: values.root ?? '.', log: silentLog, clock });
};

async function openRequired(): Promise<Pass> {
  const { places, signatures, createBehaviours, rules } = await load();
  const kept = { places, ...(signatures && { signatures }), ...(createBehaviours && { createBehaviours }) };
  const analyser = new Analyser({ store: emptyStore, parts: kept, log: silentLog });
  await analyser.begin();
  const rollups = parts.createRollups();
  return {
    works: { required: (events) => async () => rollups(events) + (await parts.analyse(analyser, events)) },
    rules: rules.size,
  };
}

async function openEverything(): Promise<Pass> {
  const loaded = await load();
  const partMs: Record<string, number> = {};
  let part: AnalysisPartName | undefined;
  let since = 0;
  const onPart = (next: AnalysisPartName | undefined): void => {
    const now = performance.now();
    if (part !== undefined) partMs[part] = (partMs[part] ?? 0) + now - since;
    part = next;
    since = now;
  };
  const analyser = new Analyser({ store: emptyStore, parts: loaded, log: silentLog, onPart });
  await analyser.begin();
  let begun = 0;
  return {
    works: {
      everything: (events) => async () => {
        const count = await parts.analyse(analyser, events);
        onPart(undefined);
        return count;
      },
    },
    begin: () => {
      begun += 1;
      // The first round is not told.
      if (begun === 2) for (const name of Object.keys(partMs)) delete partMs[name];
    },
    partMs,
    rules: loaded.rules.size,
  };
}

async function openPeers(): Promise<Pass> {
  const { rules } = await load();
  const country = createRequire(import.meta.url).resolve('@ip-location-db/geo-whois-asn-country-mmdb/package.json');
  const places = parts.openNaivePlaces(path.join(path.dirname(country), 'geo-whois-asn-country.mmdb'));
  const memory = new RememberedMatches((view) => rules.match(view), rules.ports);
  const unremembered = { signatures: { match: (view: SessionView) => memory.match(view), size: rules.size } };
  let behaviour = parts.createNaiveBehaviour();
  let round = 0;
  return {
    works: {
      'signatures, nothing twice': (events, done) => {
        const views = parts.allDifferent(parts.viewsOf(events), round * roundEvents + done);
        return () => parts.matchSignatures(unremembered, views).length;
      },
      'naive behaviour': (events) => () => behaviour(events),
      'naive signatures': (events) => {
        const views = parts.viewsOf(events);
        return () => parts.matchNaively(views);
      },
      'naive places': (events) => () => places(events),
    },
    begin: () => {
      round += 1;
      // It forgets nothing, and would fill the memory of all others.
      behaviour = parts.createNaiveBehaviour();
    },
    rules: rules.size,
  };
}

/** The events of a round, outside of the heap: what is made for a measurement must not be collected in it. */
function writeRound(mix: AnalysisMix): parts.Written[] {
  const batches: parts.Written[] = [];
  for (let done = 0; done < roundEvents; done += batchEvents) batches.push(parts.writeEvents(mix.next(batchEvents)));
  collectYoung();
  return batches;
}

/** One batch, read as the recorder reads it and gone when it returns. */
async function spend(
  prepare: Prepare,
  written: parts.Written,
  done: number,
): Promise<{ readonly ms: number; readonly found: number }> {
  const work = prepare(parts.readEvents(written), done);
  const began = process.cpuUsage();
  const found = await work();
  const { user, system } = process.cpuUsage(began);
  return { ms: (user + system) / 1000, found };
}

async function measure(): Promise<AnalysisRounds> {
  const opened = { required: openRequired, everything: openEverything, peers: openPeers };
  const chosen = analysisPasses.find((name) => name === values.pass) ?? 'required';
  const pass = await opened[chosen]();
  const times: Record<string, number[]> = {};
  const found: Record<string, number> = {};
  const mix = new AnalysisMix(7, start);
  // The first round is the compiler's, and fills the memories.
  for (let round = -1; round < rounds; round += 1) {
    const spent: Record<string, number> = {};
    const batches = writeRound(mix);
    pass.begin?.();
    for (const [index, written] of batches.entries()) {
      taken += batchEvents;
      for (const [name, prepare] of Object.entries(pass.works)) {
        const one = await spend(prepare, written, index * batchEvents);
        spent[name] = (spent[name] ?? 0) + one.ms;
        found[name] = (found[name] ?? 0) + one.found;
      }
    }
    if (round < 0) continue;
    for (const [name, ms] of Object.entries(spent)) {
      times[name] ??= [];
      times[name].push(ms);
    }
  }
  return {
    counts: mix.counts(),
    rules: pass.rules,
    times,
    partMs: pass.partMs ?? {},
    found,
    residentBytes: process.memoryUsage().rss,
  };
}

process.stdout.write(`${JSON.stringify(await measure())}\n`);
