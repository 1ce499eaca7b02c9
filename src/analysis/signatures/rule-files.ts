// Reads rule files: those that come with Weir and the user's own. What they hold is rule-compiler.ts.

import { readdirSync, readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import type { Mistake } from '../../config/mistake.ts';
import { type RuleFile, SignatureSet } from './signature-set.ts';

const maxFiles = 512;
const maxFileBytes = 4 * 1024 * 1024;

/**
 * Files as named, and the *.yaml and *.yml of directories, in order of name; not below them; each once. What cannot be read is a mistake and is
 * left out. Never throws.
 */
export function readRuleFiles(places: readonly string[]): {
  readonly files: readonly RuleFile[];
  readonly mistakes: readonly Mistake[];
} {
  const files: RuleFile[] = [];
  const mistakes: Mistake[] = [];
  const seen = new Set<string>();
  for (const place of places)
    for (const file of namesAt(place, mistakes)) {
      if (seen.has(path.resolve(file))) continue;
      seen.add(path.resolve(file));
      const wrong = (mistake: string, next: string): number => mistakes.push({ file, line: 0, mistake, next });
      try {
        if (files.length >= maxFiles) wrong(`there are more than ${maxFiles} rule files`, 'put several rules into one file');
        else if (statSync(file).size > maxFileBytes) wrong('the file is larger than a rule file can be', 'split it');
        else files.push({ file, text: readFileSync(file, 'utf8') });
      } catch (error) {
        wrong(`it cannot be read (${(error as NodeJS.ErrnoException).code ?? 'unknown'})`, 'check the path and who may read it');
      }
    }
  return { files, mistakes };
}

/** The rules below `directory` (Weir's own) and those of the user's files; what is wrong in either is left out and told. Never throws. */
export function openSignatures(
  directory: string,
  own: readonly string[],
): { readonly set: SignatureSet; readonly mistakes: readonly Mistake[] } {
  const read = readRuleFiles([directory, ...own]);
  const loaded = SignatureSet.load(read.files);
  return { set: loaded.set, mistakes: [...read.mistakes, ...loaded.mistakes] };
}

function namesAt(place: string, mistakes: Mistake[]): string[] {
  try {
    if (!statSync(place).isDirectory()) return [place];
    return readdirSync(place)
      .filter((name) => /\.ya?ml$/.test(name))
      .sort()
      .map((name) => path.join(place, name));
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? 'unknown';
    mistakes.push({ file: place, line: 0, mistake: `it cannot be read (${code})`, next: 'check the path and who may read it' });
    return [];
  }
}
