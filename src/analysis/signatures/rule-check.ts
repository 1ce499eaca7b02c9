// Tries a set's rules on their own tests: payloads they must match, with what is captured, and payloads they must miss. The whole set
// looks at each payload, as it does in earnest. Pure; `weir rules test` shows it.

import type { SignatureHit } from '../../model/insight.ts';
import { type SignatureRule, textBytes } from './rule-plan.ts';
import type { RuleTest } from './rule-schema.ts';
import type { SignatureSet } from './signature-set.ts';

export interface RuleFailure {
  readonly rule: string;
  readonly file: string;
  readonly line: number;
  /** What should have been and was not. */
  readonly reason: string;
}

export interface RuleCheck {
  readonly rules: number;
  readonly tests: number;
  /** Rules without a test that matches, or without one that misses. */
  readonly untested: readonly string[];
  readonly failures: readonly RuleFailure[];
}

type Subject = NonNullable<RuleTest['match']>;

export function subjectBytes(subject: Subject): Buffer {
  if (typeof subject === 'string') return textBytes(subject);
  return 'hex' in subject ? Buffer.from(subject.hex.replace(/\s+/g, ''), 'hex') : Buffer.from(subject.base64, 'base64');
}

const none = new Uint8Array(0);

/** The hits of one test's payload. */
export function runTest(set: SignatureSet, rule: SignatureRule, test: RuleTest): readonly SignatureHit[] {
  const payload = subjectBytes((test.match ?? test.miss) as Subject);
  return set.match({
    session: {
      transport: test.transport ?? rule.transport ?? 'tcp',
      destination: { ip: '192.0.2.1', port: test.port ?? firstOf(rule.ports) ?? 0 },
      protocol: test.protocol ?? firstOf(rule.protocols),
      userName: test.user,
      password: test.password,
    },
    input: rule.direction === 'in' ? payload : none,
    output: rule.direction === 'out' ? payload : none,
  });
}

const firstOf = <T>(set: ReadonlySet<T> | undefined): T | undefined => set?.values().next().value;

/** Of the rules whose file `concerns` says yes to. */
export function checkRules(set: SignatureSet, concerns: (file: string) => boolean = () => true): RuleCheck {
  const failures: RuleFailure[] = [];
  const untested: string[] = [];
  let rules = 0;
  let tests = 0;
  for (const rule of set.rules) {
    if (!concerns(rule.file)) continue;
    rules += 1;
    if (!rule.tests.some((test) => test.match !== undefined) || !rule.tests.some((test) => test.miss !== undefined))
      untested.push(rule.id);
    for (const test of rule.tests) {
      tests += 1;
      const reason = failureOf(runTest(set, rule, test), rule, test);
      if (reason !== undefined) failures.push({ rule: rule.id, file: rule.file, line: test.line, reason });
    }
  }
  return { rules, tests, untested, failures };
}

function failureOf(hits: readonly SignatureHit[], rule: SignatureRule, test: RuleTest): string | undefined {
  const hit = hits.find((one) => one.rule === rule.id);
  const others = hits.filter((one) => one.rule !== rule.id).map((one) => one.rule);
  const beside = others.length > 0 ? `; ${others.join(', ')} did` : '';
  if (test.miss !== undefined) return hit === undefined ? undefined : 'it matches what it has to miss';
  if (hit === undefined) return `it does not match${beside}`;
  for (const [name, wanted] of Object.entries(test.captures ?? {})) {
    const value = hit.captures[name];
    if (value !== wanted) return `it captures ${JSON.stringify(value ?? null)} as ${name}, not ${JSON.stringify(wanted)}`;
  }
  return undefined;
}
