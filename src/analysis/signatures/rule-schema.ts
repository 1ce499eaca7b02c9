// The written form of a rule: keys, their meaning, and what is wrong with what is not one. What a rule becomes is rule-compiler.ts;
// docs/signatures.md explains it to people.

import { z } from 'zod';
import * as forms from '../../config/forms.ts';
import type { Severity } from '../../model/event.ts';
import type { SignatureHit } from '../../model/insight.ts';
import { viewNames } from './session-texts.ts';

const oneOf = <T extends string>(words: readonly T[]): z.ZodType<T> =>
  forms.form((value) =>
    words.includes(value as T)
      ? (value as T)
      : new forms.Wrong(`${forms.quoted(value)} is none of ${words.join(', ')}`, `write one of ${words.join(', ')}`),
  );

const matching = (pattern: RegExp, what: string, next: string): z.ZodType<string> =>
  forms.form((value) =>
    typeof value === 'string' && pattern.test(value) ? value : new forms.Wrong(`${forms.quoted(value)} is not ${what}`, next),
  );

const described = <T>(schema: z.ZodType<T>, form: string, description: string) => schema.meta({ form, description });
const list = <T extends z.ZodType>(item: T, most: number) =>
  z.array(item).max(most, `a list here has at most ${most} items`).optional();

export const intentions: readonly SignatureHit['intention'][] = ['exploit', 'malware', 'brute-force', 'recon', 'flood', 'benign'];
export const parts = [
  'any',
  'method',
  'url',
  'path',
  'query',
  'headers',
  'body',
  'user',
  'password',
  'server-name',
  'client-ja3',
  'client-ja4',
] as const;
export const views = ['any', 'decoded', ...viewNames] as const;

const offset = forms.wholeNumber(0, 65_536);

/** What is looked for, where, and how. */
const patternKeys = {
  part: described(oneOf(parts), parts.join(', '), 'Part of a request, or a finding; any when left out.').optional(),
  header: described(
    matching(/^[a-z0-9-]{1,64}$/, 'the name of a header in lower case', 'write it as in `user-agent`'),
    'name',
    'The value of this header alone.',
  ).optional(),
  view: described(oneOf(views), views.join(', '), 'Which reading; any when left out.').optional(),
  at: described(offset, 'offset', 'Begins exactly there.').optional(),
  within: z.tuple([offset, offset]).optional(),
  nocase: described(forms.truth, 'true or false', 'ASCII letters in either case.').optional(),
  count: described(forms.wholeNumber(1, 1000), 'number', 'So often, without overlap, within one part.').optional(),
};

const text = described(forms.text(1024), 'text', 'Exactly these bytes; characters up to \\xff are bytes.');
const regex = described(forms.text(2048), 'regular expression', 'Over bytes; docs/signatures.md says what it may hold.');
const bytesForm = described(
  matching(
    /^(?:[0-9a-fA-F]{2}|\?\?)(?: ?(?:[0-9a-fA-F]{2}|\?\?)){0,511}$/,
    'a row of bytes',
    'write pairs such as `ff 53 ?? 42`',
  ),
  'bytes',
  'Pairs of hexadecimal digits; ?? is any byte.',
);

export type ConditionText =
  | { readonly any: readonly ConditionText[] }
  | { readonly all: readonly ConditionText[] }
  | { readonly not: ConditionText }
  | PatternText;

export const patternCondition = z.strictObject({
  contains: text.optional(),
  regex: regex.optional(),
  bytes: bytesForm.optional(),
  ...patternKeys,
});
export type PatternText = z.output<typeof patternCondition>;

const subject = z.union([
  forms.text(65_536),
  z.strictObject({ hex: forms.text(65_536) }),
  z.strictObject({ base64: forms.text(65_536) }),
]);

export const ruleTest = z.strictObject({
  match: subject.optional(),
  miss: subject.optional(),
  port: described(forms.wholeNumber(0, 65_535), 'port', 'Of the decoy; 0 when left out and the rule names none.').optional(),
  transport: described(oneOf<'tcp' | 'udp'>(['tcp', 'udp']), 'tcp or udp', 'As the rule has it when left out.').optional(),
  protocol: described(forms.text(32), 'name', 'As detection names it.').optional(),
  user: described(forms.text(1024), 'text', 'User name the session gave.').optional(),
  password: described(forms.text(1024), 'text', 'Password the session gave.').optional(),
  captures: z.record(z.string(), z.string()).optional(),
});
export type RuleTest = z.output<typeof ruleTest>;

/** A rule without what `match` holds: that is read by rule-compiler.ts, with its lines. */
export const ruleShape = z.strictObject({
  id: described(
    matching(/^[a-z0-9][a-z0-9-]{2,63}$/, 'an identifier', 'use 3 to 64 of the characters a-z, 0-9 and -'),
    'name',
    'Unique.',
  ),
  name: described(forms.text(120), 'text', 'For people.'),
  intention: described(oneOf(intentions), intentions.join(', '), 'What whoever sends it is after.'),
  severity: described(oneOf<Severity>(['info', 'low', 'medium', 'high']), 'info, low, medium or high', 'How much it matters.'),
  tags: list(matching(/^[a-z0-9][a-z0-9.-]{0,39}$/, 'a tag', 'use the characters a-z, 0-9, . and -'), 16),
  cves: list(matching(/^CVE-\d{4}-\d{4,7}$/, 'a CVE identifier', 'write it as in CVE-2021-44228'), 16),
  techniques: list(matching(/^T\d{4}(?:\.\d{3})?$/, 'an ATT&CK technique', 'write it as in T1190 or T1059.004'), 16),
  references: list(matching(/^https:\/\/\S{4,300}$/, 'an https address', 'write it in full'), 8),
  transport: described(oneOf<'tcp' | 'udp'>(['tcp', 'udp']), 'tcp or udp', 'Either when left out.').optional(),
  protocol: list(forms.text(32), 16),
  ports: list(forms.wholeNumber(1, 65_535), 64),
  direction: described(
    oneOf<'in' | 'out'>(['in', 'out']),
    'in or out',
    'in: what the attacker sent; out: what the decoy did.',
  ).optional(),
  match: z.array(z.unknown()).min(1, 'a rule needs at least one condition').max(16, 'a rule has at most 16 conditions'),
  captures: z
    .record(matching(/^[a-z][a-z0-9-]{0,31}$/, 'a name', 'use the characters a-z, 0-9 and -'), forms.text(2048))
    .optional(),
  tests: list(ruleTest, 64),
});
export type RuleText = z.output<typeof ruleShape>;
