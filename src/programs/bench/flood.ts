// `weir bench flood`: sixty seconds past every bound at once (connections, silent connections, datagrams, SYNs to open and
// closed ports). What was offered is counted by rules of the benchmark's own in the sensor's kernel, before Weir's.

import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ownInstallation } from '../installation.ts';
import { WeirLab } from '../weir-lab.ts';
import type { BenchReport, Say } from './bench.ts';
import { runLoadIn, widen } from './catch-all.ts';

const seconds = 60;

const configuration = `
limits: { sessions: 2000, sessions-per-source: 500, session-bytes: 4KiB, idle-timeout: 5s }
diversions:
  - name: bench
    kind: host
    interface: eth0
    decoys:
      - { addresses: 10.64.0.0/17, persona: all-open }
      - { addresses: 10.65.0.0/17, persona: printer }
`;

/** An independent count of what reaches the sensor, ahead of every rule of Weir. */
const counterRules = `
table inet offered {
  counter syns {}
  counter datagrams {}
  chain count {
    type filter hook prerouting priority -400;
    ip daddr 10.64.0.0/15 tcp flags & (fin|syn|rst|ack) == syn counter name syns
    ip daddr 10.64.0.0/15 meta l4proto udp counter name datagrams
  }
}
`;

const udpFlood = `
const socket = require('node:dgram').createSocket('udp4');
const end = Date.now() + ${seconds * 1000};
let n = 0;
const burst = () => {
  if (Date.now() > end) return socket.close();
  for (let k = 0; k < 40; k++, n++) socket.send('flood ' + n, 1024 + (n % 50000), '10.64.' + (n % 128) + '.' + (n % 251 + 1), () => {});
  setTimeout(burst, 10);
};
burst();
`;

export async function benchFlood(say: Say): Promise<BenchReport> {
  const lab = await WeirLab.open({ configuration });
  try {
    const sources = Array.from({ length: 8 }, (_, index) => `10.1.0.${10 + index}`);
    await lab.attacker.ip(sources.map((ip) => `addr add ${ip}/8 dev eth0\n`).join(''));
    await widen(lab.attacker);
    await widen(lab.sensor);
    await lab.sensor.nft(counterRules);
    const running = await lab.up();
    const pids = [...lab.processes().values()];
    let peak = 0;
    const watch = setInterval(() => {
      peak = Math.max(peak, residentOf(lab.processes().get('gateway') ?? 0));
    }, 500);
    say(`flooding for ${seconds} s`);
    const { node, root } = ownInstallation();
    const holder = lab.attacker.spawn([
      node,
      join(root, 'dist/src/programs/bench/hold-connections.js'),
      ...['--target', '10.64.3.1', '--addresses', '200', '--port', '7000', '--count', '4000'],
    ]);
    const udp = lab.attacker.run([node, '-e', udpFlood], { timeoutMs: seconds * 1000 + 30_000 });
    const sweeps =
      spawnSync('sh', ['-c', 'command -v masscan']).status === 0
        ? lab.attack(
            [
              'masscan',
              '10.65.0.0/17',
              '-p1-9',
              '--rate',
              '4000',
              '--wait',
              '1',
              '-e',
              'eth0',
              '--router-mac',
              '02-00-00-00-00-02',
              '--source-ip',
              '10.0.0.1',
            ],
            { timeoutMs: seconds * 1000 + 30_000 },
          )
        : Promise.resolve();
    const load = await runLoadIn(lab.attacker, {
      target: '10.64.1.0',
      port: 8000,
      seconds,
      inFlight: 256,
      addresses: 256,
      payload: 8000,
    });
    await Promise.all([udp, sweeps]);
    holder.stdin?.end();
    clearInterval(watch);
    say('waiting until everything is on record');
    await quiet(lab);
    await lab.settled(600_000);
    const packets = await quiet(lab);
    await lab.settled(10_000);
    const lives = pids.length === 3 && pids.every((pid) => [...lab.processes().values()].includes(pid));
    const { stdout } = await lab.sensor.run(['nft', '-j', 'list', 'counters', 'table', 'inet', 'offered']);
    const offered = Object.fromEntries(
      (JSON.parse(stdout) as { nftables: { counter?: { name: string; packets: number } }[] }).nftables.flatMap(({ counter }) =>
        counter ? [[counter.name, counter.packets]] : [],
      ),
    ) as { syns: number; datagrams: number };
    const { intake, catchAll, journal } = await lab.gateway();
    const stored = await lab.reader.counts({});
    const tcpStored = (await lab.reader.counts({ transport: 'tcp' })).sessions;
    const tcp = intake?.tcp;
    const delivered = tcp?.delivered ?? 0;
    const refused = catchAll?.refusedBySource ?? 0;
    const { probes } = packets;
    const rows: [string, number, number][] = [
      ['SYNs: seen + lost = offered', probes.seen - probes.strays + packets.probesLost, offered.syns],
      [
        'packets seen: sessions + probes + dropped = seen',
        probes.matched + probes.listed + probes.unlisted + probes.dropped + packets.probesDropped,
        probes.seen,
      ],
      ['connections: recorded (refused ones too) = accepted', tcpStored, delivered],
      ['datagrams: taken + lost = offered', packets.datagrams + packets.datagramsLost, offered.datagrams],
      ['probe packets in the store + dropped on the way = listed', stored.probes, probes.listed + probes.unlisted],
    ];
    const text = [
      `flood, ${seconds} s: ${offered.syns} SYNs, ${offered.datagrams} datagrams, ${load.completed} full sessions by one client`,
      ...rows.map(([what, left, right]) => `  ${left === right ? 'equal    ' : 'DIFFERENT'} ${what}: ${left} / ${right}`),
      `  shed ${catchAll?.shed ?? 0}, refused per source ${refused}, shed without a descriptor ${tcp?.shed ?? 0}, UDP sessions shed ${catchAll?.udpShed ?? 0}, journal records dropped ${journal?.droppedRecords ?? 0}`,
      `  every process is the same as before: ${lives ? 'yes' : 'NO'}; gateway at most ${(peak / 2 ** 20).toFixed(0)} MiB resident; weir up still runs: ${running.running ? 'yes' : 'NO'}`,
    ].join('\n');
    return { text, json: { offered, load, packets, tcp, catchAll, journal, stored, tcpStored, peak, lives, rows } };
  } finally {
    await lab.end();
  }
}

type PacketCounters = NonNullable<NonNullable<Awaited<ReturnType<WeirLab['gateway']>>['intake']>['packets']>['packets'];

/** Waits until no SYN is held and no probe pending: three seconds after the last packet. */
async function quiet(lab: WeirLab): Promise<NonNullable<PacketCounters>> {
  const end = performance.now() + 60_000;
  for (;;) {
    const packets = (await lab.gateway()).intake?.packets?.packets;
    if (packets && packets.probes.held + packets.probes.pending === 0) return packets;
    if (performance.now() > end) throw new Error('probes are still held after a minute');
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
}

const residentOf = (pid: number): number => {
  try {
    return Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) * 1024;
  } catch {
    return 0;
  }
};
