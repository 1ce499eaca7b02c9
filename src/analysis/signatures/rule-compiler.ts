// Turns rules as written into plans: conditions, captures, and the literals of which one must be there; every pattern is compiled once
// to see that it can be. What cannot be matched in linear time, or would have to be tried on every session, is refused with its line.

import type { Mistakes } from '../../config/issues.ts';
import { suggestion } from '../../config/mistake.ts';
import { type BytePattern, maxPatternLength, PatternError, parsePattern } from './byte-pattern.ts';
import { maxLiteralBytes } from './literal-index.ts';
import { compilePattern, type PatternProgram } from './pattern-program.ts';
import { better, either, type Literals, requiredLiterals, shortestLiteral } from './required-literals.ts';
import { alternatives, type ConditionPlan, type PatternPlan, type RulePlan, readPattern } from './rule-plan.ts';
import { patternCondition, type RuleText, ruleShape } from './rule-schema.ts';
import type { TextPart } from './session-texts.ts';

const tooMuch = 'all rules together would take too much memory';

/** What all rules of a file may take, and those of a set. */
export class RuleBudget {
  #instructions = 1_000_000;
  #literalBytes = maxLiteralBytes - 1024;

  /** Throws PatternError when there is no room for another pattern. */
  program(program: PatternProgram): PatternProgram {
    if (program.length > this.#instructions) throw new PatternError(tooMuch, 0);
    this.#instructions -= program.length;
    return program;
  }

  /** False when there is no room for a rule's literals. */
  takeLiterals(literals: readonly string[]): boolean {
    for (const literal of literals) this.#literalBytes -= literal.length;
    return this.#literalBytes >= 0;
  }

  /** What is wrong when there is no room for all a rule needs; a rule that is refused takes nothing. */
  take({ instructions, literals = [] }: Pick<RulePlan, 'instructions' | 'literals'>): string | undefined {
    if (instructions > this.#instructions) return tooMuch;
    const bytes = literals.reduce((sum, literal) => sum + literal.length, 0);
    if (bytes > this.#literalBytes) return 'all rules together hold too many literals';
    this.#instructions -= instructions;
    this.#literalBytes -= bytes;
    return undefined;
  }
}

const maxPatterns = 64;
const maxNesting = 4;
const maxItems = 32;

/** One rule at `path` of a file; undefined when a mistake was added. Never throws for what a rule may hold. */
export function compileRule(
  value: unknown,
  path: readonly PropertyKey[],
  mistakes: Mistakes,
  budget: RuleBudget,
): RulePlan | undefined {
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
    line: mistakes.lineOf([...path, 'id']),
    hit: {
      rule: id,
      name,
      intention,
      severity,
      tags: rule.tags ?? [],
      cves: rule.cves ?? [],
      techniques: rule.techniques ?? [],
    },
    references: rule.references ?? [],
    transport: rule.transport,
    protocols: rule.protocol,
    ports: rule.ports,
    direction: rule.direction ?? 'in',
    condition: items.length === 1 ? items[0] : { kind: 'all', items },
    perRequest: reader.requestConditions > 1,
    captures: captures.flatMap((capture) => (capture === undefined ? [] : [capture])),
    literals: best?.any,
    tests,
    instructions: reader.instructions,
  };
}

function readTests(rule: RuleText, path: readonly PropertyKey[], mistakes: Mistakes): RulePlan['tests'] | undefined {
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
  readonly condition: ConditionPlan;
  readonly literals: Literals | undefined;
  /** Of a single pattern, so that alternatives about one place become one pattern. */
  readonly pattern?: BytePattern;
}

const requestParts = new Set(['method', 'url', 'path', 'query', 'headers', 'header', 'body']);
const groupKeys = ['any', 'all', 'not'] as const;

class ConditionReader {
  failed = false;
  requestConditions = 0;
  /** Of all automata. */
  instructions = 0;
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
  #merge(items: readonly Compiled[]): ConditionPlan[] {
    const groups = new Map<string, Compiled[]>();
    for (const [index, item] of items.entries()) {
      const { condition, pattern } = item;
      const key =
        condition.kind === 'pattern' && pattern !== undefined && condition.count === 1
          ? JSON.stringify([condition.part, condition.header, condition.view, condition.at, condition.within])
          : `${index}`;
      groups.set(key, [...(groups.get(key) ?? []), item]);
    }
    return [...groups.values()].flatMap((group) => {
      const [{ condition }] = group;
      if (group.length === 1 || condition.kind !== 'pattern') return group.map((item) => item.condition);
      try {
        this.#compile(alternatives(group.map((item) => item.pattern as BytePattern)));
        const patterns = group.flatMap((item) => (item.condition as PatternPlan).patterns);
        return [{ ...condition, patterns }];
      } catch (error) {
        if (error instanceof PatternError) return group.map((item) => item.condition);
        throw error;
      }
    });
  }

  capture(name: string, pattern: string, path: readonly PropertyKey[]): RulePlan['captures'][number] | undefined {
    return this.#guarded(path, () => {
      this.#compile(parsePattern(pattern));
      return { name, pattern };
    });
  }

  /** Throws PatternError when it cannot be compiled, or takes too much. */
  #compile(pattern: BytePattern): void {
    this.instructions += this.#budget.program(compilePattern(pattern)).length;
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
      // Small devices take a method in lower case: so do all rules.
      const folded = written.part === 'method' ? { ...written, nocase: true } : written;
      const pattern = readPattern(folded);
      this.#compile(pattern);
      const part: TextPart | 'any' = written.header !== undefined ? 'header' : (written.part ?? 'any');
      if (requestParts.has(part)) this.requestConditions += 1;
      const { contains, regex, bytes, nocase } = folded;
      const condition: PatternPlan = {
        kind: 'pattern',
        patterns: [{ contains, regex, bytes, nocase }],
        part: part === 'any' ? undefined : part,
        header: written.header,
        view: written.view ?? 'any',
        at: written.at,
        within: written.within as [number, number] | undefined,
        count: written.count ?? 1,
      };
      return { condition, literals: requiredLiterals(pattern.node), pattern };
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
