// Diverted TCP in a real namespace: true source, original destination and SYN of each connection, over both families.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { silentLog } from '../../src/base/log.ts';
import { openTproxyListener } from '../../src/kernel/tproxy-socket.ts';
import { homeNetwork } from '../../src/relay/network.ts';
import { type Connection, TcpIntake } from '../../src/relay/tcp-intake.ts';
import { decoyDirectory, decoyGroup, divert } from '../support/decoy-segment.ts';
import { createSegment, lacksKernelTests, until, withLab } from '../support/namespace.ts';

const skip = lacksKernelTests();

/** Connects from one fixed source port to `count` addresses, one after another, each closed by a RST. */
const fixedPortClient = (port: number, count: number, from: string, host: string): string => `
const net = require('node:net');
let index = 0;
const next = () => {
  if (index === ${count}) return;
  index += 1;
  const socket = net.connect({ host: ${host}, port: ${port}, localPort: 40404, localAddress: '${from}' });
  socket.on('connect', () => socket.resetAndDestroy());
  socket.on('error', (error) => { console.error(index, error.message); process.exit(1); });
  socket.on('close', next);
};
next();
`;

test('one client port to 1,000 decoys gives 1,000 right connections over IPv4 and IPv6', { skip }, () =>
  withLab(async (lab) => {
    const { attacker, sensor } = await createSegment(lab);
    const four = openTproxyListener({ family: 4, port: 0, netns: sensor.path });
    const six = openTproxyListener({ family: 6, port: 0, netns: sensor.path });
    await divert(sensor, { four: '10.99.128.0/17', six: 'fd99::1:0:0:0/80' }, { tcp4: four.port, tcp6: six.port });
    // By way of the sensor: the kernel's neighbour table holds 1,024 entries for all namespaces of a machine together.
    await attacker.run(['ip', 'route', 'add', '10.99.128.0/17', 'via', '10.99.0.2']);
    await attacker.run(['ip', '-6', 'route', 'add', 'fd99::1:0:0:0/80', 'via', 'fd99::2']);

    const seen: Connection[] = [];
    const intake = new TcpIntake({
      networks: homeNetwork(decoyDirectory([decoyGroup(['10.99.128.0/17', 'fd99::1:0:0:0/80'])])),
      log: silentLog,
      onConnection: (connection) => {
        connection.socket.on('error', () => {}).resume();
        seen.push(connection);
      },
    });
    try {
      intake.add(four);
      intake.add(six);
      const host4 = "'10.99.' + (128 + (index >> 8)) + '.' + (index & 255)";
      await attacker.run(['node', '-e', fixedPortClient(2323, 1000, '10.99.0.1', host4)]);
      await attacker.run(['node', '-e', fixedPortClient(443, 1000, 'fd99::1', "'fd99::1:0:0:' + index.toString(16)")]);
      await until('all are delivered', () => seen.length === 2000);
      const destinations = new Set(seen.map((one) => `${one.destination.ip} ${one.destination.port}`));
      assert.equal(destinations.size, 2000);
      for (let index = 1; index <= 1000; index += 1) {
        const value = 32768 + index;
        assert.ok(destinations.has(`10.99.${value >> 8}.${value & 255} 2323`));
        assert.ok(destinations.has(`fd99::1:0:0:${index.toString(16)} 443`));
      }
      for (const one of seen) {
        const isFour = one.destination.port === 2323;
        assert.deepEqual(one.source, { ip: isFour ? '10.99.0.1' : 'fd99::1', port: 40404 });
        assert.equal(one.diversion, 'lab');
        assert.equal(one.sourceMac, '02:00:00:00:99:01');
        assert.ok(one.syn);
        assert.equal(one.syn.ttl, 64);
        assert.equal(one.syn.mss, isFour ? 1460 : 1440);
        assert.match(one.syn.system ?? '', /^Linux/);
      }
      assert.deepEqual(intake.counters, { delivered: 2000, unknown: 0, shed: 0, failed: 0, exhausted: 0 });
    } finally {
      intake.close();
    }
  }),
);

test('a destination no living decoy owns is reset and counted', { skip }, () =>
  withLab(async (lab) => {
    const { attacker, sensor } = await createSegment(lab);
    const four = openTproxyListener({ family: 4, port: 0, netns: sensor.path });
    await divert(sensor, { four: '10.99.128.0/24' }, { tcp4: four.port });
    const intake = new TcpIntake({
      networks: homeNetwork(decoyDirectory([decoyGroup(['10.99.128.0/25'])])),
      log: silentLog,
      onConnection: () => assert.fail('nobody lives there'),
    });
    try {
      intake.add(four);
      const { stdout } = await attacker.run(['nmap', '-n', '-Pn', '-sT', '--max-retries', '1', '-p', '80', '10.99.128.200'], {});
      assert.match(stdout, /80\/tcp\s+open/);
      await until('it is counted', () => intake.counters.unknown > 0);
      assert.equal(intake.counters.delivered, 0);
    } finally {
      intake.close();
    }
  }),
);
