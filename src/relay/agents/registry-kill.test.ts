// kill -9 while agents are added, enrol and are removed: what was said to be done is there afterwards, and nothing half of it.
// And a list that cannot be written: nothing is promised that would not hold.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { GateBed } from '../../../test/support/gate-bed.ts';
import { systemClock } from '../../base/clock.ts';
import { WeirError } from '../../base/errors.ts';
import { silentLog } from '../../base/log.ts';
import { openAgentRegistry } from './agent-registry.ts';
import { parseToken } from './enrolment-token.ts';

const isCode = (code: string) => (error: unknown) => error instanceof WeirError && error.code === code;

test('kill -9 at any moment: the list has all that was said to be on it', { timeout: 120_000 }, async (context) => {
  const directory = mkdtempSync(path.join(tmpdir(), 'weir-registry-'));
  context.after(() => rmSync(directory, { recursive: true }));
  const program = fileURLToPath(new URL('../../../test/support/registry-run.js', import.meta.url));
  const said = new Map<string, string>();
  const authorities = new Set<string>();
  for (let run = 0; run < 6; run += 1) {
    const child = spawn(process.execPath, [program, directory, String(run)], { stdio: ['ignore', 'pipe', 'inherit'] });
    const exited = new Promise((resolve) => child.once('exit', resolve));
    let lines = 0;
    for await (const line of createInterface(child.stdout)) {
      const [what, name] = line.split(' ');
      if (what === 'authority') authorities.add(name);
      else said.set(name, what);
      lines += 1;
      if (lines === 3 + run * 5) child.kill('SIGKILL');
    }
    await exited;
  }
  assert.equal(authorities.size, 1, 'one authority, made once');
  const registry = await openAgentRegistry({ directory, names: [], clock: systemClock, log: silentLog });
  const found = new Map(registry.agents().map(({ name, state }) => [name, state as string]));
  const steps = ['waiting', 'enrolled', 'revoked'];
  assert.ok(said.size > 20);
  for (const [name, state] of said)
    assert.ok(steps.indexOf(found.get(name) ?? '') >= steps.indexOf(state), `${name}: said ${state}, found ${found.get(name)}`);
  // What was done and not yet said: at most the one that the kill hit.
  assert.ok(found.size - said.size <= 6);
  await registry.close();
});

test('a list that cannot be written promises nothing, and a revocation holds all the same', async (context) => {
  const bed = new GateBed();
  context.after(() => bed.close());
  await bed.open();
  const identity = await bed.identity('a');
  const good = await bed.enrol(identity, (await bed.registry.add('branch-1')).token);
  await bed.visitAs(good);
  await bed.registry.add('branch-2');
  // The name under which the next list would be written is taken.
  const obstacle = path.join(bed.directory, 'agents', 'registry.json.new');
  mkdirSync(obstacle);
  const before = bed.registry.tlsOptions().ca;
  await assert.rejects(bed.registry.add('branch-3'), isCode('system-call'));
  assert.deepEqual(bed.registry.tlsOptions().ca, before, 'no token that would not survive');
  assert.deepEqual(
    bed.registry.agents().map(({ name }) => name),
    ['branch-1', 'branch-2'],
  );
  await assert.rejects(bed.registry.renew('branch-1', await identity.beginRenewal()), isCode('system-call'));
  await assert.rejects(bed.registry.remove('branch-1'), isCode('system-call'));
  assert.equal(await bed.visitAs(good), 'gate');
  assert.match(bed.registry.reasons().join('\n'), /not on disk as it is in memory/);
  rmdirSync(obstacle);
  await bed.registry.refresh();
  assert.deepEqual(bed.registry.reasons(), []);
  const again = await bed.reopen();
  assert.equal(again.agents()[0].state, 'revoked');
  await again.close();
});

test('what on disk is not ours is said and left alone', async (context) => {
  const bed = new GateBed();
  context.after(() => bed.close());
  await bed.open();
  await bed.registry.add('branch-1');
  const directory = path.join(bed.directory, 'agents');
  for (const text of ['', '{"version":1,"agents":[{}],"tokens":[]}', '{"version":2,"agents":[],"tokens":[]}']) {
    writeFileSync(path.join(directory, 'registry.json'), text);
    await assert.rejects(bed.reopen(), isCode('identity-damaged'), text);
  }
  rmSync(path.join(directory, 'registry.json'));
  writeFileSync(path.join(directory, 'authority.pem'), 'noise');
  await assert.rejects(bed.reopen(), isCode('identity-damaged'));
});

test('an authority made while the clock was wrong is made anew, unless agents know it', async (context) => {
  const bed = new GateBed();
  context.after(() => bed.close());
  bed.now = 0;
  await bed.open();
  const first = bed.registry.authority;
  bed.now = systemClock();
  const second = await bed.reopen();
  assert.notEqual(second.authority, first);
  const { token } = await second.add('branch-1');
  assert.equal(parseToken(token).authority, second.authority);
  bed.now += 11 * 365 * 86_400e6;
  const third = await bed.reopen();
  assert.equal(third.authority, second.authority);
  assert.match(third.reasons().join('\n'), /authority .* ended on/);
  await second.close();
  await third.close();
});
