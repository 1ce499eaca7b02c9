import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { readYaml } from './yaml-source.ts';

const items = (count: number, render: (index: number) => string): string =>
  Array.from({ length: count }, (_, index) => render(index)).join('');

const word = fc.oneof(
  fc.constantFrom(
    '10.0.0.5',
    'printer',
    'nas',
    '2001:db8::5',
    '00:0c:29:00:00:01',
    '"00:0c:29:00:00:01"',
    "'a b'",
    '"x, y: z"',
    '"}"',
  ),
  fc.constantFrom(
    '12',
    '1e3',
    'true',
    'null',
    '~',
    '0x10',
    '.5',
    '1_000',
    'yes',
    '-',
    '-1',
    '"a\\nb"',
    '*anchor',
    '&a x',
    'a #b',
    'a: b',
    '[1, 2]',
    "''",
  ),
  fc.string({ maxLength: 6 }),
);
const keyName = fc.constantFrom('address', 'persona', 'mac', 'addresses', 'x', 'A', '"q"', '__proto__');
const pairs = fc.array(fc.tuple(keyName, word), { minLength: 1, maxLength: 3 });
const item = fc.record({
  pairs,
  form: fc.constantFrom('inline', 'block', 'tight', 'comment', 'deeper'),
});

/** A list whose middle is regular, so that it is folded, with odd items around and inside it. */
const document = fc
  .record({
    odd: fc.array(item, { maxLength: 4 }),
    at: fc.array(fc.nat(300), { maxLength: 4 }),
    regular: fc.constantFrom('inline', 'block'),
    indent: fc.constantFrom(0, 2, 6),
    tail: fc.constantFrom('', 'after: 1\n', '# end\n', '\n\nafter: [a]\n', '        deeper: 1\n', '  - x\n', 'not a key\n'),
    head: fc.constantFrom('list:\n', '- nested:\n', 'text: |\n', 'text: "\n', ''),
  })
  .map(({ odd, at, regular, indent, tail, head }) => {
    const margin = ' '.repeat(indent);
    const lines = Array.from({ length: 300 }, (_, index) =>
      regular === 'inline'
        ? `${margin}- { address: 10.1.${index >> 8}.${index & 255}, persona: printer }\n`
        : `${margin}- address: 10.1.${index >> 8}.${index & 255}\n${margin}  persona: printer\n`,
    );
    odd.forEach(({ pairs: list, form }, index) => {
      const texts = list.map(([name, value]) => `${name}: ${value}`);
      lines[at[index] ?? 299] =
        form === 'inline'
          ? `${margin}- { ${texts.join(', ')} }\n`
          : form === 'tight'
            ? `${margin}- {${texts.join(',')}}\n`
            : form === 'comment'
              ? `${margin}- { ${texts.join(', ')} } # why\n`
              : form === 'deeper'
                ? `${margin}- ${texts.join(`\n${margin}    `)}\n`
                : `${margin}- ${texts.join(`\n${margin}  `)}\n`;
    });
    return head + lines.join('') + tail;
  });

test('the quick reading of long lists gives what the full parser gives, values and lines', () => {
  fc.assert(
    fc.property(document, fc.nat(299), (text, index) => {
      const quick = readYaml(text);
      const full = readYaml(text, { folding: false });
      assert.deepEqual(quick.value, full.value);
      assert.deepEqual(quick.faults, full.faults);
      if (Array.isArray((full.value as { list?: unknown } | undefined)?.list))
        for (const path of [['list', index], ['list', index, 'nothing'], ['after']])
          assert.equal(quick.lineOf(path), full.lineOf(path));
    }),
    { numRuns: 300 },
  );
});

test('a list of 65,536 items keeps the line of each', () => {
  const text = `a: 1\nlist:\n${items(65536, (index) => `  - { address: 10.1.${index >> 8}.${index & 255}, persona: printer }\n`)}z: 2\n`;
  const source = readYaml(text);
  const { list } = source.value as { list: unknown[] };
  assert.equal(list.length, 65536);
  assert.deepEqual(list[65535], { address: '10.1.255.255', persona: 'printer' });
  assert.equal(source.lineOf(['list', 0]), 3);
  assert.equal(source.lineOf(['list', 40000, 'persona']), 40003);
  assert.equal(source.lineOf(['z']), 65539);
});

test('lines of keys, of values that are missing, and of unknown keys', () => {
  const source = readYaml('a: 1\nb:\n  - x: 1\n    y:\n      z: 2\n  - k: 1\n');
  assert.equal(source.lineOf(['b']), 2);
  assert.equal(source.lineOf(['b', 0, 'y', 'z']), 5);
  assert.equal(source.lineOf(['b', 1]), 6);
  assert.equal(source.lineOf(['b', 1, 'nothing']), 6);
  assert.equal(source.lineOf(['b', 9]), 2);
});

test('what is not YAML is a fault with its line, never a throw', () => {
  for (const [text, line] of [
    ['a: 1\nb: [\n', 3],
    ['a: 1\na: 2\n', 2],
    ['a: "x\n', 2],
    ['a: *nowhere\n', 1],
  ] as const) {
    const { value, faults } = readYaml(text);
    assert.equal(value, undefined, text);
    assert.equal(faults[0].line, line, text);
  }
  fc.assert(
    fc.property(fc.string({ maxLength: 300 }), (text) => {
      readYaml(text);
    }),
  );
});

test('a document that multiplies itself by aliases is refused', () => {
  const levels = items(
    12,
    (level) => `l${level + 1}: &l${level + 1} [*l${level}, *l${level}, *l${level}, *l${level}, *l${level}, *l${level}]\n`,
  );
  const { faults } = readYaml(`l0: &l0 [x, x, x, x, x, x]\n${levels}`);
  assert.equal(faults.length, 1);
});
