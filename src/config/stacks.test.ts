import assert from 'node:assert/strict';
import path from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { linuxStack } from '../model/tcp-stack.ts';
import { renderMistake } from './mistake.ts';
import { readPersonas } from './personas.ts';
import { parseStack } from './stacks.ts';

const { personas, stacks } = readPersonas(path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../../rules'));

test('a stack file that says nothing is Linux', () => {
  const parsed = parseStack(`name: linux\ndescription: "${linuxStack.description}"\nttl: 64\n`, 'linux.yaml');
  assert.deepEqual('stack' in parsed && parsed.stack, linuxStack);
  assert.deepEqual(stacks.get('linux'), linuxStack);
});

test('every stack that comes with Weir is some persona’s', () => {
  const used = new Set([...personas.values()].map(({ stack }) => stack?.name));
  assert.deepEqual(
    [...stacks.keys()].filter((name) => !used.has(name)),
    [],
  );
});

test('mistakes of a stack file are told with their lines', () => {
  const parsed = parseStack(
    'name: odd\ndescription: odd\nttl: 300\nopening:\n  window-scale: 15\n  layout: beos\n  sack: true\nicmp: { echo-code: 7 }\n',
    'odd.yaml',
  );
  assert.ok('mistakes' in parsed);
  assert.deepEqual(
    parsed.mistakes.map((mistake) => renderMistake(mistake).split(' Next')[0]),
    [
      'odd.yaml:3: `ttl`: `300` is not a whole number from 1 to 255.',
      'odd.yaml:5: `window-scale`: `15` is no window scale.',
      'odd.yaml:6: `layout`: `beos` is none of linux, windows, bsd.',
      'odd.yaml:7: unknown key `sack`.',
      'odd.yaml:8: `echo-code`: `7` is none of copy, zero.',
    ],
  );
  const renamed = parseStack('name: odd\ndescription: odd\nttl: 64\n', 'even.yaml');
  assert.ok('mistakes' in renamed && /not named after `odd`/.test(renamed.mistakes[0].mistake));
});
