// Names of decoys on a real link, asked for by the tools people have; and nothing of it beyond the link.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { silentLog } from '../../src/base/log.ts';
import type { CatchAll } from '../../src/honeypot/catch-all.ts';
import { MemorySink } from '../../src/honeypot/memory-sink.ts';
import { openSmallCatchAll } from '../../src/honeypot/naming-stage.ts';
import { openIntakeSockets } from '../../src/kernel/intake-sockets.ts';
import { type AddressRange, parseRange } from '../../src/model/address.ts';
import { DecoyDirectory } from '../../src/model/decoy.ts';
import { hostName } from '../../src/model/host-name.ts';
import { type PortSet, parsePorts } from '../../src/model/port-set.ts';
import { Intake } from '../../src/relay/intake.ts';
import { decoyGroup, divert, openPersona } from '../support/decoy-segment.ts';
import { createSegment, lacksKernelTests, type TestNamespace, until, withLab } from '../support/namespace.ts';

const skip = lacksKernelTests();
const udp = (text: string) => ({ open: parsePorts(text) as PortSet, otherwise: 'closed' as const });
const personas = new Map(
  [
    { ...openPersona, name: 'desktop', hostname: 'DESKTOP-{n}', ttl: 128, udp: udp('137,5353,5355') },
    { ...openPersona, name: 'dc', hostname: 'DC-{n}', udp: udp('53,137') },
    { ...openPersona, name: 'printer', hostname: 'NPI{n}', udp: udp('5353') },
  ].map((one) => [one.name, one]),
);
const four = '10.99.128.0/24';
const six = 'fd99::1:0:0:0/112';
const named = (persona: string, ip: string): string => hostName(personas.get(persona) ?? openPersona, ip);

interface Bench {
  readonly attacker: TestNamespace;
  readonly sensor: TestNamespace;
  readonly intake: Intake;
  readonly catchAll: CatchAll;
  readonly sink: MemorySink;
}

async function withNames(body: (bench: Bench) => Promise<void>): Promise<void> {
  await withLab(async (lab) => {
    const { attacker, sensor } = await createSegment(lab);
    const network = 'floor-1';
    const interfaces = [{ name: 'sv', promiscuous: true, names: true }];
    const sockets = openIntakeSockets({ tcpPort: 29_631, udpPort: 29_632, interfaces, netns: sensor.path, network });
    assert.equal(sockets.length, 9);
    await divert(sensor, { four, six }, { tcp4: 29_631, tcp6: 29_631, udp4: 29_632, udp6: 29_632 }, undefined, network);
    // Broadcasts are for 10.99.255.255, the segment's own subnet.
    const group = (persona: string, ...ranges: string[]) =>
      decoyGroup(ranges, { diversion: network, population: { seed: 7, shares: [{ persona, share: 10_000 }] } });
    const directory = new DecoyDirectory(
      [group('desktop', '10.99.128.10-10.99.128.99', six), group('dc', '10.99.128.101'), group('printer', '10.99.128.100')],
      personas,
    );
    const subnets = ['10.99.0.0/16', 'fd99::/64'].map((text) => parseRange(text) as AddressRange);
    const sink = new MemorySink();
    const catchAll = openSmallCatchAll(sink);
    const intake = new Intake({
      networks: [{ name: network, directory, interfaces: { sv: [network] }, subnets }],
      sockets,
      log: silentLog,
      onConnection: (connection) => catchAll.visit(connection),
      onDatagram: (datagram) => catchAll.datagram(datagram),
      onProbe: () => {},
      onConflict: () => {},
    });
    try {
      await body({ attacker, sensor, intake, catchAll, sink });
      assert.equal(catchAll.counters().defects, 0);
      assert.equal(intake.counters.packets.datagramsFailed, 0);
    } finally {
      await intake.close();
      await catchAll.close();
    }
  });
}

/** Protocols on record, with the decoy each was about. */
const touched = (sink: MemorySink): string[] =>
  sink.sessions.map(({ start, findings }) => `${findings.protocol} ${start.destination.ip}`);

test('nmblookup and nmap see the names, the workgroup and the MAC of a desktop', { skip }, () =>
  withNames(async ({ attacker, sink, sensor }) => {
    const ip = '10.99.128.42';
    const name = named('desktop', ip);
    await attacker.run(['ping', '-c', '1', ip]);
    const { stdout } = await attacker.run(['nmblookup', '-A', ip]);
    assert.match(stdout, new RegExp(`${name.toUpperCase()}\\s+<00> -\\s+B <ACTIVE>`));
    assert.match(stdout, /WORKGROUP\s+<00> - <GROUP> B <ACTIVE>/);
    assert.match(stdout, /MAC Address = 00-0C-29-/);
    const found = await attacker.run(['nmblookup', '-B', '10.99.255.255', name]);
    assert.match(found.stdout, new RegExp(`^10\\.99\\.128\\.42 ${name}<00>`, 'm'));
    const nmap = await attacker.run(['nmap', '-n', '-Pn', '-sU', '-p', '137', '--script', 'nbstat', ip]);
    assert.match(nmap.stdout, new RegExp(`NetBIOS name: ${name.toUpperCase()}`));
    assert.ok(
      touched(sink).every((line) => line === `netbios ${ip}`),
      JSON.stringify(touched(sink)),
    );
    const groups = await sensor.run(['cat', '/proc/net/igmp']);
    assert.match(groups.stdout, /FB0000E0/, 'switches are told that somebody here listens to mDNS');
    assert.match(groups.stdout, /FC0000E0/);
  }),
);

