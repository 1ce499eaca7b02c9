// Where this machine may listen for agents and proxies: at addresses of its own, where nobody else does.

import assert from 'node:assert/strict';
import test from 'node:test';
import { acceptText } from '../../test/support/configuration-text.ts';
import type { ObservedFacts } from '../kernel/observe.ts';
import { type Address, parseAddress } from '../model/address.ts';
import type { PlanMistake } from './guard.ts';
import { checkDoors, checkServices } from './guard-doors.ts';
import { planRelay } from './relay-state.ts';

const address = (text: string): Address => parseAddress(text) as Address;
const file = (listen: string, agents = '0.0.0.0:7443'): string =>
  `version: 1\nagents:\n  listen: "${agents}"\ndiversions:\n  - { name: front, kind: proxy, listen: "${listen}", allow: [192.0.2.10] }\n`;

const facts = (...listeners: [transport: 'tcp' | 'udp', at: string, port: number][]): ObservedFacts =>
  ({
    links: [
      { name: 'lo', loopback: true, addresses: [{ address: address('127.0.0.1'), scope: 'host' }] },
      {
        name: 'eth0',
        loopback: false,
        addresses: ['192.0.2.7', '2001:db8::7'].map((text) => ({ address: address(text), scope: 'global' })),
      },
    ],
    listeners: listeners.map(([transport, at, port]) => ({ transport, address: address(at), port, inode: 1 })),
  }) as unknown as ObservedFacts;

function told(text: string, observed: ObservedFacts, applied?: string): string[] {
  const mistakes: PlanMistake[] = [];
  checkDoors(acceptText(text), observed, applied === undefined ? undefined : planRelay(acceptText(applied)), mistakes);
  return mistakes.map(({ line, mistake, next }) => `${line}: ${mistake}. Next: ${next}`);
}

test('free places are taken without a word', () => {
  for (const listen of ['0.0.0.0:7000', '[::]:7000', '192.0.2.7:7000', '127.0.0.1:7000', '[2001:db8::7]:7000'])
    assert.deepEqual(told(file(listen), facts(['tcp', '0.0.0.0', 22])), [], listen);
});

test('an address of somebody else', () => {
  assert.deepEqual(told(file('192.0.2.8:7000', '[2001:db8::8]:7443'), facts()), [
    '5: front cannot listen at 192.0.2.8:7000: 192.0.2.8 is not an address of this machine. Next: write one of 192.0.2.7',
    '3: agents cannot listen at [2001:db8::8]:7443: 2001:db8::8 is not an address of this machine. Next: write one of 2001:db8::7',
  ]);
});

test('a port somebody listens on', () => {
  const at = (listen: string, ...there: Parameters<typeof facts>): number => told(file(listen), facts(...there)).length;
  assert.match(
    told(file('192.0.2.7:7000'), facts(['tcp', '0.0.0.0', 7000]))[0],
    /^5: front cannot listen at 192\.0\.2\.7:7000: another program listens on tcp 0\.0\.0\.0:7000\. Next: choose another port/,
  );
  assert.equal(at('192.0.2.7:7000', ['tcp', '127.0.0.1', 7000]), 0, 'another address');
  assert.equal(at('0.0.0.0:7000', ['tcp', '127.0.0.1', 7000]), 1);
  assert.equal(at('192.0.2.7:7000', ['tcp', '::', 7000]), 1, 'an IPv6 wildcard takes IPv4 as well');
  assert.equal(at('[::]:7000', ['udp', '192.0.2.7', 7000]), 1, 'datagrams too');
  assert.equal(at('[2001:db8::7]:7000', ['tcp', '0.0.0.0', 7000]), 0);
  assert.equal(at('0.0.0.0:7000', ['udp', '0.0.0.0', 7443]), 0, 'agents come by TCP alone');
  assert.equal(at('0.0.0.0:7000', ['tcp', '0.0.0.0', 7443]), 1);
});

test('what we hold ourselves is no stranger, wherever it moves to', () => {
  const there = facts(['tcp', '0.0.0.0', 7000], ['udp', '0.0.0.0', 7000], ['tcp', '0.0.0.0', 7443]);
  assert.deepEqual(told(file('0.0.0.0:7000'), there, file('0.0.0.0:7000')), []);
  assert.deepEqual(told(file('192.0.2.7:7000'), there, file('0.0.0.0:7000')), []);
  assert.equal(told(file('0.0.0.0:7443', '0.0.0.0:7001'), there).length, 1);
});

test('services by which attackers would reach this machine', () => {
  const check = (address: string, more = ''): string[] => {
    const mistakes: PlanMistake[] = [];
    const text = `version: 1
diversions:
  - { name: dmz, kind: host, interface: eth0, decoys: [{ addresses: [192.0.2.64/26], persona: nas }] }
services: [{ name: any, kind: external, address: "${address}"${more} }]
agents: { listen: 0.0.0.0:7443 }
gateways: [{ name: vm-1, address: 10.8.0.2:7000 }]
bindings: [{ diversion: dmz, service: any }]
`;
    checkServices(acceptText(text), facts(), mistakes);
    return mistakes.map(({ line, mistake, next }) => `${line}: ${mistake}. Next: ${next}`);
  };
  assert.deepEqual(check('127.0.0.1'), [
    '4: the service any is this machine (127.0.0.1) at whatever port an attacker chooses, management among them. Next: write the port with it: 127.0.0.1:8080',
  ]);
  assert.equal(check('127.0.0.53').length, 1, 'all of loopback');
  assert.match(check('2001:db8::7')[0], /write the port with it: \[2001:db8::7\]:8080/);
  for (const fine of ['127.0.0.1:8080', '192.0.2.7:8080', '192.0.2.8', '198.51.100.1:80'])
    assert.deepEqual(check(fine), [], fine);
  assert.deepEqual(check('127.0.0.1', ', via: vm-1'), [], 'as seen from the last gateway');
});
