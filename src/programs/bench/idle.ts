// `weir bench idle`: connections that are opened and say nothing, as many as the descriptor limit of this machine lets the
// gateway hold (at most 20,000): memory for each, and whether anybody else is still served.

import type { ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ownInstallation } from '../installation.ts';
import { gatewayDescriptors } from '../launch.ts';
import { WeirLab } from '../weir-lab.ts';
import type { BenchReport, Say } from './bench.ts';
import { widen } from './catch-all.ts';

const wanted = 20_000;
/** Descriptors the gateway needs beside connections; see relay/tcp-intake.ts. */
const reserved = 300;
const perHolder = 5000;

export async function benchIdle(say: Say): Promise<BenchReport> {
  const target = Math.min(wanted, gatewayDescriptors() - reserved);
  const lab = await WeirLab.open({
    configuration: `
limits: { sessions: ${wanted + 1000}, sessions-per-source: ${wanted + 1000}, idle-timeout: 1h }
diversions:
  - { name: bench, kind: host, interface: eth0, decoys: [{ addresses: 10.64.0.0/24, persona: all-open }] }
`,
  });
  try {
    await widen(lab.attacker);
    await widen(lab.sensor);
    await lab.up();
    const gateway = lab.processes().get('gateway') ?? 0;
    // The first connection pays for code that is compiled once.
    await lab.attack(['curl', '-s', '-m', '5', '-o', '/dev/null', 'http://10.64.0.200/']);
    const before = memoryOf(gateway);
    const holders: ChildProcess[] = [];
    let established = 0;
    for (let rest = target; rest > 0; rest -= perHolder) {
      const holder = hold(lab, Math.min(rest, perHolder));
      holders.push(holder);
      established += (await answer(holder)).established ?? 0;
      say(`${established} open`);
    }
    const after = memoryOf(gateway);
    let alive = 0;
    for (const holder of holders) {
      holder.stdin?.write('?');
      alive += (await answer(holder)).alive ?? 0;
    }
    const other = await lab.attack(['curl', '-s', '-m', '5', '-o', '/dev/null', '-w', '%{http_code}', 'http://10.64.0.201/']);
    const { catchAll, intake } = await lab.gateway();
    const shed = (catchAll?.shed ?? 0) + (intake?.tcp?.shed ?? 0);
    for (const holder of holders) holder.stdin?.end();
    const each = (after - before) / Math.max(1, alive);
    const text = [
      `idle connections: ${established} opened, ${alive} still held, shed ${shed}${target < wanted ? ` (the limit of ${gatewayDescriptors()} descriptors allows no ${wanted})` : ''}`,
      `  gateway ${(before / 2 ** 20).toFixed(0)} MiB -> ${(after / 2 ** 20).toFixed(0)} MiB: ${(each / 1024).toFixed(2)} KiB each (resident, kernel memory not counted)`,
      `  another client meanwhile: HTTP ${other.stdout}`,
    ].join('\n');
    return { text, json: { established, alive, shed, before, after, bytesEach: each, other: other.stdout, target } };
  } finally {
    await lab.end();
  }
}

function hold(lab: WeirLab, count: number): ChildProcess {
  const { node, root } = ownInstallation();
  const script = join(root, 'dist/src/programs/bench/hold-connections.js');
  return lab.attacker.spawn([
    node,
    script,
    '--target',
    '10.64.0.1',
    '--addresses',
    '100',
    '--port',
    '7000',
    '--count',
    String(count),
  ]);
}

/** The next JSON line a holder prints. */
function answer(holder: ChildProcess): Promise<{ established?: number; alive?: number }> {
  return new Promise((resolve, reject) => {
    holder.stdout?.once('data', (chunk: Buffer) => resolve(JSON.parse(chunk.toString())));
    holder.once('close', () => reject(new Error('the client ended early')));
  });
}

const memoryOf = (pid: number): number =>
  Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) * 1024;
