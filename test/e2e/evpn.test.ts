// BGP EVPN with the real programs: the far side learns decoys before any traffic, reaches any port, and is on record with its
// true address; FRR killed is back and said, a lost peer is said, and decoys stay through both.

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { test } from 'node:test';
import { findFrrDaemons, frrFiles } from '../../src/kernel/frr-daemon.ts';
import { segmentTag } from '../../src/plan/desired-segment.ts';
import { type WeirLab, withWeirLab } from '../../src/programs/weir-lab.ts';
import { FarVtep, lacksFrr } from '../support/far-vtep.ts';
import { lacksKernelTests, runCommand, until } from '../support/namespace.ts';

const skip = lacksKernelTests() || lacksFrr();

const configuration = `diversions:
  - { name: office, kind: network, vxlan: { vni: 100, local: 10.0.0.2, evpn: { asn: 65001, peers: [{ address: 10.0.0.1, asn: 65002 }] } },
      address: 192.168.110.2/24, decoys: [{ addresses: [192.168.110.64-192.168.110.95], persona: all-open }] }
`;
/** 32 decoys and Weir itself. */
const announced = 33;
const speaker = { asn: 65001, ownAsn: 65002, neighbour: '10.0.0.2' };

const statusText = async (lab: WeirLab): Promise<string> => (await lab.weir(['status'], { anyCode: true })).stdout;

test('two VTEPs with FRR on both ends', { skip }, () =>
  withWeirLab({ configuration }, async (lab) => {
    const vtep = new FarVtep(lab.attacker, '10.0.0.1', '10.0.0.2');
    try {
      const before = await lab.sensor.snapshot();
      const host = await lab.namespaces.namespace('h');
      await vtep.join(100, '192.168.110.9/24', host);
      await vtep.start(speaker);
      const running = await lab.up();
      const known = async (count: number): Promise<boolean> => (await vtep.knows(100)).addresses.length === count;
      await until('the far side knows all decoys', () => known(announced), 30_000);
      const touched = await lab.records(['sessions', '--limit', '10']);
      assert.deepEqual(touched, [], 'and nobody was touched for it');

      let from = 40_000;
      const get = async (ip: string): Promise<boolean> => {
        from += 1;
        const { stdout } = await host.run(
          ['curl', '-s', '-m', '2', '--local-port', String(from), '-o', '/dev/null', '-w', '%{http_code}', `http://${ip}:8000/`],
          { anyCode: true },
        );
        return stdout === '200';
      };
      assert.ok(await get('192.168.110.70'));
      const [session] = await lab.recorded(['sessions', '--limit', '10'], 1);
      assert.deepEqual(
        [session.weir.diversion, session.source.ip, session.source.port, session.destination.ip, session.destination.port],
        ['office', '192.168.110.9', 40_001, '192.168.110.70', 8000],
      );
      await until('the status tells of the peer', async () => /peer 10\.0\.0\.1 .*established/.test(await statusText(lab)));

      const { zserv } = frrFiles(`/run/weir-${segmentTag(lab.data)}.fabric`);
      for (const program of ['zebra', 'bgpd'] as const) {
        const [daemon] = findFrrDaemons(program, zserv);
        process.kill(daemon.pid, 'SIGKILL');
        await until(`${program} is back`, () => findFrrDaemons(program, zserv).some(({ pid }) => pid !== daemon.pid), 2000);
        await until('the decoy answers', () => get('192.168.110.71'), 20_000);
      }
      await until('the far side knows all decoys again', () => known(announced), 30_000);

      await vtep.stop();
      await until(
        'the loss is said',
        async () => /peer 10\.0\.0\.1 not established.*decoys stay/s.test(await statusText(lab)),
        20_000,
      );
      const { stdout: inside } = await runCommand([
        'ip',
        '-n',
        `weir-${segmentTag(lab.data)}-office`,
        '-o',
        'link',
        'show',
        'lan',
      ]);
      assert.match(inside, /LOWER_UP/);
      await vtep.start(speaker);
      await until('the far side knows all decoys once more', () => known(announced), 40_000);
      await until('the decoy answers', () => get('192.168.110.72'), 20_000);

      assert.equal(await running.stop(), 0);
      assert.equal(await lab.sensor.snapshot(), before);
      assert.deepEqual([...findFrrDaemons('zebra', zserv), ...findFrrDaemons('bgpd', zserv)], []);
      assert.ok(!existsSync(`/run/weir-${segmentTag(lab.data)}.fabric`));
    } finally {
      await vtep.end();
    }
  }),
);
