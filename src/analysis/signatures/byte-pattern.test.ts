// Patterns against the language's own regular expressions on what both know, refusals, and steps counted, not timed.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { PatternError, parsePattern } from './byte-pattern.ts';
import { CaptureMatcher } from './capture-matcher.ts';
import { CacheLedger, LazyMatcher, Meter } from './lazy-matcher.ts';
import { compilePattern } from './pattern-program.ts';

const plenty = 1e9;
const program = (text: string, nocase = false) => compilePattern(parsePattern(text, nocase));
const bytesOf = (text: string): Buffer => Buffer.from(text, 'latin1');
const endOf = (pattern: string, text: string): number =>
  new LazyMatcher(program(pattern)).search(bytesOf(text), 0, text.length, new Meter(plenty));
const groupsOf = (pattern: string, text: string): (string | undefined)[] | undefined => {
  const slots = new CaptureMatcher(program(pattern)).match(bytesOf(text), 0, text.length, new Meter(plenty));
  if (slots === undefined) return undefined;
  const groups: (string | undefined)[] = [];
  for (let slot = 0; slot < slots.length; slot += 2)
    groups.push(slots[slot] < 0 ? undefined : text.slice(slots[slot], slots[slot + 1]));
  return groups;
};

/** Patterns both engines read alike; what is repeated takes at least a byte, as the two differ in repeats of nothing. */
const atom = fc.constantFrom('a', 'b', 'c', '.', '[ab]', '[^a]', '\\d', '\\w', 'ab', '[a-c]', '\\x61', '\\.');
const pattern: fc.Arbitrary<string> = fc.letrec<{ node: string; item: string; repeat: string }>((tie) => ({
  item: fc.oneof(
    { maxDepth: 3 },
    atom,
    tie('repeat'),
    fc.tuple(tie('node'), tie('node')).map(([a, b]) => `(?:${a}|${b})`),
    tie('node').map((inner) => `(?:${inner})`),
  ),
  repeat: fc
    .tuple(atom, fc.constantFrom('*', '+', '?', '{2}', '{1,3}', '{2,}', '{0,2}'), fc.constantFrom('', '?'))
    .map(([one, many, lazy]) => `(?:${one})${many}${lazy}`),
  node: fc.array(tie('item'), { minLength: 1, maxLength: 4 }).map((items) => items.join('')),
})).node;
const anchored = fc
  .tuple(fc.constantFrom('', '^'), pattern, fc.constantFrom('', '$'), fc.boolean())
  .map(([start, inner, end, alternatives]) => (alternatives ? `${start}(?:${inner})${end}` : `${start}${inner}${end}`));
const subject = fc.string({ unit: fc.constantFrom('a', 'b', 'c', 'A', '1', '.', '\n', 'é'), maxLength: 24 });

