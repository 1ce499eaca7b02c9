// Datagrams, probes and connections in a real namespace with real scanners: everything is accounted for, once.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { silentLog } from '../../src/base/log.ts';
import { openIntakeSockets } from '../../src/kernel/intake-sockets.ts';
import type { NamedSocket } from '../../src/kernel/named-socket.ts';
import { openNflogSocket } from '../../src/kernel/tproxy-socket.ts';
import type { ProbeRecord } from '../../src/model/event.ts';
import { createAcceptRingMemory } from '../../src/relay/accept-ring.ts';
import type { Datagram } from '../../src/relay/datagram-visit.ts';
import { Intake } from '../../src/relay/intake.ts';
import type { AddressConflict } from '../../src/relay/neighbour-keeper.ts';
import { homeNetwork } from '../../src/relay/network.ts';
import { PacketIntake } from '../../src/relay/packet-intake.ts';
import type { Connection } from '../../src/relay/tcp-intake.ts';
import { decoyDirectory, decoyGroup, divert } from '../support/decoy-segment.ts';
import { createSegment, lacksKernelTests, type TestNamespace, until, withLab } from '../support/namespace.ts';

const skip = lacksKernelTests();
const four = '10.99.128.0/17';
const six = 'fd99::1:0:0:0/80';

interface Bench {
  readonly attacker: TestNamespace;
  readonly sensor: TestNamespace;
  readonly intake: Intake;
  readonly connections: Connection[];
  readonly datagrams: Datagram[];
  readonly probes: ProbeRecord[];
  readonly conflicts: AddressConflict[];
}

async function withIntake(
  options: { closed?: string; echoUdp?: boolean; holdMs?: number },
  body: (bench: Bench) => Promise<void>,
): Promise<void> {
  await withLab(async (lab) => {
    const { attacker, sensor } = await createSegment(lab);
    const sockets = openIntakeSockets({
      tcpPort: 0,
      udpPort: 0,
      interfaces: [{ name: 'sv', promiscuous: true }],
      netns: sensor.path,
    });
    const portOf = (name: string): number => sockets.find((one: NamedSocket) => one.name === name)?.port ?? 0;
    const ports = { tcp4: portOf('tcp4'), tcp6: portOf('tcp6'), udp4: portOf('udp4'), udp6: portOf('udp6') };
    await divert(sensor, { four, six }, ports, options.closed);
    await attacker.run(['ip', 'route', 'add', four, 'via', '10.99.0.2']);
    await attacker.run(['ip', '-6', 'route', 'add', six, 'via', 'fd99::2']);
    const connections: Connection[] = [];
    const datagrams: Datagram[] = [];
    const probes: ProbeRecord[] = [];
    const conflicts: AddressConflict[] = [];
    const intake = new Intake({
      networks: homeNetwork(decoyDirectory([decoyGroup([four, six, 'fd99::2:0:0:0/80'])])),
      sockets,
      log: silentLog,
      probeLimits: { holdMs: options.holdMs ?? 1000 },
      onConnection: (connection) => {
        connection.socket.on('error', () => {}).resume();
        connection.socket.on('end', () => connection.socket.end());
        connections.push(connection);
      },
      onDatagram: (datagram) => {
        datagrams.push(datagram);
        if (options.echoUdp) datagram.reply(datagram.payload);
      },
      onProbe: (record) => probes.push(record),
      onConflict: (conflict) => conflicts.push(conflict),
    });
    try {
      await body({ attacker, sensor, intake, connections, datagrams, probes, conflicts });
      const { packets } = await intake.report();
      const counters = packets.packets;
      assert.ok(counters);
      const { seen, matched, listed, unlisted, dropped, held, pending } = counters.probes;
      assert.equal(seen, matched + listed + unlisted + dropped + held + pending, JSON.stringify(counters.probes));
      assert.equal(packets.datagramsFailed, 0);
    } finally {
      await intake.close();
    }
  });
}

/** Packets by kind over all records so far. */
function kinds(probes: readonly ProbeRecord[]): Record<string, number> {
  const sums: Record<string, number> = {};
  for (const { targets } of probes) for (const { kind, count } of targets) sums[kind] = (sums[kind] ?? 0) + count;
  return sums;
}

const udpClient = (family: 4 | 6, to: string, ports: number): string => `
const socket = require('node:dgram').createSocket('udp${family}');
const answered = new Set();
socket.on('message', (message, from) => {
  if (message.toString() === 'ping ' + from.port && from.address === '${to}') answered.add(from.port);
  if (answered.size === ${ports}) { console.log('all answered'); process.exit(0); }
});
socket.bind(5353, () => {
  socket.setRecvBufferSize(4 << 20);
  let port = 1000;
  const next = () => {
    if (port === 1000 + ${ports}) return;
    socket.send('ping ' + port, port, '${to}', next);
    port += 1;
  };
  next();
});
setTimeout(() => { console.log('answered', answered.size); process.exit(1); }, 8000);
`;

