// Files of a capture: whose they are, and that a ring goes on when somebody takes one of its files away.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  closeSync,
  constants,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { CaptureFiles, OwnFiles } from './capture-files.ts';

function within(use: (directory: string) => void): void {
  const directory = mkdtempSync(path.join(tmpdir(), 'weir-capture-files-'));
  try {
    use(directory);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

const application = 'weir test';

test('a ring whose old file somebody removed goes on', () =>
  within((directory) => {
    const ring = { files: 1, bytes: 4096 };
    const files = new CaptureFiles({ file: path.join(directory, 'a.pcapng'), application, comments: [], ring });
    const number = files.addInterface({ name: 'eth0', linkType: 1 });
    const packet = { interface: number, at: 1_700_000_000_000_000, bytes: Buffer.alloc(3000), wireLength: 3000 };
    files.packet(packet);
    for (const name of readdirSync(directory)) rmSync(path.join(directory, name));
    files.packet(packet);
    files.close();
    assert.deepEqual([readdirSync(directory), files.overwritten], [['a.00002.pcapng'], 1]);
  }));

test('whoever asks: a ring has its files and the one that is begun, of its names alone', () =>
  within((directory) => {
    const next = path.join(directory, 'a.00004.pcapng.kept');
    writeFileSync(next, 'kept');
    const files = new OwnFiles(path.join(directory, 'a.pcapng'), 2);
    for (let count = 0; count < 7; count += 1) {
      closeSync(files.open().fd);
      assert.ok(readdirSync(directory).length <= 1 + 3, 'nobody asked for a removal');
    }
    assert.deepEqual(readdirSync(directory), ['a.00004.pcapng.kept', ...['a.00005.pcapng', 'a.00006.pcapng', 'a.00007.pcapng']]);
    for (let count = 0; count < 9; count += 1) files.remove();
    assert.deepEqual([readdirSync(directory), readFileSync(next, 'utf8')], [['a.00004.pcapng.kept'], 'kept']);
  }));

test('whoever asks: a file without a ring is made once and stays', () =>
  within((directory) => {
    const file = path.join(directory, 'a.pcapng');
    const files = new OwnFiles(file, undefined);
    const { fd } = files.open();
    writeFileSync(fd, 'packets');
    closeSync(fd);
    assert.throws(() => files.open(), { code: 'bad-request' });
    assert.throws(() => files.remove(), { code: 'bad-request' });
    assert.equal(readFileSync(file, 'utf8'), 'packets');
  }));

test('a file that was readable by all is not any more, and begins anew', () =>
  within((directory) => {
    const file = path.join(directory, 'a.pcapng');
    writeFileSync(file, 'x'.repeat(10_000));
    chmodSync(file, 0o644);
    new CaptureFiles({ file, application, comments: [] }).close();
    assert.deepEqual([statSync(file).mode & 0o777, statSync(file).size < 1000], [0o600, true]);
  }));

test('a pipe is refused', () =>
  within((directory) => {
    const file = path.join(directory, 'pipe');
    execFileSync('mkfifo', [file]);
    // Opened for reading as well, or there is nobody to write to.
    for (const reading of [false, true]) {
      const reader = reading ? openSync(file, constants.O_RDWR | constants.O_NONBLOCK) : undefined;
      assert.throws(() => new CaptureFiles({ file, application, comments: [] }), {
        code: reading ? 'not-permitted' : 'system-call',
      });
      if (reader !== undefined) closeSync(reader);
    }
  }));

test("somebody else's file is refused, with what is in it", { skip: process.geteuid?.() === 0 ? false : 'needs root' }, () =>
  within((directory) => {
    const file = path.join(directory, 'a.pcapng');
    writeFileSync(file, 'kept');
    chownSync(file, 65_534, 65_534);
    assert.throws(() => new CaptureFiles({ file, application, comments: [] }), { code: 'not-permitted' });
    assert.equal(readFileSync(file, 'utf8'), 'kept');
  }),
);
