// `weir rules`: the signatures that sessions are matched with, those of Weir and the user's own: which there are, whether a file is
// right, and whether all of them match and miss what their tests say. What a rule is: docs/signatures.md.

import path from 'node:path';
import type { RuleCheck } from '../analysis/signatures/rule-check.ts';
import type { SignatureRule } from '../analysis/signatures/rule-plan.ts';
import type { SignatureSet } from '../analysis/signatures/signature-set.ts';
import { WeirError } from '../base/errors.ts';
import { printable } from '../base/printable.ts';
import { type Mistake, mistakesError } from '../config/mistake.ts';
import type { CommandContext, CommonOptions } from './command-context.ts';
import type { Column } from './table.ts';
import { type Verb, verbCommand } from './verb.ts';
import { plural } from './wording.ts';

interface Loaded {
  readonly set: SignatureSet;
  readonly mistakes: readonly Mistake[];
}

/** Loaded when asked for: no other verb needs the rules. */
async function load(context: CommandContext, places: readonly string[]): Promise<Loaded> {
  const { openSignatures } = await import('../analysis/signatures/rule-files.ts');
  return openSignatures(context.environment.rulesDirectory, places);
}

const ownRules = async (context: CommandContext): Promise<readonly string[]> => (await context.configuration()).analysis.rules;

const absolute = (context: CommandContext, files: readonly string[]): string[] =>
  files.map((file) => path.resolve(context.environment.cwd, file));

/** Below the working directory, files are named as they would be typed. */
function place(context: CommandContext, file: string, line: number): string {
  const relative = path.relative(context.environment.cwd, file);
  return `${relative.startsWith('..') ? file : relative}:${line}`;
}

const document = (rule: SignatureRule) => ({
  id: rule.id,
  name: rule.hit.name,
  intention: rule.hit.intention,
  severity: rule.hit.severity,
  tags: rule.hit.tags,
  cves: rule.hit.cves,
  techniques: rule.hit.techniques,
  references: rule.references,
  file: rule.file,
  line: rule.line,
  tests: rule.tests.length,
});

async function list(context: CommandContext): Promise<number> {
  const { set, mistakes } = await load(context, await ownRules(context));
  if (context.json) await context.printJsonLines(set.rules.map(document));
  else {
    const { style } = context;
    const paintSeverity = (text: string, { hit }: SignatureRule): string =>
      hit.severity === 'high' ? style.red(text) : hit.severity === 'medium' ? style.yellow(text) : style.dim(text);
    const columns: readonly Column<SignatureRule>[] = [
      { title: 'RULE', text: ({ id }) => id, paint: style.cyan },
      { title: 'SEVERITY', text: ({ hit }) => hit.severity, paint: paintSeverity },
      { title: 'INTENTION', text: ({ hit }) => hit.intention },
      { title: 'CVE', text: ({ hit }) => hit.cves[0] ?? '-', paint: style.dim },
      { title: 'WHAT IT IS', text: ({ hit }) => printable(hit.name, 120), flexible: true },
    ];
    await context.printTable(
      columns,
      [...set.rules].sort((a, b) => (a.id < b.id ? -1 : 1)),
    );
  }
  for (const mistake of mistakes)
    await context.note(`left out: ${place(context, mistake.file, mistake.line)}: ${mistake.mistake}`);
  return 0;
}

/** Tries the rules of `files` alone, or all there are; 1 when one of their tests fails, 2 when a rule is wrong. */
async function test(context: CommandContext, files: readonly string[]): Promise<number> {
  const wanted = absolute(context, files);
  const { set, mistakes } = await load(context, wanted.length > 0 ? wanted : await ownRules(context));
  const { checkRules } = await import('../analysis/signatures/rule-check.ts');
  const concerns = await chosen(context, wanted);
  const check = checkRules(set, concerns);
  const wrong = wanted.length > 0 ? mistakes.filter(({ file }) => concerns(file)) : mistakes;
  if (context.json) await context.printJson({ ...check, mistakes: wrong });
  else await printCheck(context, check, wrong);
  return wrong.length > 0 ? 2 : check.failures.length > 0 ? 1 : 0;
}

async function printCheck(context: CommandContext, check: RuleCheck, mistakes: readonly Mistake[]): Promise<void> {
  const { style } = context;
  for (const { file, line, mistake, next } of mistakes)
    await context.print(`${style.red('wrong')}  ${place(context, file, line)}: ${printable(mistake, 400)}\n       next: ${next}`);
  for (const { rule, file, line, reason } of check.failures)
    await context.print(`${style.red('fails')}  ${place(context, file, line)}: ${rule}: ${printable(reason, 400)}`);
  const passed = check.tests - check.failures.length;
  const parts = [
    plural(check.rules, 'rule'),
    `${passed} of ${plural(check.tests, 'test')} passed`,
    ...(mistakes.length > 0 ? [`${plural(mistakes.length, 'mistake')}, what they are in is left out`] : []),
    ...(check.untested.length > 0 ? [`${plural(check.untested.length, 'rule')} without both a match and a miss`] : []),
  ];
  await context.print(parts.join('; '));
}

/** Whether a rule's file is among those named, or in one of the directories named. */
async function chosen(context: CommandContext, places: readonly string[]): Promise<(file: string) => boolean> {
  if (places.length === 0) return () => true;
  const { readRuleFiles } = await import('../analysis/signatures/rule-files.ts');
  const files = new Set([...places, ...readRuleFiles(places).files.map(({ file }) => file)]);
  if (places.includes(path.resolve(context.environment.rulesDirectory))) return () => true;
  return (file) => files.has(file);
}

/** One's own files before they go into weir.yaml: throws `config-invalid` with all mistakes. */
async function check(context: CommandContext, files: readonly string[]): Promise<number> {
  const wanted = absolute(context, files);
  const { set, mistakes } = await load(context, wanted);
  const concerns = await chosen(context, wanted);
  const wrong = mistakes.filter(({ file }) => concerns(file));
  if (wrong.length > 0) throw mistakesError(wrong);
  const rules = set.rules.filter((rule) => concerns(rule.file));
  if (rules.length === 0)
    throw new WeirError('bad-request', `no rule in ${files.join(', ')}`, { next: 'docs/signatures.md shows one' });
  if (context.json) await context.printJsonLines(rules.map(document));
  else
    await context.print(
      `${plural(rules.length, 'rule')}, nothing wrong; \`weir rules test ${files.join(' ')}\` tries their tests`,
    );
  return 0;
}

export const rulesVerb: Verb = (run) => {
  const command = verbCommand('rules', 'the signatures sessions are matched with', [
    'weir rules',
    'weir rules test',
    'weir rules check my-rules.yaml',
  ]).action((options: CommonOptions) => run(options, list));
  command.addCommand(
    verbCommand('test', 'does each rule match and miss what its tests say? exit code 1: no', [
      'weir rules test',
      'weir rules test my-rules.yaml',
    ])
      .argument('[files...]', 'these alone; files or directories')
      .action((files: string[], _options: CommonOptions, self) => run(self.optsWithGlobals(), (context) => test(context, files))),
  );
  command.addCommand(
    verbCommand('check', 'is a file of rules right, beside those there are? exit code 2: no', ['weir rules check my-rules.yaml'])
      .argument('<files...>', 'files or directories')
      .action((files: string[], _options: CommonOptions, self) =>
        run(self.optsWithGlobals(), (context) => check(context, files)),
      ),
  );
  return command;
};
