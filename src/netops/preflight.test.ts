// Doubts about a plan: what each needs to be there, and that a machine without it gives none.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Link } from '../kernel/link-state.ts';
import { parseAddress, parseRange } from '../model/address.ts';
import type { DecoyGroup } from '../model/decoy.ts';
import type { FilterChain, FilterStatement, PacketFilter } from '../model/packet-filter.ts';
import { type PreflightInput, planPreflight } from './preflight.ts';

function link(name: string, addresses: readonly string[], more: Partial<Link> = {}): Link {
  return {
    name,
    mac: '02:00:00:00:00:01',
    mtu: 1500,
    ethernet: true,
    loopback: name === 'lo',
    up: true,
    promiscuous: false,
    addresses: addresses.map((text) => {
      const [ip, length] = text.split('/');
      return { address: parseAddress(ip) ?? assert.fail(ip), prefixLength: Number(length), scope: 'global', usable: true };
    }),
    ...more,
  };
}

const group = (...ranges: string[]): DecoyGroup => ({
  diversion: 'dmz',
  kind: 'claimed',
  ranges: ranges.map((text) => parseRange(text) ?? assert.fail(text)),
  population: { seed: 1, shares: [] },
  macs: {},
  place: { file: 'weir.yaml', line: 3 },
});

function chain(
  backend: 'nft' | 'legacy',
  table: string,
  hook: 'input' | 'forward',
  policy: 'accept' | 'drop',
  ...rules: FilterStatement[][]
): FilterChain {
  const place = { backend, family: 'ip', table };
  return {
    ...place,
    name: hook.toUpperCase(),
    base: { hook, type: 'filter', priority: 0, policy, order: 0 },
    rules: rules.map((statements, index) => ({
      ...place,
      chain: hook.toUpperCase(),
      handle: index + 1,
      text: `-A ${index}`,
      statements,
    })),
  };
}

const filterOf = (...chains: FilterChain[]): PacketFilter => ({ chains, sets: [], unreadable: [] });

const lan = link('eth0', ['10.66.0.2/16']);

const plan = (more: Partial<PreflightInput>, ...ranges: string[]): string[] =>
  planPreflight({
    desired: { groups: [group(...(ranges.length > 0 ? ranges : ['10.66.1.0/24']))], interfaces: { dmz: 'eth0' }, segments: [] },
    facts: { links: [lan] },
    filter: filterOf(),
    bridgeCallsIptables: false,
    ...more,
  });

const port = (first: number, last = first): FilterStatement => ({
  kind: 'compare',
  left: { kind: 'field', field: 'tcp.dport' },
  operator: '==',
  right: [[{ first: BigInt(first), last: BigInt(last) }]],
});

describe('what a plan should mind', () => {
  it('is nothing on a machine of its own', () => {
    assert.deepEqual(plan({}), []);
    assert.deepEqual(plan({ facts: { links: [lan, link('docker0', ['172.17.0.1/16'])] } }), []);
  });

  it('tells of networks of containers and VPNs in the ranges of decoys', () => {
    const links = [
      lan,
      link('docker0', ['172.17.0.1/16']),
      link('tun0', ['10.8.0.1/24'], { kind: 'tun' }),
      link('lo', ['10.9.0.1/24']),
    ];
    const told = plan({ facts: { links } }, '172.17.5.0/24', '10.8.0.128/25', '10.9.0.0/24');
    assert.equal(told.length, 2);
    assert.match(told[0], /^decoys 172\.17\.5\.0\/24 of dmz lie in Docker's network on docker0: .*`exclude:`/);
    assert.match(told[1], /^decoys 10\.8\.0\.128\/25 of dmz lie in the VPN on tun0/);
  });

  it('tells of addresses that Docker may take later, where there is Docker', () => {
    const links = [lan, link('docker0', ['172.17.0.1/16'])];
    assert.match(plan({ facts: { links } }, '192.168.7.0/24')[0], /192\.168\.7\.0\/24 .*default-address-pools/);
    assert.deepEqual(plan({}, '192.168.7.0/24'), []);
  });

  it('names the rule of either backend at which touches end, and which ports', () => {
    const legacy = chain('legacy', 'filter', 'input', 'accept', [port(22), { kind: 'drop' }], [port(400, 500), { kind: 'drop' }]);
    const told = plan({ filter: filterOf(legacy) });
    assert.match(told[0], /touches of decoys of dmz, at port 22, end at the iptables-legacy rule `-A 0` in ip filter INPUT/);
    assert.match(told[1], /at port 443, 445, end at the iptables-legacy rule `-A 1`/);
    const closed = plan({ filter: filterOf(chain('nft', 'filter', 'input', 'drop', [port(1, 65535), { kind: 'return' }])) });
    assert.match(closed[0], /at every port tried, end at the policy of filter INPUT/);
    // Our own rules refuse what a persona has closed.
    assert.deepEqual(plan({ filter: filterOf(chain('nft', 'weir', 'input', 'drop')) }), []);
    // A limit is no end.
    const limited = chain('nft', 'filter', 'input', 'accept', [
      { kind: 'undecided', text: 'limit', limited: true },
      { kind: 'drop' },
    ]);
    assert.deepEqual(plan({ filter: filterOf(limited) }), []);
  });

  it('says what it could not read', () => {
    assert.match(
      plan({ filter: { ...filterOf(), unreadable: ['legacy tables filter: not installed'] } })[0],
      /not known .*legacy tables filter/,
    );
  });

  it('tells of bridged frames that pass the firewall', () => {
    const bridge = link('eth0', ['10.66.0.2/16'], { kind: 'bridge' });
    const filter = filterOf(chain('nft', 'filter', 'forward', 'drop'));
    const more = { facts: { links: [bridge] }, filter };
    assert.match(
      plan({ ...more, bridgeCallsIptables: true })[0],
      /br_netfilter.*the policy of filter FORWARD.*bridge-nf-call-iptables/,
    );
    assert.deepEqual(plan(more), []);
  });
});
