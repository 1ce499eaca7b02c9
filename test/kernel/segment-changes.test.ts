// Changes of segments: all or nothing, in no moment without a decoy that stays, back by themselves when nobody confirms or
// the process is killed, and mended when somebody breaks them.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import test from 'node:test';
import { listNetns, netnsPath } from '../../src/kernel/netns.ts';
import type { Annex } from '../../src/plan/annex.ts';
import { netnsPrefix, segmentNetns, segmentTag } from '../../src/plan/desired-segment.ts';
import type { DesiredState } from '../../src/plan/desired-state.ts';
import { type Bed, projectRoot, touch, withBed } from '../support/diversion-bed.ts';
import { group } from '../support/golden-states.ts';
import { lacksKernelTests, runCommand, TestNamespace, until, withLab } from '../support/namespace.ts';
import { createUnderlay, hostBehind, servers, vxlanSegment, withSegments } from '../support/segment-bed.ts';

const skip = lacksKernelTests();
const tagOf = ({ stateDirectory }: Bed): string => segmentTag(stateDirectory);
const namespacesOf = (bed: Bed): string[] => listNetns(netnsPrefix(tagOf(bed)));
const inside = (bed: Bed, name: string): TestNamespace => new TestNamespace(segmentNetns(tagOf(bed), name));

/** Everything of a segment that can be seen in its namespace; indices of devices and handles of rules are left out. */
const snapshot = async (bed: Bed, name: string): Promise<string> =>
  (await inside(bed, name).snapshot()).replaceAll(/^\d+: /gm, '').replaceAll(/link-netnsid \d+|@if\d+/g, '');

const ping = async (from: TestNamespace, ip: string): Promise<boolean> =>
  (await from.run(['ping', '-c1', '-W2', ip], { anyCode: true })).code === 0;

/** A SYN that is lost is sent again by the kernel, and counted. */
async function repeatedSyns(namespace: TestNamespace): Promise<number> {
  const { stdout } = await namespace.run(['cat', '/proc/net/netstat']);
  const [names, values] = stdout.split('\n').filter((line) => line.startsWith('TcpExt:'));
  const at = names.split(' ').indexOf('TCPSynRetrans');
  assert.ok(at > 0);
  return Number(values.split(' ')[at]);
}

test('twenty changes of a segment, ten thousand decoys among them, lose no packet to a decoy that stays', { skip }, () =>
  withLab(async (lab) => {
    const { far, sensor } = await createUnderlay(lab);
    await withBed(lab, sensor, async (bed) => {
      const { controller } = bed;
      const stays = group('floor-1', 'claimed', ['10.50.0.77', '10.50.1.0/24'], servers);
      const change = async (index: number): Promise<void> => {
        const thousands = Array.from({ length: 10_000 }, (_, at) => `10.50.${64 + (at >> 7)}.${(at & 127) * 2}`);
        const more = index === 7 ? thousands : index % 2 === 0 ? ['10.50.2.0/25', '10.50.1.9'] : [`10.50.3.${index}`];
        const groups = [stays, group('floor-1', 'claimed', more, servers, { seed: 99 })];
        const segment = vxlanSegment('floor-1', { vni: 10, addresses: ['10.50.0.2/16'], groups });
        await controller.apply(await controller.plan(withSegments([segment])));
      };
      await change(0);
      const host = await hostBehind(lab, far, 'h', 10, ['10.50.0.1/16']);
      assert.ok(await ping(host, '10.50.0.77'));
      const pings = host.spawn(['ping', '-i', '0.005', '-W', '1', '10.50.0.77']);
      let heard = '';
      pings.stdout?.on('data', (data) => {
        heard += String(data);
      });
      const refused = { count: 0, other: '' };
      let going = true;
      const touching = (async () => {
        while (going) {
          const outcome = await touch(host, '10.50.1.5', 4, 10_000);
          if (outcome === 'refused') refused.count += 1;
          else refused.other += `${outcome} `;
        }
      })();
      for (let index = 1; index <= 20; index += 1) await change(index);
      going = false;
      await touching;
      pings.kill('SIGINT');
      await until('ping has said what it saw', () => /packets transmitted/.test(heard));
      const [, sent, received] = /(\d+) packets transmitted, (\d+) received/.exec(heard) ?? [];
      assert.ok(Number(sent) > 100, heard.slice(-300));
      assert.ok(Number(sent) - Number(received) <= 1, `one may be under way at the end: ${heard.slice(-300)}`);
      assert.doesNotMatch(heard, /Unreachable/);
      assert.equal(refused.other, '');
      assert.ok(refused.count > 3);
      assert.equal(await repeatedSyns(host), 0, 'every SYN was answered at once');
      assert.deepEqual(await controller.verify(), []);
    });
  }),
);

