// What is concluded of one service from rules that were read, or not; real machines are test/kernel/netops-exposure.test.ts.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Address, parseAddress } from '../../model/address.ts';
import type { Machine, MachineListener, MachineNamespace } from '../../model/machine.ts';
import type { FilterStatement, PacketFilter } from '../../model/packet-filter.ts';
import { findExposure } from './exposed-services.ts';
import type { ExposedService } from './exposure-report.ts';
import type { RouteQuestioner } from './path-walk.ts';

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

function exposed(filter: PacketFilter, more: Partial<MachineNamespace> = {}, ownIp = '203.0.113.9'): ExposedService[] {
  const namespace: MachineNamespace = {
    inode: '1',
    name: '',
    links: [
      {
        index: 2,
        name: 'eth0',
        mac: '02:00:00:00:00:01',
        mtu: 1500,
        up: true,
        operstate: 'up',
        addresses: [{ address: address(ownIp), prefixLength: 24, usable: true }],
      },
    ],
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
    to.value === address(ownIp).value ? { kind: 'route', type: 'local' } : { kind: 'route', type: 'unicast', device: 'eth0' };
  return [...findExposure(machine, ask).services].sort((a, b) => a.port - b.port);
}

function filterOf(statements: FilterStatement[], unreadable: string[] = []): PacketFilter {
  const place = { backend: 'nft', family: 'ip', table: 't', chain: 'in', handle: 1, text: 'the rule' } as const;
  const base = { hook: 'input', type: 'filter', priority: 0, policy: 'accept', order: 0 } as const;
  const chain = { backend: 'nft', family: 'ip', table: 't', name: 'in', base, rules: [{ ...place, statements }] } as const;
  return { chains: statements.length === 0 ? [] : [chain], sets: [], unreadable };
}

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
});
