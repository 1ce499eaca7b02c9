// `weir bench who`: 5,000 connections that talk and 500 short ones a second, from containers behind NAT, watched at the uplink: what share of the
// bytes has an owner, whether it is the right one, and what the watching costs.

import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { WeirError } from '../../base/errors.ts';
import { readMachineLinks } from '../../kernel/machine/link-reader.ts';
import { type TestNamespace, withLab } from '../../kernel/namespace-lab.ts';
import { withRouteSocket } from '../../kernel/route-socket.ts';
import { TrafficWatch, type WhoReading } from '../../netops/who/traffic-watch.ts';
import { ownInstallation } from '../installation.ts';
import type { BenchReport, Say } from './bench.ts';
import { median, spread } from './figures.ts';

const steadyFlows = 5000;
const shortPerSecond = 500;
const containers = 2;
const processesEach = 2;
const readings = 8;
const intervalMs = 2000;
const port = 7000;
/** Ethernet's header, which a device counts and a flow does not. */
const frameHeaderBytes = 14;

interface Round {
  readonly reading: WhoReading;
  readonly wrong: number;
  readonly cpuShare: number;
  readonly readMs: number;
  /** What the device had counted when the reading was taken. */
  readonly deviceBytes: number;
}

export function benchWho(say: Say): Promise<BenchReport> {
  return withLab(async (lab) => {
    const server = await lab.namespace('server');
    const host = await lab.namespace('host');
    await lab.join(
      { namespace: server, link: 'far', addresses: ['198.51.100.1/24'] },
      { namespace: host, link: 'eth0', addresses: ['198.51.100.2/24'] },
    );
    await host.ip(
      'link add br0 type bridge\naddr add 172.18.0.1/16 dev br0\nlink set br0 up\nroute add default via 198.51.100.1\n',
    );
    await host.setSysctl('net/ipv4/ip_forward', '1');
    await host.nft('table ip nat { chain post { type nat hook postrouting priority 100; oifname eth0 masquerade; }; }');
    await start(server, ['--serve', String(port)], 'listening');
    /** By process the container it is in. */
    const owners = new Map<number, string>();
    for (let index = 0; index < containers; index += 1) {
      const container = await lab.namespace(`c${index}`);
      await lab.join(
        { namespace: container, link: 'eth0', addresses: [`172.18.0.${index + 2}/16`] },
        { namespace: host, link: `veth${index}` },
      );
      await host.ip(`link set veth${index} master br0\n`);
      await container.ip('route add default via 172.18.0.1\n');
      for (let one = 0; one < processesEach; one += 1) {
        const share = containers * processesEach;
        const child = await start(
          container,
          [
            '--to',
            '198.51.100.1',
            '--port',
            String(port),
            '--steady',
            String(steadyFlows / share),
            '--short',
            String(shortPerSecond / share),
          ],
          'steady',
        );
        owners.set(child.pid ?? -1, container.name);
      }
      say(`container ${index + 1}: its connections are open`);
    }
    // Before it watched nobody could tell: short connections of that time are over in a moment.
    const watch = await TrafficWatch.open({ netns: host.name, device: 'eth0', dockerSocket: '/nonexistent' });
    try {
      const rounds: Round[] = [];
      const { measure: measured, unseen } = await watch.read({ top: 20 });
      if (measured !== 'wire') throw new WeirError('kernel-missing', 'packets cannot be counted here', { unseen });
      for (let round = 0; round < readings; round += 1) {
        const made = await measure(watch, host, owners);
        rounds.push(made);
        const { totals } = made.reading;
        say(
          `${totals.flows} flows, ${((100 * totals.attributedBytes) / totals.bytes).toFixed(2)} % of the bytes, ${(made.cpuShare * 100).toFixed(1)} % of a processor`,
        );
      }
      return report(rounds);
    } finally {
      watch.close();
    }
  });
}

