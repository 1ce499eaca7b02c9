// A configuration with each class of mistake: the message names file, line, mistake and next step; the kernel is untouched.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { withWeirLab } from '../../src/programs/weir-lab.ts';
import { lacksKernelTests } from '../support/namespace.ts';

const diversion = (decoys: string): string =>
  `diversions:\n  - name: dmz\n    kind: host\n    interface: eth0\n    decoys:\n${decoys}`;

/** Lines count from 1; the lab writes two lines before these. */
const cases: readonly { name: string; text: string; line: number; says: RegExp; environment?: Record<string, string> }[] = [
  { name: 'unknown key', text: 'retenton: { days: 3 }\n', line: 3, says: /retenton[\s\S]*retention/ },
  {
    name: 'bad range',
    text: diversion('      - { addresses: 10.64.0.9-10.64.0.3, persona: all-open }\n'),
    line: 8,
    says: /10\.64\.0\.9-10\.64\.0\.3/,
  },
  {
    name: 'overlapping decoys',
    text: diversion(
      '      - { addresses: 10.64.0.0/24, persona: all-open }\n      - { addresses: 10.64.0.128/25, persona: printer }\n',
    ),
    line: 9,
    says: /overlap|twice|already/i,
  },
  {
    name: 'a range that holds the gateway',
    text: diversion('      - { addresses: 10.0.0.0/24, persona: all-open }\n'),
    line: 8,
    says: /10\.0\.0\.254/,
  },
  {
    name: 'port 22 while the operator sits on it',
    text: 'management: { ports: [8443] }\ndiversions:\n  - name: self\n    kind: host\n    interface: eth0\n    decoys:\n      - { addresses: 10.0.0.2, persona: all-open }\n',
    line: 9,
    says: /10\.0\.0\.2|own address/,
    environment: { SSH_CONNECTION: '10.0.0.1 50000 10.0.0.2 22' },
  },
];

for (const { name, text, line, says, environment } of cases)
  test(`a mistake is told and changes nothing: ${name}`, { skip: lacksKernelTests() }, () =>
    withWeirLab({ configuration: text, wire: 'bridge', router: true }, async (lab) => {
      const before = await lab.sensor.snapshot();
      const running = lab.start(['--yes'], environment);
      assert.equal(await running.exited(), 2, running.output);
      assert.match(running.output, new RegExp(`weir\\.yaml:${line}\\b`), running.output);
      assert.match(running.output, says);
      assert.match(running.output, /next: /);
      assert.equal(await lab.sensor.snapshot(), before);
    }),
  );
