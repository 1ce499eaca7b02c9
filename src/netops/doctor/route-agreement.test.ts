// What the kernel says of a route against what the tables say: the same, or a contradiction with both sides in it.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Address, parseAddress } from '../../model/address.ts';
import type { MachineRoute, MachineRule } from '../../model/machine.ts';
import { contradiction, type KernelRoute } from './route-agreement.ts';
import type { RouteDecision } from './route-decision.ts';

const at = (text: string): Address => parseAddress(text) as Address;
const rule = {} as MachineRule;

const decided = (...hops: MachineRoute['hops']): RouteDecision => ({
  kind: 'route',
  route: { type: 'unicast', hops } as unknown as MachineRoute,
  rule,
  ...hops[0],
});
const by = (device: string, via?: string): KernelRoute => ({
  text: '',
  outcome: { kind: 'device', device, ...(via !== undefined && { via: at(via) }) },
});
const error = (errno: string): KernelRoute => ({ text: '', outcome: { kind: 'error', errno } });
const here: KernelRoute = { text: '', outcome: { kind: 'local' } };
const first = { device: 'eth0', via: at('10.0.0.1') };

test('another device, another gateway, an error: each is a contradiction, and both are said', () => {
  assert.equal(contradiction(decided(first), by('eth0', '10.0.0.1')), undefined);
  const said = contradiction(decided(first), by('eth0', '10.0.0.2')) ?? assert.fail();
  assert.match(said, /by eth0 via 10\.0\.0\.1, the kernel says by eth0 via 10\.0\.0\.2$/);
  assert.match(contradiction(decided(first), by('wg0')) ?? '', /kernel says by wg0/);
  assert.match(contradiction(decided(first), here) ?? '', /kernel says here/);
  assert.match(contradiction(decided(first), error('EACCES')) ?? '', /kernel says EACCES/);
  assert.match(contradiction({ kind: 'none' }, by('eth0')) ?? '', /no way, the kernel says by eth0/);
});

test('no contradiction: either of several hops, an error that was foreseen, and where one side says nothing', () => {
  const two = decided(first, { device: 'eth1', via: at('10.1.0.1') });
  assert.equal(contradiction(two, by('eth1', '10.1.0.1')), undefined);
  assert.match(contradiction(two, by('eth2')) ?? '', /10\.0\.0\.1 or by eth1 via 10\.1\.0\.1, the kernel says by eth2/);
  const dead = decided({ ...first, dead: true }, { device: 'eth1', via: at('10.1.0.1') });
  assert.equal(
    contradiction({ ...dead, device: 'eth1', via: at('10.1.0.1') } as RouteDecision, by('eth1', '10.1.0.1')),
    undefined,
  );
  assert.equal(contradiction({ kind: 'none' }, error('ENETUNREACH')), undefined);
  assert.equal(contradiction({ kind: 'refused', rule, how: 'prohibit' }, error('EACCES')), undefined);
  assert.equal(contradiction(decided(first), error('EINVAL'), ['EINVAL']), undefined);
  assert.equal(contradiction({ kind: 'unknown', why: 'a rule' }, by('eth0')), undefined);
  assert.equal(contradiction(decided(first), undefined), undefined);
});
