// Somebody damages what Weir made in the kernel, again and again and everywhere, under traffic: each damage is mended within
// two seconds and on record, nothing is there twice afterwards, and taking down still leaves no trace.

import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { callControl } from '../../src/api/control.ts';
import { segmentTag } from '../../src/plan/desired-segment.ts';
import { type WeirLab, withWeirLab } from '../../src/programs/weir-lab.ts';
import { lacksKernelTests, runCommand, TestNamespace, until } from '../support/namespace.ts';
import { addSegmentHost } from '../support/segment-host.ts';

const options = { skip: lacksKernelTests() };

/** Damages in all, and what they are drawn by: the same every time. */
const damageCount = 50;
const seed = 20;
const withinMs = 2000;

const segment = (name: string, vni: number): string => `
  - name: ${name}
    kind: network
    vxlan: { vni: ${vni}, local: 10.0.0.2, remotes: [10.0.0.1] }
    address: 192.168.50.2/24
    gateway: 192.168.50.1
    decoys: [{ addresses: 192.168.50.10-192.168.50.250, persona: all-open }]`;

const configuration = `
diversions:
  - name: dmz
    kind: host
    interface: eth0
    decoys:
      - { addresses: 10.64.0.0/24, persona: all-open }
      - { addresses: 10.65.0.5, persona: all-open, claim: macvlan }
      - { addresses: 10.65.0.6, persona: all-open, claim: address }
${segment('floor-1', 51)}
${segment('floor-2', 52)}
  - name: office
    kind: network
    vxlan: { vni: 53, local: 10.0.0.2, evpn: { asn: 65001, peers: [10.0.0.1] } }
    address: 192.168.60.2/24
    decoys: [{ addresses: 192.168.60.10-192.168.60.30, persona: all-open }]
`;

interface Stage {
  readonly lab: WeirLab;
  /** The namespaces of Weir by what they are. */
  readonly inside: Readonly<Record<'floor-1' | 'floor-2' | 'office' | 'fabric', TestNamespace>>;
}

interface Damage {
  readonly name: string;
  readonly weight: number;
  act(stage: Stage, among: (count: number) => number): Promise<unknown>;
}

const floors = ['floor-1', 'floor-2', 'office'] as const;

/** Deletes one rule of one chain of a table of ours, whichever. */
async function deleteRule(place: TestNamespace, among: (count: number) => number): Promise<void> {
  const { stdout } = await place.run(['nft', '-a', 'list', 'table', 'inet', 'weir']);
  let chain = '';
  const rules: string[][] = [];
  for (const line of stdout.split('\n')) {
    chain = /^\tchain (\S+) \{/.exec(line)?.[1] ?? chain;
    const handle = /^\t\t.*# handle (\d+)$/.exec(line)?.[1];
    if (handle) rules.push(['nft', 'delete', 'rule', 'inet', 'weir', chain, 'handle', handle]);
  }
  await place.run(rules[among(rules.length)]);
}

/** Puts an element into a set of ours, as if a decoy had been given back. */
async function addElement(place: TestNamespace): Promise<void> {
  await place.run(['nft', 'add', 'element', 'inet', 'weir', 'withheld4', '{ 192.168.50.77 }']);
}

async function deleteRoute(place: TestNamespace, among: (count: number) => number): Promise<void> {
  const { stdout } = await place.run(['ip', '-4', 'route', 'show', 'table', 'local', 'proto', '87']);
  const routes = stdout.split('\n').filter((line) => line.startsWith('local '));
  await place.run(['ip', 'route', 'delete', ...routes[among(routes.length)].trim().split(/ +/).slice(0, 2), 'table', 'local']);
}

/** The pid of a daemon of this lab's fabric. */
function daemonOf(lab: WeirLab, program: string): number {
  const mark = `weir-${segmentTag(lab.data)}.fabric`;
  for (const pid of readdirSync('/proc').filter((entry) => /^\d+$/.test(entry)))
    try {
      const [command, ...rest] = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
      if (path.basename(command) === program && rest.some((argument) => argument.includes(mark))) return Number(pid);
    } catch {
      // It ended while we looked.
    }
  return 0;
}

const damages: readonly Damage[] = [
  {
    name: 'a table at home',
    weight: 2,
    act: ({ lab }, among) => lab.sensor.run(['nft', 'delete', 'table', ['inet', 'netdev'][among(2)], 'weir']),
  },
  { name: 'a rule at home', weight: 2, act: ({ lab }, among) => deleteRule(lab.sensor, among) },
  { name: 'an element at home', weight: 1, act: ({ lab }) => addElement(lab.sensor) },
  { name: 'a route at home', weight: 2, act: ({ lab }, among) => deleteRoute(lab.sensor, among) },
  { name: 'the promiscuous flag', weight: 1, act: ({ lab }) => lab.sensor.run(['ip', 'link', 'set', 'eth0', 'promisc', 'off']) },
  {
    name: 'a macvlan decoy',
    weight: 1,
    act: async ({ lab }) => {
      const { stdout } = await lab.sensor.run(['ip', '-o', 'link', 'show', 'type', 'macvlan']);
      await lab.sensor.run(['ip', 'link', 'delete', /: (weir-[0-9a-f]{8})@/.exec(stdout)?.[1] ?? '']);
    },
  },
  {
    name: 'an address decoy',
    weight: 1,
    act: ({ lab }) => lab.sensor.run(['ip', 'addr', 'delete', '10.65.0.6/32', 'dev', 'eth0']),
  },
  { name: 'a ruleset', weight: 2, act: ({ inside }, among) => inside[floors[among(3)]].run(['nft', 'flush', 'ruleset']) },
  { name: 'a rule', weight: 3, act: ({ inside }, among) => deleteRule(inside[floors[among(3)]], among) },
  { name: 'an element', weight: 1, act: ({ inside }, among) => addElement(inside[floors[among(3)]]) },
  { name: 'a route', weight: 2, act: ({ inside }, among) => deleteRoute(inside[floors[among(3)]], among) },
  { name: 'a link', weight: 3, act: ({ inside }, among) => inside[floors[among(3)]].run(['ip', 'link', 'delete', 'lan']) },
  {
    name: 'a link down',
    weight: 2,
    act: ({ inside }, among) => inside[floors[among(3)]].run(['ip', 'link', 'set', 'lan', 'down']),
  },
  {
    name: 'addresses',
    weight: 1,
    act: ({ inside }, among) => inside[floors[among(3)]].run(['ip', 'addr', 'flush', 'dev', 'lan']),
  },
  {
    name: 'a far VTEP',
    weight: 1,
    act: ({ inside }, among) =>
      inside[floors[among(2)]].run(['bridge', 'fdb', 'delete', '00:00:00:00:00:00', 'dev', 'lan', 'dst', '10.0.0.1']),
  },
  {
    name: 'a namespace',
    weight: 3,
    act: ({ inside }, among) => runCommand(['ip', 'netns', 'delete', inside[floors[among(3)]].name]),
  },
  { name: 'zebra', weight: 1, act: async ({ lab }) => process.kill(daemonOf(lab, 'zebra'), 'SIGKILL') },
  { name: 'bgpd', weight: 1, act: async ({ lab }) => process.kill(daemonOf(lab, 'bgpd'), 'SIGKILL') },
  {
    name: 'the fabric’s bridge',
    weight: 1,
    act: async ({ inside }) => {
      const { stdout } = await inside.fabric.run(['ip', '-o', 'link', 'show', 'type', 'bridge']);
      await inside.fabric.run(['ip', 'link', 'delete', /: ([^:@ ]+)[:@]/.exec(stdout)?.[1] ?? '']);
    },
  },
];

/** A small generator of its own, so that a run can be had again: mulberry32. */
function drawer(start: number): (count: number) => number {
  let state = start;
  return (count) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % count;
  };
}