test('a failure in any segment takes everything back, on a fresh machine and over an applied state', { skip }, () =>
  withLab(async (lab) => {
    const { far, sensor } = await createUnderlay(lab);
    await sensor.ip('link add theirs address 02:00:00:00:77:77 type vxlan id 12 local 10.99.0.2 dstport 4789\n');
    const before = await sensor.snapshot();
    await withBed(lab, sensor, async (bed) => {
      const { controller } = bed;
      const one = vxlanSegment('floor-1', { vni: 10 });
      const bad = vxlanSegment('floor-2', { vni: 13 });
      const host =
        'diversions: [{ name: dmz, kind: host, interface: sv, decoys: [{ addresses: [10.99.7.0/24], persona: printer }] }]\n';
      const plan = await controller.plan(withSegments([one, bad], host));
      await sensor.ip(
        'link del theirs\nlink add theirs address 02:00:00:00:77:77 type vxlan id 13 local 10.99.0.2 dstport 4789\n',
      );
      await assert.rejects(controller.apply(plan), { code: 'kernel-refused', message: /floor-2/ });
      assert.deepEqual(namespacesOf(bed), []);
      await sensor.ip(
        'link del theirs\nlink add theirs address 02:00:00:00:77:77 type vxlan id 12 local 10.99.0.2 dstport 4789\n',
      );
      assert.equal((await sensor.snapshot()).replaceAll(/^\d+: /gm, ''), before.replaceAll(/^\d+: /gm, ''));

      await controller.apply(await controller.plan(withSegments([one])));
      const applied = await snapshot(bed, 'floor-1');
      const changed = vxlanSegment('floor-1', { vni: 14, addresses: ['192.168.50.3/24'], gateways: ['192.168.50.1'] });
      const next = await controller.plan(withSegments([changed, bad], host));
      await sensor.ip(
        'link del theirs\nlink add theirs address 02:00:00:00:77:77 type vxlan id 13 local 10.99.0.2 dstport 4789\n',
      );
      await assert.rejects(controller.apply(next, { confirmWithinMs: 600_000 }), { code: 'kernel-refused' });
      assert.equal(controller.pending(), undefined);
      assert.deepEqual(namespacesOf(bed), [segmentNetns(tagOf(bed), 'floor-1')]);
      assert.equal(await snapshot(bed, 'floor-1'), applied);
      assert.deepEqual(await controller.verify(), []);
      const client = await hostBehind(lab, far, 'h', 10, ['192.168.50.1/24']);
      assert.ok(await ping(client, '192.168.50.77'));
    });
  }),
);

test('a VNI that somebody is about to let go is waited for', { skip }, () =>
  withLab(async (lab) => {
    const { sensor } = await createUnderlay(lab);
    await withBed(lab, sensor, async (bed) => {
      const { controller } = bed;
      const segments = [10, 11, 12].map((vni) => vxlanSegment(`floor-${vni}`, { vni }));
      const plan = await controller.plan(withSegments(segments));
      await sensor.ip('link add theirs type vxlan id 11 local 10.99.0.2 dstport 4789\n');
      const applied = controller.apply(plan);
      const linkOf10 = (): Promise<boolean> =>
        inside(bed, 'floor-10')
          .run(['ip', 'link', 'show', 'lan'], { anyCode: true })
          .then(({ code }) => code === 0);
      await until('the others are there', linkOf10);
      await sensor.ip('link del theirs\n');
      await applied;
      assert.deepEqual(await controller.verify(), []);
    });
  }),
);

