// Changed rules, and a Suricata of the test's own that is busy at first.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { it } from 'node:test';
import { silentLog } from '../base/log.ts';
import { RulesReload } from './rules-reload.ts';

it('changed rules that Suricata is too busy for are asked for again, once it is not', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'weir-rules-'));
  const path = join(directory, 'command.sock');
  const commands: string[] = [];
  const answers = ['NOK', 'OK'];
  const server = createServer((socket) => {
    socket.on('data', (bytes) => {
      const { command } = JSON.parse(bytes.toString()) as { command?: string };
      if (command !== undefined) commands.push(command);
      const answer = command === undefined ? 'OK' : answers.shift();
      socket.write(`${JSON.stringify({ return: answer, message: 'Reload already in progress' })}\n`);
    });
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  t.after(() => {
    server.close();
    rmSync(directory, { recursive: true });
  });
  const reload = new RulesReload(path, silentLog);
  await reload.again();
  assert.deepEqual(commands, []);
  assert.equal(await reload.ask(), false);
  assert.ok((reload.waitMs ?? -1) >= 0);
  await reload.again();
  assert.equal(reload.waitMs, undefined);
  await reload.again();
  assert.deepEqual(commands, ['ruleset-reload-nonblocking', 'ruleset-reload-nonblocking']);
});
