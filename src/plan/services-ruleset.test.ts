import assert from 'node:assert/strict';
import { test } from 'node:test';
import { renderTables } from '../kernel/nft-render.ts';
import { type AddressRange, parseRange } from '../model/address.ts';
import type { Population } from '../model/population.ts';
import type { ServicePort } from './services-network.ts';
import { planBoundTable, planServicesTable } from './services-ruleset.ts';

const population = (share: number): Population => ({ seed: 9, shares: [{ persona: 'web', share }] });

const port = (number: number, ranges: string[], share = 10_000): ServicePort => ({
  network: `n${number}`,
  netns: `/run/netns/n${number}`,
  lower: 'lan',
  number,
  link: `p${number}`,
  mac: `52:54:00:00:00:0${number % 10}`,
  bound: [{ ranges: ranges.map((text) => parseRange(text) as AddressRange), population: population(share) }],
  waysBack: [],
  ways: [{ ranges: ranges.map((text) => parseRange(text) as AddressRange), leg: 'leg1', via: '10.1.0.9' }],
});

const legs = [{ interface: 'wire0', link: 'leg1', mac: '52:54:00:00:00:99', addresses: ['10.1.0.1/24'] }];
const textOf = (...ports: ServicePort[]): string => renderTables([planServicesTable({ ports, legs, routes: [], dials: [] })]);

test('zones and unclashing only where two networks have decoys in common', () => {
  const apart = textOf(port(1001, ['10.0.0.0/25']), port(1002, ['10.0.0.128/25']));
  assert.doesNotMatch(apart, /type nat|zone/);
  const common = textOf(port(1001, ['10.0.0.0/24']), port(1002, ['10.0.0.255']));
  assert.match(common, /ct original zone set iifname map \{ p1001 : 1001, p1002 : 1002 \}/);
  assert.match(common, /type nat hook prerouting priority -100/);
  assert.match(common, /type nat hook postrouting priority 100/);
});

test('what no rule lets through stays: forwarded, begun by a service, or meant for the namespace itself', () => {
  const text = textOf(port(1001, ['10.0.0.0/24']));
  const chain = (name: string): string[] =>
    (new RegExp(`  chain ${name} \\{\\n([\\s\\S]*?)\\n  \\}`).exec(text)?.[1] ?? '').split('\n').map((line) => line.trim());
  assert.equal(chain('answer').at(-1), 'counter drop');
  for (const name of ['pass', 'self-input', 'self-output']) assert.equal(chain(name).at(-1), 'drop');
  assert.match(chain('answer')[0], /^ct state \{ established, related \} meta mark set ct mark accept$/);
});

test('frames change namespaces for the living of a bound range alone', () => {
  const text = renderTables([planBoundTable([port(1001, ['10.0.0.0/24', '2001:db8::/64'], 4000)])]);
  assert.match(text, /10\.0\.0\.0\/24 : goto bound-1001-0\.v4/);
  assert.match(text, /jhash ip daddr mod 10000 seed 0x9 >= 4000 accept\n {4}ether daddr set 52:54:00:00:00:01/);
  assert.match(text, /jhash ip6 daddr mod 10000 seed 0x9 >= 4000 accept\n {4}ether daddr set 52:54:00:00:00:01/);
  assert.match(text, /type filter hook ingress device "lan" priority -50; policy accept;\n {4}meta pkttype != host accept/);
  assert.doesNotMatch(renderTables([planBoundTable([port(1001, ['10.0.0.0/24'])])]), /jhash|ip6/);
});