test('one UDP socket to 1,000 ports gives 1,000 right datagrams, and each answer comes from its decoy', { skip }, () =>
  withIntake({ echoUdp: true }, async ({ attacker, datagrams, intake }) => {
    for (const [family, to] of [
      [4, '10.99.200.7'],
      [6, 'fd99::1:0:0:7'],
    ] as const) {
      // The kernel keeps only a few answers for a neighbour it does not know yet: let it learn the attacker first.
      await attacker.run(['ping', '-c', '1', to]);
      const { stdout } = await attacker.run(['node', '-e', udpClient(family, to, 1000)]);
      assert.match(stdout, /all answered/);
      const seen = datagrams.splice(0);
      assert.equal(seen.length, 1000);
      for (const [index, one] of seen.entries()) {
        assert.deepEqual(one.source, { ip: family === 4 ? '10.99.0.1' : 'fd99::1', port: 5353 });
        assert.deepEqual(one.destination, { ip: to, port: 1000 + index });
        assert.equal(Buffer.from(one.payload).toString(), `ping ${1000 + index}`);
      }
    }
    const { packets } = await intake.report();
    assert.equal(packets.replies, 2000);
    assert.equal(packets.packets?.datagramsLost, 0);
  }),
);

test('an answer longer than the datagram is refused, also in parts', { skip }, () =>
  withIntake({}, async ({ attacker, datagrams, intake }) => {
    await attacker.run(['hping3', '--udp', '-c', '1', '-p', '53', '-d', '20', '10.99.200.7'], { anyCode: true });
    const one = await until('the datagram', () => datagrams[0]);
    assert.equal(one.payload.length, 20);
    assert.equal(one.reply(new Uint8Array(21)), false);
    assert.equal(one.reply(new Uint8Array(15)), true);
    assert.equal(one.reply(new Uint8Array(6)), false);
    assert.equal(one.reply(new Uint8Array(5)), true);
    assert.equal(one.reply(new Uint8Array(1)), false);
    assert.equal(intake.counters.packets.repliesTooLong, 3);
    assert.equal(intake.counters.packets.replies, 2);
  }),
);

for (const [family, target] of [
  ['-4', '10.99.200.7'],
  ['-6', 'fd99::1:0:0:7'],
] as const) {
  const nmap = (...rest: string[]): string[] => [
    'nmap',
    family,
    '-n',
    '-Pn',
    '--send-ip',
    '--max-retries',
    '0',
    '--min-rate',
    '300',
    '--host-timeout',
    '20s',
    ...rest,
    target,
  ];

  test(`nmap ${family} -sS: open ports are half-open probes with the scanner's mark, closed ones closed`, { skip }, () =>
    withIntake({ closed: '100-199' }, async ({ attacker, probes, connections, intake }) => {
      const { stdout } = await attacker.run(nmap('-sS', '-p', '50-249'));
      assert.equal(stdout.match(/\/tcp\s+open/g)?.length, 100, stdout);
      await until('all are accounted for', () => {
        const found = kinds(probes);
        return (found['half-open'] ?? 0) >= 100 && (found.closed ?? 0) >= 100;
      });
      const targets = new Set(probes.flatMap(({ targets: all }) => all.map(({ ip, port, kind }) => `${ip} ${port} ${kind}`)));
      for (let port = 50; port < 250; port += 1)
        assert.ok(targets.has(`${target} ${port} ${port >= 100 && port < 200 ? 'closed' : 'half-open'}`), `port ${port}`);
      for (const record of probes) {
        assert.equal(record.source, family === '-4' ? '10.99.0.1' : 'fd99::1');
        assert.equal(record.sourceMac, '02:00:00:00:99:01');
        assert.equal(record.syn?.system, 'nmap', JSON.stringify(record.syn));
      }
      assert.equal(connections.length, 0);
      assert.equal((await intake.report()).packets.packets?.probesLost, 0);
    }),
  );

  test(`nmap ${family} -sX, -sN, -sF: each packet is a probe of its kind`, { skip }, () =>
    withIntake({}, async ({ attacker, probes }) => {
      for (const [flag, kind] of [
        ['-sX', 'xmas'],
        ['-sN', 'null'],
        ['-sF', 'fin'],
      ]) {
        await attacker.run(nmap(flag, '-p', '1-50'));
        await until(`50 of ${kind}`, () => (kinds(probes)[kind] ?? 0) >= 50);
      }
      assert.deepEqual(Object.keys(kinds(probes)).sort(), ['fin', 'null', 'xmas']);
    }),
  );

  test(`nmap ${family} -sU: datagrams to open ports, probes for closed ones`, { skip }, () =>
    withIntake({ closed: '1-1023' }, async ({ attacker, probes, datagrams }) => {
      const { stdout } = await attacker.run(nmap('-sU', '--top-ports', '100', '-oX', '-'));
      const scanned = / services="([\d,-]+)"/.exec(stdout)?.[1] ?? '';
      const ports = scanned.split(',').flatMap((part) => {
        const [first, last = first] = part.split('-').map(Number);
        return Array.from({ length: last - first + 1 }, (_, index) => first + index);
      });
      assert.equal(ports.length, 100);
      await until('every port shows', () => {
        const seen = new Set([
          ...datagrams.map(({ destination }) => destination.port),
          ...probes.flatMap(({ targets }) => targets.filter(({ transport }) => transport === 'udp').map(({ port }) => port)),
        ]);
        return ports.every((port) => seen.has(port));
      });
      assert.ok(datagrams.every(({ destination }) => destination.port > 1023));
    }),
  );
}

