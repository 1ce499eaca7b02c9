// One gateway in several network namespaces that use the same addresses and ports at the same time.

import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { test } from 'node:test';
import { silentLog } from '../../src/base/log.ts';
import { openIntakeSockets } from '../../src/kernel/intake-sockets.ts';
import type { NamedSocket } from '../../src/kernel/named-socket.ts';
import { netnsInode, socketNetnsInode } from '../../src/kernel/socket-place.ts';
import { DecoyDirectory } from '../../src/model/decoy.ts';
import type { ProbeRecord } from '../../src/model/event.ts';
import type { Datagram } from '../../src/relay/datagram-visit.ts';
import { Intake } from '../../src/relay/intake.ts';
import type { AddressConflict } from '../../src/relay/neighbour-keeper.ts';
import type { IntakeNetwork } from '../../src/relay/network.ts';
import type { Connection } from '../../src/relay/tcp-intake.ts';
import { decoyGroup, divert, openPersona } from '../support/decoy-segment.ts';
import { createSegment, lacksKernelTests, type NamespaceLab, type TestNamespace, until, withLab } from '../support/namespace.ts';

const skip = lacksKernelTests();
const four = '10.99.128.0/24';
const six = 'fd99::1:0:0:0/80';

interface Floor {
  readonly name: string;
  readonly attacker: TestNamespace;
  readonly sensor: TestNamespace;
  readonly sockets: readonly NamedSocket[];
  readonly network: IntakeNetwork;
}

/** A segment whose addresses are those of every other one; its decoys are a persona of its own. */
async function createFloor(lab: NamespaceLab, name: string): Promise<Floor> {
  const { attacker, sensor } = await createSegment(lab, name.slice(-1));
  const sockets = openIntakeSockets({
    tcpPort: 29_631,
    udpPort: 29_632,
    interfaces: [{ name: 'sv', promiscuous: true }],
    netns: sensor.path,
    network: name,
  });
  const ports = { tcp4: 29_631, tcp6: 29_631, udp4: 29_632, udp6: 29_632 };
  await divert(sensor, { four, six }, ports, undefined, name);
  await attacker.run(['ip', 'route', 'add', four, 'via', '10.99.0.2']);
  await attacker.run(['ip', '-6', 'route', 'add', six, 'via', 'fd99::2']);
  const population = { seed: 7, shares: [{ persona: name, share: 10_000 }] };
  const group = decoyGroup([four, six, 'fd99::2:0:0:0/80'], { diversion: name, population });
  const directory = new DecoyDirectory([group], new Map([[name, { ...openPersona, name }]]));
  return { name, attacker, sensor, sockets, network: { name, directory, interfaces: {}, subnets: [] } };
}

interface Seen {
  readonly connections: Connection[];
  readonly datagrams: Datagram[];
  readonly probes: ProbeRecord[];
  readonly conflicts: AddressConflict[];
}

async function withFloors(
  names: readonly string[],
  body: (bench: { floors: readonly Floor[]; intake: Intake; seen: Seen }) => Promise<void>,
): Promise<void> {
  await withLab(async (lab) => {
    const floors: Floor[] = [];
    for (const name of names) floors.push(await createFloor(lab, name));
    const seen: Seen = { connections: [], datagrams: [], probes: [], conflicts: [] };
    const intake = new Intake({
      networks: floors.map(({ network }) => network),
      sockets: floors.flatMap(({ sockets }) => sockets),
      log: silentLog,
      probeLimits: { holdMs: 500 },
      onConnection: (connection) => {
        connection.socket.on('error', () => {});
        connection.socket.on('data', (bytes) => connection.socket.write(`${connection.persona.name} ${bytes}`));
        connection.socket.on('end', () => connection.socket.end());
        seen.connections.push(connection);
      },
      onDatagram: (datagram) => {
        seen.datagrams.push(datagram);
        datagram.reply(Buffer.from(datagram.persona.name));
      },
      onProbe: (record) => seen.probes.push(record),
      onConflict: (conflict) => seen.conflicts.push(conflict),
    });
    try {
      await body({ floors, intake, seen });
    } finally {
      for (const { socket } of seen.connections) socket.destroy();
      await intake.close();
    }
  });
}

/** Says `hello` from a fixed port and prints what comes back, then waits to be killed with its socket open. */
const tcpClient = (family: 4 | 6, to: string): string => `
const socket = require('node:net').connect({ host: '${to}', port: 4711, localPort: 40000, family: ${family} });
socket.on('data', (bytes) => console.log(String(bytes)));
socket.write('hello');
`;

