// The section `analysis`: its defaults, what is written over them, and what is refused.

import assert from 'node:assert/strict';
import path from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { defaultAnalysis } from './analysis-schema.ts';
import { defaultConfiguration, parseConfiguration } from './configuration.ts';
import { readPersonas } from './personas.ts';

const personas = readPersonas(path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../../rules'));
const parse = (text: string) => parseConfiguration(`version: 1\n${text}`, 'weir.yaml', { personas });

test('what holds without the section, frozen', () => {
  const { analysis } = defaultConfiguration(personas);
  assert.deepEqual(analysis, defaultAnalysis);
  assert.equal(analysis.behaviour.scanPorts, 15);
  assert.equal(analysis.behaviour.scanHosts, 25);
  assert.equal(analysis.behaviour.scanWindowMs, 300_000);
  assert.deepEqual([analysis.geo, analysis.rules], [{}, []]);
  assert.ok(Object.isFrozen(analysis) && Object.isFrozen(analysis.behaviour) && Object.isFrozen(analysis.rules));
});

test('what is written holds, the rest stays', () => {
  const result = parse(
    'analysis:\n  behaviour: { scan-ports: 30, slow-window: 14d, memory: 1GiB }\n  geo: { asn: /srv/asn.mmdb }\n  rules: [/etc/weir/rules, /srv/own.yaml/]\n',
  );
  assert.ok('configuration' in result);
  const { behaviour, geo, rules } = result.configuration.analysis;
  assert.deepEqual(behaviour, {
    ...defaultAnalysis.behaviour,
    scanPorts: 30,
    slowWindowMs: 14 * 86_400_000,
    memoryBytes: 2 ** 30,
  });
  assert.deepEqual(geo, { asn: '/srv/asn.mmdb' });
  assert.deepEqual(rules, ['/etc/weir/rules', '/srv/own.yaml']);
});

for (const [text, line, mistake] of [
  ['analysis: { behaviour: { scan-port: 15 } }', 2, /scan-port/],
  ['analysis:\n  behaviour:\n    scan-ports: 1', 4, /not a whole number from 2 to 256/],
  ['analysis:\n  behaviour:\n    scan-window: 5', 4, /not a duration/],
  ['analysis:\n  rules: own.yaml', 3, /not an absolute path/],
  ['analysis:\n  geo: { city: /x }', 3, /city/],
] as const)
  test(`refused with its line: ${text.replaceAll('\n', ' ')}`, () => {
    const result = parse(text);
    assert.ok('mistakes' in result);
    assert.equal(result.mistakes.length, 1);
    assert.equal(result.mistakes[0].line, line);
    assert.match(`${result.mistakes[0].mistake} ${result.mistakes[0].next}`, mistake);
  });
