// EVPN segments as a whole: configuration, controller, fabric and rules, with a far end that is plain FRR. What the far side
// was told of a decoy is what the decoy then shows, any port leads to us with the true source, and nothing is left after.

import assert from 'node:assert/strict';
import net from 'node:net';
import test from 'node:test';
import { openTproxyListener } from '../../src/kernel/tproxy-socket.ts';
import type { NetworkDiversion, VxlanAttachment } from '../../src/model/configuration.ts';
import { DecoyDirectory } from '../../src/model/decoy.ts';
import { touch, withBed } from '../support/diversion-bed.ts';
import { addressOf, FabricBed } from '../support/fabric-bed.ts';
import { lacksFrr } from '../support/far-vtep.ts';
import { group } from '../support/golden-states.ts';
import { lacksKernelTests, runCommand, until, withLab } from '../support/namespace.ts';
import { servers, vxlanSegment, withSegments } from '../support/segment-bed.ts';

const skip = lacksKernelTests() || lacksFrr();

function evpnSegment(name: string, vni: number, seed: number): NetworkDiversion {
  const plain = vxlanSegment(name, {
    vni,
    local: '10.50.0.1',
    remotes: [],
    groups: [group(name, 'claimed', ['192.168.50.64/27'], servers, { seed })],
  });
  const evpn = { asn: 65001, peers: [{ address: addressOf('10.50.0.2'), asn: 65002 }] };
  return { ...plain, attachment: { ...(plain.attachment as VxlanAttachment), evpn } };
}

test(
  'two EVPN segments with equal addresses: known before traffic, any port with the true source, repaired, taken down',
  { skip },
  () =>
    withLab(async (lab) => {
      const bed = await FabricBed.open(lab);
      const opened: net.Server[] = [];
      try {
        await withBed(
          lab,
          bed.machine,
          async ({ controller, ports }) => {
            bed.withheld = (network) => controller.networks().find(({ name }) => name === network)?.withheld ?? [];
            const before = await bed.machine.snapshot();
            const configuration = withSegments([evpnSegment('floor-1', 100, 7), evpnSegment('floor-2', 200, 9)]);
            const plan = await controller.plan(configuration);
            const lines = plan.changes.map(({ line }) => line).join('\n');
            assert.match(lines, /FRR bgpd: AS 65001, peers 10\.50\.0\.2 \(AS 65002\)/);
            assert.match(lines, /VXLAN device v100 of floor-1 \(VNI 100, VTEP 10\.50\.0\.1\)/);
            await controller.apply(plan);
            assert.deepEqual((await controller.plan(configuration)).changes, []);
            for (const network of controller.networks())
              if (network.netns && network.name) {
                const { fd } = openTproxyListener({ family: 4, port: ports.tcp, netns: network.netns });
                opened.push(
                  net
                    .createServer((socket) => {
                      socket.on('error', () => {});
                      socket.end(`${network.name} ${socket.remoteAddress} ${socket.localAddress}:${socket.localPort}`);
                    })
                    .listen({ fd }),
                );
              }

            await bed.openFar(100, '192.168.50.9/24');
            await bed.openFar(200, '192.168.50.9/24', undefined, bed.secondHost);
            for (const vni of [100, 200])
              await until(
                `the far side knows the decoys of VNI ${vni}`,
                async () => (await bed.farKnows(vni)).addresses.length === 33,
                20_000,
              );
            const { personas } = configuration;
            for (const [host, segment] of [
              [bed.host, plan.desired.segments[0]],
              [bed.secondHost, plan.desired.segments[1]],
            ] as const) {
              const directory = new DecoyDirectory(segment.inside.groups, personas);
              assert.equal(await touch(host, '192.168.50.77', 22), `${segment.name} 192.168.50.9 192.168.50.77:22`);
              const { stdout } = await host.run(['ip', 'neigh', 'show', '192.168.50.77']);
              assert.equal(/lladdr (\S+)/.exec(stdout)?.[1], directory.find('192.168.50.77')?.mac);
            }

            // A real host was seen there: given back, no longer announced.
            await controller.withhold('floor-1', ['192.168.50.70'], 'a test');
            await controller.repair();
            await until('the far side forgets', async () => !(await bed.farKnows(100)).addresses.includes('192.168.50.70'));

            // lan goes with the port: made again, with addresses, routes and rules on it.
            await runCommand(['ip', '-n', `weir-${bed.tag}.fabric`, 'link', 'del', 's200']);
            const { repairs } = await controller.repair();
            assert.ok(
              repairs.some(({ message }) => /link lan of floor-2 was gone/.test(message)),
              JSON.stringify(repairs),
            );
            assert.deepEqual((await controller.repair()).repairs, []);
            await until('the decoy answers again', async () =>
              (await touch(bed.secondHost, '192.168.50.77', 22)).startsWith('floor-2'),
            );

            for (const server of opened.splice(0)) await new Promise((resolve) => server.close(resolve));
            await controller.down();
            assert.equal(await bed.machine.snapshot(), before);
            assert.deepEqual(bed.daemonsOfOurs(), []);
          },
          { tag: bed.tag, annexes: [bed.controller({ withheld: (network) => bed.withheld(network) })] },
        );
      } finally {
        for (const server of opened) server.close();
        await bed.end();
      }
    }),
);