describe('patterns over bytes', () => {
  it('match where regular expressions match', () => {
    fc.assert(
      fc.property(anchored, subject, (text, input) => {
        assert.equal(endOf(text, input) >= 0, new RegExp(text).test(input), `${text} on ${JSON.stringify(input)}`);
      }),
      { numRuns: 2000 },
    );
  });

  it('take with their groups what regular expressions take', () => {
    const grouped = fc
      .tuple(pattern, pattern, pattern, fc.boolean())
      .map(([a, b, c, plain]) => (plain ? `(${a})${b}` : `${a}(${b})(?:${c}|(${a}))`));
    fc.assert(
      fc.property(grouped, subject, (text, input) => {
        const expected = new RegExp(text).exec(input);
        assert.deepEqual(groupsOf(text, input), expected === null ? undefined : [...expected], text);
      }),
      { numRuns: 2000 },
    );
  });

  it('fold letters when asked to, in literals and classes', () => {
    for (const [text, input, wanted] of [
      ['(?i)wget', 'WgEt', true],
      ['(?i)[a-c]+z', 'ABCZ', true],
      ['wget', 'WGET', false],
      ['(?i)[^a]x', 'Ax', false],
      ['(?s)a.b', 'a\nb', true],
      ['a.b', 'a\nb', false],
      ['\\xff\\x00[\\x80-\\x90]', '\xff\0\x85', true],
      ['[]x]+$', ']x]', true],
      ['a\\{2}', 'a{2}', true],
    ] as const)
      assert.equal(endOf(text, input) >= 0, wanted, text);
  });

  it('read a character beyond ASCII as its UTF-8 bytes', () => {
    assert.equal(new LazyMatcher(program('né+')).search(Buffer.from('ené', 'utf8'), 0, 4, new Meter(plenty)), 4);
  });

  it('refuse with a reason what no automaton can do', () => {
    for (const [text, reason] of [
      ['(a)\\1', /back-references/],
      ['(?=a)', /look-around/],
      ['(?<!a)b', /look-around/],
      ['(?<name>a)', /named groups/],
      ['(?>a)', /atomic/],
      ['a++', /possessive/],
      ['\\bword', /word boundaries/],
      ['[[:alpha:]]', /POSIX/],
      ['a{2,1}', /ends below/],
      ['a{99999}', /at most 4096/],
      ['(a', /has no `\)`/],
      ['a)', /without its `\(`/],
      ['[a', /has no `\]`/],
      ['*a', /nothing to repeat/],
      ['a{', /begins a count/],
      ['\\p{L}', /not supported/],
      ['(?x)a', /flag/],
      ['[é]', /of bytes/],
      ['[^\\x00-\\xff]', /holds no byte/],
      ['a\\', /lone backslash/],
      ['(?:'.repeat(40) + ')'.repeat(40), /nested deeper/],
      ['((((((a{100}){100}){100}){100})))', /capturing groups|more than 4096/],
      ['(?:(?:(?:a{100}){100}){100}){100}', /more than 4096/],
      ['x'.repeat(3000), /longer than/],
    ] as const)
      assert.throws(
        () => program(text),
        (error) => error instanceof PatternError && reason.test(error.message),
        text,
      );
  });

  it('never throw anything else, whatever is written', () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom(...'ab()[]{}|*+?^$\\.,-0129:=!<ixsdwé'), maxLength: 30 }), (text) => {
        try {
          new LazyMatcher(program(text)).search(bytesOf('abab(){}'), 0, 8, new Meter(plenty));
        } catch (error) {
          assert.ok(error instanceof PatternError, `${text}: ${error}`);
        }
      }),
      { numRuns: 5000 },
    );
  });
});

/** Patterns that take a back-tracking engine ages, and input to do it with. */
const bombs: readonly (readonly [string, (length: number) => string])[] = [
  ['(?:a+)+b', (length) => 'a'.repeat(length)],
  ['(?:a|a)*b', (length) => 'a'.repeat(length)],
  ['(?:a|aa)+$', (length) => `${'a'.repeat(length - 1)}!`],
  ['(?:.*){8}x', (length) => 'ab'.repeat(length / 2)],
  ['(?:a?){60}a{60}b', (length) => 'a'.repeat(length)],
  ['(?:x+x+)+y', (length) => 'x'.repeat(length)],
  ['[ab]*a[ab]{14}c', (length) => 'abaabbab'.repeat(length / 8)],
  ['(?:[a-z]+ ?)*=', (length) => 'word '.repeat(length / 5)],
];

