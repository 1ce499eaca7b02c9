// Bans as they are found in rules: whose jail, which set, and when taking the address out of it is the whole of a fix.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Address, parseAddress } from '../../model/address.ts';
import type { Machine, MachineNamespace } from '../../model/machine.ts';
import type { FilterChain, FilterElement, FilterPacket, FilterSet, PacketFilter } from '../../model/packet-filter.ts';
import { visitHook } from './filter-hop.ts';
import { planFixes } from './fixes.ts';
import type { WalkHop } from './hop.ts';

const at = (text: string): Address => parseAddress(text) as Address;
const packet: FilterPacket = {
  family: 4,
  protocol: 'tcp',
  source: at('10.0.0.7'),
  sourcePort: 50_000,
  destination: at('10.0.0.9'),
  destinationPort: 22,
  inputDevice: 'eth0',
  mark: 0,
  state: 'new',
  tcpFlags: 'syn',
};
const range = (first: string, last = first) => ({ first: at(first).value, last: at(last).value });

/** A chain of a jail with one rule, and the set it asks. */
function hopOf(backend: 'nft' | 'legacy', set: string, element: FilterElement, more: Partial<FilterSet> = {}): WalkHop {
  const place = { backend, family: backend === 'nft' ? 'inet' : 'ip', table: backend === 'nft' ? 'f2b-table' : 'filter' };
  const chain: FilterChain = {
    ...place,
    name: backend === 'nft' ? 'f2b-chain' : 'INPUT',
    base: { hook: 'input', type: 'filter', priority: 0, policy: 'accept', order: 1 },
    rules: [
      {
        ...place,
        chain: backend === 'nft' ? 'f2b-chain' : 'INPUT',
        handle: 4,
        text: `drop from ${set}`,
        statements: [
          {
            kind: 'set',
            left: { kind: 'field', field: 'ip.saddr' },
            set: backend === 'legacy' ? `ipset:${set}` : set,
            inverted: false,
          },
          { kind: 'drop' },
        ],
      },
    ],
  };
  const type = backend === 'nft' ? 'ipv4_addr' : 'hash:ip';
  const table = backend === 'nft' ? place.table : '';
  const sets: FilterSet[] = [{ ...place, table, name: set, type, elements: [element], truncated: false, ...more }];
  const filter: PacketFilter = { chains: [chain], sets, unreadable: [] };
  const namespace = { inode: '1', name: '', filter, links: [], routes: [], rules: [], listeners: [], queueConsumers: [] };
  const { hops } = visitHook({ namespace: namespace as unknown as MachineNamespace, hook: 'input', packet, way: 'there' });
  const found = hops.find(({ fault }) => fault);
  assert.equal(found?.fault?.id, 'banned', JSON.stringify(hops.map(({ detail }) => detail)));
  return found;
}

const fixOf = (hop: WalkHop): string => {
  const [{ cmd, undo }] = planFixes({ namespaces: [], processes: [] } as unknown as Machine, hop);
  return `${cmd} / ${undo}`;
};

test('a ban in a set of ipset is found there, and taken back with its time', () => {
  const banned = hopOf('legacy', 'f2b-sshd', { key: [range('10.0.0.7')], expires: 90 });
  assert.match(banned.fault?.detail ?? '', /jail sshd, for 90 s more/);
  assert.equal(fixOf(banned), 'ipset del f2b-sshd 10.0.0.7 / ipset add f2b-sshd 10.0.0.7 timeout 90');
  const forever = hopOf('legacy', 'f2b-sshd', { key: [range('10.0.0.7')] });
  assert.match(fixOf(forever), /^ipset del f2b-sshd 10\.0\.0\.7 \/ ipset add f2b-sshd 10\.0\.0\.7 timeout 0 /);
});

test('an element that holds others too stays: the fix is an exception for the one', () => {
  const nft = hopOf('nft', 'addr-set-sshd', { key: [range('10.0.0.7')], expires: 90, timeout: 600 });
  assert.match(fixOf(nft), /^nft delete element inet f2b-table addr-set-sshd '\{ 10\.0\.0\.7 \}'/);
  const wide = hopOf('nft', 'addr-set-sshd', { key: [range('10.0.0.0', '10.0.0.255')] });
  assert.match(fixOf(wide), /^nft insert rule inet f2b-table f2b-chain handle 4 ip saddr 10\.0\.0\.7 /);
  const wideIpset = hopOf('legacy', 'f2b-nets', { key: [range('10.0.0.0', '10.0.0.255')] });
  assert.match(fixOf(wideIpset), /^iptables-legacy .* -I INPUT 4 -s 10\.0\.0\.7 /);
});
