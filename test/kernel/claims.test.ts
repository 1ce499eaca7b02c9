// Decoys claimed one by one, as macvlan devices and as addresses of the interface: what a neighbour sees of them, that they
// are diverted like all others, change and go without a trace, and that the machine itself never uses one.

import assert from 'node:assert/strict';
import test from 'node:test';
import { readOwnClaims } from '../../src/kernel/claim-link.ts';
import { renderAddress } from '../../src/model/address.ts';
import { DecoyDirectory } from '../../src/model/decoy.ts';
import { renderPlan } from '../../src/plan/render-plan.ts';
import { configurationOf, touch, withBed } from '../support/diversion-bed.ts';
import { createSegment, lacksKernelTests, type TestNamespace, until, withLab } from '../support/namespace.ts';

const options = { skip: lacksKernelTests() };

const decoys = (lines: readonly string[]): string => `
diversions:
  - name: dmz
    kind: host
    interface: sv
    decoys:
${lines.map((line) => `      - ${line}`).join('\n')}
`;

const all = decoys([
  '{ addresses: [10.99.5.5, "fd99::5:5"], persona: all-open, claim: macvlan }',
  '{ addresses: [10.99.5.6, "fd99::5:6"], persona: all-open, claim: address }',
  '{ addresses: [10.99.64.0/24], persona: all-open }',
]);

/** The MAC by which a neighbour knows an address, after it spoke with it. */
const macAt = async (from: TestNamespace, ip: string): Promise<string> =>
  /lladdr (\S+)/.exec((await from.run(['ip', 'neigh', 'show', ip, 'dev', 'av'])).stdout)?.[1] ?? '';

test('macvlan and plain addresses are met, diverted, and gone after down', options, () =>
  withLab(async (lab) => {
    const { attacker, sensor } = await createSegment(lab);
    // Another link, on which the machine must not answer for its decoys.
    const other = await lab.namespace('o');
    await lab.join(
      { namespace: other, link: 'ov', addresses: ['10.98.0.1/16'] },
      { namespace: sensor, link: 'tv', addresses: ['10.98.0.2/16'] },
    );
    await sensor.run(['sysctl', '-q', 'net.ipv4.conf.all.rp_filter=1']);
    const before = await sensor.snapshot();
    await withBed(lab, sensor, async ({ controller }) => {
      const configuration = configurationOf(all);
      const plan = await controller.plan(configuration);
      const shown = renderPlan(plan);
      assert.match(shown, /dmz 10\.99\.5\.5, fd99::5:5: by a macvlan device each, as asked for/);
      assert.match(shown, /dmz: by AnyIP/);
      await controller.apply(plan);
      assert.deepEqual(await controller.verify(), []);
      assert.deepEqual((await controller.plan(configuration)).changes, []);

      const directory = new DecoyDirectory(controller.groups(), configuration.personas);
      for (const ip of ['10.99.5.5', 'fd99::5:5', '10.99.5.6', 'fd99::5:6', '10.99.64.7'])
        assert.match(await touch(attacker, ip, 8080), new RegExp(`^diverted \\S+ \\d+ ${ip.replaceAll('.', '\\.')} 8080$`), ip);
      assert.equal(await macAt(attacker, '10.99.5.5'), directory.find('10.99.5.5')?.mac);
      assert.equal(await macAt(attacker, 'fd99::5:5'), directory.find('fd99::5:5')?.mac);
      assert.equal(await macAt(attacker, '10.99.5.6'), '02:00:00:00:99:02');
      assert.equal(await macAt(attacker, 'fd99::5:6'), '02:00:00:00:99:02');
      assert.equal(await macAt(attacker, '10.99.64.7'), directory.find('10.99.64.7')?.mac);

      // Asked again by unicast, as a neighbour does before it forgets.
      for (const ip of ['10.99.5.5', '10.99.5.6', 'fd99::5:5', 'fd99::5:6']) {
        await attacker.run(['ip', 'neigh', 'change', ip, 'dev', 'av', 'nud', 'probe']);
        await until(`${ip} confirmed`, async () =>
          (await attacker.run(['ip', 'neigh', 'show', ip])).stdout.includes('REACHABLE'),
        );
      }

      await other.ip('route add 10.99.0.0/16 dev ov\n');
      await other.run(['ping', '-c', '1', '-W', '1', '10.99.5.5'], { anyCode: true });
      await other.run(['ping', '-c', '1', '-W', '1', '10.99.5.6'], { anyCode: true });
      assert.doesNotMatch((await other.run(['ip', 'neigh'])).stdout, /10\.99\.5\.\d+ dev ov lladdr/);

      // What the machine itself begins has its own address, also towards a neighbour of a decoy's number.
      for (const to of ['10.99.0.1', 'fd99::5:7', 'fd99::1']) {
        const { stdout } = await sensor.run(['ip', 'route', 'get', to]);
        assert.match(stdout, / src (10\.99\.0\.2|fd99::2) /, to);
      }
      await controller.down();
    });
    assert.equal(await sensor.snapshot(), before);
  }),
);

