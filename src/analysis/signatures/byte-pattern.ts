// Reads a regular expression over bytes into a tree. Only what a finite automaton can do is known here: back-references,
// look-around and the like are refused with a reason. How the tree is matched is pattern-program.ts and lazy-matcher.ts.

import { ByteSet } from './byte-set.ts';

export type PatternNode =
  | { readonly kind: 'empty' }
  /** Of the part that is searched, not of a line. */
  | { readonly kind: 'start' | 'end' }
  | { readonly kind: 'set'; readonly set: ByteSet }
  | { readonly kind: 'concat' | 'alternate'; readonly items: readonly PatternNode[] }
  | {
      readonly kind: 'repeat';
      readonly item: PatternNode;
      readonly min: number;
      /** Infinity: without end. */
      readonly max: number;
      readonly greedy: boolean;
    }
  /** `index` from 1: what it takes can be asked for. */
  | { readonly kind: 'group'; readonly item: PatternNode; readonly index: number };

export interface BytePattern {
  readonly node: PatternNode;
  /** Capturing groups. */
  readonly groups: number;
}

/** Why a pattern is refused, as the middle of a sentence; `at` is the character it is about. */
export class PatternError extends Error {
  readonly at: number;

  constructor(message: string, at: number) {
    super(message);
    this.name = 'PatternError';
    this.at = at;
  }
}

export const maxPatternLength = 2048;
const maxDepth = 32;
const maxRepeat = 4096;
const maxGroups = 4;

const shorthands: Readonly<Record<string, ByteSet>> = {
  d: ByteSet.digits,
  D: ByteSet.digits.complement(),
  w: ByteSet.word,
  W: ByteSet.word.complement(),
  s: ByteSet.space,
  S: ByteSet.space.complement(),
};
const controls: Readonly<Record<string, number>> = { n: 10, r: 13, t: 9, f: 12, v: 11, 0: 0, a: 7, e: 27 };
const notNewline = ByteSet.of(10).complement();

/** `nocase` folds ASCII letters, as `(?i)` at the beginning does; `(?s)` lets `.` take line ends. Throws PatternError. */
export function parsePattern(text: string, nocase = false): BytePattern {
  if (text.length > maxPatternLength)
    throw new PatternError(`it is longer than ${maxPatternLength} characters`, maxPatternLength);
  const flags = /^\(\?([a-zA-Z]+)\)/.exec(text);
  let fold = nocase;
  let dotAll = false;
  for (const flag of flags?.[1] ?? '') {
    if (flag === 'i') fold = true;
    else if (flag === 's') dotAll = true;
    else throw new PatternError(`the flag \`${flag}\` is not supported, only \`i\` and \`s\` are`, 2);
  }
  const parser = new Parser(text, flags?.[0].length ?? 0, fold, dotAll);
  return { node: parser.whole(), groups: parser.groups };
}

class Parser {
  groups = 0;
  readonly #text: string;
  #at: number;
  #depth = 0;
  readonly #fold: boolean;
  readonly #any: ByteSet;

  constructor(text: string, at: number, fold: boolean, dotAll: boolean) {
    this.#text = text;
    this.#at = at;
    this.#fold = fold;
    this.#any = dotAll ? ByteSet.all : notNewline;
  }

