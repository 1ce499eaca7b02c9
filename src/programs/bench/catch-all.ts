// `weir bench catch-all`: a whole Weir (TPROXY, catch-all, journal; recorder running) against tcp-sink.ts, each in a
// namespace of its own behind the same attacker, one after the other, five rounds. 120 bytes a connection.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestNamespace } from '../../kernel/namespace-lab.ts';
import { ownInstallation } from '../installation.ts';
import { WeirLab } from '../weir-lab.ts';
import type { BenchReport, Say } from './bench.ts';
import { median, spread } from './figures.ts';
import type { LoadResult } from './load-client.ts';

const rounds = 5;
const seconds = 5;
const inFlight = 64;
const payloadBytes = 120;
const addresses = 256;

export async function benchCatchAll(say: Say): Promise<BenchReport> {
  const lab = await WeirLab.open({ configuration });
  try {
    const sink = await addSink(lab);
    await lab.up();
    const { node, root } = ownInstallation();
    const file = join(lab.directory, 'sink.jsonl');
    sink.spawn([node, join(root, 'dist/src/programs/bench/tcp-sink.js'), '--port', '9000', '--file', file]);
    const load = (target: string, port: number, forSeconds: number): Promise<LoadResult> =>
      runLoadIn(lab.attacker, { target, port, seconds: forSeconds, inFlight, addresses, payload: payloadBytes });
    say('warming up');
    await load('10.64.1.0', 8000, 2);
    await load('10.65.1.0', 9000, 2);
    const ours: LoadResult[] = [];
    const theirs: LoadResult[] = [];
    const ratios: number[] = [];
    for (let round = 0; round < rounds; round += 1) {
      const a = await load('10.64.1.0', 8000, seconds);
      await lab.settled();
      const b = await load('10.65.1.0', 9000, seconds);
      ours.push(a);
      theirs.push(b);
      ratios.push(rate(a) / rate(b));
      say(`round ${round + 1}: weir ${rate(a).toFixed(0)}/s, sink ${rate(b).toFixed(0)}/s, ratio ${ratios[round].toFixed(3)}`);
    }
    const offered = ours.reduce((sum, { completed }) => sum + completed, 0);
    const recorded = (await lab.reader.counts({ port: '8000' })).sessions;
    const lines = readFileSync(file, 'utf8').split('\n').length - 1;
    const failed = [...ours, ...theirs].reduce((sum, one) => sum + one.failed, 0);
    const text = [
      `recorded sessions per second, ${payloadBytes}-byte payload, ${rounds} rounds of ${seconds} s interleaved, median (spread):`,
      `  weir      ${spread(ours.map(rate))}   p50 ${median(ours.map(({ p50 }) => p50))} us, p99 ${median(ours.map(({ p99 }) => p99))} us`,
      `  bare sink ${spread(theirs.map(rate))}   p50 ${median(theirs.map(({ p50 }) => p50))} us, p99 ${median(theirs.map(({ p99 }) => p99))} us`,
      `  ratio     ${spread(ratios, 3)}`,
      `  sessions in weir's store ${recorded} (measured rounds offered ${offered}, the rest is warm-up), lines of the sink ${lines}, failed ${failed}`,
    ].join('\n');
    return { text, json: { ours, theirs, ratios, ratio: median(ratios), recorded, offered, failed } };
  } finally {
    await lab.end();
  }
}

const configuration = `
diversions:
  - name: bench
    kind: host
    interface: eth0
    decoys: [{ addresses: 10.64.0.0/16, persona: all-open }]
limits: { sessions-per-source: 100000 }
`;

const rate = ({ completed, seconds: took }: LoadResult): number => completed / took;

/** The sink's machine on a wire of its own from the same attacker: 10.65.0.0/17 by AnyIP, without a rule. */
async function addSink(lab: WeirLab): Promise<TestNamespace> {
  const sink = await lab.namespaces.namespace('k');
  await lab.namespaces.join(
    { namespace: lab.attacker, link: 'eth1', addresses: ['10.65.255.1/16'] },
    { namespace: sink, link: 'eth0', addresses: ['10.65.255.2/16'] },
  );
  await sink.ip('route add local 10.65.0.0/17 dev lo\n');
  for (const place of [lab.attacker, lab.sensor, sink]) await widen(place);
  return sink;
}

/** Ephemeral ports and accept queues as on a server that expects load; the same for all. */
export async function widen(place: TestNamespace): Promise<void> {
  await place.setSysctl('net/ipv4/ip_local_port_range', '1024 65535');
  await place.setSysctl('net/core/somaxconn', '65535');
  await place.setSysctl('net/ipv4/tcp_max_syn_backlog', '65535');
}

export interface LoadIn {
  readonly target: string;
  readonly port: number;
  readonly seconds: number;
  readonly inFlight: number;
  readonly addresses: number;
  readonly payload: number;
  /** Sent instead of `payload` bytes of filling. */
  readonly request?: string;
  /** From one target address to the next; 1. */
  readonly stride?: number;
}

/** Runs load-client.ts inside a namespace to its end. */
export async function runLoadIn(place: TestNamespace, load: LoadIn): Promise<LoadResult> {
  const { node, root } = ownInstallation();
  const { stdout } = await place.run(
    [
      node,
      join(root, 'dist/src/programs/bench/load-client.js'),
      ...['--target', load.target, '--port', String(load.port), '--seconds', String(load.seconds)],
      ...['--in-flight', String(load.inFlight), '--addresses', String(load.addresses), '--payload', String(load.payload)],
      ...(load.stride === undefined ? [] : ['--stride', String(load.stride)]),
      ...(load.request === undefined ? [] : ['--request', load.request]),
    ],
    { timeoutMs: load.seconds * 1000 + 60_000 },
  );
  return JSON.parse(stdout) as LoadResult;
}
