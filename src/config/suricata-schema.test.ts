// The section `suricata`: what it takes, what holds without it, and each mistake with its line.

import assert from 'node:assert/strict';
import test from 'node:test';
import { acceptText, checkMistake, type MistakeCase } from '../../test/support/configuration-text.ts';

const front = `version: 1
diversions:
  - { name: front, kind: proxy, listen: 0.0.0.0:7000, allow: [192.0.2.10] }
`;
const hop = (text: string): string => `${front}suricata:\n  hops:\n    - ${text}\n`;

test('without the key there is no Suricata; an empty one is enough', () => {
  assert.equal(acceptText(front).suricata, undefined);
  assert.deepEqual(acceptText(`${front}suricata: {}\n`).suricata, { rules: [], memoryBytes: 64 << 20, hops: [] });
});

test('rules, memory and hops', () => {
  const text = `${hop('{ interface: eth1, ports: [7000, 7010-7012], diversion: front, without-header: pass }')}  rules: /etc/weir/own.rules\n  memory: 128MiB\n`;
  assert.deepEqual(acceptText(text).suricata, {
    rules: ['/etc/weir/own.rules'],
    memoryBytes: 128 << 20,
    hops: [{ interface: 'eth1', ports: [7000, 7010, 7011, 7012], diversion: 'front', withoutHeader: 'pass' }],
  });
});

const cases: readonly MistakeCase[] = [
  ['an unknown key', `${front}suricata: { rulez: [] }\n`, 4, /rulez/, /rules/],
  [
    'a hop that names no diversion',
    hop('{ interface: eth1, ports: [7000], diversion: nowhere }'),
    6,
    /no diversion `nowhere`/,
    /diversions/,
  ],
  ['too many ports', hop('{ interface: eth1, ports: [7000-7100] }'), 6, /more than 16 ports/, /PROXY headers/],
  ['a hop without an interface', hop('{ ports: [7000] }'), 6, /interface/, /./],
  [
    'what becomes of the rest',
    hop('{ interface: eth1, ports: [7000], without-header: keep }'),
    6,
    /neither pass nor drop/,
    /one of them/,
  ],
  ['a relative path', `${front}suricata: { rules: [own.rules] }\n`, 4, /path/, /begins with/],
];
for (const one of cases) test(`mistake in suricata: ${one[0]}`, () => checkMistake(one));
