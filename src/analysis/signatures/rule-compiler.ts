// Turns rules as written into rules as they are matched: conditions with their automata, captures, and the literals of which one must
// be there. What cannot be matched in linear time, or would have to be tried on every session, is refused with its line.

import type { Mistakes } from '../../config/issues.ts';
import { suggestion } from '../../config/mistake.ts';
import type { SignatureHit } from '../../model/insight.ts';
import { maxPatternLength, PatternError, type PatternNode, parsePattern } from './byte-pattern.ts';
import { ByteSet } from './byte-set.ts';
import { CaptureMatcher } from './capture-matcher.ts';
import { CacheLedger, LazyMatcher } from './lazy-matcher.ts';
import { maxLiteralBytes } from './literal-index.ts';
import { compilePattern, type PatternProgram } from './pattern-program.ts';
import { better, either, type Literals, requiredLiterals, shortestLiteral } from './required-literals.ts';
import { type PatternText, patternCondition, type RuleTest, type RuleText, ruleShape, type views } from './rule-schema.ts';
import type { TextPart } from './session-texts.ts';

export interface PatternCondition {
  readonly kind: 'pattern';
  readonly matcher: LazyMatcher;
  /** Undefined: the whole text. */
  readonly part: TextPart | undefined;
  readonly header: string | undefined;
  readonly view: (typeof views)[number];
  readonly at: number | undefined;
  readonly within: readonly [number, number] | undefined;
  readonly count: number;
}

export type Condition =
  | PatternCondition
  | { readonly kind: 'any' | 'all'; readonly items: readonly Condition[] }
  | { readonly kind: 'not'; readonly item: Condition };

export interface Capture {
  readonly name: string;
  readonly finder: LazyMatcher;
  readonly groups: CaptureMatcher;
}

/** A rule ready to be matched, and what people want to know of it. */
export interface SignatureRule {
  readonly id: string;
  readonly file: string;
  readonly line: number;
  /** What a hit says, without captures. */
  readonly hit: Omit<SignatureHit, 'captures'>;
  readonly references: readonly string[];
  readonly transport: 'tcp' | 'udp' | undefined;
  readonly protocols: ReadonlySet<string> | undefined;
  readonly ports: ReadonlySet<number> | undefined;
  readonly direction: 'in' | 'out';
  readonly condition: Condition;
  /** True when two conditions are about parts of a request: they must hold in the same one. */
  readonly perRequest: boolean;
  readonly captures: readonly Capture[];
  /** Undefined: looked at for every session of its ports or protocols. */
  readonly literals: readonly string[] | undefined;
  readonly tests: readonly (RuleTest & { readonly line: number })[];
}

/** What all rules of a set together may take. */
export class RuleBudget {
  /** Of the automata of all of them, which are made while they match. */
  readonly ledger = new CacheLedger(64 * 1024 * 1024);
  #instructions = 1_000_000;
  #literalBytes = maxLiteralBytes - 1024;

