// What a watching socket shows of a wire, both ways: TCP of its ports over both families, or frames of one MAC, and nothing else.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { closeDescriptor } from '../../src/kernel/libc.ts';
import { be16, layOut } from '../../src/kernel/packet-header.ts';
import type { FilterInstruction } from '../../src/kernel/packet-socket.ts';
import { macFilter, openSniffSocket, portsFilter, SniffReader } from '../../src/kernel/sniff-socket.ts';
import { createSegment, lacksKernelTests, type TestNamespace, until, withLab } from '../support/namespace.ts';

const script = `
const net = require('node:net');
const ports = [7000, 7001, 9000];
(async () => {
  for (const port of ports) await new Promise((done) => net.createServer((s) => { s.on('error', () => {}); s.end('x'); }).listen(port, '::', done));
  console.log('up');
})();
`;
const talk = `
const net = require('node:net');
(async () => {
  for (const host of ['10.99.0.2', 'fd99::2']) for (const port of [7000, 7001, 9000]) {
    await new Promise((done) => { const s = net.connect(port, host, () => s.end('hello')); s.on('data', () => {}); s.on('error', done); s.on('close', done); });
    const udp = require('node:dgram').createSocket(host.includes(':') ? 'udp6' : 'udp4');
    await new Promise((done) => udp.send('x', port, host, done));
    udp.close();
  }
})();
`;

interface Seen {
  readonly kind: string;
  readonly toServer: boolean;
}

async function watch(sensor: TestNamespace, attacker: TestNamespace, filter: readonly FilterInstruction[]): Promise<Set<string>> {
  const seen: Seen[] = [];
  const fd = openSniffSocket('sv', filter, sensor.path);
  const reader = new SniffReader(fd, (frame) => {
    const layout = layOut(frame, 14);
    if (!layout) {
      seen.push({ kind: `type ${be16(frame, 12).toString(16)}`, toServer: false });
      return;
    }
    const [from, to] = [be16(frame, layout.transportAt), be16(frame, layout.transportAt + 2)];
    const kind = (port: number): string => `${layout.protocol} v${layout.version} ${port}`;
    seen.push(to < 20_000 ? { kind: kind(to), toServer: true } : { kind: kind(from), toServer: false });
  });
  await attacker.run([process.execPath, '-e', talk]);
  let before = -1;
  await until('the last frame is read', () => {
    const quiet = seen.length === before;
    before = seen.length;
    return quiet;
  });
  assert.equal(reader.lost, 0);
  reader.close();
  closeDescriptor(fd);
  return new Set(seen.map(({ kind, toServer }) => `${kind} ${toServer ? 'in' : 'out'}`));
}

test(
  'a watching socket shows its ports both ways, or one MAC, and nothing else',
  { skip: lacksKernelTests(), timeout: 60_000 },
  () =>
    withLab(async (lab) => {
      const { attacker, sensor } = await createSegment(lab);
      let heard = '';
      sensor.spawn([process.execPath, '-e', script]).stdout?.on('data', (bytes) => {
        heard += String(bytes);
      });
      await until('it listens', () => heard.includes('up'));
      const both = (kind: string): string[] => [`${kind} in`, `${kind} out`];
      assert.deepEqual(
        [...(await watch(sensor, attacker, portsFilter([7000, 7001])))].sort(),
        ['6 v4 7000', '6 v4 7001', '6 v6 7000', '6 v6 7001'].flatMap(both).sort(),
      );
      const most = Array.from({ length: 16 }, (_, index) => (index === 15 ? 9000 : 100 + index));
      assert.deepEqual(
        [...(await watch(sensor, attacker, portsFilter(most)))].sort(),
        ['6 v4 9000', '6 v6 9000'].flatMap(both).sort(),
      );
      const ofMac = await watch(sensor, attacker, macFilter('02:00:00:00:99:01'));
      for (const kind of ['6 v4 7000', '6 v6 9000'].flatMap(both)) assert.ok(ofMac.has(kind), kind);
      assert.ok(ofMac.has('17 v4 7000 in'));
      assert.deepEqual([...(await watch(sensor, attacker, macFilter('02:00:00:00:99:03')))], []);
    }),
);