test('segments that nobody confirms go back, and a VNI that changes its segment follows', { skip }, () =>
  withLab(async (lab) => {
    const { sensor } = await createUnderlay(lab);
    const before = await sensor.snapshot();
    let now = 1_000_000_000;
    await withBed(
      lab,
      sensor,
      async (bed) => {
        const { controller } = bed;
        await controller.apply(await controller.plan(withSegments([vxlanSegment('old', { vni: 10 })])));
        const confirmed = await snapshot(bed, 'old');
        const next = withSegments([
          vxlanSegment('new', { vni: 10, addresses: ['192.168.50.2/24', 'fd50::2/64'] }),
          vxlanSegment('other', { vni: 11, mtu: 1280 }),
        ]);
        await controller.apply(await controller.plan(next), { confirmWithinMs: 600_000 });
        assert.deepEqual(
          controller.networks().map(({ name }) => name),
          ['', 'new', 'other'],
        );
        assert.match(await snapshot(bed, 'new'), /vxlan id 10 /);
        assert.match(await snapshot(bed, 'other'), /mtu 1280/);
        assert.deepEqual(
          namespacesOf(bed),
          ['new', 'other'].map((name) => segmentNetns(tagOf(bed), name)),
        );
        controller.close();
        now += 601_000_000;
        const later = bed.again();
        await later.resume();
        assert.deepEqual(namespacesOf(bed), [segmentNetns(tagOf(bed), 'old')]);
        assert.equal(await snapshot(bed, 'old'), confirmed);
        assert.deepEqual(await later.verify(), []);
        await later.down();
        assert.deepEqual(namespacesOf(bed), []);
        assert.equal(await sensor.snapshot(), before);
      },
      { clock: () => now },
    );
  }),
);

test('killed while it makes segments, the next start leaves nothing of them', { skip }, () =>
  withLab(async (lab) => {
    const { sensor } = await createUnderlay(lab);
    const before = await sensor.snapshot();
    await withBed(lab, sensor, async (bed) => {
      const script = join(projectRoot, 'dist/test/support/apply-segments.js');
      const child = spawn(process.execPath, [script, sensor.path, bed.stateDirectory, '24'], { stdio: 'ignore' });
      const gone = new Promise((resolve) => child.once('exit', (_code, signal) => resolve(signal)));
      const withRules = async (): Promise<boolean> => {
        const names = namespacesOf(bed);
        if (names.length < 24) return false;
        const { stdout } = await new TestNamespace(names[0]).run(['nft', 'list', 'tables'], { anyCode: true });
        return stdout.includes('weir');
      };
      await until('some of it is done', withRules, 30_000);
      child.kill('SIGKILL');
      assert.equal(await gone, 'SIGKILL', 'it was not through yet');
      const next = bed.again();
      await next.resume();
      assert.deepEqual(namespacesOf(bed), []);
      assert.deepEqual(next.networks(), []);
      assert.equal(await sensor.snapshot(), before);
    });
  }),
);

