// `weir bench NAME`: the benchmarks behind every figure in the README. Each builds its own namespaces, measures against a
// named peer in the same run, and removes everything. Figures go to standard output, progress to standard error.

import { constants, cpus, tmpdir, totalmem } from 'node:os';
import { WeirError } from '../../base/errors.ts';
import type { ActionContext, BenchSettings } from '../../cli/actions.ts';
import { benchJournal } from '../../record/journal-bench.ts';
import { WeirLab } from '../weir-lab.ts';
import { benchAgents } from './agents.ts';
import { benchAnalysis } from './analysis.ts';
import { benchCatchAll } from './catch-all.ts';
import { benchDecoys } from './decoys.ts';
import { benchDiversion } from './diversion.ts';
import { spread } from './figures.ts';
import { benchFlood } from './flood.ts';
import { benchIdle } from './idle.ts';
import { benchImport } from './import.ts';
import { benchProxyFuzz } from './proxy-fuzz.ts';
import { benchProxyRead } from './proxy-read.ts';
import { benchRelay } from './relay.ts';
import { benchStore } from './store.ts';
import { benchWho } from './who.ts';

export interface BenchReport {
  /** Lines for people. */
  readonly text: string;
  readonly json: Record<string, unknown>;
  /** 0 unless something was found that must not be. */
  readonly exitCode?: number;
}

export type Say = (text: string) => void;

interface Bench {
  readonly about: string;
  readonly run: (say: Say, settings: BenchSettings) => Promise<BenchReport>;
  /** Which settings it has. */
  readonly settings?: readonly (keyof BenchSettings)[];
}

const benches: Readonly<Record<string, Bench>> = {
  agents: { about: "a thousand agents' links on one gateway: memory, rules to all, all back after a kill", run: benchAgents },
  analysis: {
    about: 'events per second through rollups, behaviour, signatures and places on one processor, and the share of each',
    run: benchAnalysis,
  },
  'catch-all': {
    about: 'recorded sessions per second against a bare Node TCP sink that writes a JSON line each',
    run: benchCatchAll,
  },
  decoys: { about: 'a million decoys, an IPv6 /64 and 65,536 listed ones against one: apply, connect, memory', run: benchDecoys },
  diversion: {
    about: 'new connections by kernel path and by TPROXY, against plain routing, HAProxy and a DNAT rule per address',
    run: benchDiversion,
    settings: ['only'],
  },
  idle: { about: 'connections that stay open and say nothing: memory for each', run: benchIdle },
  flood: { about: 'sixty seconds past every bound: what is recorded and counted against what was offered', run: benchFlood },
  import: {
    about: "other people's logs, 100,000 and a million lines of each format: lines a second, and that memory does not grow",
    run: benchImport,
    settings: ['only'],
  },
  'proxy-fuzz': {
    about: 'ten million mutated PROXY headers through the reader; what it takes, a real HAProxy takes and understands alike',
    run: benchProxyFuzz,
    settings: ['headers', 'seed'],
  },
  'proxy-read': { about: 'PROXY headers read per second against the shortest code that reads them', run: benchProxyRead },
  relay: {
    about: 'relayed flows through two hops that keep the source, against HAProxy: throughput, new connections, latency, memory',
    run: benchRelay,
  },
  store: {
    about: 'what reports ask, of 25 million events over two weeks: first and again, memory, and records taken per second',
    run: benchStore,
    settings: ['events'],
  },
  who: {
    about: '5,000 connections and 500 short ones a second behind NAT: share of bytes with an owner, and what watching costs',
    run: benchWho,
  },
  journal: { about: 'events appended and flushed per second against a write stream of JSON lines', run: journal },
};

async function journal(): Promise<BenchReport> {
  const result = await benchJournal({ directory: tmpdir() });
  const text = [
    `events per second, ${result.events} events of ${result.payloadBytes} bytes, ${result.journal.length} rounds interleaved, median (spread):`,
    `  journal    ${spread(result.journal)}   ${result.journalBytesPerEvent} bytes each`,
    `  JSON lines ${spread(result.jsonLines)}   ${result.jsonBytesPerEvent} bytes each`,
    `  ratio      ${result.ratio.toFixed(2)}`,
  ].join('\n');
  return { text, json: { ...result } };
}

export async function runBench(name: string | undefined, settings: BenchSettings, context: ActionContext): Promise<number> {
  const { stdout, stderr } = context.environment;
  if (name === undefined) {
    const list = Object.entries(benches).map(([key, { about }]) => `  ${key.padEnd(10)} ${about}`);
    await stdout.write(`weir bench NAME:\n${list.join('\n')}\n`);
    return 0;
  }
  const bench = Object.hasOwn(benches, name) ? benches[name] : undefined;
  if (!bench)
    throw new WeirError('bad-request', `there is no benchmark ${name}`, { next: `one of: ${Object.keys(benches).join(', ')}` });
  for (const key of Object.keys(settings) as (keyof BenchSettings)[])
    if (settings[key] !== undefined && !bench.settings?.includes(key))
      throw new WeirError('bad-request', `weir bench ${name} has no --${key}`);
  if (process.getuid?.() !== 0)
    throw new WeirError('not-permitted', 'weir bench makes network namespaces and needs root: run it with sudo');
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => void endEarly(signal));
  const machine = { cpu: cpus()[0]?.model ?? 'unknown', cores: cpus().length, memoryBytes: totalmem(), node: process.version };
  const report = await bench.run((text) => void stderr.write(`${text}\n`), settings);
  await stdout.write(
    context.json
      ? `${JSON.stringify({ bench: name, machine, ...report.json })}\n`
      : `${report.text}\n(${machine.cores} cores, ${machine.cpu}, Node ${machine.node})\n`,
  );
  return report.exitCode ?? 0;
}

/** Nothing of a benchmark stays behind, whoever ends it. */
async function endEarly(signal: 'SIGINT' | 'SIGTERM' | 'SIGHUP'): Promise<void> {
  process.stderr.write(`${signal}: removing the lab\n`);
  await WeirLab.endAll();
  process.exit(128 + constants.signals[signal]);
}