const udpClient = (family: 4 | 6, to: string): string => `
const socket = require('node:dgram').createSocket('udp${family}');
socket.on('message', (message, from) => { console.log(from.address + ' ' + message); process.exit(0); });
socket.bind(40000, () => socket.send('a question', 4711, '${to}'));
setTimeout(() => process.exit(1), 8000);
`;

test('the same five-tuple in three networks at once is three connections, each with its own decoy', { skip }, () =>
  withFloors(['floor-1', 'floor-2', 'floor-3'], async ({ floors, intake, seen }) => {
    for (const [family, from, to] of [
      [4, '10.99.0.1', '10.99.128.7'],
      [6, 'fd99::1', 'fd99::1:0:0:7'],
    ] as const) {
      const said = new Map<string, string>();
      for (const { name, attacker } of floors) {
        const child = attacker.spawn(['node', '-e', tcpClient(family, to)]);
        child.stdout?.on('data', (bytes) => said.set(name, `${said.get(name) ?? ''}${bytes}`));
      }
      await until('all are answered', () => said.size === 3);
      for (const { name } of floors) assert.equal(said.get(name), `${name} hello\n`);
      const mine = seen.connections.splice(0);
      assert.deepEqual(
        mine.map(({ network, diversion, persona }) => [network, diversion, persona.name]).sort(),
        floors.map(({ name }) => [name, name, name]),
      );
      for (const { source, destination } of mine) {
        assert.deepEqual(source, { ip: from, port: 40_000 });
        assert.deepEqual(destination, { ip: to, port: 4711 });
      }
      for (const { attacker } of floors) await attacker.stopChildren();
      for (const { socket } of mine) socket.destroy();
    }
    await until('every SYN is matched', async () => (await intake.report()).packets.packets?.probes.matched === 6);
    assert.deepEqual(seen.probes, []);
  }),
);

test('a datagram is answered in the network it came from, by the decoy that lives there', { skip }, () =>
  withFloors(['floor-1', 'floor-2'], async ({ floors, intake, seen }) => {
    for (const [family, to] of [
      [4, '10.99.128.7'],
      [6, 'fd99::1:0:0:7'],
    ] as const)
      for (const { name, attacker } of floors) {
        const { stdout } = await attacker.run(['node', '-e', udpClient(family, to)]);
        assert.equal(stdout, `${to} ${name}\n`);
      }
    assert.deepEqual(
      seen.datagrams.map(({ network, diversion }) => [network, diversion]),
      [
        ['floor-1', 'floor-1'],
        ['floor-2', 'floor-2'],
        ['floor-1', 'floor-1'],
        ['floor-2', 'floor-2'],
      ],
    );
    assert.equal((await intake.report()).packets.replies, 4);
  }),
);

test('half-open SYNs, live hosts and neighbours are told apart by network', { skip }, () =>
  withFloors(['floor-1', 'floor-2'], async ({ floors, seen }) => {
    const [first, second] = floors;
    await second.attacker.run(['nmap', '-n', '-Pn', '-sS', '--send-ip', '-p', '80', '10.99.128.9']);
    await until('the probe shows', () => seen.probes.length > 0);
    assert.deepEqual([...new Set(seen.probes.map(({ diversion }) => diversion))], ['floor-2']);
    await first.attacker.run(['ip', 'addr', 'add', '10.99.128.50/16', 'dev', 'av']);
    await first.attacker.run(['arping', '-U', '-c', '1', '-I', 'av', '10.99.128.50'], { anyCode: true });
    const conflict = await until('the live host is reported', () => seen.conflicts[0]);
    assert.deepEqual([conflict.network, conflict.ip, conflict.interface], ['floor-1', '10.99.128.50', 'sv']);
    // Its address is given back there and nowhere else.
    assert.ok(seen.conflicts.every(({ network }) => network === 'floor-1'));
    const { stdout } = await second.attacker.run(['ping', '-6', '-c', '1', '-W', '3', 'fd99::2:0:0:1'], { anyCode: true });
    assert.ok(stdout.includes('1 packets transmitted'));
    const { stdout: neighbours } = await second.attacker.run(['ip', '-6', 'neigh', 'show', 'dev', 'av']);
    assert.match(neighbours, /fd99::2:0:0:1 lladdr 00:0c:29:/);
  }),
);

