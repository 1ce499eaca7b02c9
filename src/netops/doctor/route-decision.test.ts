// Rules and tables against packets: what the kernel would choose, and by which line.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Address, parseAddress } from '../../model/address.ts';
import type { MachineNamespace, MachineRoute, MachineRule } from '../../model/machine.ts';
import type { FilterPacket } from '../../model/packet-filter.ts';
import { decideRoute, isLocalAddress, type RouteDecision } from './route-decision.ts';
import { checkReversePath } from './route-hop.ts';

const at = (text: string): Address => parseAddress(text) as Address;

function route(text: string): MachineRoute {
  const [type, prefix, device = '', table = '254', metric = '0', via = ''] = text.split(' ');
  const [host, length] = prefix.split('/');
  const hop = { ...(device && device !== '-' && { device }), ...(via && { via: at(via) }) };
  return {
    family: 4,
    table: Number(table),
    type,
    destination: at(host),
    prefixLength: Number(length),
    metric: Number(metric),
    protocol: 'static',
    hops: type === 'unicast' || type === 'local' ? [hop] : [],
    text,
  };
}

function rule(priority: number, action: string, extra: Partial<MachineRule> = {}): MachineRule {
  const table = /^\d+$/.test(action) ? Number(action) : undefined;
  return {
    family: 4,
    priority,
    action: table === undefined ? action : 'lookup',
    ...(table !== undefined && { table }),
    inverted: false,
    text: `${priority}: ${action}`,
    ...extra,
  };
}

const usual = [rule(0, '255'), rule(32_766, '254'), rule(32_767, '253')];
const place = (routes: string[], rules: MachineRule[] = usual): MachineNamespace =>
  ({ routes: routes.map(route), rules }) as unknown as MachineNamespace;
const words = (decision: RouteDecision): string =>
  decision.kind === 'route'
    ? `${decision.route.type} ${decision.device ?? ''}`
    : decision.kind === 'refused'
      ? `refused ${decision.how}`
      : decision.kind;

const host = place([
  'local 10.0.0.2/32 eth0 255',
  'local 127.0.0.0/8 lo 255',
  'unicast 10.0.0.0/24 eth0',
  'unicast 192.168.0.0/20 br-1',
  'unicast 0.0.0.0/0 eth0 254 100 10.0.0.1',
  'unicast 0.0.0.0/0 wlan0 254 600 10.9.0.1',
  'blackhole 198.51.100.0/24',
]);

test('the longest prefix wins, then the smallest metric; what is refused says so', () => {
  for (const [to, expected] of [
    ['10.0.0.2', 'local eth0'],
    ['127.4.5.6', 'local lo'],
    ['10.0.0.77', 'unicast eth0'],
    ['192.168.0.3', 'unicast br-1'],
    ['192.168.16.3', 'unicast eth0'],
    ['198.51.100.9', 'refused blackhole'],
  ])
    assert.equal(words(decideRoute(host, { to: at(to) })), expected, to);
  assert.equal(words(decideRoute(place([]), { to: at('10.0.0.2') })), 'none');
  assert.equal(words(decideRoute(host, { to: at('203.0.113.1'), oif: 'wlan0' })), 'unicast wlan0');
});

test('rules by priority: source, destination, device, mark, inversion, throw, goto, and what cannot be told', () => {
  const other = ['unicast 0.0.0.0/0 tun0 99', 'throw 10.7.0.0/16 - 99', 'unicast 0.0.0.0/0 eth0'];
  const to = { address: at('10.50.0.0'), prefixLength: 16 };
  const through = (extra: Partial<MachineRule>, action = '99') => place(other, [...usual, rule(100, action, extra)]);
  const ask = (namespace: MachineNamespace, wish: { from?: string; iif?: string; mark?: number; to?: string }): string =>
    words(
      decideRoute(namespace, {
        to: at(wish.to ?? '10.50.1.1'),
        ...(wish.from && { from: at(wish.from) }),
        ...(wish.iif && { iif: wish.iif }),
        ...(wish.mark && { mark: wish.mark }),
      }),
    );
  assert.equal(ask(through({ to }), {}), 'unicast tun0');
  assert.equal(ask(through({ to }), { to: '10.51.1.1' }), 'unicast eth0');
  assert.equal(ask(through({ to, inverted: true }), { to: '10.51.1.1' }), 'unicast tun0');
  assert.equal(ask(through({}), { to: '10.7.1.1' }), 'unicast eth0', 'throw goes on with the next rule');
  assert.equal(ask(through({ from: to }), { from: '10.50.9.9' }), 'unicast tun0');
  assert.equal(ask(through({ from: to }), {}), 'unicast eth0', 'a source that is not known yet matches no prefix');
  assert.equal(ask(through({ iif: 'eth1' }), { iif: 'eth1' }), 'unicast tun0');
  assert.equal(ask(through({ iif: 'lo' }), {}), 'unicast tun0', 'what is made here comes from lo');
  assert.equal(ask(through({ mark: { value: 1, mask: 1 } }), { mark: 3 }), 'unicast tun0');
  assert.equal(ask(through({ mark: { value: 1, mask: 1 } }), { mark: 2 }), 'unicast eth0');
  assert.equal(ask(through({}, 'prohibit'), {}), 'refused prohibit');
  assert.equal(ask(through({}, 'l3mdev'), {}), 'unknown', 'the rule of VRFs refuses nothing');
  assert.equal(ask(through({}, 'action 9'), {}), 'unknown');
  assert.equal(ask(through({ other: 'uidrange 0-0' }), {}), 'unknown');
  assert.equal(ask(through({ other: 'uidrange 0-0', to }), { to: '10.51.1.1' }), 'unicast eth0');
  const jump = place(other, [...usual, rule(50, 'goto', { text: '50: from all goto 32766' }), rule(100, '99')]);
  assert.equal(ask(jump, {}), 'unicast eth0');
});

test('routes whose every next hop is dead are not taken; ranges of AnyIP are local', () => {
  const [dead] = [route('unicast 10.0.0.0/24 eth0')].map((one) => ({ ...one, hops: [{ device: 'eth0', dead: true }] }));
  const namespace = { routes: [dead, route('unicast 0.0.0.0/0 eth1')], rules: usual } as unknown as MachineNamespace;
  assert.equal(words(decideRoute(namespace, { to: at('10.0.0.9') })), 'unicast eth1');
  assert.equal(isLocalAddress(place(['local 10.66.0.0/17 lo 255']), at('10.66.99.1')), true);
  assert.equal(isLocalAddress(place(['local 10.66.0.0/17 lo 255']), at('10.67.0.1')), false);
});

test('the way back that rp_filter looks for is without the mark, unless it is asked to count', () => {
  const routes = ['unicast 0.0.0.0/0 eth1', 'unicast 0.0.0.0/0 eth0 99'];
  const packet = { family: 4, source: at('10.9.0.1'), destination: at('10.0.0.2'), mark: 1 } as unknown as FilterPacket;
  const judged = (sysctls: Record<string, string>): string | undefined => {
    const namespace = place(routes, [...usual, rule(100, '99', { mark: { value: 1, mask: 1 } })]);
    return checkReversePath({ ...namespace, sysctls: { 'net/ipv4/conf/eth0/rp_filter': '1', ...sysctls } }, 'eth0', packet)
      ?.state;
  };
  assert.equal(judged({}), 'fail');
  assert.equal(judged({ 'net/ipv4/conf/eth0/src_valid_mark': '1' }), undefined);
  assert.equal(judged({ 'net/ipv4/conf/all/src_valid_mark': '1' }), undefined);
});