test('nmap resolves a decoy by LLMNR; names of nobody stay unanswered and are counted', { skip }, () =>
  withNames(async ({ attacker, sink, intake }) => {
    const ip = '10.99.128.17';
    await attacker.run(['ip', 'route', 'add', '224.0.0.0/4', 'dev', 'av']);
    const resolve = (host: string) => {
      const settings = `llmnr-resolve.hostname=${host},llmnr-resolve.timeout=2s`;
      return attacker.run(['nmap', '-n', '-e', 'av', '--script', 'llmnr-resolve', '--script-args', settings]);
    };
    const { stdout } = await resolve(named('desktop', ip));
    assert.match(stdout, new RegExp(`: ${ip.replaceAll('.', '\\.')}`));
    assert.deepEqual(touched(sink), [`llmnr ${ip}`]);
    const { start, findings } = sink.sessions[0];
    assert.equal(start.sourceMac, '02:00:00:00:99:01');
    assert.deepEqual(findings.tags, ['asked-of-all', 'group-224.0.0.252']);
    await resolve('wpad');
    await until('it is counted', () => intake.counters.packets.nameQueriesElsewhere > 0);
    assert.equal(sink.sessions.length, 1);
  }),
);

/** Asks the mDNS group and prints `ADDRESS TTL` of every answer with the name in it, from the first to the third. */
const mdnsClient = (family: 4 | 6, host: string, type: number, fixed: boolean): string => `
const dgram = require('node:dgram');
const socket = dgram.createSocket({ type: 'udp${family}', reuseAddr: true });
const group = ${family === 4 ? "'224.0.0.251'" : "'ff02::fb%av'"};
const labels = '${host}'.split('.').map((label) => Buffer.concat([Buffer.from([label.length]), Buffer.from(label)]));
const query = Buffer.concat([Buffer.from('000000000001000000000000', 'hex'), ...labels, Buffer.from([0, 0, ${type}, 0, 1])]);
socket.on('message', (message, from) => {
  if (!(message[2] & 0x80)) return;
  console.log(from.address, message.subarray(message.readUInt16BE(4) ? -${type === 1 ? 4 : 16} : -${type === 1 ? 4 : 16}).toString('hex'));
  process.exit(0);
});
socket.bind(${fixed ? 5353 : 0}, () => {
  ${family === 4 ? "socket.addMembership('224.0.0.251', '10.99.0.1'); socket.setMulticastInterface('10.99.0.1');" : "socket.addMembership('ff02::fb', '::%av'); socket.setMulticastInterface('::%av');"}
  socket.send(query, 5353, group);
});
setTimeout(() => process.exit(1), 5000);
`;

test('mDNS: a group question is answered to the group, a plain client alone; IPv4 and IPv6, from the decoy', { skip }, () =>
  withNames(async ({ attacker, sink }) => {
    await attacker.run(['ip', 'route', 'add', '224.0.0.0/4', 'dev', 'av']);
    const printer = `${named('printer', '10.99.128.100')}.local`;
    const capture = attacker.spawn([
      'tcpdump',
      '-i',
      'av',
      '-nnev',
      '-l',
      '--immediate-mode',
      'udp and src port 5353 and not src 10.99.0.1',
    ]);
    let seen = '';
    let told = '';
    capture.stdout?.on('data', (bytes) => {
      seen += bytes;
    });
    capture.stderr?.on('data', (bytes) => {
      told += bytes;
    });
    await until('the capture runs', () => told.includes('listening on'));
    const group = await attacker.run(['node', '-e', mdnsClient(4, printer, 1, true)]);
    assert.equal(group.stdout, '10.99.128.100 0a638064\n');
    await until('it is in the capture', () => seen.includes('10.99.128.100.5353 > 224.0.0.251.5353'));
    assert.match(seen, /ttl 255/);
    assert.match(seen, /00:0c:29:\S+ > 01:00:5e:00:00:fb/);
    const plain = await attacker.run(['node', '-e', mdnsClient(4, printer, 1, false)]);
    assert.equal(plain.stdout, '10.99.128.100 0a638064\n');
    const ip = 'fd99::1:0:0:7';
    const desktop = await attacker.run(['node', '-e', mdnsClient(6, `${named('desktop', ip)}.local`, 28, true)]);
    assert.equal(desktop.stdout, `${ip} fd990000000000000001000000000007\n`);
    assert.deepEqual([...new Set(touched(sink))], ['mdns 10.99.128.100', `mdns ${ip}`]);
  }),
);

