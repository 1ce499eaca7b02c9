// `weir bench store`: how long the embedded store takes to answer what reports ask, with millions of events over two weeks:
// first asked, and again; how much memory the process has; and how quickly records come in by `apply`.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { planCampaigns } from '../../analysis/campaigns/plan-campaigns.ts';
import { gatherReport } from '../../analysis/report/gather-report.ts';
import type { BenchSettings } from '../../cli/actions.ts';
import type { WeirEvent } from '../../model/event.ts';
import { createIdentifier } from '../../model/identifier.ts';
import type { Behaviour } from '../../model/insight.ts';
import type { InsightSubject } from '../../record/analysis-store.ts';
import { dayMicros, dayStart } from '../../record/day.ts';
import { DuckDbStore } from '../../record/duckdb-store.ts';
import type { Filter, TopSubject } from '../../record/store.ts';
import type { BenchReport, Say } from './bench.ts';
import { daysOf, type LoadShape, loadStore } from './store-load.ts';

const defaultEvents = 25_000_000;
const appliedEvents = 100_000;
const batchEvents = 5000;
const from = '2026-03-01';
const days = 14;

const topSubjects: readonly TopSubject[] = ['ports', 'sources', 'destinations', 'protocols', 'payloads', 'credentials'];
const insightSubjects: readonly InsightSubject[] = [
  'countries',
  'asns',
  'families',
  'signatures',
  'behaviours',
  'urls',
  'commands',
  'user-agents',
  'fingerprints',
  'users',
  'passwords',
];

const wholeReport = 'a whole report';
const scans: readonly Behaviour[] = ['port-scan', 'sweep', 'slow-scan', 'exploitation'];

/** What one question may take, and all of a report: slower ones are marked in the table. */
const mostMs = 1500;
const mostReportMs = 10_000;
const isSlow = ({ question, firstMs, againMs }: Row): boolean =>
  Math.max(firstMs, againMs) > (question === wholeReport ? mostReportMs : mostMs);

/** How often the process's memory is looked at while it answers. */
const lookMs = 20;

interface Row {
  readonly question: string;
  readonly firstMs: number;
  readonly againMs: number;
}

