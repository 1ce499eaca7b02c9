// Verbs that read packets are started as root and read them as nobody, for good: alone, and where another half of them keeps root for what
// needs it. What that half did is there, and nothing of it stays.

import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { lacksKernelTests, lacksProgram, type TestNamespace, until, withLab } from '../support/namespace.ts';

const skip = lacksKernelTests() || lacksProgram('tcpdump', 'tcpdump') || lacksProgram('setpriv', 'util-linux');
const program = fileURLToPath(new URL('../../src/programs/weir.js', import.meta.url));

test('a capture, one with a ring and processes, and rst read packets as nobody', { skip, timeout: 60_000 }, () => {
  const directory = mkdtempSync(join(tmpdir(), 'weir-nobody-'));
  return withLab(async (lab) => {
    const namespace = await lab.namespace('host');
    await namespace.ip('link set lo up\n');
    await asNobody(namespace, directory);
  }).finally(() => rmSync(directory, { recursive: true }));
});

async function asNobody(namespace: TestNamespace, directory: string): Promise<void> {
  /** From outside, by a path to the namespace. */
  const start = async (argv: readonly string[], ready: RegExp) => {
    const line = [program, ...argv, '--netns', namespace.path, '--for', '30s', '--json'];
    const child = spawn(process.execPath, line, { cwd: '/', stdio: ['ignore', 'pipe', 'pipe'] });
    let said = '';
    let out = '';
    child.stderr?.on('data', (bytes) => {
      said += String(bytes);
    });
    child.stdout?.on('data', (bytes) => {
      out += String(bytes);
    });
    await until('it listens', () => ready.test(said));
    const status = readFileSync(`/proc/${child.pid}/status`, 'utf8');
    assert.match(status, /^Uid:\t65534\t65534\t65534\t65534$/m, argv.join(' '));
    assert.match(status, /^Groups:\t\s*$/m);
    for (const set of ['CapEff', 'CapPrm']) assert.match(status, new RegExp(`^${set}:\t0+$`, 'm'));
    assert.match(status, /^NoNewPrivs:\t1$/m);
    const halves = readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8').trim();
    const end = async (): Promise<string> => {
      child.kill('SIGINT');
      await until('it ends in order', () => child.exitCode === 0);
      for (const pid of halves.split(' ').filter((one) => one !== ''))
        assert.ok(!existsSync(`/proc/${pid}`), 'its other half ends with it');
      return out;
    };
    return { halves, end, told: () => out };
  };
  const file = join(directory, 'alone.pcapng');
  const alone = await start(['capture', '-w', file, 'arp'], /listening on/);
  assert.equal(alone.halves, '');
  await alone.end();
  assert.deepEqual([statSync(file).uid, statSync(file).mode & 0o777], [0, 0o600]);

  const bounded = (capabilities: string, argv: readonly string[]) => {
    const line = [`--bounding-set=${capabilities}`, '--inh-caps=-all', process.execPath, program, ...argv, '--json'];
    const { status, stdout, stderr } = spawnSync('setpriv', line, { cwd: '/', encoding: 'utf8', timeout: 20_000 });
    return { status, stdout, stderr };
  };
  const told = bounded('-all', ['capture', '-r', file, 'arp']);
  assert.deepEqual([told.status, JSON.parse(told.stdout || '{}').summary?.complete], [0, true], told.stderr);
  const kept = join(directory, 'kept.pcapng');
  const may = ['capture', '--netns', namespace.path, '--packets', '1', '--for', '5s', 'arp'];
  const refused = bounded('-setuid,-setgid', may);
  assert.equal(refused.status, 3, refused.stderr);
  assert.match(refused.stdout + refused.stderr, /root cannot be given up here[\s\S]*run it as another user/);

  const ring = join(directory, 'ring.pcapng');
  const argv = ['capture', '-w', ring, '--ring', '2x4KiB', '--processes', '--if', 'lo', 'udp'];
  const inRing = await start(argv, /listening on/);
  // Nine from one socket, which fill the ring, and the last from another, which stays.
  const talk = `const d = require('node:dgram'); const s = d.createSocket('udp4'); const last = d.createSocket('udp4'); let left = 9;
const go = () => left-- > 0 ? s.send(Buffer.alloc(1000), 9, '127.0.0.1', go) : last.send('x', 9, '127.0.0.1', () => console.log('sent')); last.bind(0, go);`;
  const talker = namespace.spawn([process.execPath, '-e', talk]);
  await once(talker.stdout ?? assert.fail(), 'data');
  const { summary } = JSON.parse(await inRing.end());
  assert.equal(summary.files.length, 2);
  assert.ok(summary.overwritten > 0);
  for (const name of summary.files) assert.deepEqual([statSync(name).uid, statSync(name).mode & 0o777], [0, 0o600]);
  assert.ok(!existsSync(join(directory, 'ring.00001.pcapng')));
  const text = summary.files.map((name: string) => readFileSync(name, 'latin1')).join('');
  assert.ok(text.includes(`process node, pid ${talker.pid}, uid 0`), 'whose the last packet is');

  const halved = await start(['capture', '-w', kept, '--processes', '--if', 'lo', 'udp'], /listening on/);
  process.kill(Number(halved.halves), 'SIGKILL');
  await until('its other half is gone', () => !existsSync(`/proc/${halved.halves}`));
  const one = `const s = require('node:dgram').createSocket('udp4'); s.send('x', 9, '127.0.0.1', () => s.close());`;
  await namespace.run([process.execPath, '-e', one]);
  const alsoWithout = JSON.parse(await halved.end()).summary;
  assert.deepEqual([alsoWithout.matched, alsoWithout.complete], [1, false]);
  assert.match(alsoWithout.not_measured.join(), /^processes from \S+Z on: the half that keeps root is gone$/);

  const watched = await start(['rst', '--if', 'lo'], /watching lo/);
  await namespace.run([process.execPath, '-e', `require('node:net').connect(9, '127.0.0.1').on('error', () => {})`]);
  await until('it is judged', () => watched.told().includes('\n'));
  const finding = JSON.parse((await watched.end()).split('\n')[0]);
  assert.deepEqual([finding.cause, finding.confidence], ['closed-port', 'proven'], JSON.stringify(finding));
}
