// Where a packet may begin: the places in their order, and none of them taken silently where there are several.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Address, parseAddress } from '../../model/address.ts';
import type { Machine, MachineLink, MachineNamespace } from '../../model/machine.ts';
import { optionsFor, placeWords, type StartWish, startPlaces } from './start-place.ts';

const at = (text: string): Address => parseAddress(text) as Address;

const link = (index: number, name: string, prefix: string | undefined, more: Partial<MachineLink> = {}): MachineLink => {
  const [host, length] = (prefix ?? '').split('/');
  const addresses = prefix === undefined ? [] : [{ address: at(host), prefixLength: Number(length), usable: true }];
  return { index, name, mac: '', mtu: 1500, up: true, operstate: 'up', addresses, ...more };
};
const route = (prefix: string, device: string) => {
  const [host, length] = prefix.split('/');
  const where = { table: 254, family: 4, type: 'unicast', metric: 0, protocol: 'static', text: prefix } as const;
  return { ...where, destination: at(host), prefixLength: Number(length), hops: [{ device }] };
};
const rules = [{ family: 4, priority: 32_766, action: 'lookup', table: 254, inverted: false, text: '' }] as const;
const space = (inode: string, links: MachineLink[], routes: ReturnType<typeof route>[] = []): MachineNamespace =>
  ({ inode, name: inode, links, routes, rules, sysctls: {} }) as unknown as MachineNamespace;

const container = (inode: string, address: string): MachineNamespace =>
  space(inode, [link(2, 'eth0', address, { kind: 'veth', peer: { index: 9, netns: 'home' } })]);
const home = space(
  'home',
  [
    link(1, 'lo', '127.0.0.1/8'),
    link(2, 'eth0', '192.0.2.10/24'),
    link(3, 'eth1', '10.1.0.10/16'),
    link(4, 'br-0', '10.50.0.1/16', { kind: 'bridge' }),
    link(9, 'veth9', undefined, { kind: 'veth', master: 'br-0', peer: { index: 2, netns: 'box' } }),
  ],
  [route('0.0.0.0/0', 'eth0'), route('10.7.0.0/16', 'eth1'), route('10.50.0.0/16', 'br-0'), route('10.1.0.0/16', 'eth1')],
);
const machine = { namespaces: [home, container('box', '10.50.0.2/16')] } as unknown as Machine;

const places = (source: string, destination: string, more: Partial<StartWish> = {}, of = machine): string =>
  startPlaces(of, of.namespaces[0], { source: at(source), destination: at(destination), ...more })
    .map(placeWords)
    .join(', ');

test('the link whose network the source is in comes before the way back, and that before the address asked for', () => {
  assert.equal(places('10.1.0.77', '192.0.2.10'), 'in by eth1, in by eth0');
  assert.equal(places('10.7.0.5', '192.0.2.10'), 'in by eth1, in by eth0');
  assert.equal(places('192.0.2.77', '192.0.2.10'), 'in by eth0');
  assert.equal(places('203.0.113.5', '192.0.2.10'), 'in by eth0');
  assert.equal(places('203.0.113.5', '192.0.2.10', { iif: 'eth1' }), 'in by eth1');
});

test('no stranger comes in by a bridge of containers that are all seen, though the way back leads there', () => {
  assert.equal(places('10.50.7.7', '192.0.2.10'), 'in by eth0');
  const trunk = { ...home, links: [...home.links, link(12, 'eth2', undefined, { master: 'br-0' })] };
  const other = { namespaces: [trunk, machine.namespaces[1]] } as unknown as Machine;
  assert.equal(places('10.50.7.7', '192.0.2.10', {}, other), 'in by br-0, in by eth0', 'one with a port to the outside may');
});

test('a container that has the address is not the only one who may', () => {
  assert.equal(places('10.50.0.2', '192.0.2.10'), 'from box');
  const [place] = startPlaces(machine, home, { source: at('10.50.0.2'), destination: at('192.0.2.10') });
  assert.match(place.assumed ?? '', /that of box is meant; another host may have the same address/);
  const lan = { namespaces: [home, container('box', '10.1.0.77/16')] } as unknown as Machine;
  assert.equal(places('10.1.0.77', '192.0.2.10', {}, lan), 'from box, in by eth1');
  const twice = { namespaces: [...machine.namespaces, container('two', '10.50.0.2/16')] } as unknown as Machine;
  assert.equal(places('10.50.0.2', '192.0.2.10', {}, twice), 'from box, from two');
  assert.equal(places('192.0.2.10', '10.50.0.2'), 'from home');
  const of = (count: number) => {
    const boxes = Array.from({ length: count }, (_, index) => container(index === 0 ? 'box' : `box${index}`, '10.50.0.2/16'));
    const many = { namespaces: [home, ...boxes] } as unknown as Machine;
    return startPlaces(many, home, { source: at('10.50.0.2'), destination: at('192.0.2.10') });
  };
  assert.deepEqual([of(4).length, of(4)[0].unwalked], [4, undefined]);
  assert.deepEqual([of(7).length, of(7)[0].unwalked, of(7)[1].unwalked], [4, 3, undefined], 'those beyond are told');
});

test('the options that are told are those that choose: a namespace where it is one, a link where it comes in by one', () => {
  const [one, two] = [container('box', '10.50.0.2/16'), { ...container('4026', '10.50.0.2/16'), name: '' }];
  assert.equal(optionsFor([{ namespace: one }, { namespace: two }]), '--netns box or --netns 4026');
  assert.equal(optionsFor([{ namespace: one }, { namespace: home, iif: 'eth1' }]), '--iif or --netns box');
  assert.equal(
    optionsFor([
      { namespace: home, iif: 'eth0' },
      { namespace: home, iif: 'eth1' },
    ]),
    '--iif',
  );
});
