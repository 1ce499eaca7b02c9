// What is concluded of one service from rules that were read, or not; real machines are test/kernel/netops-exposure.test.ts.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Address, parseAddress, renderAddress } from '../../model/address.ts';
import type { Machine, MachineLink, MachineListener, MachineNamespace } from '../../model/machine.ts';
import type { FilterStatement, PacketFilter } from '../../model/packet-filter.ts';
import { type ExposureOptions, findExposure } from './exposed-services.ts';
import type { ExposedService, ExposureReport } from './exposure-report.ts';
import type { RouteQuestioner } from './path-walk.ts';
import { maxPaths, ServiceWays } from './service-ways.ts';
import { publicSources, type Standpoint } from './vantages.ts';

const address = (text: string): Address => parseAddress(text) ?? assert.fail(text);

const listener = (ip: string, port: number): MachineListener => ({
  transport: 'tcp',
  address: address(ip),
  port,
  v6only: false,
  inode: port,
  uid: 0,
  pids: [],
});

const link = (...ips: string[]): MachineLink => ({
  index: 2,
  name: 'eth0',
  mac: '02:00:00:00:00:01',
  mtu: 1500,
  up: true,
  operstate: 'up',
  addresses: ips.map((ip) => ({ address: address(ip), prefixLength: ip.includes(':') ? 64 : 24, usable: true })),
});

const exposed = (...given: Parameters<typeof reportOf>): ExposedService[] =>
  [...reportOf(...given).services].sort((a, b) => a.port - b.port);

function reportOf(
  filter: PacketFilter,
  more: Partial<MachineNamespace> = {},
  ownIp = '203.0.113.9',
  options: ExposureOptions = {},
): ExposureReport {
  const namespace: MachineNamespace = {
    inode: '1',
    name: '',
    links: [link(ownIp)],
    routes: [],
    rules: [],
    neighbours: [],
    listeners: [listener('0.0.0.0', 22), listener('127.0.0.1', 3306)],
    sysctls: {},
    filter,
    qdiscs: [],
    xfrmPolicies: [],
    queueConsumers: [],
    counters: {},
    ...more,
  };
  const machine: Machine = { takenAt: 0, kernel: '6.18', namespaces: [namespace], processes: [], unseen: [] };
  const ask: RouteQuestioner = (_namespace, { to }) =>
    (more.links ?? [link(ownIp)]).some(({ addresses }) => addresses.some((own) => own.address.value === to.value))
      ? { kind: 'route', type: 'local' }
      : { kind: 'route', type: 'unicast', device: 'eth0' };
  return findExposure(machine, ask, options);
}

function filterOf(statements: FilterStatement[], unreadable: string[] = []): PacketFilter {
  const place = { backend: 'nft', family: 'ip', table: 't', chain: 'in', handle: 1, text: 'the rule' } as const;
  const base = { hook: 'input', type: 'filter', priority: 0, policy: 'accept', order: 0 } as const;
  const chain = { backend: 'nft', family: 'ip', table: 't', name: 'in', base, rules: [{ ...place, statements }] } as const;
  return { chains: statements.length === 0 ? [] : [chain], sets: [], unreadable };
}

const key = (text: string): [{ first: bigint; last: bigint }] => [{ first: address(text).value, last: address(text).value }];

const fromSource = (text: string): FilterStatement => ({
  kind: 'compare',
  left: { kind: 'field', field: 'ip.saddr' },
  operator: '!=',
  right: [[{ first: address(text).value, last: address(text).value }]],
});

