// `weir bench relay`: what a relayed flow costs through two hops of Weir against two of HAProxy (`send-proxy-v2`, then
// `accept-proxy` with `usesrc clientip`), in turn, round by round. The chains are relay-paths.ts.

import type { ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ownInstallation } from '../installation.ts';
import type { BenchReport, Say } from './bench.ts';
import { runLoadIn } from './catch-all.ts';
import { median, spread } from './figures.ts';
import { type ChainName, layRelayPaths, type RelayPaths, targets } from './relay-paths.ts';

const rounds = 5;
const bulkSeconds = 2;
const loadSeconds = 2;
const inFlight = 64;
const idleConnections = 4000;
const request = 'GET / HTTP/1.0\r\n\r\n';
/** USER_HZ on Linux; see times(2). */
const ticksPerSecond = 100;

interface Figures {
  readonly gbits: number[];
  readonly gbitsBack: number[];
  readonly rates: number[];
  /** Processor time of the chain's own processes for one connection, microseconds. */
  readonly cpuMicros: number[];
  readonly p50: number[];
  readonly p99: number[];
  failed: number;
}

const empty = (): Figures => ({ gbits: [], gbitsBack: [], rates: [], cpuMicros: [], p50: [], p99: [], failed: 0 });

export async function benchRelay(say: Say): Promise<BenchReport> {
  const paths = await layRelayPaths();
  try {
    const chains: Record<ChainName, Figures> = {
      plain: empty(),
      weir: empty(),
      haproxy: empty(),
      'weir-2': empty(),
      'haproxy-2': empty(),
    };
    const names = Object.keys(chains) as ChainName[];
    // First: afterwards a program has room that it was given before.
    const idle = { weir: await idleBytes(paths, 'weir'), haproxy: await idleBytes(paths, 'haproxy') };
    for (const name of names) await load(paths, name, 2, inFlight);
    for (let round = 0; round < rounds; round += 1) {
      for (const name of names) await measure(paths, name, chains[name]);
      say(`round ${round + 1} of ${rounds}`);
    }
    const ratio = (pick: (figures: Figures) => number[], mine: ChainName = 'weir', theirs: ChainName = 'haproxy'): number =>
      median(pick(chains[mine]).map((value, index) => value / pick(chains[theirs])[index]));
    const ratios = {
      throughput: ratio(({ gbits }) => gbits),
      throughputBack: ratio(({ gbitsBack }) => gbitsBack),
      connections: ratio(({ rates }) => rates),
      connectionsTwo: ratio(({ rates }) => rates, 'weir-2', 'haproxy-2'),
    };
    const added = (name: ChainName, what: 'p50' | 'p99'): number => median(chains[name][what]) - median(chains.plain[what]);
    const text = [
      `${rounds} rounds in turn: ${bulkSeconds} s bulk each way, ${loadSeconds} s of new connections ${inFlight} at a time, 1 s one at a time; median (spread):`,
      ...names.flatMap((name) => lines(name, chains[name])),
      'added to plain routing, one connection at a time (connect, question, answer, end):',
      ...(['weir', 'haproxy'] as const).map(
        (name) => `  ${name.padEnd(10)} p50 ${added(name, 'p50').toFixed(0)} us, p99 ${added(name, 'p99').toFixed(0)} us`,
      ),
      `memory for each of ${idleConnections} idle connections, both hops: weir ${kib(idle.weir)}, haproxy ${kib(idle.haproxy)} (resident; the kernel's not counted)`,
      `weir / haproxy, median of the rounds' ratios: throughput ${ratios.throughput.toFixed(2)} up, ${ratios.throughputBack.toFixed(2)} down; new connections ${ratios.connections.toFixed(2)}, with two processes against two threads ${ratios.connectionsTwo.toFixed(2)}`,
    ].join('\n');
    return { text, json: { rounds, chains, idleBytes: idle, ratios } };
  } finally {
    await paths.end();
  }
}