/** Lines without what is another each time a thing is made (indexes, order), and without FRR's own entries. */
const steady = (text: string): string[] =>
  text
    .replace(/ (valid_lft|preferred_lft|expires) +\S+/g, ' $1 -')
    .replace(/^\d+: /gm, '')
    .replace(/@if\d+/g, '@if')
    .replace(/ link-netnsid \d+/g, '')
    .split('\n')
    .filter((line) => line !== '' && !/proto zebra/.test(line));

/** Rules, links, addresses and routes of everything of ours, with what is there twice in it twice. */
async function look({ lab, inside }: Stage): Promise<string> {
  const parts: string[] = [];
  for (const [name, place] of [['home', lab.sensor] as const, ...Object.entries(inside)]) {
    const shown: string[] = [];
    for (const argv of [
      ['nft', '-s', 'list', 'ruleset'],
      ['ip', 'addr', 'show'],
      ['ip', '-4', 'route', 'show', 'table', 'all'],
      ['ip', '-6', 'route', 'show', 'table', 'all'],
      ['bridge', 'fdb', 'show'],
    ]) {
      const { stdout } = await place.run(argv, { anyCode: true });
      shown.push(
        argv[0] === 'bridge'
          ? stdout
              .split('\n')
              .filter((line) => / dst .* permanent$/.test(line))
              .join('\n')
          : stdout,
      );
    }
    parts.push(
      ...steady(shown.join('\n')).map(
        (line) => `${name}: ${name === 'fabric' ? line.replace(/link\/ether \S+/, 'link/ether') : line}`,
      ),
    );
  }
  for (const program of ['zebra', 'bgpd']) if (daemonOf(lab, program) > 0) parts.push(`runs: ${program}`);
  return parts.sort().join('\n');
}

/** Lines of `a` beyond those of `b`, counting repeats. */
function beyond(a: string, b: string): string[] {
  const counts = new Map<string, number>();
  for (const line of b.split('\n')) counts.set(line, (counts.get(line) ?? 0) + 1);
  return a.split('\n').filter((line) => {
    const left = counts.get(line) ?? 0;
    counts.set(line, left - 1);
    return left <= 0;
  });
}

interface NetdStatus {
  readonly repairs: { readonly count: number; readonly last?: { readonly message: string } };
  readonly reasons?: readonly string[];
}