test('a segment that cannot be had back does not keep the rest from rolling back; it is mended when it can be', { skip }, () =>
  withLab(async (lab) => {
    const { sensor } = await createUnderlay(lab);
    await withBed(lab, sensor, async (bed) => {
      const { controller } = bed;
      await controller.apply(await controller.plan(withSegments([vxlanSegment('old', { vni: 10 })])));
      const confirmed = await sensor.snapshot();
      await controller.withhold('old', ['192.168.50.77'], 'a test');
      const next = withSegments([vxlanSegment('old', { vni: 11 })], 'management: { ports: [9443] }\n');
      await controller.apply(await controller.plan(next), { confirmWithinMs: 600_000 });
      assert.notEqual(await sensor.snapshot(), confirmed);
      await sensor.ip('link add foreign type vxlan id 10 local 10.99.0.2 dstport 4789\n');
      await controller.rollback('a test');
      await sensor.ip('link del foreign\n');
      assert.equal(controller.pending(), undefined);
      assert.equal(await sensor.snapshot(), confirmed, 'nothing of what nobody confirmed stands');
      assert.ok((await controller.verify()).length > 0, 'the segment is missing, and that is said');
      assert.deepEqual((await controller.repair()).failures, []);
      assert.deepEqual(await controller.verify(), []);
      assert.equal(controller.networks()[1].withheld.length, 1, 'what was given back stays so');
      await controller.down();
      assert.deepEqual(namespacesOf(bed), []);
    });
  }),
);

test('what is deleted or changed in a segment is put back, each told, and nothing is there twice', { skip }, () =>
  withLab(async (lab) => {
    const { far, sensor } = await createUnderlay(lab);
    await withBed(lab, sensor, async (bed) => {
      const { controller } = bed;
      const segment = vxlanSegment('floor-1', {
        vni: 10,
        addresses: ['192.168.50.2/24', 'fd50::2/64'],
        gateways: ['192.168.50.1', 'fd50::1'],
      });
      await controller.apply(await controller.plan(withSegments([segment, vxlanSegment('floor-2', { vni: 11 })])));
      const applied = await snapshot(bed, 'floor-1');
      assert.deepEqual((await controller.repair()).repairs, []);
      const client = await hostBehind(lab, far, 'h', 10, ['192.168.50.1/24']);
      const floor = inside(bed, 'floor-1');
      const damage: Record<string, () => Promise<unknown>> = {
        table: () => floor.nft('delete table netdev weir\n'),
        element: () => floor.nft('add element inet weir withheld4 { 192.168.50.77 }\n'),
        rule: () => floor.nft('add rule inet weir divert accept\n'),
        route: () => floor.run(['ip', 'route', 'flush', 'table', 'local', 'proto', '87']),
        gateway: () => floor.ip('route del default via 192.168.50.1\nroute del default via fd50::1\n'),
        address: () => floor.ip('addr del 192.168.50.2/24 dev lan\naddr del fd50::2/64 dev lan\n'),
        remote: () => floor.run(['bridge', 'fdb', 'del', '00:00:00:00:00:00', 'dev', 'lan', 'dst', '10.99.0.1']),
        down: () => floor.ip('link set lan down\n'),
        promiscuous: () => floor.ip('link set lan promisc off\n'),
        mtu: () => floor.ip('link set lan mtu 1300\n'),
        sysctl: () => floor.setSysctl('net/ipv4/conf/lan/arp_ignore', '1'),
        link: () => floor.ip('link del lan\n'),
        name: () => runCommand(['ip', 'netns', 'delete', floor.name]),
      };
      for (const [what, break_] of Object.entries(damage)) {
        await break_();
        const words = await controller.verify();
        assert.notDeepEqual(words, [], `${what} is noticed`);
        const { repairs } = await controller.repair();
        assert.ok(repairs.length > 0, what);
        assert.deepEqual(await controller.verify(), [], what);
        assert.equal(await snapshot(bed, 'floor-1'), applied, `${what}: ${repairs.map(({ message }) => message).join('; ')}`);
        assert.deepEqual((await controller.repair()).repairs, [], `${what}: nothing is left to do`);
        assert.ok(await ping(client, '192.168.50.77'), what);
      }
      // Rules of somebody else's in the same namespace are not our matter.
      await floor.nft('table inet theirs { chain c { }\n}\n');
      assert.deepEqual((await controller.repair()).repairs, []);
      assert.match((await floor.run(['nft', 'list', 'tables'])).stdout, /theirs/);
    });
  }),
);