test('a claim changes its way, comes and goes, and is given back to a live host', options, () =>
  withLab(async (lab) => {
    const { attacker, sensor } = await createSegment(lab);
    const before = await sensor.snapshot();
    const held = (): string[] =>
      readOwnClaims(sensor.path)
        .claims.map(({ way, address }) => `${way} ${renderAddress(address)}`)
        .sort();
    await withBed(lab, sensor, async ({ controller, again }) => {
      const apply = async (lines: readonly string[]): Promise<void> => {
        await controller.apply(await controller.plan(configurationOf(decoys(lines))));
        assert.deepEqual(await controller.verify(), []);
      };
      await apply(['{ addresses: [10.99.5.5-10.99.5.6], persona: all-open, claim: macvlan }']);
      assert.deepEqual(held(), ['macvlan 10.99.5.5', 'macvlan 10.99.5.6']);
      await apply([
        '{ addresses: [10.99.5.5], persona: all-open, claim: address }',
        '{ addresses: [10.99.5.6-10.99.5.7], persona: all-open, claim: macvlan }',
      ]);
      assert.deepEqual(held(), ['address 10.99.5.5', 'macvlan 10.99.5.6', 'macvlan 10.99.5.7']);
      await controller.withhold('', ['10.99.5.5', '10.99.5.7'], 'a test');
      assert.deepEqual(held(), ['macvlan 10.99.5.6']);
      assert.deepEqual(await controller.verify(), []);
      assert.match(await touch(attacker, '10.99.5.6', 1), /^diverted/);

      await apply(['{ addresses: [10.99.5.0/24], persona: all-open }']);
      assert.deepEqual(held(), []);
      await apply([
        '{ addresses: [10.99.5.5], persona: all-open, claim: macvlan }',
        '{ addresses: [10.99.6.5], persona: all-open, claim: address }',
      ]);
      // By the marks alone, without a state file.
      await again({ stateDirectory: `${lab.prefix}-nowhere` }).down();
      assert.deepEqual(held(), []);
      await controller.down();
    });
    assert.equal(await sensor.snapshot(), before);
  }),
);

test('a plan that fails half-way leaves the claims as they were', options, () =>
  withLab(async (lab) => {
    const { sensor } = await createSegment(lab);
    await withBed(lab, sensor, async ({ controller }) => {
      await controller.apply(
        await controller.plan(configurationOf(decoys(['{ addresses: [10.99.5.5], persona: all-open, claim: macvlan }']))),
      );
      const plan = await controller.plan(
        configurationOf(decoys(['{ addresses: [10.99.5.6-10.99.5.9], persona: all-open, claim: macvlan }'])),
      );
      const names = readOwnClaims(sensor.path).claims.map(({ device }) => device ?? '');
      // Somebody's device has a name that the plan needs.
      const wanted = plan.changes.find((step) => step.kind === 'claims' && step.add.length > 0);
      assert.ok(wanted?.kind === 'claims');
      await sensor.ip(`link add ${wanted.add[3].device} type bridge\n`);
      await assert.rejects(controller.apply(plan), { code: 'kernel-refused' });
      await sensor.ip(`link del ${wanted.add[3].device}\n`);
      assert.deepEqual(
        readOwnClaims(sensor.path).claims.map(({ device }) => device ?? ''),
        names,
      );
      assert.deepEqual(await controller.verify(), []);
      await controller.down();
    });
  }),
);
