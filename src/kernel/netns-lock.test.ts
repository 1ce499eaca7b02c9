import assert from 'node:assert/strict';
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import type { WeirError } from '../base/errors.ts';
import { NetnsLock } from './netns-lock.ts';

const inDirectory = async (body: (directory: string) => Promise<void> | void): Promise<void> => {
  const directory = mkdtempSync(join(tmpdir(), 'weir-netns-lock-'));
  try {
    await body(directory);
  } finally {
    rmSync(directory, { recursive: true });
  }
};

const refused = (directory: string): WeirError => {
  try {
    NetnsLock.take({ verb: 'down', data: '/srv/two' }, directory).release();
  } catch (error) {
    return error as WeirError;
  }
  return assert.fail('it was given twice');
};

test('one holds it, the other is told who, and nothing is left after the release', () =>
  inDirectory((directory) => {
    const lock = NetnsLock.take({ verb: 'up', data: '/srv/one' }, directory);
    const { ino } = statSync('/proc/self/ns/net');
    assert.deepEqual(readdirSync(directory), [`weir-netns-${ino}.lock`]);
    assert.equal(statSync(join(directory, `weir-netns-${ino}.lock`)).mode & 0o777, 0o600);
    const { code, message, details } = refused(directory);
    assert.equal(code, 'already-running');
    assert.equal(message, `another Weir holds this network namespace: weir up, pid ${process.pid}, data /srv/one`);
    assert.deepEqual(details.holder, { verb: 'up', pid: process.pid, data: '/srv/one' });
    assert.match(String(details.next), /`weir down` with the configuration that names its data directory/);
    lock.release();
    lock.release();
    assert.deepEqual(readdirSync(directory), []);
    const next = NetnsLock.take({ verb: 'down', data: '/srv/two' }, directory);
    lock.release();
    assert.match(String(refused(directory).details.next), /^try again/, 'a second release lets go of nobody else');
    next.release();
  }));

test('what a holder wrote does not hold: only its lock does, and the words are of whoever holds it now', () =>
  inDirectory((directory) => {
    const path = join(directory, `weir-netns-${statSync('/proc/self/ns/net').ino}.lock`);
    writeFileSync(path, JSON.stringify({ verb: 'up', pid: 1, data: `/srv/${'long/'.repeat(40)}` }));
    const lock = NetnsLock.take({ verb: 'agent', data: '/srv/now' }, directory);
    assert.deepEqual(refused(directory).details.holder, { verb: 'agent', pid: process.pid, data: '/srv/now' });
    writeFileSync(path, '{');
    assert.equal(refused(directory).message, 'another Weir holds this network namespace');
    lock.release();
  }));

test('where it cannot be held that is told: a link is not followed, a missing directory not made', () =>
  inDirectory((directory) => {
    const target = join(directory, 'target');
    symlinkSync(target, join(directory, `weir-netns-${statSync('/proc/self/ns/net').ino}.lock`));
    for (const place of [directory, join(directory, 'gone')])
      assert.throws(() => NetnsLock.take({ verb: 'up', data: '/srv/one' }, place), { code: 'system-call' });
    assert.ok(!existsSync(target));
  }));

/** Another process, a module whose body may use `NetnsLock` and `directory`. */
const start = (directory: string, body: string): ChildProcessByStdio<null, Readable, null> => {
  const module = JSON.stringify(new URL('./netns-lock.js', import.meta.url).href);
  const script = `const { NetnsLock } = await import(${module});\nconst directory = ${JSON.stringify(directory)};\n${body}`;
  return spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
};

test('the kernel lets go when the holder is killed', () =>
  inDirectory(async (directory) => {
    const holder = start(
      directory,
      `NetnsLock.take({ verb: 'up', data: '/srv/one' }, directory);
       console.log('held');
       setInterval(() => {}, 1000);`,
    );
    const ended = once(holder, 'close');
    try {
      await once(holder.stdout, 'data');
      assert.deepEqual(refused(directory).details.holder, { verb: 'up', pid: holder.pid, data: '/srv/one' });
    } finally {
      holder.kill('SIGKILL');
      await ended;
    }
    NetnsLock.take({ verb: 'up', data: '/srv/two' }, directory).release();
    assert.deepEqual(readdirSync(directory), []);
  }));

test('never two at a time, however often it changes hands', () =>
  inDirectory(async (directory) => {
    // Each claims a file that must not be there; the rounds end by themselves.
    const rounds = `
      import { openSync, closeSync, unlinkSync } from 'node:fs';
      let held = 0;
      for (const end = Date.now() + 20_000; held < 300 && Date.now() < end; ) {
        let lock;
        try {
          lock = NetnsLock.take({ verb: 'up', data: '/srv/one' }, directory);
        } catch (error) {
          if (error.code === 'already-running') continue;
          throw error;
        }
        closeSync(openSync(directory + '/claim', 'wx'));
        for (const until = performance.now() + 0.2; performance.now() < until; );
        unlinkSync(directory + '/claim');
        lock.release();
        held += 1;
      }
      console.log(held);`;
    const said = await Promise.all([1, 2, 3].map(() => text(start(directory, rounds).stdout)));
    assert.deepEqual(said, ['300\n', '300\n', '300\n']);
    assert.deepEqual(readdirSync(directory), []);
  }));
