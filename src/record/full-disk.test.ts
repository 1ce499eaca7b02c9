// A disk that is really full, in a mount namespace of its own: sessions go on, what is lost is counted and told, and
// everything recovers without a restart. Needs root; skipped without, failing under WEIR_TESTS=required.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const root = process.getuid?.() === 0;
const skip = !root && process.env.WEIR_TESTS !== 'required' && 'needs root to mount a small file system';

test('a full disk: nothing recorded is lost silently, and all goes on when there is room', { skip }, async (context) => {
  const directory = mkdtempSync(join(tmpdir(), 'weir-full-'));
  context.after(() => rmSync(directory, { recursive: true, force: true }));
  const program = fileURLToPath(new URL('../../test/support/full-disk.js', import.meta.url));
  const script = 'mount -t tmpfs -o size=32m weir-full "$1" && exec "$2" "$3" "$1"';
  const run = promisify(execFile);
  const { stdout } = await run('unshare', ['-m', 'sh', '-c', script, 'sh', directory, process.execPath, program], {
    timeout: 90_000,
  });
  const { offered, counts, truncated, counters, alerts, rounds, storeError } = JSON.parse(stdout);
  assert.equal(counts.sessions + counters.droppedRecords, offered);
  assert.equal(truncated, counters.strippedRecords);
  assert.equal(storeError, 'disk-full');
  for (const round of rounds) {
    assert.ok(round.stripped > 0 && round.dropped > 0);
    assert.ok(round.pendingBytes <= 512 * 1024);
    assert.equal(round.lastError, 'ENOSPC');
  }
  const lost = alerts.find(({ name }: { name: string }) => name === 'records-lost');
  assert.equal(lost.details.droppedRecords, counters.droppedRecords);
  assert.equal(lost.details.strippedRecords, counters.strippedRecords);
  assert.equal(lost.details.cause, 'ENOSPC');
});
