// Segments that never existed, with the real programs: VXLAN between the sensor and far hosts, IPv4 and IPv6, two segments
// with the same addresses at once, changes while somebody looks, and nothing left behind.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { TestNamespace } from '../../src/kernel/namespace-lab.ts';
import { segmentTag } from '../../src/plan/desired-segment.ts';
import { type Recorded, type WeirLab, withWeirLab } from '../../src/programs/weir-lab.ts';
import { lacksKernelTests, runCommand } from '../support/namespace.ts';
import { addSegmentHost } from '../support/segment-host.ts';

const skip = lacksKernelTests();

const segment = (name: string, vni: number, decoys: string): string =>
  `  - { name: ${name}, kind: network, vxlan: { vni: ${vni}, local: 10.0.0.2, remotes: [10.0.0.1] },
      address: [192.168.110.2/24, "fd11::2/64"], gateway: [192.168.110.1, "fd11::1"], decoys: [${decoys}] }
`;
const office = '{ addresses: [192.168.110.10-192.168.110.250], population: mixed-office, alive: 40%, seed: 7 }';
const everything = '{ addresses: [192.168.110.10-192.168.110.250, "fd11::10-fd11::ff"], persona: all-open }';

interface DecoyRow {
  readonly ip: string;
  readonly persona: string;
  readonly mac: string;
}

const get = (host: TestNamespace, ip: string, port = 8000): Promise<string> =>
  host
    .run(['curl', '-s', '-m', '5', '-o', '/dev/null', '-w', '%{http_code} %{local_port}', `http://${ip}:${port}/`], {
      anyCode: true,
    })
    .then(({ stdout }) => stdout);

const touches = (sessions: readonly Recorded[]): string[] =>
  sessions.map(
    ({ source, destination, weir }) => `${weir.diversion} ${source.ip}:${source.port} ${destination.ip}:${destination.port}`,
  );

async function decoysOf(lab: WeirLab, diversion: string): Promise<DecoyRow[]> {
  return (await lab.records(['decoys', '--diversion', diversion, '--limit', '1000'])) as unknown as DecoyRow[];
}

test('two segments with the same addresses: each touch is on record in its own, and nothing is left behind', { skip }, () =>
  withWeirLab(
    { configuration: `diversions:\n${segment('floor-3', 310, everything)}${segment('floor-4', 320, everything)}` },
    async (lab) => {
      const before = await lab.sensor.snapshot();
      const third = await addSegmentHost(lab, { vni: 310, addresses: ['192.168.110.5/24', 'fd11::5/64'] });
      const fourth = await addSegmentHost(lab, { vni: 320, addresses: ['192.168.110.5/24', 'fd11::5/64'] });
      const running = await lab.up();
      assert.match(running.output, /floor-3/);
      const wanted: string[] = [];
      for (const [name, host] of [
        ['floor-3', third],
        ['floor-4', fourth],
      ] as const)
        for (const [ip, from] of [
          ['192.168.110.140', '40000'],
          ['[fd11::40]', '40001'],
        ]) {
          // The same five-tuple in both segments, at the same time as far as a client can.
          const { stdout } = await host.run(
            [
              'curl',
              '-s',
              '-m',
              '5',
              '--local-port',
              from,
              '-o',
              '/dev/null',
              '-w',
              '%{http_code} %{local_port}',
              `http://${ip}:8000/`,
            ],
            { anyCode: true },
          );
          const [code, port] = stdout.split(' ');
          assert.equal(code, '200', `${name} ${ip}`);
          const plain = ip.replace(/[[\]]/g, '');
          wanted.push(`${name} ${plain === ip ? '192.168.110.5' : 'fd11::5'}:${port} ${plain}:8000`);
        }
      const sessions = await lab.recorded(['sessions', '--limit', '50'], 4);
      assert.deepEqual(touches(sessions).sort(), wanted.sort());
      assert.equal((await lab.weir(['plan'], { anyCode: true })).code, 0, 'nothing to change');
      assert.equal(await running.stop(), 0);
      assert.equal(await lab.sensor.snapshot(), before);
      const { stdout: namespaces } = await runCommand(['ip', 'netns', 'list']);
      assert.ok(!namespaces.includes(`weir-${segmentTag(lab.data)}`), `left behind: ${namespaces}`);
    },
  ),
);