test('decoys announce themselves when their network begins: neighbours that know them learn the MAC', { skip }, () =>
  withLab(async (lab) => {
    const { attacker, sensor } = await createSegment(lab);
    const capture = attacker.spawn(['tcpdump', '-i', 'av', '-nne', '-l', '--immediate-mode', 'arp or icmp6']);
    let seen = '';
    capture.stdout?.on('data', (bytes) => {
      seen += bytes;
    });
    let told = '';
    capture.stderr?.on('data', (bytes) => {
      told += bytes;
    });
    await until('the capture runs', () => told.includes('listening on'));
    // One that a neighbour has in its cache with another MAC, as after a restart.
    await attacker.run(['ip', 'neigh', 'add', '10.99.128.2', 'lladdr', '02:00:00:00:00:99', 'nud', 'stale', 'dev', 'av']);
    const ranges = ['10.99.128.0/30', 'fd99::3:0:0:0/127'];
    const directory = new DecoyDirectory([decoyGroup(ranges)], new Map([['all-open', openPersona]]));
    const network = 'floor-1';
    const interfaces = [{ name: 'sv', promiscuous: true }];
    const open = (existing: readonly NamedSocket[] = []): NamedSocket[] =>
      openIntakeSockets({ tcpPort: 0, udpPort: 0, interfaces, netns: sensor.path, network }, existing);
    const sockets = open();
    const intake = new Intake({
      networks: [{ name: network, directory, interfaces: {}, subnets: [] }],
      sockets,
      log: silentLog,
      onConnection: () => {},
      onDatagram: () => {},
      onProbe: () => {},
      onConflict: () => {},
    });
    try {
      const mac = directory.find('10.99.128.2')?.mac ?? '';
      await until('the neighbour has learned it', async () => {
        const { stdout } = await attacker.run(['ip', 'neigh', 'show', '10.99.128.2']);
        return stdout.includes(mac);
      });
      await until('all have announced themselves twice', async () => {
        const { packets } = await intake.report();
        return packets.packets?.neighbours.announced === 12 && packets.packets.neighbours.announceProbes === 6;
      });
      const lines = seen.split('\n');
      assert.ok(lines.some((line) => line.startsWith(mac, 16) && line.includes('Request who-has 10.99.128.2 tell 10.99.128.2')));
      const six = directory.find('fd99::3:0:0:1')?.mac ?? '';
      assert.ok(
        lines.some((line) => line.startsWith(six, 16) && /neighbor advertisement.*fd99::3:0:0:1/.test(line)),
        seen,
      );
      // A link that was made anew has another socket: who came back says so again.
      intake.setSockets(open(sockets.filter(({ role }) => role !== 'neighbour')));
      await until('all have announced themselves again', async () => {
        const { packets } = await intake.report();
        return packets.packets?.neighbours.announced === 24;
      });
    } finally {
      await intake.close();
    }
  }),
);

test('a network that goes is closed at once; what was open in it goes on, and the others are not touched', { skip }, () =>
  withFloors(['floor-1', 'floor-2'], async ({ floors, intake, seen }) => {
    const [first, second] = floors;
    const child = first.attacker.spawn(['node', '-e', `${tcpClient(4, '10.99.128.7')}process.stdin.pipe(socket);`]);
    let said = '';
    child.stdout?.on('data', (bytes) => {
      said += bytes;
    });
    await until('it is open', () => said.includes('hello'));
    const held = (): number => {
      const inode = netnsInode(first.sensor.path);
      return readdirSync('/proc/self/fd').filter((fd) => socketNetnsInode(Number(fd)) === inode).length;
    };
    assert.equal(held(), first.sockets.length + 1);
    intake.setNetworks([second.network]);
    intake.setSockets(second.sockets);
    await until('all but the open connection are closed', () => held() === 1);
    child.stdin?.write('again');
    await until('the open session goes on', () => said.includes('floor-1 again'));
    const refused = await first.attacker.run(['socat', '-u', '-T', '2', 'TCP:10.99.128.8:4711,connect-timeout=2', 'STDOUT'], {
      anyCode: true,
    });
    assert.notEqual(refused.code, 0, 'nobody listens there any more');
    const { stdout } = await second.attacker.run(['node', '-e', udpClient(4, '10.99.128.7')]);
    assert.equal(stdout, '10.99.128.7 floor-2\n');
    assert.equal(seen.connections.length, 1);
  }),
);

test('eight descriptors serve a network, whatever the number of its decoys', { skip }, () =>
  withFloors(['floor-1'], async ({ floors }) => {
    assert.deepEqual(
      floors[0].sockets.map(({ name, network }) => [name, network]),
      ['tcp4', 'tcp6', 'udp4', 'udp6', 'raw4', 'raw6', 'nflog', 'neighbour-sv'].map((role) => [`${role}@floor-1`, 'floor-1']),
    );
  }),
);
