// Decoys with something of their own in the kernel: which, what changes between two states, and the words for people.

import assert from 'node:assert/strict';
import test from 'node:test';
import { everybody, group, rangeOf, state } from '../../test/support/golden-states.ts';
import { claimKey, compareClaims, isClaimDevice } from '../kernel/claim-link.ts';
import { parseAddress } from '../model/address.ts';
import { DecoyDirectory } from '../model/decoy.ts';
import { claimDevice, describeClaim, describeWays, planClaims } from './claims.ts';
import { planRoutes } from './difference.ts';

const groups = [
  group('dmz', 'claimed', ['10.66.0.5', '2001:db8:66::5'], everybody('web'), { claim: 'macvlan' }),
  group('dmz', 'claimed', ['10.66.0.16/30'], everybody('desktop'), { claim: 'address' }),
  group('dmz', 'claimed', ['10.66.64.0/24'], everybody('web')),
];

test('each living address has a claim, with the MAC its persona has in the directory', () => {
  const desired = state(groups);
  const claims = planClaims(desired, []);
  assert.deepEqual(claims.map(describeClaim), [
    `macvlan ${claimDevice(parseAddress('10.66.0.5') as never)} for 10.66.0.5 on eth0`,
    `macvlan ${claimDevice(parseAddress('2001:db8:66::5') as never)} for 2001:db8:66::5 on eth0`,
    ...['16', '17', '18', '19'].map((last) => `address 10.66.0.${last} on eth0`),
  ]);
  const directory = new DecoyDirectory(groups, new Map(desired.personas.map((persona) => [persona.name, persona])));
  assert.equal(claims[0].mac, directory.find('10.66.0.5')?.mac);
  assert.equal(directory.find('10.66.0.17')?.mac, undefined, 'an address shows the MAC of its interface');
  for (const { device } of claims) assert.ok(device === undefined || isClaimDevice(device));
});

test('claims have no route of their own, and what is given back has no claim', () => {
  assert.deepEqual(
    planRoutes(state(groups), []).map(({ destination }) => destination),
    ['10.66.64.0/24'],
  );
  const left = planClaims(state(groups), [rangeOf('10.66.0.5'), rangeOf('10.66.0.17')]);
  assert.equal(left.length, 4);
  assert.deepEqual(planClaims(undefined, []), []);
});

test('the dead have no claim', () => {
  const some = [group('dmz', 'claimed', ['10.66.0.0/26'], [{ persona: 'web', share: 5000 }], { claim: 'address' })];
  const directory = new DecoyDirectory(some, new Map(state(some).personas.map((persona) => [persona.name, persona])));
  const alive = Array.from({ length: 64 }, (_, index) => `10.66.0.${index}`).filter((ip) => directory.find(ip));
  assert.ok(alive.length > 10 && alive.length < 54);
  assert.deepEqual(
    planClaims(state(some), []).map(describeClaim),
    alive.map((ip) => `address ${ip} on eth0`),
  );
});

test('a claim that changes its way, link or MAC is removed and made anew; equal ones stay', () => {
  const wanted = planClaims(state(groups), []);
  assert.deepEqual(compareClaims(wanted, wanted), { add: [], remove: [] });
  const other = { ...wanted[0], mac: '02:00:00:00:00:01' };
  const { add, remove } = compareClaims(wanted, [other, ...wanted.slice(1)]);
  assert.deepEqual([add.map(claimKey), remove.map(claimKey)], [[claimKey(wanted[0])], [claimKey(other)]]);
});

test('people are told for each group which way it goes and why', () => {
  const words = describeWays([...groups, group('own', 'own', ['192.0.2.7'], everybody('web'))]);
  assert.equal(words.length, 3);
  assert.match(words[0], /^dmz 10\.66\.0\.5, 2001:db8:66::5: by a macvlan device each, as asked for/);
  assert.match(words[1], /^dmz 10\.66\.0\.16\/30: by an address on the interface each/);
  assert.match(words[2], /^dmz: by AnyIP: one route/);
});
