// A second labelled set, made by other hands for another end: the payloads by which signatures are tested. What different rules
// are for is in different families, but for what really is the same.

import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';
import { payloadForm } from './payload-form.ts';
import { similarity } from './sketch.ts';

interface Rule {
  readonly id: string;
  readonly tests?: readonly { readonly match?: string | { readonly hex?: string; readonly base64?: string } }[];
}

const folder = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../../..', 'rules/signatures');

const bytesOf = (match: string | { readonly hex?: string; readonly base64?: string }): Buffer =>
  typeof match === 'string'
    ? Buffer.from(match, 'latin1')
    : match.hex !== undefined
      ? Buffer.from(match.hex.replaceAll(' ', ''), 'hex')
      : Buffer.from(match.base64 ?? '', 'base64');

test('attacks of different rules stay apart', (t) => {
  const rules = readdirSync(folder)
    .filter((name) => name.endsWith('.yaml'))
    .flatMap((name) => parse(readFileSync(path.join(folder, name), 'utf8')) as Rule[]);
  const founders: { readonly class: string; readonly groups: Uint32Array; readonly rules: Set<string> }[] = [];
  let payloads = 0;
  for (const { id, tests = [] } of rules)
    for (const { match } of tests) {
      const bytes = match === undefined ? Buffer.alloc(0) : bytesOf(match);
      if (bytes.length === 0) continue;
      payloads += 1;
      const form = payloadForm(bytes);
      const family = founders.find((one) => one.class === form.class && similarity(one.groups, form.groups) >= form.threshold);
      if (family) family.rules.add(id);
      else founders.push({ class: form.class, groups: form.groups, rules: new Set([id]) });
    }
  assert.ok(rules.length >= 150 && payloads >= 300, `${rules.length} rules, ${payloads} payloads were read`);
  const mixed = founders.filter((one) => one.rules.size > 1);
  t.diagnostic(
    `${payloads} payloads of ${rules.length} rules: ${founders.length} families, ${mixed.length} of more than one rule`,
  );
  for (const one of mixed) t.diagnostic(`${one.class}: ${[...one.rules].join(', ')}`);
  assert.ok(mixed.length <= 0.04 * founders.length);
});
