// A rule file's text as plans of its rules and what is wrong with the others: a function of the text alone, so that packed-rules.ts may
// remember it. What a single rule becomes is rule-compiler.ts.

import { Mistakes } from '../../config/issues.ts';
import type { Mistake } from '../../config/mistake.ts';
import { readYaml } from '../../config/yaml-source.ts';
import { compileRule, RuleBudget } from './rule-compiler.ts';
import type { RulePlan } from './rule-plan.ts';

const maxFileLength = 1024 * 1024;

/** `file` is how mistakes name it. Never throws for what a text may hold. */
export function planRules(
  file: string,
  text: string,
): { readonly plans: readonly RulePlan[]; readonly mistakes: readonly Mistake[] } {
  const whole = (mistake: string, next: string) => ({ plans: [], mistakes: [{ file, line: 0, mistake, next }] });
  if (text.length > maxFileLength) return whole('a rule file has at most 1 MiB', 'split it');
  const source = readYaml(text);
  if (source.faults.length > 0)
    return {
      plans: [],
      mistakes: source.faults.map(({ line, message }) => ({ file, line, mistake: message, next: 'correct the YAML' })),
    };
  if (!Array.isArray(source.value)) return whole('a rule file is a list of rules', 'begin each rule with `- id: name`');
  const mistakes = new Mistakes(file, source);
  const budget = new RuleBudget();
  const plans = source.value.flatMap((value, index) => compileRule(value, [index], mistakes, budget) ?? []);
  return { plans, mistakes: mistakes.list() };
}
