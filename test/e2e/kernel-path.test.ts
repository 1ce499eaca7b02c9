// A decoy that a service answers with its own TCP/IP stack, with the whole of Weir: configured, planned, applied, recorded,
// mended when damaged, taken down without a trace.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type TestNamespace, until } from '../../src/kernel/namespace-lab.ts';
import { type WeirLab, withWeirLab } from '../../src/programs/weir-lab.ts';
import { lacksKernelTests } from '../support/namespace.ts';

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

/** The service's machine: it owns the bound decoys, and answers on port 80 with both ends. */
async function addService(lab: WeirLab): Promise<TestNamespace> {
  const service = await lab.namespaces.namespace('v');
  await lab.namespaces.join(
    { namespace: lab.sensor, link: 'wire0' },
    { namespace: service, link: 'eth0', addresses: ['10.200.0.9/24'] },
  );
  await service.ip('route add local 10.64.0.64/26 dev lo\nroute add default via 10.200.0.1\n');
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
    await addService(lab);
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
