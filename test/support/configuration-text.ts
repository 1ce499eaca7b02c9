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

/** A network diversion of which each key stands on its own line: `kind` on 4, the given keys from 5 on. */
export const segment = (...keys: string[]): string =>
  `version: 1\ndiversions:\n  - name: floor\n    kind: network\n${keys.map((key) => `    ${key}\n`).join('')}`;
/** Keys of a segment of the usual shape. */
export const vlan = ['trunk: eth1', 'vlan: 110'];
export const address = 'address: 192.168.110.2/24';
export const decoys = 'decoys: [{ addresses: 192.168.110.10-192.168.110.250, persona: nas }]';
export const vxlan = (keys: string): string => segment(`vxlan: { ${keys} }`, address, decoys);
/** A second diversion after one of eight lines: its name stands on line 9. */
export const second = (...keys: string[]): string =>
  `  - name: other\n    kind: network\n${keys.map((key) => `    ${key}\n`).join('')}`;
