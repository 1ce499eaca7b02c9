// Who hears a frame: whoever has the address, and whoever forwards and answers in its place.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Address, parseAddress } from '../../model/address.ts';
import type { Machine, MachineLink, MachineNamespace } from '../../model/machine.ts';
import { findOnWire } from './wire.ts';

const at = (text: string): Address => parseAddress(text) as Address;
const veth = (index: number, name: string, peer: number, netns: string): MachineLink =>
  ({
    index,
    name,
    mac: '',
    up: true,
    operstate: 'up',
    addresses: [],
    kind: 'veth',
    peer: { index: peer, netns },
  }) as unknown as MachineLink;
const rules = [{ family: 4, priority: 32_766, action: 'lookup', table: 254, inverted: false, text: '' }];

/** A pod whose gateway is 169.254.1.1, as Calico makes them, and the host's end of its wire. */
function landsOn(sysctls: Readonly<Record<string, string>>, by = 'eth0'): string {
  const pod = { inode: 'pod', name: 'pod', links: [veth(2, 'eth0', 9, 'host')], routes: [], rules, sysctls: {} };
  const outward = {
    family: 4,
    table: 254,
    type: 'unicast',
    destination: at('0.0.0.0'),
    prefixLength: 0,
    metric: 0,
    hops: [{ device: by }],
  };
  const host = { inode: 'host', name: 'host', links: [veth(9, 'cali9', 2, 'pod')], routes: [outward], rules, sysctls };
  const machine = { namespaces: [pod, host] } as unknown as Machine;
  const start = { namespace: pod as unknown as MachineNamespace, link: pod.links[0] };
  return findOnWire(machine, start, { address: at('169.254.1.1') }).landing?.link.name ?? 'nobody';
}

test('a device that forwards answers for what it would send out by another: proxy ARP', () => {
  const forwarding = { 'net/ipv4/conf/cali9/forwarding': '1' };
  assert.equal(landsOn({ ...forwarding, 'net/ipv4/conf/cali9/proxy_arp': '1' }), 'cali9');
  assert.equal(landsOn({ ...forwarding, 'net/ipv4/conf/all/proxy_arp': '1' }), 'cali9');
  assert.equal(landsOn(forwarding), 'nobody');
  assert.equal(landsOn({ 'net/ipv4/conf/cali9/proxy_arp': '1' }), 'nobody', 'it does not forward');
  assert.equal(landsOn({ ...forwarding, 'net/ipv4/conf/cali9/proxy_arp': '1' }, 'cali9'), 'nobody', 'by the same device');
});

test('who has the address answers before who would answer in its place, unless the way there is down', () => {
  const lands = (ownerUp: boolean): string => {
    const port = (index: number, name: string, netns: string, up = true) => ({
      ...veth(index, name, 2, netns),
      master: 'br0',
      up,
    });
    const bridge = { index: 1, name: 'br0', mac: '', up: true, operstate: 'up', addresses: [], kind: 'bridge' };
    const ports = [port(11, 'p1', 'asker'), port(12, 'p2', 'proxy'), port(13, 'p3', 'owner', ownerUp)];
    const none = { routes: [], rules, sysctls: {} };
    const outward = {
      family: 4,
      table: 254,
      type: 'unicast',
      destination: at('0.0.0.0'),
      prefixLength: 0,
      metric: 0,
      hops: [{ device: 'wan' }],
    };
    const forwarding = { 'net/ipv4/conf/eth0/forwarding': '1', 'net/ipv4/conf/eth0/proxy_arp': '1' };
    const address = at('10.0.0.9');
    const own = { ...veth(2, 'eth0', 13, 'switch'), addresses: [{ address, prefixLength: 24, usable: true }] };
    const local = { ...outward, table: 255, type: 'local', destination: address, prefixLength: 32, hops: [{ device: 'eth0' }] };
    const inLocal = [{ family: 4, priority: 0, action: 'lookup', table: 255, inverted: false, text: '' }, ...rules];
    const asker = { inode: 'asker', name: 'asker', links: [veth(2, 'eth0', 11, 'switch')], ...none };
    const namespaces = [
      asker,
      { inode: 'switch', name: 'switch', links: [bridge, ...ports], ...none },
      { ...none, inode: 'proxy', name: 'proxy', links: [veth(2, 'eth0', 12, 'switch')], routes: [outward], sysctls: forwarding },
      { ...none, inode: 'owner', name: 'owner', links: [own], routes: [local], rules: inLocal },
    ];
    const start = { namespace: asker as unknown as MachineNamespace, link: asker.links[0] };
    return findOnWire({ namespaces } as unknown as Machine, start, { address }).landing?.namespace.name ?? 'nobody';
  };
  assert.equal(lands(true), 'owner');
  assert.equal(lands(false), 'proxy');
});
