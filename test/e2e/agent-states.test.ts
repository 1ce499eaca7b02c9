// What is wrong with an agent, with whole programs: its clock, its token, its certificate, its disk, a day without a link. Nothing
// is lost or doubled, and `weir agents` and `weir status` say what it is.

import assert from 'node:assert/strict';
import { existsSync, readdirSync, statfsSync, unlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { parseMicros, systemClock } from '../../src/base/clock.ts';
import { silentLog } from '../../src/base/log.ts';
import { runCommand } from '../../src/kernel/namespace-lab.ts';
import { SessionRecorder } from '../../src/record/session-recorder.ts';
import { Spool } from '../../src/record/spool.ts';
import { type FleetBed, withFleet } from '../support/fleet-bed.ts';
import { lacksKernelTests, lacksProgram, until } from '../support/namespace.ts';

const skip = lacksKernelTests();
const configuration = `
diversions:
  - { name: branch, kind: agent, agent: branch-1, listen: { ports: [2323, 8000-8003], udp-ports: [2323] } }
`;

/** For programs with threads; the wrapper would stay between us and the agent. */
const fakeTimeLibrary = (): string => {
  const [folder] = readdirSync('/usr/lib').filter((name) => existsSync(`/usr/lib/${name}/faketime/libfaketimeMT.so.1`));
  return `/usr/lib/${folder}/faketime/libfaketimeMT.so.1`;
};

const statusText = async (bed: FleetBed): Promise<string> => (await bed.lab.weir(['status'], { anyCode: true })).stdout;
const agentsText = async (bed: FleetBed): Promise<string> => {
  const { stdout, stderr } = await bed.lab.weir(['agents']);
  return stdout + stderr;
};

test(
  'a clock that is a year off keeps nobody out, is told, and is on no record',
  {
    skip: skip || lacksProgram('faketime', 'faketime'),
    timeout: 120_000,
  },
  () =>
    withFleet(configuration, async (bed) => {
      const branch = await bed.addBranch('branch-1');
      await bed.lab.up();
      const set = ['FAKETIME_DONT_FAKE_MONOTONIC=1', 'FAKETIME=+365d', `LD_PRELOAD=${fakeTimeLibrary()}`];
      const prefix = branch.machine.inside(['env', ...set]);
      const agent = bed.start(branch, { token: await bed.token('branch-1'), prefix });
      await until('it is linked', async () => (await bed.status('branch-1'))?.state === 'linked', 30_000);
      const shown = await bed.shown(
        'branch-1',
        'its clock',
        ({ skewMicros = 0 }) => Math.abs(skewMicros - 365 * 86_400e6) < 60e6,
      );
      assert.equal(shown.health, 'degraded');
      assert.match(await agentsText(bed), /clock of this machine is \d+ s ahead/);
      assert.match(await statusText(bed), /branch-1 +linked/);
      await until('it listens', () =>
        branch.ask(8000).then(
          () => true,
          () => false,
        ),
      );
      await branch.setWire(false);
      await bed.shown('branch-1', 'away', ({ state }) => state === 'away');
      const alone = await branch.ask(8001);
      await branch.setWire(true);
      const sessions = await bed.ended(2, 60_000);
      assert.ok(sessions.some(({ source }) => source.port === alone.from));
      for (const session of sessions)
        assert.ok(Math.abs(parseMicros(String(session['@timestamp'])) - systemClock()) < 120e6, String(session['@timestamp']));
      await agent.end('SIGKILL');
    }),
);

test(
  'a used token, a revoked certificate and a new token: each is told, and what was recorded meanwhile arrives',
  {
    skip,
    timeout: 120_000,
  },
  () =>
    withFleet(configuration, async (bed) => {
      const branch = await bed.addBranch('branch-1');
      await bed.lab.up();
      const token = await bed.token('branch-1');
      assert.match(await agentsText(bed), /branch-1 +waiting/);
      const agent = bed.start(branch, { token });
      await agent.linked();
      await branch.ask(8000);

      // Somebody read it over the shoulder.
      const second = bed.start(branch, { token, data: path.join(bed.lab.directory, 'thief') });
      assert.notEqual(await second.exited, 0);
      assert.match(second.output, /token/);
      assert.equal((await bed.status('branch-1'))?.state, 'linked');

      assert.match((await bed.lab.weir(['agents', 'remove', 'branch-1'])).stdout, /revoked/);
      await bed.shown('branch-1', 'revoked', ({ state }) => state === 'revoked');
      const away = await agent.until(
        ({ link, lastGoodbye }) => link.state !== 'linked' && lastGoodbye !== undefined,
        'told',
        15_000,
      );
      assert.equal(away.lastGoodbye, 'revoked');
      assert.match(await agentsText(bed), /branch-1 +revoked/);
      // It goes on answering, and nothing of it gets in.
      const alone = [await branch.ask(8001), await branch.ask(8002)];
      assert.equal((await bed.ended(1)).length, 1);
      await agent.end();

      const again = await bed.enrol(branch);
      await again.until(({ spool }) => spool.records === 0, 'nothing waits', 30_000);
      const sessions = await bed.ended(3);
      assert.equal(sessions.length, 3);
      for (const { from } of alone) assert.equal(sessions.filter(({ source }) => source.port === from).length, 1);
      assert.equal((await bed.status('branch-1'))?.health, 'good');
    }),
);

test("the agent's disk is full: told at the centre, and what found no room is counted", { skip, timeout: 120_000 }, () =>
  withFleet(configuration, async (bed) => {
    const branch = await bed.addBranch('branch-1');
    await runCommand(['mount', '-t', 'tmpfs', '-o', 'size=6m,mode=0700', 'tmpfs', branch.data]);
    await bed.lab.up();
    const agent = await bed.enrol(branch, { more: ['--spool', '4MiB'] });
    const ballast = path.join(branch.data, 'ballast');
    await branch.setWire(false);
    await agent.away();
    fill(branch.data, ballast);
    const asked: number[] = [];
    for (let round = 0; round < 10; round += 1) asked.push((await branch.ask(8000 + (round % 3))).from);
    await branch.setWire(true);
    const full = await bed.shown('branch-1', 'a full disk', ({ spool }) => spool?.diskFull === true, 60_000);
    assert.equal(full.health, 'bad');
    assert.match(await agentsText(bed), /disk of .* is full/);
    unlinkSync(ballast);
    const sessions = await bed.ended(asked.length, 60_000);
    for (const from of asked) assert.equal(sessions.filter(({ source }) => source.port === from).length, 1, `from ${from}`);
    const { spool } = await bed.shown(
      'branch-1',
      'a disk with room',
      ({ spool, health }) => spool?.diskFull === false && health === 'good',
    );
    assert.equal(spool?.droppedRecords, 0);
  }),
);

function fill(directory: string, ballast: string): void {
  const { bavail, bsize } = statfsSync(directory);
  try {
    for (let left = bavail * bsize; left > 0; left -= 65_536)
      writeFileSync(ballast, Buffer.alloc(Math.min(65_536, left)), { flag: 'a' });
    for (;;) writeFileSync(ballast, Buffer.alloc(512), { flag: 'a' });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
  }
}

/** A session every five seconds or so. */
const ofADay = 17_000;

test('a day without a link is replayed once, while the agent works', { skip, timeout: 180_000 }, () =>
  withFleet(configuration, async (bed) => {
    const branch = await bed.addBranch('branch-1');
    await bed.lab.up();
    await (await bed.enrol(branch)).end();
    const began = systemClock() - 24 * 3600e6;
    let now = began;
    const clock = (): number => now;
    const spool = await Spool.open({ directory: path.join(branch.data, 'spool'), maxBytes: 2 ** 30, clock, log: silentLog });
    const recorder = new SessionRecorder({ journal: spool, limits: { sessionBytes: 65_536 }, flushMs: 1e6, clock });
    for (let count = 0; count < ofADay; count += 1) {
      now = began + Math.round((count * 24 * 3600e6) / ofADay);
      const handle = recorder.open({
        start: now,
        transport: 'tcp',
        source: { ip: `198.51.${count >> 8}.${count & 255}`, port: 1024 + (count % 60_000) },
        destination: { ip: branch.decoy[4], port: 8000 + (count % 4) },
        sourceReliable: true,
        diversion: 'branch',
        service: 'catch-all',
      });
      handle.chunk('in', Buffer.from(`GET /of-a-day-${count} HTTP/1.0\r\n\r\n`));
      now += 2000;
      handle.close('client-closed');
      if (count % 200 === 199) {
        recorder.flush();
        await spool.flush();
      }
    }
    recorder.close();
    await spool.close();

    let agent = bed.start(branch);
    await agent.linked();
    const live = [await branch.ask(8000)];
    // In the middle of it, where it cannot say what has arrived.
    await until('some has arrived', async () => (await bed.lab.reader.counts({})).sessions > ofADay / 10, 30_000);
    await agent.end('SIGKILL');
    agent = bed.start(branch);
    await agent.linked();
    live.push(await branch.ask(8001));
    await agent.until(({ spool }) => spool.records === 0, 'nothing waits', 120_000);
    const sessions = await bed.ended(ofADay + live.length, 60_000);
    assert.equal(sessions.length, ofADay + live.length);
    assert.equal(new Set(sessions.map(({ source }) => `${source.ip} ${source.port}`)).size, sessions.length);
    const oldest = Math.min(...sessions.map((session) => parseMicros(String(session['@timestamp']))));
    assert.ok(Math.abs(oldest - began) < 1e6, 'with the times at which they happened');
    assert.ok(agent.pid > 0 && (await bed.status('branch-1'))?.spool?.droppedRecords === 0);
  }),
);