test('masscan of a /24 for two ports: every SYN is a session or a probe', { skip }, () =>
  withIntake({ closed: '23' }, async ({ attacker, probes, intake }) => {
    await attacker.run(
      [
        'masscan',
        '10.99.129.0/24',
        '-p80,23',
        '--rate',
        '2000',
        '--wait',
        '1',
        '--interface',
        'av',
        '--adapter-ip',
        '10.99.0.9',
        '--router-mac',
        '02:00:00:00:99:02',
        '--seed',
        '1',
      ],
      { timeoutMs: 40_000 },
    );
    await until('all are accounted for', () => {
      const targets = new Set(probes.flatMap(({ targets: all }) => all.map(({ ip, port }) => `${ip} ${port}`)));
      return targets.size >= 512;
    });
    const { packets } = await intake.report();
    assert.equal(packets.packets?.probesLost, 0);
    assert.equal(packets.packets?.probes.matched, 0);
    assert.ok(
      probes.some(({ syn }) => syn?.system === 'masscan'),
      JSON.stringify(probes[0]),
    );
  }),
);

test('connections leave no probe behind: their SYNs are matched, in either order', { skip }, () =>
  withIntake({ holdMs: 300 }, async ({ attacker, probes, connections, intake }) => {
    await attacker.run(['nmap', '-n', '-Pn', '-sT', '--max-retries', '0', '-p', '1-500', '10.99.200.9']);
    await attacker.run(['nmap', '-6', '-n', '-Pn', '-sT', '--max-retries', '0', '-p', '1-500', 'fd99::1:0:0:9']);
    await until('all have come', () => connections.length >= 1000);
    await until('all are matched', async () => ((await intake.report()).packets.packets?.probes.matched ?? 0) >= 1000);
    await until('nothing is held', async () => (await intake.report()).packets.packets?.probes.held === 0);
    assert.deepEqual(kinds(probes), {});
    assert.equal(new Set(connections.map(({ destination }) => `${destination.ip} ${destination.port}`)).size, 1000);
  }),
);

test('ping to a decoy is an echo probe', { skip }, () =>
  withIntake({}, async ({ attacker, probes }) => {
    await attacker.run(['ping', '-c', '1', '-W', '2', '10.99.200.1']);
    await attacker.run(['ping', '-c', '1', '-W', '2', 'fd99::1:0:0:1']);
    await until('both show', () => kinds(probes).echo === 2);
  }),
);

test('probes the kernel could not deliver are counted exactly, and reading goes on after the overrun', { skip }, () =>
  withLab(async (lab) => {
    const { attacker, sensor } = await createSegment(lab);
    const fd = openNflogSocket(87, { netns: sensor.path, bufferBytes: 32_768 });
    await divert(sensor, { four }, {}, '1-65535');
    const flood = async (count: number): Promise<void> => {
      const { stderr } = await attacker.run(
        ['hping3', '-q', '-S', '-c', String(count), '-i', 'u50', '-p', '++1', '10.99.200.5'],
        {
          anyCode: true,
        },
      );
      assert.match(stderr, new RegExp(`^${count} packets transmitted`, 'm'));
    };
    await flood(3000); // nobody reads
    const directory = decoyDirectory([decoyGroup([four])]);
    const probes: ProbeRecord[] = [];
    const intake = new PacketIntake({
      networks: homeNetwork(directory),
      ring: createAcceptRingMemory(),
      log: silentLog,
      onDatagram: () => {},
      onProbe: (record) => probes.push(record),
      onConflict: () => {},
    });
    try {
      intake.setSockets([{ name: 'nflog', role: 'nflog', fd }]);
      const first = await until('what was kept is read', async () => {
        const { packets } = await intake.report();
        return packets && packets.probes.seen > 0 ? packets : undefined;
      });
      assert.ok(first.probes.seen < 3000, 'the buffer was too small for all');
      await flood(100);
      await until('all 3,100 are seen or counted as lost', async () => {
        const { packets } = await intake.report();
        return packets && packets.probes.seen + packets.probesLost === 3100 && packets.probesLost > 0;
      });
    } finally {
      await intake.close();
    }
  }),
);
