// Doubts that routes, segments and missing parts of the kernel bring, and none without them.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parseDockerPools } from '../kernel/neighbourhood.ts';
import { nftFeatures } from '../kernel/nft-features.ts';
import { parseAddress, parseRange, renderRange } from '../model/address.ts';
import type { DecoyGroup } from '../model/decoy.ts';
import type { MachineRoute } from '../model/machine.ts';
import { type NetworksInput, planNetworkPreflight } from './preflight-networks.ts';

const group = (kind: DecoyGroup['kind'], ...ranges: string[]): DecoyGroup => ({
  diversion: 'dmz',
  kind,
  ranges: ranges.map((text) => parseRange(text) ?? assert.fail(text)),
  population: { seed: 1, shares: [] },
  macs: {},
  place: { file: 'weir.yaml', line: 3 },
});

function route(text: string, device: string, protocol = 'static'): MachineRoute {
  const [ip, length] = text.split('/');
  const destination = parseAddress(ip) ?? assert.fail(ip);
  return {
    family: destination.family,
    table: 254,
    type: 'unicast',
    destination,
    prefixLength: Number(length),
    metric: 0,
    protocol,
    hops: [{ device }],
    text: `${text} dev ${device}`,
  };
}

const plan = (routes: readonly MachineRoute[], more: Partial<NetworksInput> = {}, groups = [group('claimed', '10.66.0.0/16')]) =>
  planNetworkPreflight({
    desired: {
      groups,
      interfaces: { dmz: 'eth0' },
      segments: [],
      guards: { ports: [], sources: [], resolvers: [] },
      personas: [],
    },
    facts: { links: [], listeners: [] },
    routes,
    missing: [],
    ...more,
  });

describe('doubts about networks beside the decoys', () => {
  it('tells a route into the decoys by another link, and no other route', () => {
    const [only, ...rest] = plan([
      route('10.66.7.0/24', 'wg0'),
      route('10.66.8.0/24', 'eth0'),
      route('10.66.9.0/24', 'eth1', 'kernel'),
      route('10.67.0.0/16', 'wg0'),
    ]);
    assert.match(only, /^decoys 10\.66\.7\.0\/24 of dmz are reached by the VPN on wg0 .*`exclude:`$/);
    assert.deepEqual(rest, []);
    assert.deepEqual(plan([route('10.66.7.0/24', 'wg0')], {}, [group('own', '10.66.7.1')]), []);
  });

  it('says of a segment that both work', () => {
    const inside = { groups: [group('claimed', '10.80.0.0/24')] };
    const desired = { groups: [], interfaces: {}, segments: [{ name: 'floor', inside }], guards: { ports: [] }, personas: [] };
    const found = plan([route('10.80.0.0/16', 'eth1', 'kernel')], { desired: desired as unknown as NetworksInput['desired'] });
    assert.equal(found.length, 1);
    assert.match(found[0], /^segment floor and eth1 .* both have 10\.80\.0\.0\/24: each works for itself/);
  });

  it('names what the kernel lacks with its cost; hooks of devices matter to claimed decoys alone', () => {
    const all = plan([], { missing: nftFeatures });
    assert.equal(all.length, nftFeatures.length);
    for (const line of all) assert.match(line, /^this kernel's nftables lacks \S+: .*; (load|use) /);
    const own = plan([], { missing: nftFeatures }, [group('own', '10.66.0.2')]);
    assert.equal(own.length, nftFeatures.length - 2);
  });

  it('is bounded', () => {
    const many = Array.from({ length: 200 }, (_, index) => route(`10.66.${index}.0/24`, 'wg0'));
    assert.match(plan(many).at(-1) ?? '', /^and 176 more/);
  });

  it("reads Docker's pools, and falls back on what is built in", () => {
    const pools = parseDockerPools('{"default-address-pools":[{"base":"10.200.0.0/16","size":24},{"base":7}]}');
    assert.deepEqual(pools?.map(renderRange), ['10.200.0.0/16']);
    for (const text of ['', '{}', '{"default-address-pools":7}', '[', 'null']) assert.equal(parseDockerPools(text), undefined);
  });
});
