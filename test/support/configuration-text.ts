// Short ways from the text of a configuration to what it becomes, or to its mistakes.

import assert from 'node:assert/strict';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseConfiguration } from '../../src/config/configuration.ts';
import { type Mistake, renderMistake } from '../../src/config/mistake.ts';
import { readPersonas } from '../../src/config/personas.ts';
import type { Configuration } from '../../src/model/configuration.ts';

const personas = readPersonas(path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../../rules'));

export function acceptText(text: string): Configuration {
  const result = parseConfiguration(text, 'weir.yaml', { personas });
  assert.ok('configuration' in result, 'mistakes' in result ? result.mistakes.map(renderMistake).join('\n') : '');
  return result.configuration;
}

export function refuseText(text: string): readonly Mistake[] {
  const result = parseConfiguration(text, 'weir.yaml', { personas });
  assert.ok('mistakes' in result, 'accepted');
  return result.mistakes;
}

/** Name of the case, text, line, what the message must say, what the next step must say. */
export type MistakeCase = readonly [name: string, text: string, line: number, mistake: RegExp, next: RegExp];

/** The one mistake in the text is that of the case: nothing else is said, and it stands on its line. */
export function checkMistake([, text, line, mistake, next]: MistakeCase): void {
  const found = refuseText(text);
  const match = found.find((one) => mistake.test(one.mistake));
  assert.ok(match, found.map(renderMistake).join('\n'));
  assert.equal(match.line, line, renderMistake(match));
  assert.match(match.next, next);
  assert.deepEqual(found, [match], 'one mistake is one message');
}
