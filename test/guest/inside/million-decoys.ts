// Many VLANs on one trunk with ten thousand decoys each: what it costs to have them, and whether a scanner on the switch finds
// in every one the hosts, vendors and silences that the configuration says, and is on record with its address there.
// WEIR_SEGMENTS of them, a multiple of five up to 100, 10 unless told (the README's figures are of 100: a million decoys).

import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import type { DecoyDirectory } from '../../../src/model/decoy.ts';
import type { SessionDocument } from '../../../src/record/documents.ts';
import { type TestNamespace, until } from '../../support/namespace.ts';
import { findHosts, livingBetween, type TrunkLab, withTrunkLab } from '../../support/trunk-lab.ts';

const segments = Number(process.env.WEIR_SEGMENTS ?? 10);
const decoysEach = 10_000;
const slowMs = 400_000;
/** Descriptors for a segment in netd and in the gateway: sockets of both families, none for a decoy. */
const maxDescriptorsEach = 16;
const maxDescriptorsOnce = 80;
/** Addresses a scan asks for in each segment; four at the end are beyond the range. */
const slices = [
  { first: 'PREFIX.7.0', last: 'PREFIX.7.7', target: '7.0-7' },
  { first: 'PREFIX.39.22', last: 'PREFIX.39.29', target: '39.22-29' },
];
const connectsEach = 4;
/** Programs that scan at the same time: each waits for the silent addresses of one segment after another. */
const scanners = 5;

const vlanOf = (index: number): number => 101 + index;
const prefixOf = (index: number): string => `10.${100 + index}`;

/** 10.x.0.10 to 10.x.39.25 are ten thousand addresses, and all of them live. */
const segment = (index: number): string => `
  - name: vlan-${vlanOf(index)}
    kind: network
    trunk: trunk0
    vlan: ${vlanOf(index)}
    address: ${prefixOf(index)}.0.2/16
    gateway: ${prefixOf(index)}.0.1
    decoys: [{ addresses: ${prefixOf(index)}.0.10-${prefixOf(index)}.39.25, population: mixed-office, alive: 100%, seed: ${index} }]`;

const indices = Array.from({ length: segments }, (_, index) => index);
const diversions = `diversions:${indices.map(segment).join('')}\n`;

/** What the kernel itself holds. */
function kernelMiB(): number {
  const memory = readFileSync('/proc/meminfo', 'utf8');
  const kibibytes = ['Slab', 'Percpu', 'KernelStack', 'VmallocUsed'].reduce(
    (sum, key) => sum + Number(new RegExp(`^${key}: +(\\d+)`, 'm').exec(memory)?.[1]),
    0,
  );
  return kibibytes / 1024;
}

/** One scanner on a port that carries every VLAN, at PREFIX.0.1 in each. */
async function createScanner(lab: TrunkLab): Promise<TestNamespace> {
  const scanner = await lab.weir.namespaces.namespace('x');
  const port = await lab.plug(scanner, 'eth0', []);
  await lab.vlans([`vlan add vid ${vlanOf(0)}-${vlanOf(segments - 1)} dev ${port}`]);
  const lines = indices.flatMap((index) => [
    `link add link eth0 name v${vlanOf(index)} type vlan id ${vlanOf(index)}`,
    `addr add ${prefixOf(index)}.0.1/16 dev v${vlanOf(index)}`,
    `link set v${vlanOf(index)} up`,
  ]);
  await scanner.ip(lines.map((line) => `${line}\n`).join(''));
  return scanner;
}

/** Connects to each, says hello and hangs up; the number of those that answered. Twenty at a time. */
async function connectAll(scanner: TestNamespace, targets: readonly { ip: string; port: number }[]): Promise<number> {
  const script = `
    const net = require('node:net');
    const targets = JSON.parse(require('node:fs').readFileSync(0, 'utf8'));
    let answered = 0;
    const one = ({ ip, port }) => new Promise((resolve) => {
      const socket = net.connect({ host: ip, port, timeout: 30000 });
      socket.once('connect', () => { answered += 1; socket.end('hello\\r\\n'); });
      for (const event of ['close', 'timeout', 'error']) socket.once(event, () => { socket.destroy(); resolve(); });
      socket.resume();
    });
    const worker = async () => { for (let next; (next = targets.pop()); ) await one(next); };
    Promise.all(Array.from({ length: 20 }, worker)).then(() => console.log(answered));`;
  const { stdout } = await scanner.run([process.execPath, '-e', script], { input: JSON.stringify(targets), timeoutMs: slowMs });
  return Number(stdout);
}

/** Living decoys of the first slice with a TCP port that is open. */
function targetsIn(directory: DecoyDirectory, index: number): { ip: string; port: number }[] {
  const { first, last } = slices[0];
  return livingBetween(directory, first.replace('PREFIX', prefixOf(index)), last.replace('PREFIX', prefixOf(index)))
    .map(({ ip }) => ({ ip, port: directory.find(ip)?.persona.tcp.open[0]?.first ?? 0 }))
    .filter(({ port }) => port > 0)
    .slice(0, connectsEach);
}

