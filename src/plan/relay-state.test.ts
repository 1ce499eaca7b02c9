// What is relayed, as the plan shows it: each change by itself, and none for lines that moved.

import assert from 'node:assert/strict';
import test from 'node:test';
import { acceptText } from '../../test/support/configuration-text.ts';
import { type AddressRange, parseRange } from '../model/address.ts';
import { decodeState, encodeState, type RelayState } from './desired-state.ts';
import { compareRelay, planRelay } from './relay-state.ts';

const text = `version: 1
agents: { listen: 0.0.0.0:7443 }
diversions:
  - { name: branch, kind: agent, agent: branch-1, listen: { ports: [23, 8000-8100], udp-ports: [161] }, persona: printer }
  - { name: front, kind: proxy, listen: "[::]:7000", allow: [192.0.2.10] }
services:
  - { name: web, kind: external, address: 10.1.0.10, proxy-protocol: true }
  - { name: ssh, kind: external, address: "10.1.0.9:2222", via: vm-1 }
gateways: [{ name: vm-1, address: 10.8.0.2:7000 }]
bindings:
  - { diversion: front, ports: [80], protocol: tcp, service: web }
`;
const rangeOf = (one: string): AddressRange => parseRange(one) as AddressRange;
const relayOf = (file: string): RelayState | undefined => planRelay(acceptText(file));

test('nothing relayed is nothing', () => {
  assert.equal(relayOf('version: 1\n'), undefined);
  assert.deepEqual(compareRelay(undefined, undefined), []);
});

test('everything that is new is told, and taken back by the same words', () => {
  const lines = [
    'links of agents at 0.0.0.0:7443',
    'branch: tcp 23, 8000-8100, udp 161 on the machine of branch-1 (printer)',
    'front: proxies at [::]:7000, from 192.0.2.10 (all-open)',
    "service web: 10.1.0.10, the decoy's port, dialled with a PROXY v2 header",
    'service ssh: 10.1.0.9:2222, dialled directly, by way of vm-1',
    'gateway vm-1: 10.8.0.2:7000',
    'bind front tcp 80 to web',
    'rules of the agent branch-1',
    'rules of the agent vm-1',
  ];
  assert.deepEqual(
    compareRelay(relayOf(text), undefined),
    lines.map((line) => `add ${line}`),
  );
  assert.deepEqual(
    compareRelay(undefined, relayOf(text)),
    lines.map((line) => `remove ${line}`),
  );
});

test('what moves in the file has not changed; what changes is told by itself', () => {
  const moved = text.replace('version: 1\n', 'version: 1\n# a line more\n');
  assert.deepEqual(compareRelay(relayOf(moved), relayOf(text)), []);
  assert.deepEqual(compareRelay(relayOf(text.replace('192.0.2.10', '192.0.2.11')), relayOf(text)), [
    'change front: proxies at [::]:7000, from 192.0.2.11 (all-open)',
  ]);
  assert.deepEqual(compareRelay(relayOf(text.replace('8000-8100', '8000-8101')), relayOf(text)), [
    'change branch: tcp 23, 8000-8101, udp 161 on the machine of branch-1 (printer)',
    'change rules of the agent branch-1',
  ]);
});

test('of two bindings that begin alike each change is told', () => {
  const two = (address: string): RelayState => {
    const relay = relayOf(text) as RelayState;
    const ranges = ['10.0.0.1', '10.0.0.2', '10.0.0.3'].map((one) => rangeOf(one));
    const [one] = relay.bindings;
    const bind = (last: string) => ({ ...one, addresses: [...ranges, rangeOf(last)] });
    return { ...relay, bindings: [bind(address), bind('10.0.0.9')] };
  };
  assert.deepEqual(compareRelay(two('10.0.0.4'), two('10.0.0.5')), [
    'change bind front 10.0.0.1, 10.0.0.2, 10.0.0.3 and 1 more tcp 80 to web',
  ]);
});

test('it survives the state file', () => {
  const relay = relayOf(text);
  const back = decodeState(encodeState({ relay })) as { relay: RelayState };
  assert.deepEqual(compareRelay(relay, back.relay), []);
  assert.deepEqual(back.relay.proxyDiversions[0].listen, relay?.proxyDiversions[0].listen);
});
