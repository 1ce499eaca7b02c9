// What an agent may hand in, by the rules it was given: nothing of another's, whatever it says of itself.

import assert from 'node:assert/strict';
import test from 'node:test';
import { acceptText } from '../../test/support/configuration-text.ts';
import type { Transport } from '../model/session.ts';
import { planRelay } from '../plan/relay-state.ts';
import { AgentPlaces } from './agent-places.ts';

const places = new AgentPlaces(
  planRelay(
    acceptText(`version: 1
agents: { listen: 0.0.0.0:7443 }
diversions:
  - { name: web, kind: agent, agent: one, listen: { ports: [80, 8000-8010], addresses: [192.0.2.5, "2001:db8::5"] }, persona: linux-web }
  - { name: rest, kind: agent, agent: one, listen: { ports: [23], udp-ports: [161] }, persona: router }
  - { name: lan, kind: host, agent: one, interface: eth0, decoys: [{ addresses: 10.66.0.0/24, persona: nas, alive: 50% }] }
  - { name: floor, kind: network, agent: one, trunk: eth1, vlan: 5, address: 10.66.0.1/24, decoys: [{ addresses: 10.66.0.8/29, persona: plc }] }
  - { name: self, kind: host, agent: two, decoys: [{ addresses: own, persona: windows-server }] }
  - { name: two-lan, kind: host, agent: two, interface: eth0, decoys: [{ addresses: 10.66.0.0/24, persona: printer }] }
`),
  ),
);
const placed = (agent: string, transport: Transport, ip: string, port: number, network = ''): string | undefined => {
  const place = places.placeOf(agent, transport, { ip, port }, network);
  return place && `${place.diversion} ${place.persona.name}`;
};

test('ports of its machine, at its addresses', () => {
  assert.equal(placed('one', 'tcp', '192.0.2.5', 8005), 'web linux-web');
  assert.equal(placed('one', 'tcp', '2001:db8::5', 80), 'web linux-web');
  assert.equal(placed('one', 'tcp', '192.0.2.6', 80), undefined);
  assert.equal(placed('one', 'udp', '192.0.2.5', 80), undefined);
  assert.equal(placed('one', 'tcp', '203.0.113.9', 23), 'rest router');
  assert.equal(placed('one', 'udp', '203.0.113.9', 161), 'rest router');
  assert.equal(placed('one', 'tcp', '203.0.113.9', 22), undefined);
  assert.equal(placed('one', 'tcp', 'nobody', 23), undefined);
});

test('living decoys of its networks, each in its own', () => {
  const living = Array.from({ length: 254 }, (_, index) => placed('one', 'tcp', `10.66.0.${index + 1}`, 445));
  const count = living.filter((place) => place === 'lan nas').length;
  assert.ok(count > 90 && count < 165, `${count} live`);
  assert.ok(living.every((place) => place === 'lan nas' || place === undefined));
  assert.equal(placed('one', 'tcp', '10.66.0.9', 445, 'floor'), 'floor plc');
  assert.equal(placed('one', 'tcp', '10.66.0.16', 445, 'floor'), undefined);
  assert.equal(placed('one', 'tcp', '192.0.2.5', 80, 'floor'), undefined);
  assert.equal(placed('one', 'tcp', '10.66.0.9', 445, 'lan'), undefined);
});

test('own addresses of its machine are whichever are no range', () => {
  assert.equal(placed('two', 'tcp', '198.51.100.9', 445), 'self windows-server');
  assert.equal(placed('two', 'tcp', '10.66.0.9', 445), 'two-lan printer');
});

test('nobody else', () => {
  assert.equal(placed('three', 'tcp', '192.0.2.5', 80), undefined);
  assert.equal(placed('two', 'tcp', '10.66.0.9', 445, 'floor'), undefined);
  assert.equal(new AgentPlaces(undefined).placeOf('one', 'tcp', { ip: '192.0.2.5', port: 80 }, ''), undefined);
});

test('records are of the diversion they name, wherever its network', () => {
  const at = { ip: '10.66.0.9', port: 80 };
  assert.equal(places.placeIn('one', 'floor', 'tcp', at)?.persona.name, 'plc');
  assert.equal(places.placeIn('one', 'web', 'tcp', at), undefined);
  assert.equal(places.placeIn('two', 'floor', 'tcp', at), undefined);
});

test('probes may meet the dead', () => {
  for (let host = 0; host < 256; host += 1) assert.ok(places.holds('one', 'lan', `10.66.0.${host}`));
  assert.ok(!places.holds('one', 'lan', '10.66.1.0'));
  assert.ok(!places.holds('two', 'lan', '10.66.0.1'));
  assert.ok(places.holds('two', 'self', '203.0.113.1'));
  assert.ok(!places.holds('two', 'self', 'x'));
});
