import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import test, { type TestContext } from 'node:test';
import { silentLog } from '../base/log.ts';
import { type AgentProgram, AgentPrograms, maxProgramBytes, programDirectory, stageProgram } from './agent-programs.ts';
import type { ProgramOffer } from './keeper-messages.ts';

const offerOf = (text: string, version: string): ProgramOffer => ({
  version,
  sha256: createHash('sha256').update(text).digest('hex'),
  bytes: Buffer.byteLength(text),
});

interface Bed {
  readonly data: string;
  readonly installed: { readonly path: string; readonly version: string };
  open(): Promise<AgentPrograms>;
  stage(programs: AgentPrograms, text: string, version: string): Promise<AgentProgram>;
  files(): string[];
}

function bed(t: TestContext): Bed {
  const data = mkdtempSync(join(tmpdir(), 'weir-programs-'));
  t.after(() => rmSync(data, { recursive: true, force: true }));
  const installed = { path: join(data, 'installed.mjs'), version: '1.0.0' };
  writeFileSync(installed.path, 'installed');
  const open = () => AgentPrograms.open(data, installed, silentLog);
  return {
    data,
    installed,
    open,
    stage: async (programs, text, version) => {
      const offer = offerOf(text, version);
      await stageProgram(data, offer, Readable.from([Buffer.from(text)]));
      const found = await programs.find(offer);
      assert.ok(found);
      return found;
    },
    files: () => readdirSync(programDirectory(data)).sort(),
  };
}

test('what is committed is current after a restart, what was before it is previous, and nothing else is kept', async (t) => {
  const { open, stage, files } = bed(t);
  const programs = await open();
  assert.ok(programs.current.installed);
  const two = await stage(programs, 'two', '2.0.0');
  await programs.commit(two);
  assert.equal((await open()).current.version, '2.0.0');
  assert.ok((await open()).previous.installed);
  const three = await stage(programs, 'three', '3.0.0');
  await programs.commit(three);
  const again = await open();
  assert.deepEqual([again.current.version, again.previous.version], ['3.0.0', '2.0.0']);
  const four = await stage(again, 'four', '4.0.0');
  await again.commit(four);
  assert.deepEqual(
    files().map((name) => name.replace(/-[0-9a-f]{12}/, '')),
    ['current.json', 'weir-agent-3.0.0.mjs', 'weir-agent-4.0.0.mjs'],
  );
});

test('a damaged program is not run: the one before it is, at last the installed one', async (t) => {
  const { open, stage } = bed(t);
  const programs = await open();
  const two = await stage(programs, 'two', '2.0.0');
  await programs.commit(two);
  const three = await stage(programs, 'three', '3.0.0');
  await programs.commit(three);
  writeFileSync(three.path, 'thr');
  const again = await open();
  assert.equal(again.current.version, '2.0.0');
  writeFileSync(two.path, 'tw');
  assert.ok((await open()).current.installed);
});

test('going back is kept over restarts and ends at the installed program', async (t) => {
  const { open, stage, files } = bed(t);
  const programs = await open();
  await programs.commit(await stage(programs, 'two', '2.0.0'));
  await programs.commit(await stage(programs, 'three', '3.0.0'));
  await programs.goBack();
  assert.equal((await open()).current.version, '2.0.0');
  await programs.goBack();
  assert.ok((await open()).current.installed);
  assert.deepEqual(files(), []);
});

test('a program installed by hand counts more than what came over the link before', async (t) => {
  const { open, stage, installed } = bed(t);
  const programs = await open();
  await programs.commit(await stage(programs, 'two', '2.0.0'));
  writeFileSync(installed.path, 'installed anew');
  assert.ok((await open()).current.installed);
});

test('a pointer that is none, in every way, is the installed program', async (t) => {
  const { data, open, stage } = bed(t);
  const programs = await open();
  await programs.commit(await stage(programs, 'two', '2.0.0'));
  const pointer = join(programDirectory(data), 'current.json');
  const good = readFileSync(pointer, 'utf8');
  for (const text of ['', '{', 'null', '[]', '{"program":{"version":"../../x","sha256":"y"}}', good.slice(0, -3)]) {
    writeFileSync(pointer, text);
    assert.ok((await open()).current.installed, text);
  }
});

test('only what was offered gets to its place', async (t) => {
  const { data, files } = bed(t);
  const offer = offerOf('program', '2.0.0');
  const refuses = async (change: Partial<ProgramOffer>, chunks: readonly string[], why: RegExp): Promise<void> => {
    const source = Readable.from(chunks.map((chunk) => Buffer.from(chunk)));
    await assert.rejects(stageProgram(data, { ...offer, ...change }, source), why);
    assert.ok(source.destroyed);
  };
  await refuses({}, ['progra'], /has 6 bytes, 7 were offered/);
  await refuses({}, ['program', 's'], /longer than was offered/);
  await refuses({}, ['PROGRAM'], /SHA-256 differs/);
  await refuses({ bytes: maxProgramBytes + 1 }, [], /is not taken/);
  const broken = new Readable({ read() {} });
  broken.push('prog');
  setImmediate(() => broken.destroy(new Error('the link broke')));
  await assert.rejects(stageProgram(data, offer, broken), /the link broke/);
  assert.deepEqual(files(), []);
  await stageProgram(data, offer, Readable.from([Buffer.from('pro'), Buffer.from('gram')]));
  assert.equal(files().length, 1);
});
