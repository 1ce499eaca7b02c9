// `weir bench decoys`: one decoy against a million (IPv4 /12), an IPv6 /64 beside it, and 65,536 listed one by one: how
// long apply takes, how long a connect takes, how much memory all processes use. Same lab, same client, in turn.

import { join } from 'node:path';
import { ownInstallation } from '../installation.ts';
import { WeirLab } from '../weir-lab.ts';
import type { BenchReport, Say } from './bench.ts';
import { widen } from './catch-all.ts';
import { median, spread } from './figures.ts';

interface Scale {
  readonly name: string;
  readonly configuration: string;
  /** Where connects go: a walk through this range, and only over decoys that live and have port 80 open. */
  readonly target: string;
}

const diversion = (decoys: string): string => `
limits: { sessions-per-source: 100000 }
probing: { claim-rate: 1000000 }
diversions:
  - name: bench
    kind: host
    interface: eth0
    decoys:
${decoys}`;

/** Every 16th address of a /12, so that no two are neighbours and nothing can be joined to a range. */
const listed = (): string =>
  Array.from({ length: 65_536 }, (_, index) => {
    const value = (10 << 24) + (64 << 16) + index * 16 + 5;
    return `      - { address: ${value >>> 24}.${(value >>> 16) & 255}.${(value >>> 8) & 255}.${value & 255}, persona: linux-web }\n`;
  }).join('');

const scales: readonly Scale[] = [
  { name: 'one decoy', configuration: diversion('      - { addresses: 10.64.0.5, persona: linux-web }\n'), target: '10.64.0.5' },
  {
    name: '1,048,576 and a /64',
    configuration: diversion(
      '      - { addresses: 10.64.0.0/12, population: mixed-office, seed: 7 }\n      - { addresses: "fd99:0:0:64::/64", population: mixed-office, seed: 7 }\n',
    ),
    target: '10.64.0.0/12',
  },
  { name: '65,536 listed', configuration: diversion(listed()), target: 'listed' },
];

const rounds = 5;
const connects = 2000;

interface Measured {
  readonly name: string;
  readonly planMs: number;
  readonly applyMs: number;
  readonly memoryBytes: number;
  readonly p50: number[];
  readonly p99: number[];
}

export async function benchDecoys(say: Say): Promise<BenchReport> {
  const labs: WeirLab[] = [];
  try {
    const measured: Measured[] = [];
    for (const scale of scales) {
      const lab = await WeirLab.open({ configuration: scale.configuration });
      labs.push(lab);
      await widen(lab.attacker);
      await widen(lab.sensor);
      const began = performance.now();
      const running = await lab.up();
      const readyMs = performance.now() - began;
      const applyMs = Number(/applied in (\d+) ms/.exec(running.output)?.[1]);
      const memoryBytes = lab.memoryBytes([...lab.processes().values(), ...(running.child.pid ? [running.child.pid] : [])]);
      say(
        `${scale.name}: applied in ${applyMs} ms, ready after ${Math.round(readyMs)} ms, ${(memoryBytes / 2 ** 20).toFixed(0)} MiB`,
      );
      measured.push({ name: scale.name, planMs: readyMs - applyMs, applyMs, memoryBytes, p50: [], p99: [] });
    }
    for (let round = 0; round < rounds; round += 1)
      for (const [index, scale] of scales.entries()) {
        const { p50, p99 } = await connectTimes(labs[index], scale.target);
        measured[index].p50.push(p50);
        measured[index].p99.push(p99);
      }
    const base = median(measured[0].p50);
    const lines = measured.map(
      ({ name, applyMs, memoryBytes, p50, p99 }) =>
        `  ${name.padEnd(20)} apply ${String(applyMs).padStart(5)} ms   all processes ${(memoryBytes / 2 ** 20).toFixed(0).padStart(4)} MiB   connect p50 ${spread(p50, 1)} us, p99 ${spread(p99)} us, ratio ${(median(p50) / base).toFixed(3)}`,
    );
    return {
      text: `decoys, ${connects} connects a round, ${rounds} rounds in turn, median (spread); apply is the transaction as \`weir up\` says it:\n${lines.join('\n')}`,
      json: { measured },
    };
  } finally {
    for (const lab of labs) await lab.end();
  }
}

/** Blocking connects one after the other from the attacker's namespace, warm-up not counted. */
async function connectTimes(lab: WeirLab, target: string): Promise<{ p50: number; p99: number }> {
  const { node, root } = ownInstallation();
  const script = join(root, 'dist/src/programs/bench/connect-times.js');
  const { stdout } = await lab.attacker.run([node, script, '--target', target, '--port', '80', '--count', String(connects)], {
    timeoutMs: 120_000,
  });
  return JSON.parse(stdout) as { p50: number; p99: number };
}