  /** Throws PatternError when there is no room for another pattern. */
  program(program: PatternProgram): PatternProgram {
    if (program.length > this.#instructions) throw new PatternError('all rules together would take too much memory', 0);
    this.#instructions -= program.length;
    return program;
  }

  /** False when there is no room for a rule's literals. */
  takeLiterals(literals: readonly string[]): boolean {
    for (const literal of literals) this.#literalBytes -= literal.length;
    return this.#literalBytes >= 0;
  }
}

const maxPatterns = 64;
const maxNesting = 4;
const maxItems = 32;

/** One rule at `path` of a file; undefined when a mistake was added. Never throws for what a rule may hold. */
export function compileRule(
  value: unknown,
  file: string,
  path: readonly PropertyKey[],
  mistakes: Mistakes,
  budget: RuleBudget,
): SignatureRule | undefined {
  const parsed = ruleShape.safeParse(value);
  if (!parsed.success) {
    mistakes.addIssues(parsed.error, ruleShape, path);
    return undefined;
  }
  const rule = parsed.data;
  const reader = new ConditionReader(mistakes, budget);
  const conditions = rule.match.map((item, index) => reader.read(item, [...path, 'match', index], 0));
  const captures = Object.entries(rule.captures ?? {}).map(([name, text]) =>
    reader.capture(name, text, [...path, 'captures', name]),
  );
  const tests = readTests(rule, path, mistakes);
  if (reader.failed || tests === undefined) return undefined;
  let best: Literals | undefined;
  for (const condition of conditions) best = better(best, condition?.literals);
  if (best === undefined && rule.ports === undefined && rule.protocol === undefined) {
    mistakes.add(
      [...path, 'match'],
      `no condition needs a literal of ${shortestLiteral} bytes or more, so every session would have to be searched`,
      'add `ports:` or `protocol:`, or a condition with a longer literal',
    );
    return undefined;
  }
  if (best !== undefined && !budget.takeLiterals(best.any)) {
    mistakes.add([...path, 'match'], 'all rules together hold too many literals', 'leave some rules out');
    return undefined;
  }
  const items = conditions.flatMap((condition) => (condition === undefined ? [] : [condition.condition]));
  const { id, name, intention, severity } = rule;
  return {
    id,
    file,
    line: mistakes.lineOf([...path, 'id']),
    hit: Object.freeze({
      rule: id,
      name,
      intention,
      severity,
      tags: Object.freeze(rule.tags ?? []),
      cves: Object.freeze(rule.cves ?? []),
      techniques: Object.freeze(rule.techniques ?? []),
    }),
    references: rule.references ?? [],
    transport: rule.transport,
    protocols: rule.protocol && new Set(rule.protocol),
    ports: rule.ports && new Set(rule.ports),
    direction: rule.direction ?? 'in',
    condition: items.length === 1 ? items[0] : { kind: 'all', items },
    perRequest: reader.requestConditions > 1,
    captures: captures.flatMap((capture) => (capture === undefined ? [] : [capture])),
    literals: best?.any,
    tests,
  };
}

function readTests(rule: RuleText, path: readonly PropertyKey[], mistakes: Mistakes): SignatureRule['tests'] | undefined {
  let right = true;
  const tests = (rule.tests ?? []).map((test, index) => {
    const at = [...path, 'tests', index];
    if ((test.match === undefined) === (test.miss === undefined)) {
      mistakes.add(at, 'a test has either `match` or `miss`', 'write the payload after one of them');
      right = false;
    }
    for (const name of Object.keys(test.captures ?? {}))
      if (!Object.hasOwn(rule.captures ?? {}, name)) {
        mistakes.add([...at, 'captures'], `the rule captures no \`${name}\``, 'name one of those below `captures:` of the rule');
        right = false;
      }
    return { ...test, line: mistakes.lineOf(at) };
  });
  return right ? tests : undefined;
}

interface Compiled {
  readonly condition: Condition;
  readonly literals: Literals | undefined;
  /** Of a single pattern: what it matches, so that alternatives about one place become one pattern. */
  readonly node?: PatternNode;
}

const requestParts = new Set(['method', 'url', 'path', 'query', 'headers', 'header', 'body']);
const groupKeys = ['any', 'all', 'not'] as const;

class ConditionReader {
  failed = false;
  requestConditions = 0;
  #patterns = 0;
  readonly #mistakes: Mistakes;
  readonly #budget: RuleBudget;

  constructor(mistakes: Mistakes, budget: RuleBudget) {
    this.#mistakes = mistakes;
    this.#budget = budget;
  }

  read(value: unknown, path: readonly PropertyKey[], depth: number): Compiled | undefined {
    if (depth > maxNesting) return this.#refuse(path, `conditions are nested deeper than ${maxNesting}`, 'make two rules of it');
    if (typeof value !== 'object' || value === null || Array.isArray(value))
      return this.#refuse(path, 'this is no condition', 'write it as in { contains: "text" }');
    const group = groupKeys.find((key) => Object.hasOwn(value, key));
    if (group === undefined) return this.#pattern(value, path);
    const keys = Object.keys(value);
    if (keys.length > 1) {
      const other = keys.find((key) => key !== group) as string;
      return this.#refuse(
        [...path, other],
        `\`${other}\` cannot stand beside \`${group}\``,
        `put it into the conditions below \`${group}\``,
      );
    }
    const inner = (value as Record<string, unknown>)[group];
    if (group === 'not') {
      const item = this.read(inner, [...path, group], depth + 1);
      return item && { condition: { kind: 'not', item: item.condition }, literals: undefined };
    }
    if (!Array.isArray(inner) || inner.length === 0 || inner.length > maxItems)
      return this.#refuse([...path, group], `\`${group}\` is not a list of 1 to ${maxItems} conditions`, 'write each after `- `');
    const before = this.requestConditions;
    const items: Compiled[] = [];
    for (const [index, item] of inner.entries()) {
      const compiled = this.read(item, [...path, group, index], depth + 1);
      if (compiled === undefined) return undefined;
      items.push(compiled);
    }
    // Alternatives are one condition on a request.
    if (group === 'any') this.requestConditions = Math.min(this.requestConditions, before + 1);
    if (group === 'any') {
      const literals = either(items.map((item) => item.literals));
      const merged = this.#merge(items);
      return { condition: merged.length === 1 ? merged[0] : { kind: 'any', items: merged }, literals };
    }
    const literals = items.reduce<Literals | undefined>((best, item) => better(best, item.literals), undefined);
    return { condition: { kind: 'all', items: items.map((item) => item.condition) }, literals };
  }

