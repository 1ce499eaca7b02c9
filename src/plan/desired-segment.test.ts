// A network diversion becomes a segment: its names, its size, who is left alone, and what its namespace needs.

import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { group, rangeOf } from '../../test/support/golden-states.ts';
import { interfaceAddress, servers, vxlanSegment, withSegments } from '../../test/support/segment-bed.ts';
import { type AddressRange, overlapRanges, renderRange, uniteRanges } from '../model/address.ts';
import type { NetworkDiversion } from '../model/configuration.ts';
import { planSegment, segmentAlias, segmentMac, segmentNetns, segmentTag } from './desired-segment.ts';
import type { DesiredSysctl } from './desired-state.ts';

const planned = (diversion: NetworkDiversion): ReturnType<typeof planSegment> =>
  planSegment(diversion, {
    configuration: withSegments([diversion]),
    facts: { links: [], gateways: [] },
    ports: { tcp: 7, udp: 8, narrow: 9 },
    tag: '0a1b',
  });

const sysctlOf = (sysctls: readonly DesiredSysctl[], key: string): string | undefined =>
  sysctls.find((sysctl) => sysctl.key === key)?.value;

test('names and marks carry the data directory and the diversion, and are the same each time', () => {
  assert.match(segmentTag('/var/lib/weir'), /^[0-9a-f]{4}$/);
  assert.equal(segmentTag('/var/lib/weir'), segmentTag('/var/lib/weir'));
  assert.notEqual(segmentTag('/var/lib/weir'), segmentTag('/srv/weir'));
  assert.equal(segmentNetns('0a1b', 'floor-3'), 'weir-0a1b-floor-3');
  assert.equal(segmentAlias('0a1b', 'floor-3'), 'weir:0a1b:floor-3');
  assert.match(segmentMac('weir:0a1b:floor-3'), /^02(:[0-9a-f]{2}){5}$/);
  assert.notEqual(segmentMac('weir:0a1b:floor-3'), segmentMac('weir:0a1b:floor-4'));
});

test("Weir's own addresses, gateways and the edges of subnets are nobody's decoys, and that is said", () => {
  const { segment, notes } = planned(
    vxlanSegment('floor-3', {
      vni: 10,
      addresses: ['192.168.50.2/24', '192.168.51.2/25', 'fd50::2/64'],
      gateways: ['192.168.50.1', 'fd50::1'],
      groups: [group('floor-3', 'claimed', ['192.168.50.0/23', 'fd50::/124'], servers)],
    }),
  );
  assert.deepEqual(segment.inside.groups[0].ranges.map(renderRange), [
    '192.168.50.3-192.168.50.254',
    '192.168.51.1',
    '192.168.51.3-192.168.51.126',
    '192.168.51.128/25',
    'fd50::3-fd50::f',
  ]);
  assert.equal(notes.length, 1);
  for (const address of ['192.168.50.1', '192.168.50.2', '192.168.50.255', '192.168.51.0', '192.168.51.127', 'fd50::', 'fd50::1'])
    assert.ok(notes[0].includes(`${address} (`), address);
});

test('no address that is left alone is ever a decoy, and nothing else is lost', () => {
  const ranges = fc.array(
    fc.tuple(fc.nat(250), fc.nat(40)).map(
      ([first, length]): AddressRange => ({
        family: 4,
        first: BigInt(0x0a000000 + first),
        last: BigInt(0x0a000000 + Math.min(255, first + length)),
      }),
    ),
    { minLength: 1, maxLength: 5 },
  );
  fc.assert(
    fc.property(ranges, fc.integer({ min: 24, max: 30 }), fc.nat(255), fc.nat(255), (some, length, own, gateway) => {
      const asked = uniteRanges(some);
      const diversion = vxlanSegment('floor-3', {
        vni: 10,
        addresses: [`10.0.0.${own}/${length}`],
        gateways: [`10.0.0.${gateway}`],
        groups: [group('floor-3', 'claimed', asked.map(renderRange), servers)],
      });
      const kept = planned(diversion).segment.inside.groups.flatMap((one) => one.ranges);
      const size = 2 ** (32 - length);
      const first = Math.floor(own / size) * size;
      const holes = [own, gateway, first, first + size - 1].map((last) => rangeOf(`10.0.0.${last}`));
      assert.deepEqual(overlapRanges(kept, holes), []);
      const lost = [...asked].flatMap(({ first: from, last }) => {
        const missing: number[] = [];
        for (let value = from; value <= last; value += 1n)
          if (!kept.some((range) => range.first <= value && value <= range.last)) missing.push(Number(value & 255n));
        return missing;
      });
      for (const one of lost) assert.ok([own, gateway, first, first + size - 1].includes(one), `${one} was lost`);
    }),
  );
});

test('a segment without decoys wears no MAC, and one without IPv6 says nothing in IPv6', () => {
  const bare = planned(vxlanSegment('bare', { vni: 10, groups: [] })).segment;
  assert.deepEqual([bare.inside.macLinks, bare.inside.interfaces], [[], {}]);
  assert.equal(sysctlOf(bare.inside.sysctls, 'net/ipv6/conf/lan/disable_ipv6'), '1');
  assert.equal(sysctlOf(bare.inside.sysctls, 'net/ipv6/conf/lan/accept_ra'), undefined);
  const six = planned(vxlanSegment('six', { vni: 10, addresses: ['fd50::2/64'], groups: [] })).segment;
  assert.equal(sysctlOf(six.inside.sysctls, 'net/ipv6/conf/lan/disable_ipv6'), '0');
  assert.equal(sysctlOf(six.inside.sysctls, 'net/ipv6/conf/lan/accept_ra'), '0');
  assert.deepEqual(six.addresses, [interfaceAddress('fd50::2/64')]);
});

test('a segment never forwards, also when a service answers for its decoys, and shows nothing of its loopback', () => {
  const diversion = vxlanSegment('floor-3', { vni: 10, addresses: ['192.168.50.2/24', 'fd50::2/64'] });
  const binding = { diversion: 'floor-3', addresses: [rangeOf('192.168.50.40')], service: 'win', place: { file: '', line: 0 } };
  for (const bindings of [[], [binding]]) {
    const { segment } = planSegment(diversion, {
      configuration: { ...withSegments([diversion]), bindings },
      facts: { links: [], gateways: [] },
      ports: { tcp: 7, udp: 8, narrow: 9 },
      tag: '0a1b',
    });
    for (const key of ['ipv4/conf/lan/forwarding', 'ipv6/conf/lan/forwarding', 'ipv4/conf/all/route_localnet'])
      assert.equal(sysctlOf(segment.inside.sysctls, `net/${key}`), '0', key);
  }
});
