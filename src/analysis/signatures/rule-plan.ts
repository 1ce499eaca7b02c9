// A rule as plain data, and how it becomes one that is matched: its automata are compiled when a session first needs them, as most rules
// never see one. Plans are made by rule-compiler.ts, which has refused what cannot be compiled, and kept by packed-rules.ts.

import type { SignatureHit } from '../../model/insight.ts';
import { type BytePattern, type PatternNode, parsePattern } from './byte-pattern.ts';
import { ByteSet } from './byte-set.ts';
import { CaptureMatcher } from './capture-matcher.ts';
import { type CacheLedger, LazyMatcher } from './lazy-matcher.ts';
import { compilePattern } from './pattern-program.ts';
import type { PatternText, RuleTest, views } from './rule-schema.ts';
import type { TextPart } from './session-texts.ts';

/** What is looked for, as written. */
export type WrittenPattern = Pick<PatternText, 'contains' | 'regex' | 'bytes' | 'nocase'>;

interface PatternPlace {
  readonly kind: 'pattern';
  /** Undefined: the whole text. */
  readonly part?: TextPart | undefined;
  readonly header?: string | undefined;
  readonly view: (typeof views)[number];
  readonly at?: number | undefined;
  readonly within?: readonly [number, number] | undefined;
  readonly count: number;
}

export interface PatternPlan extends PatternPlace {
  /** Alternatives, one automaton for all of them. */
  readonly patterns: readonly WrittenPattern[];
}

export interface PatternCondition extends PatternPlace {
  readonly matcher: LazyMatcher;
}

type Combined<Leaf> =
  | Leaf
  | { readonly kind: 'any' | 'all'; readonly items: readonly Combined<Leaf>[] }
  | { readonly kind: 'not'; readonly item: Combined<Leaf> };

export type ConditionPlan = Combined<PatternPlan>;
export type Condition = Combined<PatternCondition>;

/** Nothing but what JSON holds. */
export interface RulePlan {
  readonly id: string;
  readonly line: number;
  /** What a hit says, without captures. */
  readonly hit: Omit<SignatureHit, 'captures'>;
  readonly references: readonly string[];
  readonly transport?: 'tcp' | 'udp' | undefined;
  readonly protocols?: readonly string[] | undefined;
  readonly ports?: readonly number[] | undefined;
  readonly direction: 'in' | 'out';
  readonly condition: ConditionPlan;
  /** True when two conditions are about parts of a request: they must hold in the same one. */
  readonly perRequest: boolean;
  readonly captures: readonly { readonly name: string; readonly pattern: string }[];
  /** Undefined: looked at for every session of its ports or protocols. */
  readonly literals?: readonly string[] | undefined;
  readonly tests: readonly (RuleTest & { readonly line: number })[];
  /** Of all its automata. */
  readonly instructions: number;
}

export interface Capture {
  readonly name: string;
  readonly finder: LazyMatcher;
  readonly groups: CaptureMatcher;
}

/** A rule ready to be matched, and what people want to know of it. */
export interface SignatureRule extends Omit<RulePlan, 'condition' | 'captures' | 'protocols' | 'ports'> {
  readonly file: string;
  readonly protocols: ReadonlySet<string> | undefined;
  readonly ports: ReadonlySet<number> | undefined;
  readonly condition: Condition;
  readonly captures: readonly Capture[];
}

/** `ledger` accounts for the caches of the automata. */
export function bindRule(plan: RulePlan, file: string, ledger: CacheLedger): SignatureRule {
  const { tags, cves, techniques } = plan.hit;
  return {
    ...plan,
    file,
    hit: Object.freeze({
      ...plan.hit,
      tags: Object.freeze(tags),
      cves: Object.freeze(cves),
      techniques: Object.freeze(techniques),
    }),
    protocols: plan.protocols && new Set(plan.protocols),
    ports: plan.ports && new Set(plan.ports),
    condition: bindCondition(plan.condition, ledger),
    captures: plan.captures.map(({ name, pattern }) => {
      const program = once(() => compilePattern(parsePattern(pattern)));
      return { name, finder: new LazyMatcher(program, false, ledger), groups: new CaptureMatcher(program) };
    }),
  };
}

function bindCondition(plan: ConditionPlan, ledger: CacheLedger): Condition {
  if (plan.kind === 'not') return { kind: 'not', item: bindCondition(plan.item, ledger) };
  if (plan.kind !== 'pattern') return { kind: plan.kind, items: plan.items.map((item) => bindCondition(item, ledger)) };
  const { patterns, ...place } = plan;
  return {
    ...place,
    matcher: new LazyMatcher(() => compilePattern(alternatives(patterns.map(readPattern))), plan.at !== undefined, ledger),
  };
}

function once<T>(make: () => T): () => T {
  let made: T | undefined;
  return () => {
    made ??= make();
    return made;
  };
}

/** One pattern that matches whatever one of them does. */
export function alternatives(patterns: readonly BytePattern[]): BytePattern {
  return patterns.length === 1
    ? patterns[0]
    : { node: { kind: 'alternate', items: patterns.map(({ node }) => node) }, groups: 0 };
}

/** Throws PatternError for a regular expression that is none. */
export function readPattern(written: WrittenPattern): BytePattern {
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
