// Turns what the schema found into mistakes with their lines. The words for single values are forms.ts.

import { z } from 'zod';
import { type Mistake, suggestion } from './mistake.ts';
import type { YamlSource } from './yaml-source.ts';

/** More than these say nothing new. */
export const maxMistakes = 100;

/** Collects mistakes of one file, bounded; `list` is sorted by line. */
export class Mistakes {
  readonly #file: string;
  readonly #source: YamlSource;
  readonly #found: Mistake[] = [];
  #left = 0;

  constructor(file: string, source: YamlSource) {
    this.#file = file;
    this.#source = source;
  }

  /** Nothing more has to be looked at. */
  get full(): boolean {
    return this.#found.length >= maxMistakes;
  }

  get any(): boolean {
    return this.#found.length > 0;
  }

  add(path: readonly PropertyKey[], mistake: string, next: string): void {
    if (this.full) this.#left += 1;
    else this.#found.push({ file: this.#file, line: this.#source.lineOf(path), mistake, next });
  }

  lineOf(path: readonly PropertyKey[]): number {
    return this.#source.lineOf(path);
  }

  addIssues(error: z.ZodError, schema: z.ZodType, base: readonly PropertyKey[]): void {
    for (const issue of error.issues) this.#addIssue(issue, schema, base);
  }

  list(): Mistake[] {
    const sorted = [...this.#found].sort((a, b) => a.line - b.line);
    if (this.#left > 0)
      sorted.push({
        file: this.#file,
        line: 0,
        mistake: `${this.#left} more mistakes are not listed`,
        next: 'correct these first',
      });
    return sorted;
  }

  /** What stands at a path, as plain data; undefined where nothing does. */
  valueAt(path: readonly PropertyKey[]): unknown {
    let value: unknown = this.#source.value;
    for (const step of path)
      value = typeof value === 'object' && value !== null ? (value as Record<PropertyKey, unknown>)[step] : undefined;
    return value;
  }

  #addIssue(issue: z.core.$ZodIssue, schema: z.ZodType, base: readonly PropertyKey[]): void {
    const path = [...base, ...issue.path];
    const key = [...path].reverse().find((step) => typeof step === 'string');
    const label = key === undefined ? '' : `\`${key}\`: `;
    if (issue.code === 'unrecognized_keys') {
      const known = keysAt(schema, issue.path);
      for (const unknown of issue.keys) {
        const guess = suggestion(unknown, known);
        this.add(
          [...path, unknown],
          `unknown key \`${unknown}\``,
          guess === undefined ? `the keys here are ${known.join(', ')}` : `did you mean \`${guess}\`?`,
        );
      }
    } else if (this.valueAt(path) === undefined && issue.path.length > 0) {
      const last = String(issue.path.at(-1));
      const notes = schemaAt(schema, issue.path)?.meta() as { form?: string } | undefined;
      this.add(path.slice(0, -1), `\`${last}\` is missing`, `add \`${last}:\` with ${notes?.form ?? 'a value'}`);
    } else if (issue.code === 'custom') {
      this.add(path, `${label}${issue.message}`, String(issue.params?.next ?? 'see docs/configuration.md'));
    } else if (issue.code === 'invalid_type' && issue.expected === 'object') {
      const known = keysAt(schema, issue.path);
      this.add(path, `${label}this is not a mapping`, `write \`key: value\` pairs; the keys here are ${known.join(', ')}`);
    } else if (issue.code === 'invalid_type' && issue.expected === 'array') {
      this.add(path, `${label}this is not a list`, 'write each item on its own line after `- `, or between [ and ]');
    } else this.add(path, `${label}${issue.message}`, 'see docs/configuration.md');
  }
}

/** What is inside optional keys and keys with defaults. */
export function unwrap(schema: z.ZodType): z.ZodType {
  let inner = schema;
  while (inner instanceof z.ZodOptional || inner instanceof z.ZodPrefault || inner instanceof z.ZodDefault)
    inner = inner.unwrap() as z.ZodType;
  return inner;
}

function schemaAt(schema: z.ZodType, path: readonly PropertyKey[]): z.ZodType | undefined {
  let at: z.ZodType | undefined = schema;
  let outer: z.ZodType | undefined = schema;
  for (const step of path) {
    if (at instanceof z.ZodObject) outer = at.shape[step as string] as z.ZodType | undefined;
    else if (at instanceof z.ZodArray) outer = at.element as z.ZodType;
    else return undefined;
    if (outer === undefined) return undefined;
    at = unwrap(outer);
  }
  return outer;
}

function keysAt(schema: z.ZodType, path: readonly PropertyKey[]): string[] {
  const found = schemaAt(schema, path);
  const inner = found && unwrap(found);
  return inner instanceof z.ZodObject ? Object.keys(inner.shape) : [];
}
