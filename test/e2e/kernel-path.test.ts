// A decoy that a service answers with its own TCP/IP stack, with the whole of Weir: configured, planned, applied, recorded,
// mended when damaged, taken down without a trace.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type TestNamespace, until } from '../../src/kernel/namespace-lab.ts';
import { type WeirLab, withWeirLab } from '../../src/programs/weir-lab.ts';
import { lacksKernelTests } from '../support/namespace.ts';
import { addSegmentHost } from '../support/segment-host.ts';

const configuration = `
diversions:
  - name: dmz
    kind: host
    interface: eth0
    decoys: [{ addresses: 10.64.0.0/24, persona: linux-web }]
services:
  - { name: real, kind: external, address: 10.200.0.9, path: kernel, interface: wire0, from: 10.200.0.1/24 }
bindings:
  - { diversion: dmz, addresses: [10.64.0.64/26], service: real }
`;

const segment = (name: string, vni: number): string =>
  `  - { name: ${name}, kind: network, vxlan: { vni: ${vni}, local: 10.0.0.2, remotes: [10.0.0.1] },
      address: [192.168.110.2/24, "fd11::2/64"], gateway: 192.168.110.1,
      decoys: [{ addresses: [192.168.110.10-192.168.110.250, "fd11::10-fd11::ff"], persona: linux-web }] }
`;
const segments = `
diversions:
${segment('floor-3', 310)}${segment('floor-4', 320)}services:
  - { name: real, kind: external, address: 10.200.0.9, path: kernel, interface: wire0, from: 10.200.0.1/24 }
  - { name: real6, kind: external, address: "fd20::9", path: kernel, interface: wire0, from: "fd20::1/64" }
bindings:
  - { diversion: floor-3, addresses: [192.168.110.64/26], service: real }
  - { diversion: floor-4, addresses: [192.168.110.64/26], service: real }
  - { diversion: floor-3, addresses: ["fd11::40-fd11::4f"], service: real6 }
`;

/** The service's machine: it owns the bound decoys, and answers on port 80 with both ends. */
async function addService(lab: WeirLab, decoys: readonly string[]): Promise<TestNamespace> {
  const service = await lab.namespaces.namespace('v');
  await lab.namespaces.join(
    { namespace: lab.sensor, link: 'wire0' },
    { namespace: service, link: 'eth0', addresses: ['10.200.0.9/24', 'fd20::9/64'] },
  );
  const local = decoys.map((range) => `route add local ${range} dev lo\n`).join('');
  await service.ip(`${local}route add default via 10.200.0.1\nroute add default via fd20::1\n`);
  const child = service.spawn([
    'node',
    '-e',
    `require('node:net').createServer((s) => { s.on('error', () => {}); s.once('data', () => s.end('real ' + s.remoteAddress + ' ' + s.localAddress)); }).listen(80, () => console.log('up'))`,
  ]);
  let heard = '';
  child.stdout?.on('data', (data) => {
    heard += String(data);
  });
  await until('the service listens', () => heard.includes('up'));
  return service;
}

test('a bound decoy is its service, and on record like any other', { skip: lacksKernelTests(), timeout: 180_000 }, async () => {
  await withWeirLab({ configuration }, async (lab) => {
    await addService(lab, ['10.64.0.64/26']);
    const before = await lab.sensor.snapshot();
    await lab.up();
    const ask = (decoy: string): Promise<{ stdout: string }> =>
      lab.attack(['curl', '-s', '--http0.9', '-m', '5', `http://${decoy}/kernel`]);
    assert.equal((await ask('10.64.0.70')).stdout, 'real ::ffff:10.0.0.1 ::ffff:10.64.0.70');
    const [bound] = await lab.recorded(['sessions', '--service', 'real'], 1);
    assert.equal(bound.source.ip, '10.0.0.1');
    assert.equal(bound.destination.ip, '10.64.0.70');
    const shown = await lab.weir(['session', String((bound.weir.session as { id: string }).id), '--payload', 'text']);
    assert.match(shown.stdout, /GET \/kernel/);
    assert.match(shown.stdout, /real ::ffff:10\.0\.0\.1/);
    // The decoy beside it is Weir's own.
    assert.match((await ask('10.64.0.20')).stdout, /html/i);
    const [own] = await lab.recorded(['sessions', '--service', 'catch-all'], 1);
    assert.equal(own.destination.ip, '10.64.0.20');

    await lab.sensor.run(['nft', 'delete', 'table', 'netdev', 'weir-services']);
    await until('the way to the service is mended', async () => (await ask('10.64.0.71')).stdout.startsWith('real '));
    await lab.weir(['down']);
    assert.equal(await lab.sensor.snapshot(), before);
  });
});

test('two segments with the same decoys share a service, and each touch is on record in its own', {
  skip: lacksKernelTests(),
  timeout: 180_000,
}, async () => {
  await withWeirLab({ configuration: segments }, async (lab) => {
    await addService(lab, ['192.168.110.64/26', 'fd11::40/124']);
    const before = await lab.sensor.snapshot();
    const third = await addSegmentHost(lab, { vni: 310, addresses: ['192.168.110.5/24', 'fd11::5/64'] });
    const fourth = await addSegmentHost(lab, { vni: 320, addresses: ['192.168.110.5/24', 'fd11::5/64'] });
    await lab.up();
    const ask = async (from: TestNamespace, decoy: string, port: number): Promise<string> =>
      (
        await from.run(['curl', '-s', '--http0.9', '-m', '10', '--local-port', String(port), `http://${decoy}/`], {
          anyCode: true,
        })
      ).stdout;
    // The second comes while the first is still remembered: the same five-tuple towards the same service.
    assert.equal(await ask(third, '192.168.110.70', 45000), 'real ::ffff:192.168.110.5 ::ffff:192.168.110.70');
    assert.equal(await ask(fourth, '192.168.110.70', 45000), 'real ::ffff:192.168.110.5 ::ffff:192.168.110.70');
    assert.equal(await ask(third, '[fd11::44]', 45001), 'real fd11::5 fd11::44');
    const sessions = await lab.recorded(['sessions', '--limit', '50'], 3);
    assert.deepEqual(
      sessions
        .map(({ source, destination, weir }) => `${weir.diversion} ${source.ip}:${source.port} ${destination.ip} ${weir.service}`)
        .sort(),
      [
        'floor-3 192.168.110.5:45000 192.168.110.70 real',
        'floor-3 fd11::5:45001 fd11::44 real6',
        'floor-4 192.168.110.5:45000 192.168.110.70 real',
      ],
    );
    await lab.weir(['down']);
    assert.equal(await lab.sensor.snapshot(), before);
  });
});
