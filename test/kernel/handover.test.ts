// A gateway with CAP_NET_RAW alone serves sockets it was handed; while it is dead connections wait, while netd is
// restarted they go on.

import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { silentLog } from '../../src/base/log.ts';
import { HandoverServer } from '../../src/kernel/handover-server.ts';
import { openIntakeSockets } from '../../src/kernel/intake-sockets.ts';
import { closeDescriptor } from '../../src/kernel/libc.ts';
import { decoyGroup, divert, personas } from '../support/decoy-segment.ts';
import { nobody, startMiniGateway } from '../support/mini-gateway-process.ts';
import { createSegment, lacksKernelTests, until, withLab } from '../support/namespace.ts';

const skip = lacksKernelTests();
/** Connects `count` times, four at a time, printing a line per greeting or failure. */
const client = (count: number): string => `
const net = require('node:net');
let started = 0, done = 0;
const one = () => {
  if (started === ${count}) return;
  started += 1;
  const port = 1000 + started;
  const socket = net.connect(port, '10.99.200.7');
  let text = '';
  socket.on('data', (bytes) => { text += bytes; });
  socket.on('error', (error) => { text = error.message; });
  socket.on('close', () => { done += 1; console.log(text.trim()); if (done < ${count}) one(); });
};
for (let index = 0; index < 4; index += 1) one();
`;

test('nothing is refused while the gateway dies and comes back, nor while netd does', { skip }, () =>
  withLab(async (lab) => {
    const { attacker, sensor } = await createSegment(lab);
    const directory = mkdtempSync(join(tmpdir(), 'weir-handover-'));
    chmodSync(directory, 0o755);
    const path = join(directory, 'handover.sock');
    const plan = { tcpPort: 0, udpPort: 0, interfaces: [{ name: 'sv', promiscuous: true }], netns: sensor.path };
    const sockets = openIntakeSockets(plan);
    const port = (name: string): number => sockets.find((one) => one.name === name)?.port ?? 0;
    await divert(sensor, { four: '10.99.128.0/17' }, { tcp4: port('tcp4'), udp4: port('udp4') });
    const description = { networks: [{ name: '', groups: [decoyGroup(['10.99.128.0/17'])] }], personas };
    let server = new HandoverServer({ path, ownerUid: nobody, log: silentLog });
    try {
      server.offer(sockets, description);
      let gateway = startMiniGateway(sensor, path);
      await until('the gateway has its sockets', () => gateway.events.length > 0 || gateway.errors.length > 0);
      assert.deepEqual(gateway.errors, []);
      assert.deepEqual(gateway.events[0], { event: 'offer', generation: 1, added: sockets.length, removed: 0 });

      const status = readFileSync(`/proc/${gateway.child.pid}/status`, 'utf8');
      assert.match(status, /^CapEff:\s+0000000000002000$/m);
      assert.match(status, /^NoNewPrivs:\s+1$/m);
      assert.match(status, new RegExp(`^Uid:\\s+${nobody}\\s`, 'm'));

      const lines: string[] = [];
      const load = attacker.spawn([process.execPath, '-e', client(600)]);
      if (load.stdout) createInterface(load.stdout).on('line', (line) => lines.push(line));
      await until('some were greeted', () => lines.length >= 100);
      const gone = new Promise((resolve) => gateway.child.once('exit', resolve));
      gateway.child.kill('SIGKILL');
      await gone;
      gateway = startMiniGateway(sensor, path);
      await until('it goes on', () => lines.length >= 300);

      server.close();
      for (const { fd } of sockets) closeDescriptor(fd);
      await until('it goes on without netd', () => lines.length >= 400);
      server = new HandoverServer({ path, ownerUid: nobody, log: silentLog });
      const returned = await server.returned(5000);
      assert.deepEqual(returned.map(({ name }) => name).sort(), sockets.map(({ name }) => name).sort());
      const again = openIntakeSockets(plan, returned);
      assert.deepEqual(
        again.map(({ fd }) => fd),
        again.map(({ name }) => returned.find((one) => one.name === name)?.fd),
      );
      server.offer(again, description);
      await until('the gateway keeps what it has', () => gateway.events.at(-1)?.added === 0);
      await until('all are done', () => lines.length === 600);

      // Those in the killed gateway's hands are cut; everyone else is greeted, with the SYN known. Nobody is refused.
      const greeted = lines.filter((line) => line === 'hello syn').length;
      const cut = lines.filter((line) => line === '' || /ECONNRESET/.test(line)).length;
      assert.equal(greeted + cut, 600, JSON.stringify([...new Set(lines)]));
      assert.ok(cut <= 4, `${cut} cut`);

      // Raw replies, without privilege beyond CAP_NET_RAW.
      const echoed = await attacker.run([
        process.execPath,
        '-e',
        "const s=require('node:dgram').createSocket('udp4');s.on('message',(m,f)=>{console.log(String(m),f.address,f.port);s.close()});s.send('abc',99,'10.99.200.9');",
      ]);
      assert.equal(echoed.stdout, 'abc 10.99.200.9 99\n');
      for (const { fd } of returned) closeDescriptor(fd);
    } finally {
      server.close();
      rmSync(directory, { recursive: true });
    }
  }),
);