const kib = (bytes: number): string => `${(bytes / 1024).toFixed(2)} KiB`;

function lines(name: ChainName, { gbits, gbitsBack, rates, cpuMicros, p50, p99, failed }: Figures): string[] {
  const bulk = gbits.length > 0 ? `${spread(gbits, 1)} Gbit/s up, ${spread(gbitsBack, 1)} down; ` : '';
  const cpu = cpuMicros.length > 0 ? `, ${median(cpuMicros).toFixed(0)} us of processor each` : '';
  const one = p50.length > 0 ? `; one at a time p50 ${spread(p50)} us, p99 ${median(p99).toFixed(0)} us` : '';
  return [`  ${name.padEnd(10)} ${bulk}${spread(rates)} connections/s${cpu}${one}; failed ${failed}`];
}

async function measure(paths: RelayPaths, name: ChainName, figures: Figures): Promise<void> {
  const two = name.endsWith('-2');
  if (!two) {
    figures.gbits.push(await bulk(paths, name, []));
    figures.gbitsBack.push(await bulk(paths, name, ['-R']));
  }
  const before = cpuOf(paths, name);
  const many = await load(paths, name, loadSeconds, inFlight);
  if (name !== 'plain') figures.cpuMicros.push(((cpuOf(paths, name) - before) * 1e6) / Math.max(1, many.completed));
  figures.rates.push(many.completed / many.seconds);
  figures.failed += many.failed;
  if (two) return;
  const single = await load(paths, name, 1, 1);
  figures.p50.push(single.p50);
  figures.p99.push(single.p99);
  figures.failed += single.failed;
}

const load = (paths: RelayPaths, name: ChainName, seconds: number, flights: number): ReturnType<typeof runLoadIn> =>
  runLoadIn(paths.attacker, { target: targets[name], port: 80, seconds, inFlight: flights, addresses: 1, payload: 0, request });

/** Gbit/s as the receiver counts them. */
async function bulk(paths: RelayPaths, name: ChainName, more: readonly string[]): Promise<number> {
  const { stdout } = await paths.attacker.run(['iperf3', '-c', targets[name], '-t', String(bulkSeconds), '-J', ...more], {
    timeoutMs: 60_000,
  });
  const result = JSON.parse(stdout) as { end?: { sum_received?: { bits_per_second?: number } } };
  return (result.end?.sum_received?.bits_per_second ?? 0) / 1e9;
}

/** Seconds of processor time its processes have used, user and system. */
function cpuOf(paths: RelayPaths, name: ChainName): number {
  if (name === 'plain') return 0;
  return paths.processes[name].reduce((sum, pid) => {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
      .replace(/^.*\) /s, '')
      .split(' ');
    return sum + (Number(fields[11]) + Number(fields[12])) / ticksPerSecond;
  }, 0);
}

/** Resident bytes for each idle connection, over all processes of a chain. */
async function idleBytes(paths: RelayPaths, name: 'weir' | 'haproxy'): Promise<number> {
  const { node, root } = ownInstallation();
  const memory = (): number =>
    paths.processes[name].reduce((sum, pid) => {
      const kilobytes = /^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
      return sum + Number(kilobytes ?? 0) * 1024;
    }, 0);
  const before = memory();
  const holder = paths.attacker.spawn([
    node,
    join(root, 'dist/src/programs/bench/hold-connections.js'),
    ...['--target', targets[name], '--addresses', '1', '--port', '80', '--count', String(idleConnections)],
  ]);
  const { established } = await answerOf(holder);
  const each = (memory() - before) / Math.max(1, established);
  holder.stdin?.end();
  return each;
}

async function answerOf(holder: ChildProcess): Promise<{ established: number }> {
  let heard = '';
  for await (const piece of holder.stdout ?? []) {
    heard += String(piece);
    if (heard.includes('\n')) break;
  }
  return JSON.parse(heard.slice(0, heard.indexOf('\n'))) as { established: number };
}
