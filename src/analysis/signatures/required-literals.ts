// Finds literals of which one must be in every match of a pattern, so that most rules need not be looked at at all. All are in
// ASCII lower case, as literal-index.ts compares them. Pure.

import type { PatternNode } from './byte-pattern.ts';
import { lowerByte } from './byte-set.ts';

/** Shorter ones are in every payload. */
export const shortestLiteral = 3;
/** Longer ones are cut: what is left tells enough. */
const longestLiteral = 24;
const maxExact = 40;
const maxLiterals = 200;

/** Latin-1 strings, of which one is in every match; `quality` compares choices. */
export interface Literals {
  readonly any: readonly string[];
  readonly quality: number;
}

/** `exact`: everything the node matches, when that is little. */
interface Reading {
  readonly exact?: readonly string[];
  readonly best?: Literals;
}

/** Undefined when there is none of `shortestLiteral` bytes (or two that are rare). */
export function requiredLiterals(node: PatternNode): Literals | undefined {
  const { exact, best } = read(node);
  return better(best, exact === undefined ? undefined : literalsOf(exact));
}

/** The better of two, for conditions that must both hold. */
export function better(a: Literals | undefined, b: Literals | undefined): Literals | undefined {
  if (a === undefined || b === undefined) return a ?? b;
  return b.quality > a.quality ? b : a;
}

/** For conditions of which one must hold. */
export function either(choices: readonly (Literals | undefined)[]): Literals | undefined {
  const any = new Set<string>();
  let quality = Number.POSITIVE_INFINITY;
  for (const choice of choices) {
    if (choice === undefined) return undefined;
    for (const literal of choice.any) any.add(literal);
    quality = Math.min(quality, choice.quality);
  }
  if (any.size === 0 || any.size > maxLiterals) return undefined;
  return { any: [...any], quality };
}

function read(node: PatternNode): Reading {
  switch (node.kind) {
    case 'empty':
    case 'start':
    case 'end':
      return { exact: [''] };
    case 'set': {
      const letters = new Set<number>();
      for (const byte of node.set.bytes()) letters.add(lowerByte(byte));
      return letters.size > 4 ? {} : { exact: [...letters].map((byte) => String.fromCharCode(byte)) };
    }
    case 'group':
      return read(node.item);
    case 'alternate':
      return readAlternation(node.items.map(read));
    case 'concat':
      return readSequence(node.items.map(read));
    case 'repeat':
      return readRepeat(read(node.item), node.min, node.max);
  }
}

function readAlternation(items: readonly Reading[]): Reading {
  const exact = new Set<string>();
  let isExact = true;
  for (const item of items) {
    for (const text of item.exact ?? []) exact.add(text);
    if (item.exact === undefined || exact.size > maxExact) isExact = false;
  }
  return {
    exact: isExact ? [...exact] : undefined,
    best: either(items.map((item) => better(item.best, item.exact && literalsOf(item.exact)))),
  };
}

function readSequence(items: readonly Reading[]): Reading {
  let best: Literals | undefined;
  let run: readonly string[] = [''];
  let whole = true;
  for (const item of items) {
    best = better(best, item.best);
    const joined = item.exact && product(run, item.exact);
    if (joined !== undefined) run = joined;
    else {
      best = better(best, literalsOf(run));
      whole = false;
      run = item.exact ?? [''];
    }
  }
  if (whole) return { exact: run, best };
  return { best: better(best, literalsOf(run)) };
}

function readRepeat(item: Reading, min: number, max: number): Reading {
  if (min === 0) return max === 1 && item.exact !== undefined && item.exact.length < 4 ? { exact: ['', ...item.exact] } : {};
  const exact = item.exact;
  if (exact !== undefined && min === max && min <= longestLiteral) {
    let run: readonly string[] | undefined = [''];
    for (let count = 0; count < min && run !== undefined; count += 1) run = product(run, exact);
    if (run !== undefined) return { exact: run, best: item.best };
  }
  return { best: better(item.best, exact && literalsOf(exact)) };
}

function product(left: readonly string[], right: readonly string[]): readonly string[] | undefined {
  if (left.length * right.length > maxExact) return undefined;
  const joined = left.flatMap((a) => right.map((b) => a + b));
  return joined.some((text) => text.length > 256) ? undefined : joined;
}

function literalsOf(texts: readonly string[]): Literals | undefined {
  const any = new Set<string>();
  let quality = Number.POSITIVE_INFINITY;
  for (const text of texts) {
    if (!isTelling(text)) return undefined;
    const literal = bestPart(text);
    any.add(literal);
    quality = Math.min(quality, qualityOf(literal));
  }
  return any.size === 0 ? undefined : { any: [...any], quality: quality - Math.min(2, (any.size - 1) / 4) };
}

/** Two bytes will do when both are rare in text: `{{`, `${`. */
const isTelling = (text: string): boolean => text.length >= shortestLiteral || /^[!-,.:-@[-`{-~\u0080-\u00ff]{2}$/.test(text);

/** What every browser sends: literals in it tell nothing. */
const everyday =
  'get / http/1.1\r\npost / http/1.1\r\nhost: localhost\r\nuser-agent: mozilla/5.0 (windows nt 10.0; win64; x64) applewebkit/537.36 (khtml, like gecko) ' +
  'chrome/120.0.0.0 safari/537.36\r\naccept: text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8\r\n' +
  'accept-language: en-us,en;q=0.5\r\naccept-encoding: gzip, deflate, br\r\ncontent-type: application/x-www-form-urlencoded\r\n' +
  'content-type: application/json\r\ncontent-type: text/xml; charset=utf-8\r\ncontent-length: 100\r\nconnection: keep-alive\r\n' +
  'connection: close\r\ncookie: session=\r\nauthorization: basic \r\nreferer: https://www.example.com/index.html\r\n' +
  'upgrade-insecure-requests: 1\r\ncache-control: no-cache\r\norigin: http://\r\nindex.php login admin .html .php .css .js api/v1 query user password';

function qualityOf(literal: string): number {
  if (everyday.includes(literal)) return literal.length / 10;
  // A run of one byte is padding.
  return new Set(literal).size === 1 ? 1.5 : Math.min(literal.length, 12);
}

/** The best stretch of at most `longestLiteral` bytes. */
function bestPart(text: string): string {
  if (text.length <= longestLiteral) return text;
  let best = text.slice(0, longestLiteral);
  for (let at = 1; at + longestLiteral <= text.length; at += 1) {
    const part = text.slice(at, at + longestLiteral);
    if (new Set(part).size > new Set(best).size) best = part;
  }
  return best;
}
