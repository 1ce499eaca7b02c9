// What a slow scan keeps over a restart, and what a file that was damaged, or made by somebody, cannot do.

import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { attacker, session, TrackerBed, times } from '../../../test/support/behaviour-bed.ts';
import { silentLog } from '../../base/log.ts';
import type { WeirEvent } from '../../model/event.ts';
import { BehaviourMemory, parseMemory, renderMemory } from './behaviour-memory.ts';

function scratch(context: TestContext): string {
  const directory = mkdtempSync(path.join(tmpdir(), 'weir-memory-'));
  context.after(() => rmSync(directory, { recursive: true, force: true }));
  return path.join(directory, 'analysis/behaviour.jsonl');
}

/** Another process begins with the file and the verdicts, as the recorder does. */
async function restart(bed: TrackerBed, file: string): Promise<BehaviourMemory> {
  bed.restart();
  const memory = await BehaviourMemory.open(file, silentLog);
  memory.attend(bed.tracker);
  return memory;
}

for (const [family, host] of [
  [4, '10.66.0.9'],
  [6, '2001:db8::9'],
] as const)
  test(`a port a day's tenth, restarted after each: one slow scan at the fifteenth (IPv${family})`, async (context) => {
    const file = scratch(context);
    const bed = new TrackerBed();
    let last: WeirEvent | undefined;
    for (const index of times(20, (n) => n)) {
      const memory = await restart(bed, file);
      // The newest half hour comes from the store again.
      if (last) bed.take(last);
      last = session(index * 8640, attacker, `${host}:${1000 + index}`);
      bed.take(last);
      assert.equal(bed.found('slow-scan').length, index < 14 ? 0 : 1, `after ${index + 1}`);
      await memory.close();
    }
    const [slow] = bed.found();
    assert.deepEqual([slow.ports, slow.hits, slow.destination], [20, 20, host]);
  });

test('three ports a day, restarted after each: no touch is in two slow scans', async (context) => {
  const file = scratch(context);
  const bed = new TrackerBed();
  let last: WeirEvent | undefined;
  for (const index of times(45, (n) => n)) {
    const memory = await restart(bed, file);
    if (last) bed.take(last);
    last = session(index * 8 * 3600, attacker, `10.66.0.9:${1000 + index}`);
    bed.take(last);
    bed.found();
    await memory.close();
  }
  const found = [...bed.found('slow-scan')].sort((a, b) => a.start - b.start);
  assert.equal(found.length, 2);
  assert.ok(found[1].start > found[0].end, `${found[1].start - found[0].end}`);
});

test('without the file nothing is remembered, and nothing fails', async (context) => {
  const bed = new TrackerBed();
  const memory = await restart(bed, path.join(scratch(context), 'none'));
  assert.equal(bed.tracker.counters().sources, 0);
  await memory.close();
});

test('lines that are damaged or impossible are left out, the others hold', async (context) => {
  const bed = new TrackerBed();
  for (const index of times(10, (n) => n)) bed.take(session(index, `198.51.100.${index}`, '10.66.0.9:80'));
  const text = renderMemory(bed.tracker.remembered());
  const lines = text.trimEnd().split('\n');
  lines[2] = lines[2].slice(0, 20);
  lines[3] = '["a","b",[1e300,0,0,0,0,"",""]]';
  lines[4] = '{"__proto__":[]}';
  const { sources, wrong } = parseMemory(lines.join('\n'));
  assert.deepEqual([sources.length, wrong], [7, 3]);
  assert.deepEqual(parseMemory('something else\n'), { sources: [], wrong: 1 });
  const file = path.join(path.dirname(scratch(context)), '../damaged.jsonl');
  writeFileSync(file, lines.join('\n'));
  await restart(bed, file);
  assert.equal(bed.tracker.counters().sources, 7);
});

test('the file has a bound; those that touched most are in it', () => {
  const bed = new TrackerBed();
  for (const index of times(500, (n) => n)) bed.take(session(index, `198.51.${index >> 8}.${index & 255}`, '10.66.0.9:80'));
  for (const index of times(6, (n) => n)) bed.take(session(600 + index, attacker, `10.66.0.9:${index + 1}`));
  const text = renderMemory(bed.tracker.remembered(), 5000);
  assert.ok(text.length <= 5000);
  assert.equal(parseMemory(text).sources[0].ip, attacker);
});

test('it is a line for each source, written at the end', async (context) => {
  const file = scratch(context);
  const bed = new TrackerBed();
  const memory = await restart(bed, file);
  bed.take(session(0, attacker, '10.66.0.9:80'));
  await memory.close();
  assert.match(readFileSync(file, 'utf8'), /^weir-behaviour-1\n\["198\.51\.100\.7","198\.51\.100\.7",\[/);
});
