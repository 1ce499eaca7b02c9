// In which order settings are brought back: what closes before what opens, nothing empty or missing in between, and what the kernel changes
// along with a value put right behind it. Kernels themselves: test/kernel/netops-baseline.test.ts.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { NetworkSettings } from '../../model/network-settings.ts';
import { canonicalIpsets, ipsetSteps } from './canonical-ipsets.ts';
import { canonicalRoutes, routeKeeper, routeSteps } from './canonical-routes.ts';
import { canonicalIptables, iptablesSteps } from './canonical-rules.ts';
import { changesEveryDevice, sysctlSteps } from './canonical-sysctls.ts';
import { planSettings } from './settings-steps.ts';

const settings = (parts: NetworkSettings['parts']): NetworkSettings => ({ takenAt: 0, parts, missing: [] });

const sysctls = (values: Readonly<Record<string, string | number>>): string =>
  Object.entries(values)
    .map(([key, value]) => `net/${key} = ${value}\n`)
    .join('');

const written = (steps: readonly { readonly args: readonly string[]; readonly input: string }[]): string[] =>
  steps.map(({ args, input }) => `${args[0].replace('/proc/sys/net/', '')}=${input}`);

describe('sysctls', () => {
  const devices = (all: number, eth0: number, eth1: number, redirects: number): string =>
    sysctls({
      'ipv4/ip_forward': all,
      'ipv4/conf/all/forwarding': all,
      'ipv4/conf/all/accept_redirects': redirects,
      'ipv4/conf/default/forwarding': all,
      'ipv4/conf/eth0/forwarding': eth0,
      'ipv4/conf/eth1/forwarding': eth1,
    });

  it('behind the switch of forwarding bring back what it changes: devices, and redirects', () => {
    // eth0 must not forward, before and after: the switch would make it.
    const { closing, opening } = sysctlSteps(devices(0, 0, 0, 0), devices(1, 0, 1, 1));
    assert.deepEqual(written(closing), []);
    assert.deepEqual(written(opening), [
      'ipv4/conf/all/forwarding=1',
      'ipv4/ip_forward=1',
      'ipv4/conf/all/accept_redirects=1',
      'ipv4/conf/default/forwarding=1',
      'ipv4/conf/eth0/forwarding=0',
      'ipv4/conf/eth1/forwarding=1',
    ]);
    assert.ok(changesEveryDevice(opening));
    // Off: redirects, which the kernel lets in by that, are shut at once; the one device that forwards comes last.
    const off = sysctlSteps(devices(1, 1, 1, 0), devices(0, 1, 0, 0));
    assert.deepEqual(written(off.closing), [
      'ipv4/conf/all/forwarding=0',
      'ipv4/ip_forward=0',
      'ipv4/conf/all/accept_redirects=0',
      'ipv4/conf/default/forwarding=0',
      'ipv4/conf/eth1/forwarding=0',
    ]);
    assert.deepEqual(written(off.opening), ['ipv4/conf/eth0/forwarding=1']);
  });

  it('of `default` and of IPv6 likewise, and IPv6 is on before its routes come', () => {
    const conf = (standard: number, eth0: number): string =>
      sysctls({ 'ipv4/conf/default/rp_filter': standard, 'ipv4/conf/eth0/rp_filter': eth0 });
    assert.deepEqual(written(sysctlSteps(conf(0, 1), conf(2, 1)).closing), [
      'ipv4/conf/default/rp_filter=2',
      'ipv4/conf/eth0/rp_filter=1',
    ]);
    const six = (all: number, eth0: number): string =>
      sysctls({ 'ipv6/conf/all/disable_ipv6': all, 'ipv6/conf/eth0/disable_ipv6': eth0 });
    const { enabling, disabling } = sysctlSteps(six(1, 1), six(0, 1));
    assert.deepEqual(
      [written(enabling), written(disabling)],
      [['ipv6/conf/all/disable_ipv6=0'], ['ipv6/conf/eth0/disable_ipv6=1']],
    );
    const steps = planSettings(
      settings({ sysctls: six(1, 0), routes6: '' }),
      settings({ sysctls: six(0, 0), routes6: '2001:db8::/64 dev eth0 metric 1024\n' }),
    );
    assert.deepEqual(
      steps.map(({ program }) => program),
      ['tee', 'ip'],
    );
  });
});