const statusOf = async (lab: WeirLab): Promise<NetdStatus> =>
  (await callControl(path.join(lab.data, 'run/netd.sock'), 'status', null, 10_000)) as NetdStatus;

/** Connects to an address ten times a second, in turn, and writes `ok` or the error with the time: bounded by the lab. */
function traffic(host: TestNamespace, addresses: readonly string[]): { child: ChildProcess; lines: string[] } {
  const child = host.spawn([
    'node',
    '-e',
    `const net = require('node:net'); let turn = 0;
     setInterval(() => {
       const ip = ${JSON.stringify(addresses)}[turn++ % ${addresses.length}];
       const socket = net.connect({ host: ip, port: 8000, timeout: 1500 });
       const end = (word) => { console.log(Date.now(), ip, word); socket.destroy(); };
       socket.on('connect', () => end('ok')).on('error', (e) => end(e.code)).on('timeout', () => end('silence'));
     }, 100);`,
  ]);
  const lines: string[] = [];
  child.stdout?.setEncoding('utf8').on('data', (text: string) => lines.push(...text.trim().split('\n')));
  return { child, lines };
}

test(
  'fifty damages under traffic: each is mended within two seconds, each is on record, and nothing is there twice',
  options,
  () =>
    withWeirLab({ configuration }, async (lab) => {
      const before = await lab.sensor.snapshot();
      const one = await addSegmentHost(lab, { vni: 51, addresses: ['192.168.50.1/24'] });
      const two = await addSegmentHost(lab, { vni: 52, addresses: ['192.168.50.1/24'] });
      const running = await lab.up();
      const tag = segmentTag(lab.data);
      const namespaceOf = (name: string): TestNamespace => new TestNamespace(`weir-${tag}${name}`);
      const stage: Stage = {
        lab,
        inside: {
          'floor-1': namespaceOf('-floor-1'),
          'floor-2': namespaceOf('-floor-2'),
          office: namespaceOf('-office'),
          fabric: namespaceOf('.fabric'),
        },
      };
      const flows = [
        traffic(lab.attacker, ['10.64.0.7', '10.65.0.5', '10.65.0.6']),
        traffic(one, ['192.168.50.77', '192.168.50.78']),
        traffic(two, ['192.168.50.77', '192.168.50.78']),
      ];
      await until('traffic flows', () => flows.every(({ lines }) => lines.some((line) => line.endsWith(' ok'))), 20_000);
      let whole = await look(stage);
      await until('the state is steady', async () => {
        const earlier = whole;
        whole = await look(stage);
        return whole === earlier;
      });

      const among = drawer(seed);
      const bag = damages.flatMap((damage) => Array.from({ length: damage.weight }, () => damage));
      const times: number[] = [];
      const told: string[] = [];
      for (let count = 0; count < damageCount; count += 1) {
        // Every kind once, then by chance.
        const damage = count < damages.length ? damages[count] : bag[among(bag.length)];
        const { repairs: earlier } = await statusOf(lab);
        const start = performance.now();
        await damage.act(stage, among);
        let now = '';
        await until(
          `${damage.name} is mended`,
          async () => {
            if ((await statusOf(lab)).repairs.count === earlier.count) return false;
            times[count] = performance.now() - start;
            now = await look(stage);
            return now === whole;
          },
          20_000,
        ).catch((error) => {
          const gone = beyond(whole, now);
          const strange = beyond(now, whole);
          throw new Error(
            `${error.message}\ngone: ${gone.slice(0, 12).join('\n')}\nstrange: ${strange.slice(0, 12).join('\n')}\n${running.output.slice(-3000)}`,
          );
        });
        const { repairs } = await statusOf(lab);
        told.push(`${Math.round(times[count])} ms  ${damage.name}: ${repairs.last?.message}`);
        assert.ok(repairs.count > earlier.count, `${damage.name} is told`);
      }
      const late = told.filter((_line, index) => times[index] > withinMs);
      assert.deepEqual(late, [], told.join('\n'));

      const from = Date.now();
      await until('every flow is answered again', () =>
        flows.every(({ lines }) => lines.slice(-6).every((line) => Number(line.split(' ')[0]) > from && line.endsWith(' ok'))),
      );
      for (const { child } of flows) child.kill('SIGKILL');
      const status = await statusOf(lab);
      await lab.settled();
      const { stdout } = await lab.weir(['export', 'jsonl', '--kinds', 'system']);
      const records = stdout.split('\n').filter((line) => line.includes('"repaired"'));
      assert.equal(records.length, status.repairs.count, 'each repair is a record');
      console.log(told.join('\n'));
      const touches = flows.flatMap(({ lines }) => lines);
      const answered = touches.filter((line) => line.endsWith(' ok')).length;
      console.log(`touches meanwhile: ${touches.length}, answered ${answered}`);
      assert.ok(answered > touches.length / 2, 'decoys mostly answered while they were damaged');
      const sorted = [...times].sort((a, b) => a - b);
      console.log(
        `repaired: median ${Math.round(sorted[25])} ms, slowest ${Math.round(sorted[49])} ms, ${records.length} repairs`,
      );

      assert.equal(await running.stop(), 0);
      assert.equal(await lab.sensor.snapshot(), before);
    }),
);
