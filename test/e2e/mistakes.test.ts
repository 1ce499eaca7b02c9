// A configuration with each class of mistake: the message names file, line, mistake and next step; the kernel is untouched.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { withWeirLab } from '../../src/programs/weir-lab.ts';
import { lacksKernelTests } from '../support/namespace.ts';

const diversion = (decoys: string): string =>
  `diversions:\n  - name: dmz\n    kind: host\n    interface: eth0\n    decoys:\n${decoys}`;

/** A segment whose keys begin on line 7; the interface of the lab is eth0, with 10.0.0.2 and an MTU of 1500. */
const segment = (...keys: string[]): string =>
  `diversions:\n  - name: floor\n    kind: network\n    address: 10.9.0.2/24\n${keys.map((key) => `    ${key}\n`).join('')}    decoys: [{ address: 10.9.0.9, persona: nas }]\n`;

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
  { name: 'VLAN 0', text: segment('trunk: eth0', 'vlan: 0'), line: 8, says: /VLAN 0 is no VLAN[\s\S]*1 to 4094/ },
  { name: 'VLAN 4095', text: segment('trunk: eth0', 'vlan: 4095'), line: 8, says: /VLAN 4095 is reserved[\s\S]*1 to 4094/ },
  {
    name: 'VNI out of range',
    text: segment('vxlan: { vni: 16777216, local: 10.0.0.2, remotes: 10.0.0.1 }'),
    line: 7,
    says: /16777216[\s\S]*1 to 16777215/,
  },
  {
    name: 'a trunk that does not exist',
    text: segment('trunk: eth7', 'vlan: 110'),
    line: 4,
    says: /no interface eth7 here[\s\S]*eth0/,
  },
  {
    name: 'overlapping subnets in one VLAN',
    text: segment('trunk: eth0', 'vlan: 110').replace('10.9.0.2/24', '[10.9.0.2/24, 10.9.0.130/25]'),
    line: 6,
    says: /subnets of 10\.9\.0\.2\/24 and 10\.9\.0\.130\/25 overlap/,
  },
  {
    name: 'an MTU that VXLAN cannot carry',
    text: segment('vxlan: { vni: 10, local: 10.0.0.2, remotes: 10.0.0.1 }', 'mtu: 1500'),
    line: 4,
    says: /MTU of 1500 does not fit: eth0 carries 1500, of which VXLAN takes 50[\s\S]*`mtu: 1450`/,
  },
  {
    name: 'a VTEP elsewhere',
    text: segment('vxlan: { vni: 10, local: 10.0.0.77, remotes: 10.0.0.1 }'),
    line: 4,
    says: /10\.0\.0\.77 is not an address of this machine[\s\S]*10\.0\.0\.2/,
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
