// A fix for a moment: whether it lasted as long as it was looked at, and what is undone where.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { WeirError } from '../../base/errors.ts';
import type { DiagnosisFix } from '../../model/diagnosis.ts';
import { tryFix } from './try-fix.ts';

const fixOf = (cmd: string, undo: string): DiagnosisFix => ({ when: 'now', cmd, undo, risk: '', scope: '' });

test('a fix that is taken back when it is told to lasted; one whose time was up did not', async () => {
  const told = await tryFix(fixOf('true', 'true'), 60_000);
  assert.deepEqual(await told.end(), { lasted: true });
  assert.deepEqual(await told.end(), { lasted: true });
  const room = mkdtempSync(join(tmpdir(), 'weir-try-'));
  try {
    const undone = join(room, 'undone');
    execFileSync('mkfifo', [undone]);
    const short = await tryFix(fixOf('true', `echo yes >${undone}`), 1000);
    assert.equal(await readFile(undone, 'utf8'), 'yes\n');
    assert.deepEqual(await short.end(), { lasted: false });
  } finally {
    rmSync(room, { recursive: true });
  }
});

test('an undo that fails is a fault, whatever it ends with', async () => {
  for (const code of [1, 7]) {
    const trial = await tryFix(fixOf('true', `exit ${code}`), 60_000);
    await assert.rejects(trial.end(), (error: WeirError) => error.code === 'kernel-refused');
  }
});