async function start(namespace: TestNamespace, args: readonly string[], word: string): Promise<ChildProcess> {
  const { node, root } = ownInstallation();
  const child = namespace.spawn([node, join(root, 'dist/src/programs/bench/who-load.js'), ...args]);
  child.stderr?.resume();
  const [line] = await once(child.stdout ?? child, 'data', { signal: AbortSignal.timeout(60_000) });
  if (String(line).trim() !== word) throw new Error(`the load said ${String(line)}`);
  return child;
}

const deviceBytes = (host: TestNamespace): number => {
  const link = withRouteSocket(host.path, readMachineLinks).find(({ name }) => name === 'eth0');
  if (!link) return 0;
  const { receivedBytes, sentBytes, receivedPackets, sentPackets } = link.counters;
  return receivedBytes + sentBytes - frameHeaderBytes * (receivedPackets + sentPackets);
};

async function measure(watch: TrafficWatch, host: TestNamespace, owners: ReadonlyMap<number, string>): Promise<Round> {
  const cpuBefore = process.cpuUsage();
  const before = performance.now();
  await pause(intervalMs);
  // Just before the reading takes what was counted, so that both are of the same time.
  const now = deviceBytes(host);
  const began = performance.now();
  // All of them, so that each can be judged.
  const reading = await watch.read({ top: 20, all: true });
  const ended = performance.now();
  const { user, system } = process.cpuUsage(cpuBefore);
  let wrong = 0;
  for (const { attributed, path } of reading.all ?? []) {
    const last = path.at(-1);
    if (attributed && owners.get(last?.pid ?? -1) !== last?.netnsName) wrong += 1;
  }
  return { reading, wrong, cpuShare: (user + system) / 1000 / (ended - before), readMs: ended - began, deviceBytes: now };
}

function report(rounds: readonly Round[]): BenchReport {
  const shares = rounds.map(({ reading: { totals } }) => (100 * totals.attributedBytes) / totals.bytes);
  const counted = rounds
    .slice(1)
    .map(({ reading: { totals }, deviceBytes: device }, index) => (100 * totals.bytes) / (device - rounds[index].deviceBytes));
  const flows = rounds.map(({ reading }) => reading.totals.flows);
  const cpu = rounds.map(({ cpuShare }) => cpuShare * 100);
  const wrong = rounds.reduce((sum, round) => sum + round.wrong, 0);
  const rate = rounds.map(({ reading: { totals, seconds } }) => (totals.bytes * 8) / seconds / 1e6);
  const reasons = new Map<string, number>();
  for (const { reading } of rounds)
    for (const { reason, bytes } of reading.unattributed) reasons.set(reason, (reasons.get(reason) ?? 0) + bytes);
  const text = [
    `who: ${steadyFlows} connections that talk every second and ${shortPerSecond} short ones a second, behind NAT, in ${containers} containers`,
    `  flows in a reading of ${intervalMs / 1000} s         ${spread(flows)}, ${median(rate).toFixed(1)} Mb/s`,
    `  bytes with an owner             ${spread(shares, 2)} %`,
    `  flows with the wrong owner      ${wrong} of ${flows.reduce((sum, count) => sum + count, 0)}`,
    `  bytes counted, of the device's  ${spread(counted, 2)} %`,
    `  processor time of the watching  ${spread(cpu, 1)} % of one processor, ${median(rounds.map(({ readMs }) => readMs)).toFixed(0)} ms a reading`,
    ...[...reasons].map(([reason, bytes]) => `  no owner: ${bytes} bytes: ${reason}`),
  ].join('\n');
  return {
    text,
    json: {
      flows: median(flows),
      attributedPercent: median(shares),
      leastAttributedPercent: Math.min(...shares),
      wrongOwners: wrong,
      countedPercent: median(counted),
      cpuPercent: median(cpu),
      readMs: median(rounds.map(({ readMs }) => readMs)),
      megabitsPerSecond: median(rate),
    },
    exitCode: wrong === 0 && Math.min(...flows) >= steadyFlows ? 0 : 1,
  };
}