  whole(): PatternNode {
    const node = this.#alternation();
    if (this.#at < this.#text.length) throw this.#wrong('there is a `)` without its `(`');
    return node;
  }

  #wrong(message: string): PatternError {
    return new PatternError(message, this.#at);
  }

  #alternation(): PatternNode {
    this.#depth += 1;
    if (this.#depth > maxDepth) throw this.#wrong(`groups are nested deeper than ${maxDepth}`);
    const items = [this.#sequence()];
    while (this.#text[this.#at] === '|') {
      this.#at += 1;
      items.push(this.#sequence());
    }
    this.#depth -= 1;
    return items.length === 1 ? items[0] : { kind: 'alternate', items };
  }

  #sequence(): PatternNode {
    const items: PatternNode[] = [];
    for (;;) {
      const character = this.#text[this.#at];
      if (character === undefined || character === '|' || character === ')') break;
      const item = this.#atom();
      const repeated = this.#repetition(item);
      items.push(repeated);
    }
    if (items.length === 0) return { kind: 'empty' };
    return items.length === 1 ? items[0] : { kind: 'concat', items };
  }

  #repetition(item: PatternNode): PatternNode {
    const range = this.#range();
    if (range === undefined) return item;
    if (item.kind === 'start' || item.kind === 'end') throw this.#wrong('an anchor cannot be repeated');
    const next = this.#text[this.#at];
    if (next === '+') throw this.#wrong('possessive repeats are not supported; they need no place where nothing is tried twice');
    const greedy = next !== '?';
    if (!greedy) this.#at += 1;
    const after = this.#text[this.#at];
    if (after === '*' || after === '+' || after === '?') throw this.#wrong('there is nothing to repeat');
    return { kind: 'repeat', item, ...range, greedy };
  }

  #range(): { min: number; max: number } | undefined {
    const character = this.#text[this.#at];
    const simple = { '*': [0, Infinity], '+': [1, Infinity], '?': [0, 1] }[character ?? ''];
    if (simple) {
      this.#at += 1;
      return { min: simple[0], max: simple[1] };
    }
    if (character !== '{') return undefined;
    const counted = /^\{(\d{1,5})(,(\d{0,5}))?\}/.exec(this.#text.slice(this.#at, this.#at + 16));
    if (!counted) throw this.#wrong('`{` begins a count such as {2,5}; write \\{ for the character');
    const min = Number(counted[1]);
    const max = counted[2] === undefined ? min : counted[3] === '' ? Infinity : Number(counted[3]);
    if (min > max) throw this.#wrong('the count ends below where it begins');
    if (min > maxRepeat || (max !== Infinity && max > maxRepeat)) throw this.#wrong(`a count is at most ${maxRepeat}`);
    this.#at += counted[0].length;
    return { min, max };
  }

  #atom(): PatternNode {
    const character = this.#text[this.#at];
    switch (character) {
      case '(':
        return this.#group();
      case '[':
        this.#at += 1;
        return this.#class();
      case '.':
        this.#at += 1;
        return { kind: 'set', set: this.#any };
      case '^':
        this.#at += 1;
        return { kind: 'start' };
      case '$':
        this.#at += 1;
        return { kind: 'end' };
      case '*':
      case '+':
      case '?':
        throw this.#wrong('there is nothing to repeat');
      case '{':
        throw this.#wrong('`{` begins a count such as {2,5}; write \\{ for the character');
      case '\\':
        return this.#escaped();
      default:
        return this.#literal();
    }
  }

  #group(): PatternNode {
    this.#at += 1;
    let index = 0;
    if (this.#text[this.#at] === '?') {
      const rest = this.#text.slice(this.#at, this.#at + 3);
      if (!rest.startsWith('?:')) {
        if (/^\?(?:[=!]|<[=!])/.test(rest))
          throw this.#wrong(
            'look-around is not supported: it cannot be matched in linear time; use `not:` or a second condition',
          );
        if (rest.startsWith('?>')) throw this.#wrong('atomic groups are not supported; write (?:…)');
        if (rest.startsWith('?<') || rest.startsWith('?P'))
          throw this.#wrong('named groups are not supported: the name stands below `captures:`');
        throw this.#wrong('of the special groups only (?:…) is supported, and flags at the very beginning');
      }
      this.#at += 2;
    } else {
      this.groups += 1;
      if (this.groups > maxGroups) throw this.#wrong(`there are more than ${maxGroups} capturing groups; write (?:…)`);
      index = this.groups;
    }
    const item = this.#alternation();
    if (this.#text[this.#at] !== ')') throw this.#wrong('a `(` has no `)`');
    this.#at += 1;
    return index === 0 ? item : { kind: 'group', item, index };
  }

