// Sessions of decoys that a service answers by the kernel path: recorded with their true ends, bytes and outcome from what
// passes the services namespace; scans stay probes; what the capture misses is known from the kernel's counts.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { silentLog } from '../../src/base/log.ts';
import { bytesOf, type KeptSession, MemorySink } from '../../src/honeypot/memory-sink.ts';
import { openServicesSockets } from '../../src/kernel/services-sockets.ts';
import { DecoyDirectory } from '../../src/model/decoy.ts';
import type { ProbeRecord } from '../../src/model/event.ts';
import { captureGroup } from '../../src/plan/services-capture.ts';
import { ServicesController } from '../../src/plan/services-controller.ts';
import { planKernelPathPorts } from '../../src/plan/services-network.ts';
import { KernelPathIntake } from '../../src/relay/kernel-path-intake.ts';
import { lacksKernelTests, runCommand, until, withLab } from '../support/namespace.ts';
import { layServicesBed, type ServicesBed, serveBothEnds, talk } from '../support/services-bed.ts';

interface Watched {
  readonly sink: MemorySink;
  readonly probes: ProbeRecord[];
  readonly intake: KernelPathIntake;
  readonly controller: ServicesController;
}

async function withPath(roles: readonly string[], body: (bed: ServicesBed, watched: Watched) => Promise<void>): Promise<void> {
  await withLab(async (lab) => {
    const bed = await layServicesBed(lab);
    const controller = new ServicesController({
      tag: `${process.pid.toString(16).slice(-3)}f`,
      log: silentLog,
      netns: bed.home.path,
    });
    const sink = new MemorySink();
    const probes: ProbeRecord[] = [];
    const { desired } = bed;
    const states = [{ name: '', groups: desired.groups, personas: desired.personas }].concat(
      desired.segments.map(({ name, inside }) => ({ name, groups: inside.groups, personas: inside.personas })),
    );
    const networks = states.map(({ name, groups, personas }) => ({
      name,
      directory: new DecoyDirectory(groups, new Map(personas.map((persona) => [persona.name, persona]))),
      interfaces: {},
      subnets: [],
    }));
    let intake: KernelPathIntake | undefined;
    try {
      await serveBothEnds(bed.service, 80);
      await controller.apply(desired);
      intake = new KernelPathIntake({
        sink,
        networks,
        ports: planKernelPathPorts(controller.network, desired),
        limits: { sessions: 1000, sessionBytes: 1 << 20, idleTimeoutMs: 60_000 },
        log: silentLog,
        onProbe: (record) => probes.push(record),
      });
      const sockets = openServicesSockets(controller.path, captureGroup, [], bed.home.path);
      intake.setSockets(sockets.filter(({ role }) => roles.includes(role)));
      // Connections that began before the thread did are another's to tell.
      await intake.report(10_000);
      await body(bed, { sink, probes, intake, controller });
    } finally {
      await intake?.close();
      await controller.apply(undefined);
    }
  });
}

const closed = (sink: MemorySink, count: number): Promise<void> =>
  sink.until(({ sessions }) => sessions.filter(({ outcome }) => outcome !== 'open').length >= count, 20_000);

const ends = ({ start }: KeptSession): string =>
  `${start.diversion} ${start.source.ip}:${start.source.port} > ${start.destination.ip}:${start.destination.port} ${start.service}`;

test('sessions of two networks with equal five-tuples are on record apart, with what passed', {
  skip: lacksKernelTests(),
}, async () => {
  await withPath(['capture', 'conntrack'], async ({ attackers }, { sink, probes }) => {
    const [one, two, outside] = attackers;
    const answers = [
      await talk(one, '10.50.0.70', 80, 43001, 'from one'),
      await talk(two, '10.50.0.70', 80, 43001, 'from two'),
      await talk(outside, '10.70.0.70', 80, 43002, 'x'.repeat(100_000)),
    ];
    for (const answer of answers) assert.match(answer, /^real /);
    await closed(sink, 3);
    assert.deepEqual(sink.sessions.map(ends).sort(), [
      'dmz 10.70.0.1:43002 > 10.70.0.70:80 real',
      'floor-1 10.50.0.1:43001 > 10.50.0.70:80 real',
      'floor-2 10.50.0.1:43001 > 10.50.0.70:80 real',
    ]);
    for (const session of sink.sessions) {
      const { start } = session;
      assert.equal(session.outcome, 'client-closed');
      assert.equal(start.persona, 'web');
      assert.equal(start.sourceReliable, true);
      assert.equal(start.syn?.ttl, 64);
      assert.match(start.syn?.options ?? '', /^mss,sok,ts,nop,ws$/);
      assert.match(bytesOf(session, 'out').toString(), /^real /);
      assert.ok((session.end ?? 0) >= start.start && Math.abs(start.start / 1000 - Date.now()) < 60_000);
    }
    const text = (diversion: string): string =>
      bytesOf(sink.sessions.find(({ start }) => start.diversion === diversion) as KeptSession, 'in').toString();
    assert.equal(text('floor-1'), 'from one');
    assert.equal(text('floor-2'), 'from two');
    assert.equal(text('dmz'), 'x'.repeat(100_000));
    const mac = sink.sessions.find(({ start }) => start.diversion === 'floor-2')?.start.sourceMac;
    assert.equal(mac, '02:00:00:00:50:02');
    assert.deepEqual(probes, []);
  });
});

