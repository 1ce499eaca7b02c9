import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import test, { type TestContext } from 'node:test';
import { WeirError } from '../../base/errors.ts';
import { maxProgramBytes, ProgramShelf, type ShelfProgram } from './program-shelf.ts';

const programOf = (content: string, version: string): ShelfProgram => ({
  version,
  sha256: createHash('sha256').update(content).digest('hex'),
  bytes: Buffer.byteLength(content),
});

function directoryOf(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'weir-shelf-'));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

const put = (shelf: ProgramShelf, content: string, version: string): Promise<number> =>
  shelf.put(programOf(content, version), 0, Buffer.from(content));

test('a program that came in pieces is there whole, after a restart too', async (t) => {
  const directory = directoryOf(t);
  const shelf = await ProgramShelf.open(directory);
  const program = programOf('a program', '2.0.0');
  assert.equal(await shelf.put(program, 0, Buffer.from('a pro')), 5);
  assert.equal(shelf.find(program.sha256), undefined);
  assert.equal(shelf.read('2.0.0'), undefined);
  // A piece that was sent twice, or too early, changes nothing.
  assert.equal(await shelf.put(program, 0, Buffer.from('a pro')), 5);
  assert.equal(await shelf.put(program, 7, Buffer.from('am')), 5);
  assert.equal(await shelf.put(program, 5, Buffer.from('gram')), 9);
  assert.deepEqual(shelf.find(program.sha256), program);
  assert.equal(await shelf.put(program, 0, Buffer.from('anything')), 9, 'it is there already');
  await shelf.close();
  const again = await ProgramShelf.open(directory);
  assert.deepEqual(again.programs, [program]);
  const stream = again.read('2.0.0');
  assert.ok(stream);
  assert.equal(await text(stream), 'a program');
  assert.equal(again.read('../../etc/passwd'), undefined);
});

test('what is not what was announced is not kept', async (t) => {
  const directory = directoryOf(t);
  const shelf = await ProgramShelf.open(directory);
  const bad = (error: unknown): boolean => error instanceof WeirError && error.code === 'bad-request';
  const program = programOf('a program', '2.0.0');
  await assert.rejects(shelf.put(program, 0, Buffer.from('b program')), bad);
  await assert.rejects(shelf.put(program, 0, Buffer.from('a program and more')), bad);
  for (const change of [
    { bytes: maxProgramBytes + 1 },
    { bytes: 0 },
    { bytes: 1.5 },
    { sha256: 'x' },
    { version: '../x' },
    { version: '' },
  ])
    await assert.rejects(shelf.put({ ...program, ...change }, 0, Buffer.from('a')), bad, JSON.stringify(change));
  assert.deepEqual(readdirSync(directory), []);
  assert.equal(await put(shelf, 'a program', '2.0.0'), 9, 'the right one is taken after that');
});

test('another upload ends the one before; the same version anew takes its place; the oldest go', async (t) => {
  const directory = directoryOf(t);
  const shelf = await ProgramShelf.open(directory);
  await shelf.put(programOf('one', '1.0.0'), 0, Buffer.from('o'));
  await put(shelf, 'two', '2.0.0');
  assert.deepEqual(readdirSync(directory), ['weir-agent-2.0.0.mjs']);
  await put(shelf, 'two again', '2.0.0');
  assert.deepEqual(shelf.programs, [programOf('two again', '2.0.0')]);
  for (const version of ['3.0.0', '4.0.0', '5.0.0']) await put(shelf, version, version);
  assert.deepEqual(
    shelf.programs.map(({ version }) => version),
    ['3.0.0', '4.0.0', '5.0.0'],
  );
  assert.equal(readdirSync(directory).length, 3);
  await shelf.close();
});
