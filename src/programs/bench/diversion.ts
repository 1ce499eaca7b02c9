// `weir bench diversion`: connect times and new connections per second by every way a decoy can be brought to a service, at
// 100 to 1,048,576 decoys, in turn, round by round. The ways are diversion-paths.ts.

import { join } from 'node:path';
import { WeirError } from '../../base/errors.ts';
import type { BenchSettings } from '../../cli/actions.ts';
import { ownInstallation } from '../installation.ts';
import type { WeirLab } from '../weir-lab.ts';
import type { BenchReport, Say } from './bench.ts';
import { runLoadIn } from './catch-all.ts';
import { blocks, configurationOf, layPaths, type PathName } from './diversion-paths.ts';
import { median, spread } from './figures.ts';

const allScales = [100, 10_000, 65_536, 1_048_576];
/** One rule per address goes no further: each new connection walks half of them. */
const dnatUpTo = 65_536;
const rounds = 5;
const seconds = 2;
const inFlight = 64;
const connects = 1000;
/** Touched of each scale, spread over all of it. */
const touched = 2048;
const request = 'GET / HTTP/1.0\r\n\r\n';

interface Figures {
  readonly rates: number[];
  readonly p50: number[];
  readonly p99: number[];
  failed: number;
}

interface Scale {
  readonly decoys: number;
  readonly paths: Partial<Record<PathName, Figures>>;
  readonly dnatLoadMs?: number;
}

/** `only`: names of ways and numbers of decoys; those of a kind that is not named are all measured. */
export async function benchDiversion(say: Say, { only = [] }: BenchSettings = {}): Promise<BenchReport> {
  const names = Object.keys(blocks) as PathName[];
  const strange = only.filter((one) => !names.some((name) => name === one) && !allScales.some((count) => String(count) === one));
  if (strange.length > 0)
    throw new WeirError('bad-request', `not a row of this benchmark: ${strange.join(', ')}`, {
      next: `of: ${[...names, ...allScales].join(', ')}`,
    });
  const chosen = names.filter((name) => only.includes(name));
  const chosenScales = allScales.filter((count) => only.includes(String(count)));
  const scales = chosenScales.length > 0 ? chosenScales : allScales;

  const { lab, loadDnat } = await layPaths(scales[0]);
  try {
    await lab.up();
    const measured: Scale[] = [];
    for (const decoys of scales) {
      lab.configure(configurationOf(decoys));
      await lab.weir(['apply', '--yes'], { timeoutMs: 120_000 });
      const dnatLoadMs = decoys <= dnatUpTo ? await loadDnat(decoys) : undefined;
      if (dnatLoadMs !== undefined) say(`${decoys} decoys: DNAT rules loaded in ${dnatLoadMs.toFixed(0)} ms`);
      const scale: Scale = { decoys, paths: {}, ...(dnatLoadMs === undefined ? {} : { dnatLoadMs }) };
      const rows = (chosen.length > 0 ? chosen : names).filter((name) => name !== 'DNAT' || decoys <= dnatUpTo);
      for (const name of rows) await load(lab, name, decoys, 1);
      for (let round = 0; round < rounds; round += 1)
        for (const name of rows) {
          scale.paths[name] ??= { rates: [], p50: [], p99: [], failed: 0 };
          const figures = scale.paths[name];
          const result = await load(lab, name, decoys, seconds);
          figures.rates.push(result.completed / result.seconds);
          figures.failed += result.failed;
          const times = await connectTimes(lab, name, decoys);
          figures.p50.push(times.p50);
          figures.p99.push(times.p99);
          if (name === 'kernel path' || name === 'catch-all') await lab.settled(300_000);
        }
      measured.push(scale);
      for (const line of lines(scale)) say(line);
    }
    const recorded = (await lab.reader.counts({ service: 'real' })).sessions;
    const gateway = (await lab.gateway()) as unknown as { kernelPath?: Record<string, number> };
    const ratio = (decoys: number, over: PathName): number => {
      const scale = measured.find((one) => one.decoys === decoys);
      const mine = scale?.paths['kernel path']?.rates ?? [];
      const theirs = scale?.paths[over]?.rates ?? [];
      return median(mine.map((rate, index) => rate / theirs[index]));
    };
    const ratios = scales.map((decoys) => ({ decoys, plain: ratio(decoys, 'plain'), haproxy: ratio(decoys, 'HAProxy') }));
    const text = [
      `${rounds} rounds in turn of ${seconds} s with ${inFlight} connections at a time, then ${connects} one by one; median (spread):`,
      ...measured.flatMap(lines),
      'kernel path against plain routing and HAProxy, connections per second, median of the rounds’ ratios:',
      ...ratios.map(({ decoys, plain, haproxy }) => `  ${String(decoys).padStart(9)} decoys  ${shown(plain)}  ${shown(haproxy)}`),
      `sessions of the kernel path on record: ${recorded}; packets captured ${gateway.kernelPath?.packets}, lost ${gateway.kernelPath?.packetsLost}`,
    ].join('\n');
    return { text, json: { measured, ratios, recorded, kernelPath: gateway.kernelPath ?? null } };
  } finally {
    await lab.end();
  }
}

function lines({ decoys, paths, dnatLoadMs }: Scale): string[] {
  return Object.entries(paths).map(([name, { rates, p50, p99, failed }]) => {
    const more = name === 'DNAT' && dnatLoadMs !== undefined ? `, rules loaded in ${dnatLoadMs.toFixed(0)} ms` : '';
    return (
      `  ${String(decoys).padStart(9)} decoys  ${name.padEnd(12)} ${spread(rates).padEnd(22)}/s  ` +
      `connect p50 ${spread(p50)} us, p99 ${median(p99).toFixed(0)} us, failed ${failed}${more}`
    );
  });
}

function load(lab: WeirLab, name: PathName, decoys: number, forSeconds: number): ReturnType<typeof runLoadIn> {
  const addresses = Math.min(decoys, touched);
  const stride = Math.floor(decoys / addresses);
  return runLoadIn(lab.attacker, {
    target: blocks[name],
    port: 80,
    seconds: forSeconds,
    inFlight,
    addresses,
    stride,
    payload: 0,
    request,
  });
}

/** One at a time, over 64 decoys. */
async function connectTimes(lab: WeirLab, name: PathName, decoys: number): Promise<{ p50: number; p99: number }> {
  const { node, root } = ownInstallation();
  const [first, second] = blocks[name].split('.').map(Number);
  const last = (first << 24) + (second << 16) + decoys - 1;
  const range = `${blocks[name]}-${last >>> 24}.${(last >>> 16) & 255}.${(last >>> 8) & 255}.${last & 255}`;
  const { stdout } = await lab.attacker.run(
    [
      node,
      join(root, 'dist/src/programs/bench/connect-times.js'),
      ...['--target', range, '--port', '80', '--count', String(connects)],
    ],
    { timeoutMs: 120_000 },
  );
  return JSON.parse(stdout) as { p50: number; p99: number };
}

const shown = (ratio: number): string => (Number.isNaN(ratio) ? 'not measured' : ratio.toFixed(2));
