// JSON that is not one value to a line: however it is cut into pieces and laid out, and whatever is wrong with one value.

import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { holdsLaidOutJson, JsonSplitter } from './json-splitter.ts';
import { maxLineBytes } from './line-splitter.ts';
import { UnitSplitter } from './unit-splitter.ts';

type Unit = readonly [text: string, number: number];

function split(
  text: string | Buffer,
  pieceBytes = 1 << 16,
  Splitter: typeof JsonSplitter | typeof UnitSplitter = UnitSplitter,
): Unit[] {
  const units: Unit[] = [];
  const splitter = new Splitter({
    line: (line, number) => units.push([line, number]),
    tooLong: (start, bytes, number) => units.push([`${bytes} bytes: ${start.slice(0, 8)}`, number]),
  });
  const bytes = Buffer.from(text);
  for (let at = 0; at < bytes.length; at += pieceBytes) splitter.push(Buffer.from(bytes.subarray(at, at + pieceBytes)));
  splitter.end();
  return units;
}

const values = (units: readonly Unit[]): unknown[] => units.map(([text]) => JSON.parse(text));

test('an array of objects gives what was put into it, however it is laid out and cut', () => {
  const object = fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 3 }), { maxKeys: 4 });
  fc.assert(
    fc.property(
      fc.array(object, { minLength: 1, maxLength: 5 }),
      fc.constantFrom(0, 2, '\t'),
      fc.integer({ min: 1, max: 40 }),
      (objects, indent, piece) => {
        // As JSON has it: an object of Object.fromEntries may lose `__proto__`, and -0 becomes 0.
        const expected = JSON.parse(JSON.stringify(objects)) as unknown[];
        assert.deepEqual(values(split(JSON.stringify(objects, undefined, indent), piece, JsonSplitter)), expected);
        const oneByOne = `[\n${objects.map((one) => JSON.stringify(one)).join(',\n')}\n]\n`;
        assert.deepEqual(values(split(oneByOne, piece)), expected);
      },
    ),
    { numRuns: 300 },
  );
});

test('objects laid out over several lines, one behind the other, are values too', () => {
  const objects = [{ a: [{ b: 1 }], c: '}{' }, { a: {} }];
  const text = objects.map((one) => JSON.stringify(one, undefined, 2)).join('\n');
  for (const piece of [1, 7, 1000]) assert.deepEqual(values(split(text, piece)), objects);
});

test('what is laid out is told by the first bytes; lines stay lines', () => {
  assert.equal(holdsLaidOutJson(Buffer.from(' \n[ ')), undefined);
  assert.equal(holdsLaidOutJson(Buffer.from('\ufeff[\r\n  {')), true);
  assert.equal(holdsLaidOutJson(Buffer.from('{ \r\n')), undefined);
  assert.equal(holdsLaidOutJson(Buffer.from('{ \r\n\t"')), true);
  for (const text of ['{"a":1}\n', '{\n{"a":1}', '[    0.5] weir: IN=eth0', '[Mon May 2', '[1,2]', 'text', '#fields'])
    assert.equal(holdsLaidOutJson(Buffer.from(text)), false, text);
  assert.deepEqual(split('{"a":\n1}\n[{"b":1}]\n', 3), [
    ['{"a":', 1],
    ['1}', 2],
    ['[{"b":1}]', 3],
  ]);
  assert.deepEqual(split(' '.repeat(10_000), 100), []);
});

test('a value that is damaged harms no other that has its line', () => {
  const units = split('[\n{"a":1},\n{"a":"2},\n{"a":{"b":3},\n"text", 5, {"a":4}]trash');
  assert.deepEqual(
    units.map(([text]) => text),
    ['{"a":1}', '{"a":"2}, ', '{"a":{"b":3}, "text", 5, {"a":4}]', 'trash'],
  );
  const rest = split('[\n{"a":"2},\n{"a":3},\n 5, null,\n{"a":4}\n]\n[\n{"a":5}]');
  assert.deepEqual(
    rest.map(([text]) => text),
    ['{"a":"2}, ', '{"a":3}', '5', 'null', '{"a":4}', '{"a":5}'],
  );
});

test('what is too long is said, and the next begins where it stands as the other began', () => {
  const long = `{"a":["${'x'.repeat(maxLineBytes)}",\n[`;
  const units = split(`[\n {"a":1},\n ${long}\n\n {"a":2}]`);
  assert.deepEqual(units, [
    ['{"a":1}', 1],
    [`${long.length + 3} bytes: {"a":["x`, 2],
    ['{"a":2}', 3],
  ]);
});

test('brackets without end are one value, held within its bound', () => {
  const bytes = Buffer.alloc(3 << 20, '[{');
  const [[text], ...more] = split(bytes);
  assert.match(text, /^\d+ bytes: /);
  assert.equal(more.length, 0);
});
