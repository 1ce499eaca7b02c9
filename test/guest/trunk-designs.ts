// Measures, in a guest, three ways for segments to meet a trunk: `node dist/test/guest/trunk-designs.js` prints the table of
// docs/decisions/0017. Not a test: what it prints is judged by people. `inside` as argument is the part that runs in the guest.

import { readFile, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { type NamespaceLab, runCommand, type TestNamespace, until, withLab } from '../../src/kernel/namespace-lab.ts';
import { withGuest } from '../support/guest.ts';

const sizes = [1, 10, 100];
const rounds = 3;
const firstVlan = 101;
const managementVlan = 1000;
const broadcasts = 20_000;

interface Stage {
  readonly lab: NamespaceLab;
  /** The machine that Weir would run on; `trunk0` is its trunk. */
  readonly machine: TestNamespace;
  /** A VLAN-aware switch; `t1` is its end of the trunk. */
  readonly wire: TestNamespace;
  /** On an access port in the first segment's VLAN: 10.1.0.1/16. */
  readonly scanner: TestNamespace;
  /** On an access port of the machine's own VLAN and on the trunk's untagged one. */
  readonly operator: TestNamespace;
}

interface Design {
  readonly name: string;
  /** Batches of `ip` and `bridge` for the machine's namespace; segment k is in namespace `names[k]` and gets 10.1.0.2/16. */
  build(names: readonly string[]): { ip: string[]; bridge: string[]; inside: string[] };
  remove: readonly string[];
}

const vlanOf = (index: number): number => firstVlan + index;
const lan = ['addr add 10.1.0.2/16 dev lan', 'link set lan up'];

const designs: readonly Design[] = [
  {
    name: 'vlan device moved',
    build: (names) => ({
      ip: names.map((name, k) => `link add link trunk0 name lan netns ${name} type vlan id ${vlanOf(k)}`),
      bridge: [],
      inside: lan,
    }),
    remove: [],
  },
  {
    name: 'plain bridge, vlan inside',
    build: (names) => ({
      ip: [
        'link add br0 type bridge',
        'link set br0 up',
        'link set trunk0 master br0',
        ...names.flatMap((name, k) => [
          `link add s${k} type veth peer name port netns ${name}`,
          `link set s${k} master br0`,
          `link set s${k} up`,
        ]),
      ],
      bridge: [],
      inside: ['link set port up', 'link add link port name lan type vlan id VLAN', ...lan],
    }),
    remove: ['link del br0'],
  },
  {
    name: 'filtering bridge, access port',
    build: (names) => ({
      ip: [
        'link add br0 type bridge vlan_filtering 1 vlan_default_pvid 0',
        'link set br0 up',
        'link set trunk0 master br0',
        ...names.flatMap((name, k) => [
          `link add s${k} type veth peer name lan netns ${name}`,
          `link set s${k} master br0`,
          `link set s${k} up`,
        ]),
      ],
      bridge: names.flatMap((_, k) => [
        `vlan add vid ${vlanOf(k)} dev trunk0`,
        `vlan add vid ${vlanOf(k)} dev s${k} pvid untagged`,
      ]),
      inside: lan,
    }),
    remove: ['link del br0'],
  },
];

interface Figures {
  linksMs: number;
  insideMs: number;
  removeMs: number;
  kernelKiB: number;
  devices: number;
  roundTripUs: number;
  transferMiBs: number;
  broadcastUs: number;
  ownUntagged: boolean;
  ownVlan: boolean;
}

const batch = (program: string, lines: readonly string[]): Promise<unknown> =>
  lines.length === 0
    ? Promise.resolve()
    : runCommand([program, '-batch', '-'], { input: `${lines.join('\n')}\n`, timeoutMs: 120_000 });

async function timed(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}

/** What the kernel itself holds: slab, per-processor memory, stacks, vmalloc. */
async function kernelMemoryKiB(): Promise<number> {
  await writeFile('/proc/sys/vm/drop_caches', '3');
  const text = await readFile('/proc/meminfo', 'utf8');
  return ['Slab', 'Percpu', 'KernelStack', 'VmallocUsed'].reduce(
    (sum, key) => sum + Number(new RegExp(`^${key}: +(\\d+)`, 'm').exec(text)?.[1]),
    0,
  );
}

async function createStage(lab: NamespaceLab): Promise<Stage> {
  const [machine, wire, scanner, operator] = await Promise.all(['m', 'w', 'c', 'o'].map((label) => lab.namespace(label)));
  await wire.ip('link add br0 type bridge vlan_filtering 1 vlan_default_pvid 0\nlink set br0 up\n');
  await lab.join({ namespace: machine, link: 'trunk0', addresses: ['10.9.0.2/24'] }, { namespace: wire, link: 't1' });
  await lab.join({ namespace: scanner, link: 'eth0', addresses: ['10.1.0.1/16'] }, { namespace: wire, link: 'a1' });
  await lab.join({ namespace: operator, link: 'eth0', addresses: ['10.9.0.1/24'] }, { namespace: wire, link: 'a2' });
  await lab.join({ namespace: operator, link: 'eth1', addresses: ['10.8.0.1/24'] }, { namespace: wire, link: 'a3' });
  await wire.ip(['t1', 'a1', 'a2', 'a3'].map((port) => `link set ${port} master br0\n`).join(''));
  const vlans = [
    'vlan add vid 1 dev t1 pvid untagged',
    'vlan add vid 1 dev a2 pvid untagged',
    `vlan add vid ${managementVlan} dev t1`,
    `vlan add vid ${managementVlan} dev a3 pvid untagged`,
    `vlan add vid ${firstVlan} dev a1 pvid untagged`,
    `vlan add vid ${firstVlan}-${firstVlan + Math.max(...sizes) - 1} dev t1`,
  ];
  await wire.run(['bridge', '-batch', '-'], { input: `${vlans.join('\n')}\n` });
  await machine.ip(
    `link add link trunk0 name own type vlan id ${managementVlan}\nlink set own up\naddr add 10.8.0.2/24 dev own\n`,
  );
  await until('the machine answers', async () => (await answers(operator, '10.9.0.2')) && (await answers(operator, '10.8.0.2')));
  return { lab, machine, wire, scanner, operator };
}

async function answers(from: TestNamespace, address: string): Promise<boolean> {
  return (await from.run(['ping', '-q', '-c', '2', '-i', '0.2', '-W', '1', address], { anyCode: true })).code === 0;
}

/** Microseconds for each of many broadcast frames through everything they wake up; sent by the kernel's own generator. */
async function broadcastCost(scanner: TestNamespace): Promise<number> {
  const to = (file: string, line: string): Promise<unknown> =>
    scanner.run(['tee', `/proc/net/pktgen/${file}`], { input: `${line}\n`, timeoutMs: 120_000 });
  await to('kpktgend_0', 'rem_device_all');
  await to('kpktgend_0', 'add_device eth0');
  for (const line of [`count ${broadcasts}`, 'pkt_size 60', 'delay 0', 'dst_mac ff:ff:ff:ff:ff:ff', 'dst 10.1.255.255'])
    await to('eth0', line);
  await to('pgctrl', 'start');
  const { stdout } = await scanner.run(['cat', '/proc/net/pktgen/eth0']);
  const [, microseconds, sent] = /OK: (\d+)\(.*\) usec, (\d+) /.exec(stdout) ?? [];
  await to('kpktgend_0', 'rem_device_all');
  return Number(microseconds) / Number(sent);
}

async function transferRate(stage: Stage, segment: string): Promise<number> {
  const mebibytes = 32;
  const server = runCommand(['ip', 'netns', 'exec', segment, 'socat', '-u', 'TCP-LISTEN:5001,bind=10.1.0.2', 'OPEN:/dev/null'], {
    anyCode: true,
    timeoutMs: 60_000,
  });
  await until('the sink listens', async () =>
    /:5001/.test((await runCommand(['ip', 'netns', 'exec', segment, 'ss', '-Hltn'])).stdout),
  );
  const ms = await timed(async () => {
    await stage.scanner.run(['socat', '-u', '-b', '65536', `OPEN:/dev/zero,readbytes=${mebibytes << 20}`, 'TCP:10.1.0.2:5001'], {
      timeoutMs: 60_000,
    });
    await server;
  });
  return mebibytes / (ms / 1000);
}

async function measure(design: Design, count: number): Promise<Figures> {
  return withLab(async (lab) => {
    const stage = await createStage(lab);
    const { machine, scanner, operator } = stage;
    const names = Array.from({ length: count }, (_, k) => `${lab.prefix}-s${k}`);
    await batch(
      'ip',
      names.map((name) => `netns add ${name}`),
    );
    const before = await kernelMemoryKiB();
    const commands = design.build(names);
    const linksMs = await timed(async () => {
      await machine.run(['ip', '-batch', '-'], { input: `${commands.ip.join('\n')}\n`, timeoutMs: 120_000 });
      if (commands.bridge.length > 0)
        await machine.run(['bridge', '-batch', '-'], { input: `${commands.bridge.join('\n')}\n`, timeoutMs: 120_000 });
    });
    const insideMs = await timed(async () => {
      for (const [k, name] of names.entries()) {
        const lines = commands.inside.map((line) => line.replace('VLAN', String(vlanOf(k))));
        await runCommand(['ip', '-n', name, '-batch', '-'], { input: `${lines.join('\n')}\n` });
      }
    });
    await until('the segment answers', () => answers(scanner, '10.1.0.2'));
    const kernelKiB = (await kernelMemoryKiB()) - before;
    const { stdout: links } = await machine.run(['ip', '-o', 'link']);
    // lo, the trunk and the machine's own VLAN are there anyway; one link is in each segment, two with a VLAN on a port.
    const insideLinks = Number((await runCommand(['ip', '-n', names[0], '-o', 'link'])).stdout.trim().split('\n').length) - 1;
    const devices = links.trim().split('\n').length - 3 + insideLinks * count;
    const ping = await scanner.run(['ping', '-q', '-f', '-c', '3000', '10.1.0.2'], { timeoutMs: 60_000 });
    const roundTripUs = 1000 * Number(/= [\d.]+\/([\d.]+)\//.exec(ping.stdout)?.[1]);
    const transferMiBs = await transferRate(stage, names[0]);
    const broadcastUs = await broadcastCost(scanner);
    const ownUntagged = await answers(operator, '10.9.0.2');
    const ownVlan = await answers(operator, '10.8.0.2');
    const removeMs = await timed(async () => {
      await machine.ip(design.remove.map((line) => `${line}\n`).join(''));
      await batch(
        'ip',
        names.map((name) => `netns del ${name}`),
      );
      await until(
        'the links are gone',
        async () => {
          const { stdout } = await machine.run(['ip', '-o', 'link']);
          return stdout.trim().split('\n').length === 3;
        },
        60_000,
      );
    });
    return { linksMs, insideMs, removeMs, kernelKiB, devices, roundTripUs, transferMiBs, broadcastUs, ownUntagged, ownVlan };
  });
}

const median = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1];

async function measureAll(): Promise<void> {
  for (const module of ['pktgen', '8021q', 'bridge', 'veth']) await runCommand(['modprobe', module]);
  // Once for nothing: modules, caches, code that the emulator translates.
  for (const design of designs) await measure(design, 1);
  for (const count of sizes) {
    const found = new Map<Design, Figures[]>();
    for (let round = 0; round < rounds; round += 1)
      for (const design of designs) found.set(design, [...(found.get(design) ?? []), await measure(design, count)]);
    for (const [design, figures] of found) {
      const of = (key: Exclude<keyof Figures, 'ownUntagged' | 'ownVlan'>, digits = 0): string =>
        median(figures.map((one) => one[key])).toFixed(digits);
      const own = figures.every((one) => one.ownUntagged) ? 'yes' : 'no';
      const vlan = figures.every((one) => one.ownVlan) ? 'yes' : 'no';
      process.stdout.write(
        `| ${count} | ${design.name} | ${of('linksMs')} + ${of('insideMs')} | ${of('removeMs')} | ${of('kernelKiB')} | ${of('devices')} ` +
          `| ${of('roundTripUs')} | ${of('transferMiBs')} | ${of('broadcastUs', 1)} | ${own} | ${vlan} |\n`,
      );
    }
  }
}

if (process.argv[2] === 'inside') await measureAll();
else
  await withGuest({ memoryMiB: 2048 }, async (guest) => {
    const { stdout } = await guest.run(['node', fileURLToPath(import.meta.url), 'inside'], { timeoutMs: 20 * 60_000 });
    process.stdout.write(
      `Linux ${guest.kernelVersion}, emulated\n` +
        '| segments | design | made, ms: links + inside | removed, ms | kernel memory, KiB | links | round trip, us | TCP, MiB/s | a broadcast, us | own untagged address | own VLAN |\n' +
        `|---|---|---|---|---|---|---|---|---|---|---|\n${stdout}`,
    );
  });