  /** Alternatives that look at the same place become one pattern: one pass instead of many. */
  #merge(items: readonly Compiled[]): Condition[] {
    const groups = new Map<string, Compiled[]>();
    for (const [index, item] of items.entries()) {
      const { condition, node } = item;
      const key =
        condition.kind === 'pattern' && node !== undefined && condition.count === 1
          ? JSON.stringify([condition.part, condition.header, condition.view, condition.at, condition.within])
          : `${index}`;
      groups.set(key, [...(groups.get(key) ?? []), item]);
    }
    return [...groups.values()].flatMap((group) => {
      const [{ condition }] = group;
      if (group.length === 1 || condition.kind !== 'pattern') return group.map((item) => item.condition);
      const nodes = group.map((item) => item.node as PatternNode);
      try {
        const program = this.#budget.program(compilePattern({ node: { kind: 'alternate', items: nodes }, groups: 0 }));
        return [{ ...condition, matcher: new LazyMatcher(program, condition.at !== undefined, this.#budget.ledger) }];
      } catch (error) {
        if (error instanceof PatternError) return group.map((item) => item.condition);
        throw error;
      }
    });
  }

  capture(name: string, text: string, path: readonly PropertyKey[]): Capture | undefined {
    return this.#guarded(path, () => {
      const program = this.#budget.program(compilePattern(parsePattern(text)));
      return { name, finder: new LazyMatcher(program, false, this.#budget.ledger), groups: new CaptureMatcher(program) };
    });
  }

  #pattern(value: object, path: readonly PropertyKey[]): Compiled | undefined {
    const parsed = patternCondition.safeParse(value);
    if (!parsed.success) {
      this.failed = true;
      this.#mistakes.addIssues(parsed.error, patternCondition, path);
      return undefined;
    }
    const written = parsed.data;
    const kinds = (['contains', 'regex', 'bytes'] as const).filter((kind) => written[kind] !== undefined);
    if (kinds.length !== 1)
      return this.#refuse(path, 'a condition has exactly one of `contains`, `regex` and `bytes`', this.#guess(value));
    if (written.header !== undefined && written.part !== undefined)
      return this.#refuse(path, '`header` already says which part is meant', 'leave `part` out');
    if (written.at !== undefined && (written.within !== undefined || written.count !== undefined))
      return this.#refuse(path, '`at` already says where', 'leave `within` and `count` out');
    if (written.within !== undefined && written.within[0] >= written.within[1])
      return this.#refuse(path, '`within` ends where it begins or before', 'write [from, to], counted from 0, `to` not included');
    this.#patterns += 1;
    if (this.#patterns > maxPatterns)
      return this.#refuse(path, `a rule has at most ${maxPatterns} patterns`, 'make two rules of it');
    return this.#guarded([...path, kinds[0]], () => {
      const pattern = readPattern(written);
      const matcher = new LazyMatcher(
        this.#budget.program(compilePattern(pattern)),
        written.at !== undefined,
        this.#budget.ledger,
      );
      const part: TextPart | 'any' = written.header !== undefined ? 'header' : (written.part ?? 'any');
      if (requestParts.has(part)) this.requestConditions += 1;
      const condition: PatternCondition = {
        kind: 'pattern',
        matcher,
        part: part === 'any' ? undefined : part,
        header: written.header,
        view: written.view ?? 'any',
        at: written.at,
        within: written.within as [number, number] | undefined,
        count: written.count ?? 1,
      };
      return { condition, literals: requiredLiterals(pattern.node), node: pattern.node };
    });
  }

  #guess(value: object): string {
    for (const key of Object.keys(value)) {
      const guess = suggestion(key, ['contains', 'regex', 'bytes']);
      if (guess !== undefined && guess !== key) return `did you mean \`${guess}\`?`;
    }
    return 'write several conditions one below the other';
  }

  #guarded<T>(path: readonly PropertyKey[], make: () => T): T | undefined {
    try {
      return make();
    } catch (error) {
      if (!(error instanceof PatternError)) throw error;
      const place = error.at > 0 && error.at <= maxPatternLength ? ` (at character ${error.at + 1})` : '';
      return this.#refuse(
        path,
        `this pattern is refused: ${error.message}${place}`,
        'docs/signatures.md lists what patterns may hold',
      );
    }
  }

  #refuse(path: readonly PropertyKey[], mistake: string, next: string): undefined {
    this.failed = true;
    this.#mistakes.add(path, mistake, next);
    return undefined;
  }
}

function readPattern(written: PatternText): { readonly node: PatternNode; readonly groups: number } {
  if (written.regex !== undefined) return parsePattern(written.regex, written.nocase);
  const items: PatternNode[] = [];
  if (written.bytes !== undefined)
    for (const pair of written.bytes.replaceAll(' ', '').match(/../g) ?? [])
      items.push({ kind: 'set', set: pair === '??' ? ByteSet.all : ByteSet.of(Number.parseInt(pair, 16)) });
  else
    for (const byte of textBytes(written.contains as string)) {
      const set = ByteSet.of(byte);
      items.push({ kind: 'set', set: written.nocase ? set.folded() : set });
    }
  return { node: { kind: 'concat', items }, groups: 0 };
}

/** Characters up to \xff are bytes, so that `"\xff\xfb"` is two; text with any other is UTF-8. */
export function textBytes(text: string): Buffer {
  for (let at = 0; at < text.length; at += 1) if (text.charCodeAt(at) > 0xff) return Buffer.from(text, 'utf8');
  return Buffer.from(text, 'latin1');
}