test('an address given back in one segment stays a decoy in the other', { skip }, () =>
  withLab(async (lab) => {
    const { far, sensor } = await createUnderlay(lab);
    await withBed(lab, sensor, async (bed) => {
      const { controller, events } = bed;
      const configuration = withSegments([vxlanSegment('floor-1', { vni: 10 }), vxlanSegment('floor-2', { vni: 11 })]);
      await controller.apply(await controller.plan(configuration));
      const one = await hostBehind(lab, far, 'one', 10, ['192.168.50.1/24']);
      const two = await hostBehind(lab, far, 'two', 11, ['192.168.50.1/24']);
      await controller.withhold('floor-1', ['192.168.50.77'], 'a test');
      await controller.withhold('nowhere', ['192.168.50.77'], 'a test');
      assert.equal(await ping(one, '192.168.50.77'), false);
      assert.ok(await ping(two, '192.168.50.77'));
      assert.deepEqual(await controller.verify(), []);
      assert.deepEqual((await controller.repair()).repairs, []);
      assert.deepEqual((await controller.plan(configuration)).changes, []);
      assert.deepEqual(
        controller.networks().map(({ withheld }) => withheld.length),
        [0, 1, 0],
      );
      assert.match(events.at(-1)?.message ?? '', /given back to live hosts of floor-1: 192\.168\.50\.77/);
      await controller.apply(await controller.plan(configuration));
      assert.equal(await ping(one, '192.168.50.77'), false, 'it stays given back');
      const again = bed.again();
      await again.resume();
      assert.deepEqual(await again.verify(), [], 'the state file remembers');
    });
  }),
);

test('annexes are driven between namespaces and rules, and brought back when something after them fails', { skip }, () =>
  withLab(async (lab) => {
    const { sensor } = await createUnderlay(lab);
    const seen: string[] = [];
    const states: (DesiredState | undefined)[] = [];
    const annex = (name: Annex['name']): Annex => ({
      name,
      difference: async (desired) => (desired ? [`${name} for ${desired.segments.length}`] : []),
      apply: async (desired) => {
        const names = (desired ?? states.at(-1))?.segments.map(({ netns }) => netnsPath(netns)) ?? [];
        states.push(desired);
        for (const path of names) {
          const { stdout } = await new TestNamespace(path.replace('/run/netns/', '')).run(['ip', '-br', 'link']);
          const { stdout: rules } = await new TestNamespace(path.replace('/run/netns/', '')).run(['nft', 'list', 'tables']);
          seen.push(`${name}: ${/^lan\b/m.test(stdout) ? 'lan' : 'no lan'}, ${rules === '' ? 'no rules' : 'rules'}`);
        }
      },
      repair: async () => [],
      status: () => ({ reasons: [], lines: [] }),
      close: async () => {},
    });
    await withBed(
      lab,
      sensor,
      async (bed) => {
        const configuration = withSegments([vxlanSegment('floor-1', { vni: 10 })]);
        const plan = await bed.controller.plan(configuration);
        assert.deepEqual(
          plan.changes.filter(({ kind }) => kind === 'annex').map(({ line }) => line),
          ['fabric for 1', 'services for 1'],
        );
        await bed.controller.apply(plan);
        assert.deepEqual(seen, ['fabric: no lan, no rules', 'services: lan, no rules']);
        const bad = await bed.controller.plan(
          withSegments([vxlanSegment('floor-1', { vni: 10 }), vxlanSegment('floor-2', { vni: 11 })]),
        );
        await sensor.ip('link add theirs address 02:00:00:00:77:77 type vxlan id 11 local 10.99.0.2 dstport 4789\n');
        states.length = 0;
        await assert.rejects(bed.controller.apply(bad), { code: 'kernel-refused' });
        assert.deepEqual(
          states.map((state) => state?.segments.length),
          [2, 1, 1],
          'the fabric forward, then both back',
        );
        await bed.controller.down();
        assert.deepEqual(states.slice(3), [undefined, undefined]);
      },
      { annexes: [annex('services'), annex('fabric')] },
    );
  }),
);
