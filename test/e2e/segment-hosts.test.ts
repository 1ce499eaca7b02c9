// Real hosts inside a segment, at addresses of decoys, there before Weir is: nobody speaks to them and they say nothing, yet
// they keep their addresses, and their neighbours never lose them.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { TestNamespace } from '../../src/kernel/namespace-lab.ts';
import type { Status } from '../../src/model/status.ts';
import { type WeirLab, withWeirLab } from '../../src/programs/weir-lab.ts';
import { lacksKernelTests, until } from '../support/namespace.ts';
import { addSegmentHost } from '../support/segment-host.ts';

const skip = lacksKernelTests();
const hostIp = '192.168.97.77';
const hostMac = '02:00:00:00:97:77';

/** 8,000 decoys, of which 256 announce themselves: the host's address is none of those. */
const segment = (decoys: string): string => `diversions:
  - { name: floor-3, kind: network, vxlan: { vni: 310, local: 10.0.0.2, remotes: [10.0.0.1] },
      address: 192.168.96.2/19, decoys: [{ addresses: ${decoys}, persona: all-open }] }
`;

/** A neighbour, and a host that only the neighbour's bridge leads to. */
async function addHosts(lab: WeirLab): Promise<{ neighbour: TestNamespace; host: TestNamespace }> {
  const neighbour = await addSegmentHost(lab, { vni: 310, addresses: [] });
  const host = await lab.namespaces.namespace('q');
  await neighbour.ip('link add br0 type bridge\nlink set lan master br0\nlink set br0 up\naddr add 192.168.96.5/19 dev br0\n');
  await lab.namespaces.join(
    { namespace: host, link: 'eth0', addresses: [`${hostIp}/19`], mac: hostMac },
    { namespace: neighbour, link: 'p1' },
  );
  await neighbour.ip('link set p1 master br0\n');
  host.spawn([process.execPath, '-e', "require('node:http').createServer((q, r) => r.end('real')).listen(8000)"]);
  return { neighbour, host };
}

const body = (from: TestNamespace, ip: string): Promise<string> =>
  from.run(['curl', '-s', '-m', '3', `http://${ip}:8000/`], { anyCode: true }).then(({ stdout }) => stdout);

const forget = (from: TestNamespace): Promise<unknown> => from.ip('neigh flush dev br0\n');

const sweepOf = async (lab: WeirLab): Promise<{ probes: number; conflicts: number }> => {
  const { neighbours } = (await lab.gateway()).intake?.packets?.packets ?? {};
  return { probes: neighbours?.sweepProbes ?? 0, conflicts: neighbours?.sweepConflicts ?? 0 };
};

test('a silent host at the address of a decoy is found, keeps it, and stays reachable for its neighbours', { skip }, () =>
  withWeirLab({ configuration: segment('192.168.96.10-192.168.127.200') }, async (lab) => {
    const { neighbour } = await addHosts(lab);
    await until('the host serves', async () => (await body(neighbour, hostIp)) === 'real');
    await forget(neighbour);
    const running = await lab.up();
    assert.match(running.output, /in segments: live hosts are looked for/);
    // Nobody asks for the host: only the sweep can find it.
    const [alert] = await lab.recorded(['alerts'], 1, 10_000);
    const text = JSON.stringify(alert);
    for (const part of ['address-conflict', hostIp, hostMac, 'floor-3']) assert.ok(text.includes(part), `${part} in ${text}`);
    assert.equal((await sweepOf(lab)).conflicts, 1);
    await until('it is given back', async () => {
      const { stdout } = await lab.weir(['status', '--json'], { anyCode: true });
      return (JSON.parse(stdout) as Status).diversions?.some(({ withheld }) => withheld?.[0]?.startsWith(hostIp)) ?? false;
    });
    for (let round = 0; round < 5; round += 1) {
      await forget(neighbour);
      assert.equal(await body(neighbour, hostIp), 'real');
      assert.match((await neighbour.run(['ip', 'neigh', 'show', hostIp])).stdout, new RegExp(hostMac));
    }
    assert.notEqual(await body(neighbour, '192.168.97.78'), '', 'decoys beside it answer');
    // Both rounds of all, and no host but the one.
    const all = 31 * 256 + 191 - 1;
    const swept = await until('the sweep is over', async () => {
      const now = await sweepOf(lab);
      return now.probes >= 2 * all - 256 - 2 ? now : undefined;
    });
    assert.equal(swept.conflicts, 1);
    assert.equal(await running.stop(), 0);
  }),
);

test('decoys that are added later find the host that is there', { skip }, () =>
  withWeirLab({ configuration: segment('192.168.98.0/24') }, async (lab) => {
    const { neighbour } = await addHosts(lab);
    await until('the host serves', async () => (await body(neighbour, hostIp)) === 'real');
    await lab.up();
    await until('all are asked for', async () => (await sweepOf(lab)).probes >= 256);
    assert.deepEqual(await lab.records(['alerts']), []);
    lab.configure(segment('192.168.97.0-192.168.98.255'));
    await lab.weir(['apply', '--yes']);
    assert.ok(JSON.stringify(await lab.recorded(['alerts'], 1, 10_000)).includes(hostIp));
    await forget(neighbour);
    assert.equal(await body(neighbour, hostIp), 'real');
  }),
);