export async function benchStore(say: Say, settings: BenchSettings): Promise<BenchReport> {
  const directory = mkdtempSync(join(tmpdir(), 'weir-bench-store-'));
  try {
    const shape: LoadShape = { events: settings.events ?? defaultEvents, days, from };
    say(`${shape.events} events over ${days} days, by SQL into the store's tables`);
    await makeDays(directory, shape);
    await loadStore(join(directory, 'store'), shape, say);
    const applied = await measureApply(directory, say);
    return await measure(directory, shape, applied, say);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** A partition for each day comes into being by the first record of it. */
async function makeDays(dataDirectory: string, shape: LoadShape): Promise<void> {
  const store = await DuckDbStore.open({ dataDirectory });
  for (const name of daysOf(shape)) {
    const at = dayStart(name);
    const system = {
      id: createIdentifier(at),
      at,
      name: 'applied',
      program: 'netd',
      message: 'made for a benchmark',
      details: {},
    };
    await store.apply([{ kind: 'system', system }], {});
  }
  await store.close();
}

/** Small sessions of one record, a day after the others, in batches as an import makes them. Per second. */
async function measureApply(dataDirectory: string, say: Say): Promise<number> {
  const store = await DuckDbStore.open({ dataDirectory });
  // What came in by SQL would be summed between the batches.
  const loaded = performance.now();
  await store.settle();
  say(`loaded days summed in ${((performance.now() - loaded) / 1000).toFixed(0)} s`);
  const start = dayStart(from) + days * dayMicros;
  const bytes = Buffer.from('GET / HTTP/1.1\r\nHost: 10.66.0.1\r\n\r\n');
  const began = performance.now();
  for (let done = 0; done < appliedEvents; done += batchEvents) {
    const events = Array.from({ length: batchEvents }, (_, index): WeirEvent => {
      const at = start + (done + index) * 800;
      const number = (done + index) % 60_000;
      const chunks = [{ at: at + 10, direction: 'in' as const, bytes }];
      return {
        kind: 'session',
        session: {
          id: createIdentifier(at),
          sequence: 0,
          start: at,
          end: at + 1000,
          outcome: 'client-closed',
          transport: 'tcp',
          source: { ip: `198.18.${number >> 8}.${number & 255}`, port: 40_000 },
          destination: { ip: `10.66.0.${number & 63}`, port: (number * 7) % 1000 },
          sourceReliable: true,
          diversion: 'dmz',
          service: 'catch-all',
          bytesIn: bytes.length,
          bytesOut: 0,
          firstChunk: 0,
          chunks,
          truncated: false,
        },
      };
    });
    await store.apply(events, {});
  }
  const perSecond = appliedEvents / ((performance.now() - began) / 1000);
  await store.close();
  say(`${perSecond.toFixed(0)} small sessions a second by apply`);
  return perSecond;
}

async function measure(dataDirectory: string, shape: LoadShape, applied: number, say: Say): Promise<BenchReport> {
  const store = await DuckDbStore.open({ dataDirectory });
  const rows: Row[] = [];
  let mostBytes = 0;
  const look = (): void => {
    mostBytes = Math.max(mostBytes, process.memoryUsage.rss());
  };
  const looking = setInterval(look, lookMs);
  try {
    let began = performance.now();
    await store.settle();
    const settleSeconds = (performance.now() - began) / 1000;
    say(`summed in ${settleSeconds.toFixed(0)} s`);
    const ask = async <T>(question: string, answer: () => Promise<T>): Promise<T> => {
      const once = async (): Promise<{ ms: number; found: T }> => {
        began = performance.now();
        const found = await answer();
        look();
        return { ms: performance.now() - began, found };
      };
      const first = await once();
      const again = await once();
      rows.push({ question, firstMs: first.ms, againMs: again.ms });
      say(`  ${question}: ${first.ms.toFixed(0)} ms, again ${again.ms.toFixed(0)} ms`);
      return again.found;
    };
    await askAll(store, ask);
    const { bytes } = await store.size();
    const single = rows.filter(({ question }) => question !== wholeReport);
    const slowest = single.reduce((a, b) => (Math.max(b.firstMs, b.againMs) > Math.max(a.firstMs, a.againMs) ? b : a));
    const text = [
      `${shape.events} events over ${days} days, ${(bytes / 2 ** 30).toFixed(2)} GiB; ms asked first, and again:`,
      ...rows.map(
        (row) =>
          `  ${row.question.padEnd(32)} ${row.firstMs.toFixed(0).padStart(6)} ${row.againMs.toFixed(0).padStart(6)}${isSlow(row) ? '  too slow' : ''}`,
      ),
      `${rows.filter(isSlow).length} of ${rows.length} are slower than ${mostMs} ms (a report: ${mostReportMs} ms); slowest: ${slowest.question}; most memory of the process: ${(mostBytes / 2 ** 20).toFixed(0)} MiB; summed in ${settleSeconds.toFixed(0)} s;`,
      `${applied.toFixed(0)} small sessions a second by apply, ${batchEvents} at a time`,
    ].join('\n');
    return {
      text,
      json: { events: shape.events, days, storeBytes: bytes, rows, mostBytes, settleSeconds, appliedPerSecond: applied },
    };
  } finally {
    clearInterval(looking);
    await store.close();
  }
}

type Ask = <T>(question: string, answer: () => Promise<T>) => Promise<T>;

async function askAll(store: DuckDbStore, ask: Ask): Promise<void> {
  const twenty: Filter = { limit: 20 };
  await ask('counts', () => store.counts(twenty));
  await ask('half-hours', () => store.rollups('half-hour', { limit: 10_000 }));
  await ask('days', () => store.rollups('day', { limit: 10_000 }));
  for (const by of ['hits', 'sources'] as const) {
    for (const subject of topSubjects) await ask(`top ${subject} by ${by}`, () => store.top(subject, by, twenty));
    for (const subject of insightSubjects) await ask(`top ${subject} by ${by}`, () => store.topInsights(subject, by, twenty));
  }
  const hundred: Filter = { limit: 100 };
  const attackers = await ask('attackers by hits', () => store.attackers('hits', hundred));
  await ask('attackers by ports', () => store.attackers('ports', hundred));
  await ask('attackers, newest', () => store.attackers('newest', hundred));
  for (const [name, index] of [
    ['busiest', 0],
    ['hundredth', 99],
  ] as const) {
    const source = attackers[Math.min(index, attackers.length - 1)]?.source ?? '';
    await ask(`page of the ${name} attacker`, () => store.attacker(source, twenty));
  }
  await ask('verdicts', () => store.verdicts({ limit: 1000 }));
  const begin = dayStart(from);
  const end = begin + days * dayMicros;
  const newSince = { at: begin + (days / 2) * dayMicros, because: 'asked' } as const;
  await ask('features of 1,000 sources', () => store.features({ limit: 1000 }));
  await ask('features of 2,500 sources', () => store.features({ limit: 2500 }));
  await ask('features of 10,000 sources', () => store.features({ limit: 10_000 }));
  await ask('sessions', () => store.sessions(hundred));
  const { behaviours, limit } = { behaviours: ['brute-force'], limit: 100 } as const;
  const page = await ask('sessions by behaviour', () => store.sessions({ behaviours, limit }));
  await ask('sessions by behaviour, 2nd page', () => store.sessions({ behaviours, limit, before: page.at(-1)?.id ?? '' }));
  await ask('1,000 sessions by 4 behaviours', () => store.sessions({ behaviours: scans, limit: 1000 }));
  const since = dayStart(from) + 5.3 * dayMicros;
  const part: Filter = { ...twenty, since, until: since + dayMicros };
  await ask('24 hours: top ports by sources', () => store.top('ports', 'sources', part));
  await ask('24 hours: half-hours', () => store.rollups('half-hour', { ...part, limit: 100 }));
  await ask('24 hours: attackers', () => store.attackers('hits', part));
  await ask(wholeReport, () => gatherReport(store, { from: begin, to: end, made: end, newSince, planCampaigns }));
}