describe('all of it together', () => {
  it('closes first and opens last', () => {
    const table = (chain: string): string => `*filter\n:INPUT DROP\n${chain}COMMIT\n`;
    const rp = (value: number): string => `net/ipv4/conf/eth0/rp_filter = ${value}\nnet/ipv4/ip_forward = ${1 - value}\n`;
    const now = settings({ sysctls: rp(0), nft: 'table inet old {\n}\n', 'iptables-nft': table(''), routes: 'a dev x\n' });
    const wanted = settings({
      sysctls: rp(1),
      nft: 'table inet new {\n}\n',
      'iptables-nft': '',
      routes: 'b dev x\n',
    });
    const words = (from: NetworkSettings, to: NetworkSettings): string[] => planSettings(from, to).map(({ what }) => what);
    assert.deepEqual(words(now, wanted), [
      'sysctl net/ipv4/ip_forward: 1 -> 0',
      'sysctl net/ipv4/conf/eth0/rp_filter: 0 -> 1',
      'nft, one transaction: add table inet new',
      'ip -4 route: 1 route added, 1 removed',
      'iptables-nft-restore: empty table filter',
      'nft, one transaction: remove table inet old',
    ]);
    assert.deepEqual(words(wanted, now), [
      'iptables-nft-restore: table filter',
      'nft, one transaction: add table inet old',
      'ip -4 route: 1 route added, 1 removed',
      'sysctl net/ipv4/ip_forward: 0 -> 1',
      'sysctl net/ipv4/conf/eth0/rp_filter: 1 -> 0',
      'nft, one transaction: remove table inet new',
    ]);
  });

  it('knows the chains that rules for bridges and ARP begin with', () => {
    const saved = '# Generated by x\n*filter\n:INPUT ACCEPT\n:FORWARD ACCEPT\n-A FORWARD -j DROP\n# Completed on x\n';
    const text = canonicalIptables(
      `${saved}${saved.replace('*filter', '*nat').replace(':FORWARD', ':OUTPUT').replace('FORWARD', 'OUTPUT')}`,
    );
    assert.match(text, /^\*filter\n[\s\S]*-A FORWARD -j DROP\nCOMMIT\n\*nat\n/);
    const empty = iptablesSteps('ebtables-nft-restore', text, '').after[0].input;
    assert.match(empty, /\*nat\n:PREROUTING ACCEPT \[0:0\]\n:OUTPUT ACCEPT \[0:0\]\n:POSTROUTING ACCEPT \[0:0\]\nCOMMIT/);
    assert.doesNotMatch(iptablesSteps('arptables-nft-restore', text, '').after[0].input, /filter\n[^*]*FORWARD/);
  });
});

