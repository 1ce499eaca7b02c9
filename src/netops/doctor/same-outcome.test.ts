// Two ways of one kind of cause: the same only where it is one rule, one place and one fix.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Address, parseAddress } from '../../model/address.ts';
import type { CauseId } from '../../model/diagnosis.ts';
import type { Machine, MachineNamespace } from '../../model/machine.ts';
import type { FilterPacket, RulePlace } from '../../model/packet-filter.ts';
import { type FaultParts, hopOf, type WalkHop } from './hop.ts';
import { sameOutcome } from './same-outcome.ts';

const at = (text: string): Address => parseAddress(text) as Address;
const machine = { namespaces: [], processes: [] } as unknown as Machine;
const space = (inode: string): MachineNamespace =>
  ({ inode, name: '', links: [], routes: [], rules: [], qdiscs: [], sysctls: {} }) as unknown as MachineNamespace;
const packet = {
  family: 4,
  protocol: 'tcp',
  source: at('10.0.0.7'),
  sourcePort: 50_000,
  destination: at('10.0.0.9'),
  destinationPort: 443,
  mark: 0,
  state: 'new',
} as unknown as FilterPacket;
const rule = (handle: number): RulePlace =>
  ({ backend: 'nft', family: 'inet', table: 'lab', chain: 'in', handle, text: 'drop' }) as unknown as RulePlace;

const cause = (id: CauseId, layer: string, parts: FaultParts, dev?: string, inode = '1'): WalkHop =>
  hopOf(
    { namespace: space(inode), way: 'there' },
    {
      layer,
      state: 'fail',
      detail: id,
      ...(dev && { dev }),
      fault: { id, detail: id, effect: 'silence', parts: { packet, ...parts } },
    },
  );
const same = (a: WalkHop | undefined, b: WalkHop | undefined): boolean =>
  sameOutcome(machine, { verdict: 'unreachable', ...(a && { cause: a }) }, { verdict: 'unreachable', ...(b && { cause: b }) });

test('one rule is one cause by whichever device; two rules are two', () => {
  const drop = (handle: number, dev: string, inode?: string) =>
    cause('fw-rule-drop', 'filter', { rule: rule(handle) }, dev, inode);
  assert.ok(same(drop(7, 'eth0'), drop(7, 'eth1')), 'though each fix has a comment of its own');
  assert.ok(!same(drop(7, 'eth0'), drop(8, 'eth1')));
  assert.ok(!same(drop(7, 'eth0'), drop(7, 'eth0', '2')), 'in another namespace');
});

test('a device that is the cause, and a fix that is another, tell two ways apart; a socket is one', () => {
  const reverse = (dev: string) => cause('rpfilter', 'route', { inputDevice: dev }, dev);
  assert.ok(same(reverse('eth0'), reverse('eth0')));
  assert.ok(!same(reverse('eth0'), reverse('eth1')));
  const back = (dev: string) => cause('no-return-route', 'route', { address: at('10.0.0.7'), inputDevice: dev });
  assert.ok(!same(back('eth0'), back('eth1')), 'the way back is written by another device');
  const nobody = (dev: string) => cause('service-not-listening', 'socket', {}, dev);
  assert.ok(same(nobody('eth0'), nobody('eth1')));
  assert.ok(!same(nobody('eth0'), undefined));
  assert.ok(!sameOutcome(machine, { verdict: 'reachable' }, { verdict: 'inconclusive' }));
});