async function allSessions(lab: TrunkLab, count: number): Promise<SessionDocument[]> {
  return until<SessionDocument[] | undefined>(
    `${count} sessions on record`,
    async () => {
      const found: SessionDocument[] = [];
      let before: string | undefined;
      do {
        const page = await lab.weir.reader.sessions({ limit: '500', ...(before === undefined ? {} : { before }) });
        found.push(...page.items);
        before = page.next;
      } while (before !== undefined && found.length < count * 2);
      return found.length >= count ? found : undefined;
    },
    60_000,
  );
}

const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`;

test(`${segments} segments, ${segments * decoysEach} decoys, one trunk`, () =>
  withTrunkLab(diversions, async (lab) => {
    const snapshot = await lab.weir.sensor.snapshot();
    const scanner = await createScanner(lab);
    const kernelBefore = kernelMiB();
    let started = performance.now();
    const running = await lab.weir.start().ready(slowMs);
    const appliedMs = Number(/applied in (\d+) ms/.exec(running.output)?.[1]);
    console.log(
      `${segments} segments, ${segments * decoysEach} decoys: applied in ${seconds(appliedMs)}; weir up is ready after ${seconds(performance.now() - started)}`,
    );
    console.log(
      `memory: programs ${(lab.weir.memoryBytes() / 2 ** 20).toFixed(0)} MiB, kernel ${(kernelMiB() - kernelBefore).toFixed(0)} MiB more than before`,
    );
    for (const [name, pid] of lab.weir.processes()) {
      const count = readdirSync(`/proc/${pid}/fd`).length;
      console.log(`descriptors of ${name}: ${count}, ${(count / segments).toFixed(1)} for each segment`);
      assert.ok(count <= maxDescriptorsEach * segments + maxDescriptorsOnce, `descriptors of ${name}: ${count}`);
    }

    const residents = lab.residents();
    const expected = indices.flatMap((index) =>
      slices.flatMap(({ first, last }) => {
        const [from, to] = [first, last].map((text) => text.replace('PREFIX', prefixOf(index)));
        return livingBetween(residents.get(`vlan-${vlanOf(index)}`) ?? assert.fail(), from, to);
      }),
    );
    assert.equal(expected.length, segments * 12, 'eight in the middle and the last four of each range live');
    started = performance.now();
    const scans = Array.from({ length: scanners }, (_, one) => {
      const [from, to] = [(one * segments) / scanners, ((one + 1) * segments) / scanners - 1];
      return findHosts(
        scanner,
        slices.map(({ target }) => `${prefixOf(from)}-${100 + to}.${target}`),
        slowMs,
      );
    });
    const hosts = (await Promise.all(scans)).flat();
    console.log(`nmap -sn of 16 addresses in each: ${hosts.length} hosts in ${seconds(performance.now() - started)}`);
    const order = (a: { ip: string }, b: { ip: string }): number => (a.ip < b.ip ? -1 : 1);
    assert.deepEqual(hosts.map(({ ip, mac }) => ({ ip, mac })).sort(order), expected.toSorted(order));
    assert.ok(hosts.every(({ vendor }) => vendor !== ''));
    console.log(`vendors: ${[...new Set(hosts.map(({ vendor }) => vendor))].sort().join(', ')}`);

    const wanted = indices.flatMap((index) => targetsIn(residents.get(`vlan-${vlanOf(index)}`) as DecoyDirectory, index));
    started = performance.now();
    assert.equal(await connectAll(scanner, wanted), wanted.length, 'every open port answers');
    console.log(`${wanted.length} connections to all of them: ${seconds(performance.now() - started)}`);
    const sessions = await allSessions(lab, wanted.length);
    const key = (diversion: string, source: string, ip: string, port: number): string => `${diversion} ${source} ${ip}:${port}`;
    assert.deepEqual(
      sessions.map(({ weir, source, destination }) => key(weir.diversion, source.ip, destination.ip, destination.port)).sort(),
      wanted
        .map(({ ip, port }) => {
          const index = Number(ip.split('.')[1]) - 100;
          return key(`vlan-${vlanOf(index)}`, `${prefixOf(index)}.0.1`, ip, port);
        })
        .sort(),
      'each once, from the scanner as it is known in that VLAN',
    );

    started = performance.now();
    await lab.weir.weir(['down'], { timeoutMs: slowMs });
    assert.equal(await running.exited(), 0, running.output);
    console.log(`weir down: ${seconds(performance.now() - started)}`);
    assert.deepEqual(await lab.leftovers(), []);
    assert.equal(await lab.weir.sensor.snapshot(), snapshot);
  }));