test('who lives in a generated office is what a scanner sees: addresses, MACs, and every touch recorded', { skip }, () =>
  withWeirLab({ configuration: `diversions:\n${segment('floor-3', 310, office)}` }, async (lab) => {
    const host = await addSegmentHost(lab, { vni: 310, addresses: ['192.168.110.5/24'] });
    await lab.up();
    const living = await decoysOf(lab, 'floor-3');
    assert.ok(living.length > 60 && living.length < 140, `40% of 241 live: ${living.length}`);
    const { stdout } = await host.run(['nmap', '-sn', '-n', '-oX', '-', '192.168.110.10-80'], { timeoutMs: 120_000 });
    const seen = [
      ...stdout.matchAll(/<address addr="([\d.]+)" addrtype="ipv4"\/>\s*<address addr="([0-9A-F:]+)" addrtype="mac"/g),
    ].map(([, ip, mac]) => `${ip} ${mac.toLowerCase()}`);
    const expected = living.filter(({ ip }) => Number(ip.split('.')[3]) <= 80).map(({ ip, mac }) => `${ip} ${mac}`);
    assert.deepEqual(seen.sort(), expected.sort());
  }),
);

test('adding decoys and segments while a client goes on: no touch of a standing decoy fails', { skip }, () =>
  withWeirLab({ configuration: `diversions:\n${segment('floor-3', 310, everything)}` }, async (lab) => {
    const host = await addSegmentHost(lab, { vni: 310, addresses: ['192.168.110.5/24'] });
    await lab.up();
    let failed = 0;
    let touched = 0;
    let on = true;
    const client = (async () => {
      while (on) {
        touched += 1;
        if (!(await get(host, '192.168.110.99')).startsWith('200')) failed += 1;
      }
    })();
    const more = '{ addresses: ["fd11:0:0:1::/64"], persona: all-open }';
    for (let round = 0; round < 3; round += 1) {
      lab.configure(
        `diversions:\n${segment('floor-3', 310, round % 2 === 0 ? everything.replace('192.168.110.250', '192.168.110.240') : everything)}${segment('floor-4', 320, everything)}`,
      );
      await lab.weir(['apply', '--yes']);
      lab.configure(`diversions:\n${segment('floor-3', 310, everything)}`);
      await lab.weir(['apply', '--yes']);
    }
    on = false;
    await client;
    assert.ok(touched > 10, `${touched} touches`);
    assert.equal(failed, 0, `${failed} of ${touched} touches failed`);
    lab.configure(`diversions:\n${segment('floor-3', 310, more)}`);
    const wrong = await lab.weir(['apply', '--yes'], { anyCode: true });
    assert.equal(wrong.code, 2, 'decoys outside the subnets are a mistake');
    assert.ok((await get(host, '192.168.110.99')).startsWith('200'));
  }),
);

test(
  'a change that the kernel refuses half-way leaves decoys answering, over IPv6 too, whose MACs the gateway tells',
  {
    skip,
  },
  () =>
    withWeirLab({ configuration: `diversions:\n${segment('floor-3', 310, everything)}` }, async (lab) => {
      const host = await addSegmentHost(lab, { vni: 310, addresses: ['192.168.110.5/24', 'fd11::5/64'] });
      await lab.up();
      assert.ok((await get(host, '[fd11::40]')).startsWith('200'));
      // Somebody has VNI 340 of this machine in a namespace of theirs: no plan can see it.
      await lab.sensor.ip('link add theirs type vxlan id 340 local 10.0.0.2 dstport 4789\n');
      await lab.sensor.ip(`link set theirs netns ${host.name}\n`);
      lab.configure(`diversions:\n${segment('floor-3', 330, everything)}${segment('floor-4', 340, everything)}`);
      const refused = await lab.weir(['apply', '--yes'], { anyCode: true });
      assert.equal(refused.code, 1, refused.stderr);
      assert.ok((await get(host, '[fd11::41]')).startsWith('200'), 'a decoy nobody asked for yet');
    }),
);
