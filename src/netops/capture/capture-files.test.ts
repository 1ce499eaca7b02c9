// Files of a capture: whose they are, and that a ring goes on when somebody takes one of its files away.

import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { CaptureFiles } from './capture-files.ts';

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
