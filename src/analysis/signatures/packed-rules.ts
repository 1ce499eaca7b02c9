// Plans of the rules that come with Weir, made when it is built: reading and checking the rules takes most of a second, reading plans
// a few milliseconds. They stand for a file only as long as its text, and the code that made them, are the same to the byte.

import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { planRules } from './plan-rules.ts';
import type { RulePlan } from './rule-plan.ts';
import type { RuleFile } from './signature-set.ts';

interface Packed {
  readonly code: string;
  readonly files: Readonly<Record<string, readonly RulePlan[]>>;
}

/** Plans of a text; undefined when they were not packed. */
export type PackedRules = (text: string) => readonly RulePlan[] | undefined;

/** Files with a mistake are left out: whoever reads them has to be told. Pure but for reading its own code. */
export function renderPackedRules(files: readonly RuleFile[]): string {
  const planned = files.map(({ file, text }) => ({ text, ...planRules(file, text) }));
  const right = planned.filter(({ mistakes }) => mistakes.length === 0).map(({ text, plans }) => [digest(text), plans] as const);
  return JSON.stringify({ code: digestOfCode(), files: Object.fromEntries(right) } satisfies Packed);
}

/**
 * What was written by `renderPackedRules`; undefined when there is none, or other code made it. `file` belongs to the installation:
 * it is trusted as its code is. Never throws.
 */
export function readPackedRules(file: string): PackedRules | undefined {
  try {
    const { code, files } = JSON.parse(readFileSync(file, 'utf8')) as Packed;
    if (code !== digestOfCode()) return undefined;
    return (text) => {
      const key = digest(text);
      return Object.hasOwn(files, key) ? files[key] : undefined;
    };
  } catch {
    return undefined;
  }
}

const digest = (text: string | Buffer): string => createHash('sha256').update(text).digest('base64url');

/** Of everything that says what a rule's text becomes: this directory, what it takes from config/, and the packages that read for it. */
function digestOfCode(): string {
  const here = import.meta.dirname;
  const files = readdirSync(here)
    .filter((name) => /(?<!\.test)\.[jt]s$/.test(name))
    .sort()
    .map((name) => path.join(here, name));
  for (const name of ['forms', 'issues', 'mistake', 'yaml-source'])
    files.push(path.join(here, '../../config', `${name}${path.extname(import.meta.filename)}`));
  const hash = createHash('sha256');
  for (const file of files) hash.update(readFileSync(file)).update('\0');
  return hash.digest('base64url');
}