test('scans of bound decoys are probes, datagrams are sessions', { skip: lacksKernelTests() }, async () => {
  await withPath(['capture', 'conntrack'], async ({ attackers }, { sink, probes }) => {
    const [one] = attackers;
    const scan = await one.run(['nmap', '-n', '-Pn', '-sS', '--max-retries', '1', '-p', '80,81', '10.50.0.74'], {
      timeoutMs: 30_000,
    });
    assert.match(scan.stdout, /80\/tcp +open/);
    assert.match(scan.stdout, /81\/tcp +closed/);
    await one.run(['ping', '-n', '-c', '1', '-W', '2', '10.50.0.74']);
    const udp = `const s = require('node:dgram').createSocket('udp4'); s.on('message', (m) => { process.stdout.write(m); process.exit(0); });
      s.on('error', () => process.exit(0)); s.bind(44000, () => s.connect(Number(process.argv[1]), '10.50.0.75', () => s.send('hi'))); setTimeout(() => process.exit(0), 1500);`;
    assert.equal((await one.run(['node', '-e', udp, '80'])).stdout, 'echo hi');
    await one.run(['node', '-e', udp, '81']);
    const kinds = (): string[] =>
      [
        ...new Set(probes.flatMap(({ targets }) => targets.map(({ transport, port, kind }) => `${transport} ${port} ${kind}`))),
      ].sort();
    await until(`all four are on record: ${kinds()}`, () => kinds().length >= 4, 15_000).catch(() => {});
    assert.deepEqual(kinds(), ['icmp 0 echo', 'tcp 80 half-open', 'tcp 81 closed', 'udp 81 closed']);
    assert.deepEqual(probes.map(({ diversion, source }) => `${diversion} ${source}`)[0], 'floor-1 10.50.0.1');
    assert.deepEqual(sink.sessions.map(ends), ['floor-1 10.50.0.1:44000 > 10.50.0.75:80 real']);
    assert.equal(sink.sessions[0].start.transport, 'udp');
    assert.equal(sink.sessions[0].start.sourceReliable, false);
    assert.equal(bytesOf(sink.sessions[0], 'in').toString(), 'hi');
    assert.equal(bytesOf(sink.sessions[0], 'out').toString(), 'echo hi');
  });
});

test('what the capture misses is on record from the kernel’s own counts', { skip: lacksKernelTests() }, async () => {
  await withPath(['conntrack'], async ({ attackers }, { sink, intake, controller }) => {
    const [one] = attackers;
    assert.match(await talk(one, '10.50.0.70', 80, 43005, 'unseen'), /^real /);
    // The kernel would forget it by itself within a minute or so.
    await runCommand(['nsenter', `--net=${controller.path}`, '--', 'conntrack', '-D', '-p', 'tcp']);
    await closed(sink, 1);
    const [session] = sink.sessions;
    assert.equal(ends(session), 'floor-1 10.50.0.1:43005 > 10.50.0.70:80 real');
    assert.deepEqual(session.findings.tags, ['uncaptured']);
    assert.ok(session.skipped.in >= 6 && session.skipped.in < 300, String(session.skipped.in));
    assert.ok(session.skipped.out >= 50 && session.skipped.out < 400, String(session.skipped.out));
    assert.equal((await intake.report())?.uncaptured, 1);
  });
});

test('a thread that dies is followed by another, and the connection goes on as a session of its own', {
  skip: lacksKernelTests(),
}, async () => {
  await withPath(['capture', 'conntrack'], async ({ attackers }, { sink, intake }) => {
    const [one] = attackers;
    const client = one.spawn([
      'node',
      '-e',
      `const s = require('node:net').connect({ host: '10.50.0.71', port: 80, localPort: 41000 }, () => s.write('first'));
       s.on('data', (d) => process.stdout.write(d)); process.stdin.on('data', () => s.end('second'));`,
    ]);
    await sink.until(({ sessions }) => sessions.length === 1 && bytesOf(sessions[0], 'in').length === 5);
    await intake.report();
    intake.killWorkerForTest();
    await sink.until(({ sessions }) => sessions[0].outcome === 'interrupted');
    await until('another thread answers', async () => ((await intake.report(100))?.workerRestarts ?? 0) === 1);
    client.stdin?.write('go\n');
    await closed(sink, 2);
    assert.deepEqual(sink.sessions[1].findings.tags, ['resumed']);
    assert.equal(bytesOf(sink.sessions[1], 'in').toString(), 'second');
    assert.equal(ends(sink.sessions[1]), ends(sink.sessions[0]));
    const counters = await intake.report();
    assert.deepEqual([counters?.opened, counters?.closed, counters?.open], [2, 2, 0]);
  });
});