test(
  'a domain controller tells its segment who is who; from beyond it sends to TCP and is as short as the question',
  { skip },
  () =>
    withNames(async ({ attacker, sensor, catchAll }) => {
      await sensor.run(['ip', 'route', 'add', '192.0.2.0/24', 'via', '10.99.0.1']);
      const dig = async (...rest: string[]): Promise<string> =>
        (await attacker.run(['dig', '@10.99.128.101', '+tries=1', '+time=3', ...rest])).stdout;
      const desktop = named('desktop', '10.99.128.42');
      assert.equal(await dig('+short', '-x', '10.99.128.42'), `${desktop}.corp.local.\n`);
      assert.equal(await dig('+short', `${desktop}.corp.local`), '10.99.128.42\n');
      assert.match(await dig('-x', '10.99.200.200'), /status: NXDOMAIN/);
      assert.match(await dig('example.org'), /status: REFUSED/);
      assert.equal(await dig('+short', '+tcp', '-x', '10.99.128.42'), `${desktop}.corp.local.\n`);
      const near = catchAll.counters().udpOnLink;
      assert.ok(near >= 4);
      // An address behind the segment's router: the same answer would be longer than the question.
      await attacker.ip('addr add 192.0.2.7/32 dev av\n');
      const far = await attacker.run([
        'dig',
        '@10.99.128.101',
        '-b',
        '192.0.2.7',
        '+tries=1',
        '+time=3',
        '+ignore',
        '+noedns',
        '-x',
        '10.99.128.42',
      ]);
      assert.match(far.stdout, /flags: qr[a-z ]* tc/);
      assert.match(far.stdout, /ANSWER: 0/);
      assert.equal(catchAll.counters().udpOnLink, near);
      const overTcp = await attacker.run([
        'dig',
        '@10.99.128.101',
        '-b',
        '192.0.2.7',
        '+tries=1',
        '+time=3',
        '+short',
        '-x',
        '10.99.128.42',
      ]);
      assert.equal(overTcp.stdout, `${desktop}.corp.local.\n`);
    }),
);

test('nobody beyond the link draws a name by NetBIOS, LLMNR or mDNS, and every question is on record', { skip }, () =>
  withNames(async ({ attacker, sensor, sink, catchAll }) => {
    await attacker.ip('addr add 192.0.2.7/32 dev av\n');
    await sensor.run(['ip', 'route', 'add', '192.0.2.0/24', 'via', '10.99.0.1']);
    const ask = `
const socket = require('node:dgram').createSocket('udp4');
socket.on('message', () => { console.log('answered'); });
const status = Buffer.from('80f00010000100000000000020434b' + '41'.repeat(30) + '0000210001', 'hex');
const name = '${named('desktop', '10.99.128.42')}';
const local = Buffer.concat([Buffer.from('000000000001000000000000', 'hex'), Buffer.from([name.length]), Buffer.from(name), Buffer.from('056c6f63616c0000010001', 'hex')]);
socket.bind(0, '192.0.2.7', () => {
  socket.send(status, 137, '10.99.128.42');
  socket.send(local, 5353, '10.99.128.42');
  socket.setBroadcast(true);
  socket.send(status, 137, '10.99.255.255');
});
setTimeout(() => process.exit(0), 1500);
`;
    const { stdout } = await attacker.run(['node', '-e', ask]);
    assert.equal(stdout, '');
    assert.deepEqual(touched(sink).sort(), ['mdns 10.99.128.42', 'netbios 10.99.128.42']);
    assert.equal(catchAll.counters().udpReplies, 0);
  }),
);

/** A bus and an mDNS daemon of its own below a private /run, then one question. */
const avahi = (host: string): string => `
mount -t tmpfs tmpfs /run && mkdir -p /run/dbus /run/avahi-daemon
cat > /run/avahi.conf <<END
[server]
use-ipv6=no
allow-interfaces=av
check-response-ttl=yes
[publish]
disable-publishing=yes
END
dbus-daemon --system --nofork --nopidfile --nosyslog & bus=$!
for n in 1 2 3 4 5 6 7 8 9 10; do [ -S /run/dbus/system_bus_socket ] && break; sleep 0.1; done
avahi-daemon --no-drop-root --no-chroot --no-rlimits -f /run/avahi.conf >/dev/null 2>&1 & daemon=$!
for n in 1 2 3 4 5 6 7 8 9 10; do avahi-daemon -c && break; sleep 0.1; done
timeout 10 avahi-resolve -4 -n ${host}
timeout 10 avahi-resolve -a 10.99.128.100
kill $daemon $bus
wait
`;

test('avahi, told to insist on hop limit 255, resolves a printer both ways', { skip }, () =>
  withNames(async ({ attacker, sink }) => {
    await attacker.run(['ip', 'route', 'add', '224.0.0.0/4', 'dev', 'av']);
    const printer = `${named('printer', '10.99.128.100')}.local`;
    const { stdout } = await attacker.run(['unshare', '-m', 'sh', '-c', avahi(printer)]);
    assert.equal(stdout, `${printer}\t10.99.128.100\n10.99.128.100\t${printer}\n`);
    assert.deepEqual([...new Set(touched(sink))], ['mdns 10.99.128.100']);
  }),
);