describe('routes', () => {
  const lines = (...all: string[]): string => all.map((line) => `${line}\n`).join('');
  const commands = (now: string, wanted: string): string[] =>
    routeSteps('-4', now, wanted).flatMap(({ input }) => input.trim().split('\n'));

  it('come before others go, and take a place of another in one step', () => {
    assert.deepEqual(
      commands(
        lines('10.1.0.0/16 dev b', 'default via 10.9.0.2 dev d0'),
        lines('10.2.0.0/16 dev b', 'default via 10.9.0.3 dev d0'),
      ),
      ['route add 10.2.0.0/16 dev b', 'route replace default via 10.9.0.3 dev d0', 'route del 10.1.0.0/16 dev b'],
    );
    // Two of one place: which of them would be replaced cannot be said.
    assert.deepEqual(commands(lines('a via 1 dev d', 'a via 2 dev d'), lines('a via 3 dev d')), [
      'route del a via 1 dev d',
      'route del a via 2 dev d',
      'route add a via 3 dev d',
    ]);
    assert.deepEqual(commands(lines('a via 1 dev d metric 5'), lines('a via 1 dev d metric 6')), [
      'route add a via 1 dev d metric 6',
      'route del a via 1 dev d metric 5',
    ]);
  });

  it('of a daemon or a nexthop object are left to whoever keeps them', () => {
    const text = canonicalRoutes(
      '10.5.0.0/16 nhid 21 via 10.9.0.3 dev d0 proto static\n10.6.0.0/16 via 10.9.0.4 dev d0 proto bird metric 32\n',
    );
    assert.equal(
      text,
      canonicalRoutes(
        '10.5.0.0/16 nhid 99 via 10.9.0.3 dev d0 proto static\n10.6.0.0/16 via 10.9.0.4 dev d0 proto bird metric 32\n',
      ),
    );
    assert.deepEqual(text.trim().split('\n').map(routeKeeper), ['a nexthop object', 'bird']);
    assert.deepEqual(
      ['default via 10.0.0.1 dev e proto 16', 'default via 10.0.0.1 dev e proto static', 'a dev b'].map(routeKeeper),
      ['dhcp', undefined, undefined],
    );
    assert.deepEqual(routeSteps('-4', text, ''), []);
    assert.deepEqual(commands(text, lines('a dev b')), ['route add a dev b']);
  });

  it('stay where else nothing leads until a keeper comes, and do not come where one of a keeper is', () => {
    const [dhcp, fixed] = ['default via 10.0.0.1 dev e proto dhcp', 'default via 10.0.0.1 dev e proto static'];
    assert.deepEqual(commands(lines(fixed), lines(dhcp)), []);
    assert.deepEqual(commands(lines(fixed, 'a dev b'), lines(`${dhcp} metric 100`)), ['route del a dev b']);
    assert.deepEqual(commands(lines(fixed), lines(`${dhcp} metric 100`, 'default via 10.0.0.2 dev e')), [
      'route replace default via 10.0.0.2 dev e',
    ]);
    assert.deepEqual(commands(lines(dhcp), lines(fixed, 'a dev b')), ['route add a dev b']);
    // Another of the keeper's leads there: the place is not empty.
    assert.deepEqual(commands(lines(fixed, `${dhcp} metric 50`), lines(`${dhcp} metric 100`)), [`route del ${fixed}`]);
  });
});

describe('sets of ipset', () => {
  it('keep elements that stay for good in sets that let them expire, and the order of lists', () => {
    const saved =
      'create x hash:ip family inet timeout 60\nadd x 1.1.1.1 timeout 59 comment "timeout 0"\nadd x 2.2.2.2 timeout 0 packets 3 bytes 4\ncreate l list:set size 8\nadd l z\nadd l x\ncreate z hash:ip family inet\n';
    assert.equal(
      canonicalIpsets(saved),
      'create l list:set size 8\nadd l z\nadd l x\ncreate x hash:ip family inet timeout 60\nadd x 2.2.2.2 timeout 0\ncreate z hash:ip family inet\n',
    );
  });

  it('are never empty on the way, and lists come after their members', () => {
    const inputs = (now: string, wanted: string): string[] => {
      const { before, after } = ipsetSteps(now, wanted);
      return [...before, ...after].flatMap(({ input }) => input.trim().split('\n'));
    };
    assert.deepEqual(
      inputs('create b hash:ip\nadd b 1.1.1.1\nadd b 2.2.2.2\n', 'create b hash:ip\nadd b 2.2.2.2\nadd b 3.3.3.3\n'),
      ['add b 3.3.3.3 -exist', 'del b 1.1.1.1 -exist'],
    );
    // Of a set with ends those that are there for a time stay.
    assert.deepEqual(inputs('create b hash:ip timeout 9\n', 'create b hash:ip timeout 9\nadd b 1.1.1.1 timeout 0\n'), [
      'add b 1.1.1.1 timeout 0 -exist',
    ]);
    assert.deepEqual(inputs('create b hash:ip maxelem 1\n', 'create b hash:ip maxelem 2\nadd b 1.1.1.1\n'), [
      'create weir-aside-0 hash:ip maxelem 2',
      'add weir-aside-0 1.1.1.1',
      'swap weir-aside-0 b',
      'destroy weir-aside-0',
    ]);
    const list = 'create a list:set size 8\nadd a m\ncreate m hash:ip\n';
    assert.deepEqual(inputs('', list), ['create m hash:ip', 'create a list:set size 8', 'add a m']);
    assert.deepEqual(inputs(list, ''), ['destroy a', 'destroy m']);
  });
});
