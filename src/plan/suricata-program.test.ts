// Which Suricata is taken, and what is said where none will do.

import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { createCommandRunner } from '../kernel/command.ts';
import { findSuricata, parseSuricataMajor } from './suricata-program.ts';

test('the version is read as Suricata says it', () => {
  assert.equal(parseSuricataMajor('This is Suricata version 7.0.10 RELEASE\n'), 7);
  assert.equal(parseSuricataMajor('This is Suricata version 8.0.0-dev (abc 2025-01-01)'), 8);
  assert.equal(parseSuricataMajor('command not found'), undefined);
});

test('the first that is young enough is taken; else it is said what there is', async (t) => {
  const directory = mkdtempSync(path.join(tmpdir(), 'weir-suricata-'));
  t.after(() => rmSync(directory, { recursive: true }));
  const make = (name: string, says: string, mode = 0o755): string => {
    const file = path.join(directory, name);
    writeFileSync(file, `#!/bin/sh\n[ "$1" = -V ] && echo '${says}'\n`);
    chmodSync(file, mode);
    return file;
  };
  const old = make('old', 'This is Suricata version 6.0.10 RELEASE');
  const broken = make('broken', 'error while loading shared libraries');
  const young = make('young', 'This is Suricata version 7.0.10 RELEASE');
  const locked = make('locked', 'This is Suricata version 7.0.10 RELEASE', 0o644);
  const nowhere = path.join(directory, 'nowhere');
  const runner = createCommandRunner();
  assert.equal(await findSuricata(runner, [nowhere, locked, broken, old, young]), young);
  await assert.rejects(findSuricata(runner, [nowhere, locked]), { code: 'tool-missing', message: /not installed: install/ });
  await assert.rejects(findSuricata(runner, [old, broken]), {
    code: 'tool-missing',
    message: /old is version 6, .*broken is no Suricata that runs \(error while loading/,
  });
});