describe('how far a service is exposed', () => {
  it('is told by what its rules were read to say', () => {
    const [ssh, database] = exposed(filterOf([]));
    assert.deepEqual([ssh.reach, database.reach, ssh.paths[0].certainty], ['internet', 'local', 'proven']);
    assert.equal(exposed(filterOf([]), {}, '192.168.1.9')[0].reach, 'anywhere');
    const [closed] = exposed(filterOf([{ kind: 'drop' }]));
    assert.equal(closed.reach, 'local');
    assert.equal(closed.stoppedBy[0].by.text, 'the rule');
  });

  it('is not proven open by rules that could not be read, and stays closed by those that were', () => {
    const why = 'rules of nft: not permitted';
    const [unread] = exposed(filterOf([], [why]));
    assert.deepEqual([unread.reach, unread.atWorst, unread.paths[0].certainty], ['local', 'internet', 'unknown']);
    assert.equal(exposed(filterOf([{ kind: 'drop' }], [why]))[0].atWorst, undefined);
    const [absent] = exposed(filterOf([]), { filter: undefined as unknown as PacketFilter });
    assert.deepEqual([absent.reach, absent.atWorst], ['local', 'internet']);
  });

  it('is asked at every own address, and at those that rules publish: what is open at the second one is open', () => {
    const onlyAt = (text: string, end: FilterStatement): FilterStatement[] => [
      { kind: 'compare', left: { kind: 'field', field: 'ip.daddr' }, operator: '!=', right: [one(text)] },
      end,
    ];
    const one = (text: string): [{ first: bigint; last: bigint }] => [{ first: address(text).value, last: address(text).value }];
    const two = [link('203.0.113.9', '203.0.113.10')];
    const [ssh] = exposed(filterOf(onlyAt('203.0.113.10', { kind: 'drop' })), { links: two });
    assert.deepEqual([ssh.reach, ssh.paths[0].dialled], ['internet', '203.0.113.10:22']);
    const many = Array.from({ length: 17 }, (_, index) => `203.0.113.${index + 9}`);
    assert.match(
      reportOf(filterOf([]), { links: [link(...many)] }).notMeasured.join(),
      /1 addresses of eth0, after the first 16/,
    );
    // An address routed here that only a rule knows.
    const floating: PacketFilter['chains'] = filterOf([
      { kind: 'compare', left: { kind: 'field', field: 'ip.daddr' }, operator: '==', right: [one('198.51.100.77')] },
      { kind: 'compare', left: { kind: 'field', field: 'tcp.dport' }, operator: '==', right: [[{ first: 2222n, last: 2222n }]] },
      {
        kind: 'dnat',
        address: { kind: 'constant', value: one('203.0.113.9') },
        port: { kind: 'constant', value: [{ first: 22n, last: 22n }] },
        prefix: false,
        random: false,
      },
    ]).chains.map((chain) => ({
      ...chain,
      ...(chain.base ? { base: { ...chain.base, hook: 'prerouting', type: 'nat', priority: -100 } as const } : {}),
    }));
    const [published] = exposed({ chains: floating, sets: [], unreadable: [] });
    assert.ok(published.paths.some(({ dialled, by }) => dialled === '198.51.100.77:2222' && by === 'published'));
  });

  it('is asked at a link-local address where the link has no other of IPv6, by neighbours alone', () => {
    const listeners = [{ ...listener('::', 22), v6only: true }];
    const lone = [link('203.0.113.9', 'fe80::9')];
    const [ssh] = exposed(filterOf([]), { links: lone, listeners }, 'fe80::9');
    assert.deepEqual([...new Set(ssh.paths.map(({ from, dialled }) => `${from.zone} ${dialled}`))], ['link [fe80::9]:22']);
    const both = [link('2001:db8::9', 'fe80::9')];
    const [wide] = exposed(filterOf([]), { links: both, listeners }, '2001:db8::9');
    assert.ok(wide.paths.every(({ dialled }) => dialled === '[2001:db8::9]:22'));
  });

  it('is limited by what a rate decides, not by a name that reads like one, and a doubt outweighs a rate', () => {
    const certaintyOf = (...chains: PacketFilter['chains'][]): string =>
      exposed({ chains: chains.flat(), sets: [], unreadable: [] })[0].paths[0].certainty;
    const rate: FilterStatement = { kind: 'undecided', text: 'limit rate 5/second', limited: true };
    const country: FilterStatement = { kind: 'undecided', text: '@country_de', limited: false };
    const at = (table: string, priority: number, doubt: FilterStatement): PacketFilter['chains'] =>
      filterOf([doubt, { kind: 'drop' }]).chains.map((chain) => ({
        ...chain,
        table,
        ...(chain.base ? { base: { ...chain.base, priority } } : {}),
        rules: chain.rules.map((rule) => ({ ...rule, table })),
      }));
    assert.equal(certaintyOf(at('a', 0, rate)), 'limited');
    assert.equal(certaintyOf(at('a', 0, country)), 'unknown');
    // Both in one hook, with the same handle: the tables are what tells them apart.
    assert.equal(certaintyOf(at('a', 0, country), at('b', 1, { kind: 'undecided', text: 'quota', limited: true })), 'unknown');
    // One in prerouting, the other in input.
    const early = at('a', 0, rate).map((chain) => ({
      ...chain,
      ...(chain.base ? { base: { ...chain.base, hook: 'prerouting' as const } } : {}),
    }));
    assert.equal(certaintyOf(early, at('b', 0, country)), 'unknown');
  });

  it('is not the Internet where only some public hosts are let in', () => {
    const [some] = exposed(filterOf([fromSource('8.8.8.8'), { kind: 'drop' }]));
    assert.equal(some.reach, 'listed');
    assert.match(some.paths[0].from.range ?? '', /8\.8\.8\.8/);
  });

  it('keeps a way that is sure for some apart from the doubt it is for others', () => {
    const { chains } = filterOf([{ kind: 'undecided', text: '@country_de', limited: false }, { kind: 'drop' }]);
    const [first] = chains;
    const accept = {
      ...first.rules[0],
      handle: 2,
      statements: [{ ...fromSource('8.8.8.8'), operator: '==' }, { kind: 'accept' }],
    };
    const rules = [accept as (typeof first.rules)[number], ...first.rules];
    const [ssh] = exposed({ chains: [{ ...first, rules }], sets: [], unreadable: [] });
    const publicWays = ssh.paths.flatMap(({ from, reach, certainty }) =>
      from.source.startsWith('192.') || from.zone === 'private' || from.zone === 'link'
        ? []
        : [`${from.zone} ${reach} ${certainty}`],
    );
    assert.deepEqual([ssh.reach, ssh.atWorst], ['listed', 'internet'], publicWays.join());
    assert.ok(publicWays.includes('listed listed proven') && publicWays.includes('public internet unknown'), publicWays.join());
  });

  it('is not its own only where the ways were not walked, nor where a published one was not', () => {
    const web = listener('203.0.113.9', 80);
    const none = exposed(filterOf([]), { listeners: [web, listener('127.0.0.1', 3306)] }, '203.0.113.9', { maxWalks: 0 });
    assert.deepEqual(
      none.map(({ reach, atWorst, notWalked }) => [reach, atWorst, (notWalked ?? 0) > 0]),
      [
        ['local', 'internet', true],
        ['local', undefined, false],
      ],
    );
    const statements: FilterStatement[] = [
      { kind: 'compare', left: { kind: 'field', field: 'tcp.dport' }, operator: '==', right: [[{ first: 8080n, last: 8080n }]] },
      { kind: 'dnat', address: { kind: 'constant', value: key('203.0.113.9') }, prefix: false, random: false },
    ];
    // Somewhere the published port leads to: to which service nobody asked.
    const [published] = exposed(filterOf(statements), { listeners: [listener('203.0.113.77', 80)] }, '203.0.113.9', {
      maxWalks: 0,
    });
    assert.equal(published.atWorst, 'internet');
    assert.equal(exposed(filterOf([]))[0].notWalked, undefined);
  });

  it('keeps the widest of too many ways, and says how many it left out', () => {
    const ways = new ServiceWays();
    const answer = { allowedBy: [], translated: false, forwarded: false, tproxied: false };
    const from = (zone: 'link' | 'public', index: number): Standpoint => ({
      ...{ netns: '', device: `e${index}`, zone, source: '8.8.8.8', address: address('8.8.8.8') },
      namespace: undefined as unknown as MachineNamespace,
    });
    const dial = { destination: address('203.0.113.9'), port: 22, direct: false };
    for (let index = 0; index < maxPaths; index += 1) ways.found(from('link', index), dial, answer);
    assert.equal(ways.beyond, 0);
    for (const source of publicSources.filter(({ family }) => family === 4))
      ways.found({ ...from('public', 999), source: renderAddress(source) }, dial, answer);
    assert.deepEqual([ways.beyond, ways.paths.length], [1, maxPaths]);
    assert.ok(ways.paths.some(({ reach }) => reach === 'internet'));
    // Of a whole report: sixteen addresses, each dialled by more sources than fit.
    const many = Array.from({ length: 16 }, (_, index) => `203.0.113.${index + 9}`);
    const right = Array.from({ length: 32 }, (_, index) => key(`198.51.100.${index + 1}`));
    const named: FilterStatement = { kind: 'compare', left: { kind: 'field', field: 'ip.saddr' }, operator: '==', right };
    const { notMeasured } = reportOf(filterOf([named, { kind: 'accept' }]), { links: [link(...many)] });
    assert.match(notMeasured.join(), /\d+ ways to tcp 0\.0\.0\.0 port 22, beyond the 256 widest/);
  });

  it('says of which sources and links it did not look; whom a rule only refuses is no loss', () => {
    const elements = Array.from({ length: 40 }, (_, index) => ({ key: key(`198.51.100.${index + 1}`) }));
    const set = { backend: 'nft', family: 'ip', table: 't', name: 's', type: 'ipv4_addr', elements, truncated: false } as const;
    const match: FilterStatement = { kind: 'set', left: { kind: 'field', field: 'ip.saddr' }, set: 's', inverted: false };
    const withSet = (...statements: FilterStatement[]): PacketFilter => ({ ...filterOf(statements), sets: [set] });
    assert.match(
      reportOf(withSet(match, { kind: 'accept' })).notMeasured.join(),
      /8 sources that rules name, after the first 32/,
    );
    assert.deepEqual(reportOf(withSet(match, { kind: 'drop' })).notMeasured, []);
    assert.match(reportOf(withSet({ ...match, inverted: true }, { kind: 'drop' })).notMeasured.join(), /8 sources/);
    const vrf = [
      { ...link('203.0.113.9'), master: 'red' },
      { ...link(), name: 'red', kind: 'vrf' },
    ];
    assert.match(reportOf(filterOf([]), { links: vrf }).notMeasured.join(), /who comes in by eth0: ports of VRF red/);
  });
});
