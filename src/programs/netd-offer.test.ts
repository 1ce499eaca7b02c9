// What the gateway is told follows from what was applied.

import assert from 'node:assert/strict';
import test from 'node:test';
import { configurationOf } from '../../test/support/diversion-bed.ts';
import { everybody, group, state } from '../../test/support/golden-states.ts';
import type { NetworkView } from '../plan/network-view.ts';
import { describeOffer, doorNetworks } from './netd-offer.ts';

test('decoys keep the personas they were applied with, whatever the configuration has by now', () => {
  const groups = [group('dmz', 'claimed', ['10.0.0.0/24'], everybody('web'))];
  const { personas } = state(groups);
  const interfaces = { eth0: { promiscuous: true, diversions: ['dmz'] } };
  const view: NetworkView = { name: '', groups, personas, withheld: [], interfaces };
  const configuration = configurationOf('');
  assert.equal(configuration.personas.has('web'), false);
  const offer = describeOffer([view, { ...view, name: 'floor-3', netns: '/nowhere' }], configuration, []);
  assert.deepEqual(offer.personas, personas);
  assert.deepEqual(
    offer.networks.map(({ name }) => name),
    ['', 'floor-3'],
  );
  assert.deepEqual(doorNetworks([view])[0].interfaces[0].name, 'eth0');
});