describe('time', () => {
  it('is linear: twice the input never takes more than twice the steps', () => {
    for (const [text, input] of bombs) {
      const compiled = program(text);
      const steps = (length: number): number => {
        const bytes = bytesOf(input(length));
        const meter = new Meter(plenty);
        // A matcher of its own: nothing is cached.
        assert.equal(new LazyMatcher(compiled).search(bytes, 0, bytes.length, meter), -1, text);
        return plenty - meter.left;
      };
      const once = steps(4000);
      const twice = steps(8000);
      assert.ok(twice <= 2.05 * once + 4 * compiled.length, `${text}: ${once} steps, then ${twice}`);
      assert.ok(twice <= 8001 * 3 * compiled.length, `${text}: ${twice} steps`);
    }
  });

  it('is linear for groups too', () => {
    for (const [text, input] of bombs) {
      const compiled = program(`(${text})`);
      const steps = (length: number): number => {
        const bytes = bytesOf(input(length));
        const meter = new Meter(plenty);
        new CaptureMatcher(compiled).match(bytes, 0, bytes.length, meter);
        return plenty - meter.left;
      };
      assert.ok(steps(4000) <= 2.05 * steps(2000) + 4 * compiled.length, text);
    }
  });

  it('takes one step a byte once the states are known, and a quarter where nothing has begun', () => {
    const stepsOf = (pattern: string, text: string): number => {
      const matcher = new LazyMatcher(program(pattern));
      const bytes = bytesOf(text);
      matcher.search(bytes, 0, bytes.length, new Meter(plenty));
      const meter = new Meter(plenty);
      matcher.search(bytes, 0, bytes.length, meter);
      return plenty - meter.left;
    };
    assert.equal(stepsOf('[a-z]+=', 'word'.repeat(1000)), 4000);
    assert.equal(stepsOf('wget.{0,64}http://', 'GET /index.html HTTP/1.1\r\n'.repeat(100)), 652);
    assert.equal(stepsOf('(?:^|\\n)wget', `\n${'a'.repeat(4000)}`), 1004);
    // To begin and to end it has its price.
    assert.equal(stepsOf('wget', 'wabc'.repeat(1000)), 5000);
  });

  it('goes as far as its steps reach, also where bytes cost less than one', () => {
    const matcher = new LazyMatcher(program('wget'));
    const text = `${'a'.repeat(30_000)}wget${'a'.repeat(30_000)}`;
    matcher.search(bytesOf(text), 0, text.length, new Meter(plenty));
    const meter = new Meter(20_000);
    assert.equal(matcher.search(bytesOf(text), 0, text.length, meter), 30_004);
    assert.equal(meter.curtailed, false);
    const few = new Meter(5000);
    assert.equal(matcher.search(bytesOf(text), 0, text.length, few), -1);
    assert.equal(few.curtailed, true);
    assert.ok(few.left <= 0 && few.left > -100, `${few.left}`);
  });

  it('keeps its cache bounded where states never come back, and still answers as before', () => {
    // The automaton for this needs 2^14 states.
    const matcher = new LazyMatcher(program('a[ab]{14}c'));
    let seed = 7;
    let text = '';
    for (let at = 0; at < 6000; at += 1) {
      seed = (seed * 1103515245 + 12345) % 2147483648;
      text += seed % 3 === 0 ? 'a' : 'b';
    }
    const input = `${text}a${'b'.repeat(14)}c`;
    assert.equal(matcher.search(bytesOf(input), 0, input.length, new Meter(plenty)), input.length);
    assert.equal(matcher.search(bytesOf(text), 0, text.length, new Meter(plenty)), -1);
    assert.ok(matcher.stateCount <= 256);
  });

  it('gives memory back when the caches of all patterns together are too large', () => {
    const ledger = new CacheLedger(100_000);
    const matchers = Array.from({ length: 20 }, (_, index) => new LazyMatcher(program(`a[ab]{${index + 2}}c`), false, ledger));
    const bytes = bytesOf('abaabbabababbbaabab'.repeat(20));
    for (const matcher of matchers) {
      matcher.search(bytes, 0, bytes.length, new Meter(plenty));
      ledger.settle();
      assert.ok(ledger.bytes <= 100_000);
    }
    assert.ok(matchers.some((matcher) => matcher.stateCount === 0));
    assert.equal(matchers[0].search(bytesOf('xxaabc'), 0, 6, new Meter(plenty)), 6);
  });

  it('stops where the steps end, and says so', () => {
    const meter = new Meter(100);
    assert.equal(new LazyMatcher(program('x$')).search(bytesOf(`${'a'.repeat(500)}x`), 0, 501, meter), -1);
    assert.equal(meter.curtailed, true);
  });
});