  /** A character beyond ASCII is its UTF-8 bytes. */
  #literal(): PatternNode {
    const character = String.fromCodePoint(this.#text.codePointAt(this.#at) as number);
    this.#at += character.length;
    const bytes = Buffer.from(character, 'utf8');
    if (bytes.length === 1) return this.#set(ByteSet.of(bytes[0]));
    return { kind: 'concat', items: [...bytes].map((byte) => ({ kind: 'set', set: ByteSet.of(byte) })) };
  }

  #set(set: ByteSet): PatternNode {
    return { kind: 'set', set: this.#fold ? set.folded() : set };
  }

  #escaped(): PatternNode {
    const character = this.#text[this.#at + 1];
    if (character === 'A' || character === 'z') {
      this.#at += 2;
      return { kind: character === 'A' ? 'start' : 'end' };
    }
    if (character === 'b' || character === 'B')
      throw this.#wrong('word boundaries are not supported; write the bytes that may stand there, such as (?:^|[^a-z])');
    if (/[1-9]/.test(character ?? ''))
      throw this.#wrong('back-references are not supported: they cannot be matched in linear time');
    const found = this.#escape();
    return this.#set(typeof found === 'number' ? ByteSet.of(found) : found);
  }

  /** What an escape in or outside a class means. */
  #escape(): number | ByteSet {
    const character = this.#text[this.#at + 1];
    if (character === undefined) throw this.#wrong('it ends in a lone backslash');
    if (character === 'x') {
      const hex = /^[0-9a-fA-F]{2}/.exec(this.#text.slice(this.#at + 2, this.#at + 4));
      if (!hex) throw this.#wrong('\\x needs two hexadecimal digits');
      this.#at += 4;
      return Number.parseInt(hex[0], 16);
    }
    if (Object.hasOwn(shorthands, character)) {
      this.#at += 2;
      return shorthands[character];
    }
    if (Object.hasOwn(controls, character)) {
      this.#at += 2;
      return controls[character];
    }
    if (/[A-Za-z0-9]/.test(character)) throw this.#wrong(`\\${character} is not supported`);
    if (character.charCodeAt(0) > 0x7f) throw this.#wrong('a character beyond ASCII needs no backslash');
    this.#at += 2;
    return character.charCodeAt(0);
  }

  #class(): PatternNode {
    let negated = false;
    if (this.#text[this.#at] === '^') {
      negated = true;
      this.#at += 1;
    }
    let set = ByteSet.none;
    for (let first = true; ; first = false) {
      const character = this.#text[this.#at];
      if (character === undefined) throw this.#wrong('a `[` has no `]`');
      if (character === ']' && !first) break;
      if (character === '[' && /^\[[:=.]/.test(this.#text.slice(this.#at, this.#at + 2)))
        throw this.#wrong('POSIX classes are not supported; write the ranges');
      const low = this.#classItem();
      if (this.#text[this.#at] === '-' && this.#text[this.#at + 1] !== ']' && this.#text[this.#at + 1] !== undefined) {
        this.#at += 1;
        const high = this.#classItem();
        if (typeof low !== 'number' || typeof high !== 'number') throw this.#wrong('a range goes from one character to another');
        if (low > high) throw this.#wrong('a range ends below where it begins');
        set = set.or(ByteSet.range(low, high));
      } else set = set.or(typeof low === 'number' ? ByteSet.of(low) : low);
    }
    this.#at += 1;
    if (this.#fold) set = set.folded();
    if (negated) set = set.complement();
    if (set.size === 0) throw this.#wrong('this class holds no byte');
    return { kind: 'set', set };
  }

  #classItem(): number | ByteSet {
    const character = this.#text[this.#at];
    if (character === '\\') {
      if (this.#text[this.#at + 1] === 'b') throw this.#wrong('\\b is not supported; write \\x08');
      return this.#escape();
    }
    const code = character.charCodeAt(0);
    if (code > 0x7f) throw this.#wrong('a class is of bytes: write those beyond ASCII as \\x80 to \\xff');
    this.#at += 1;
    return code;
  }
}
