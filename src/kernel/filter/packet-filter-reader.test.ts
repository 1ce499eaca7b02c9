// What is read of rules, by texts the real tools printed: nft 1.0.6, iptables 1.8.9 and ipset 7.17 in a namespace.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { WeirError } from '../../base/errors.ts';
import type { FilterRule, FilterStatement, PacketFilter } from '../../model/packet-filter.ts';
import type { CommandOutput, CommandRunner } from '../command.ts';
import { readPacketFilter } from './packet-filter-reader.ts';

interface Answers {
  /** By the whole command line; a number is an exit code. */
  readonly programs?: Readonly<
    Record<string, string | { readonly stdout?: string; readonly stderr: string; readonly code?: number }>
  >;
  readonly files?: Readonly<Record<string, string>>;
}

/** Notes which programs ran. */
function fakeRunner({ programs = {}, files = {} }: Answers, ran: string[] = []): CommandRunner {
  return {
    netns: undefined,
    async run(program, args, options): Promise<CommandOutput> {
      const line = [program, ...args].join(' ');
      ran.push(line);
      const answer = programs[line];
      if (answer === undefined) throw new WeirError('tool-missing', `the program ${program} is not installed`, { program });
      if (typeof answer === 'string') return { code: 0, stdout: answer, stderr: '' };
      const code = answer.code ?? 0;
      if (code !== 0 && !options?.anyCode) throw new WeirError('kernel-refused', answer.stderr);
      return { code, stdout: answer.stdout ?? '', stderr: answer.stderr };
    },
    readProc: async (path) => files[path],
    writeProc: async () => assert.fail('reading writes nothing'),
  };
}

const json = (...entries: unknown[]): string => JSON.stringify({ nftables: [{ metainfo: { version: '1.0.6' } }, ...entries] });

const rulesOf = (filter: PacketFilter, chain: string): readonly FilterRule[] =>
  filter.chains.find(({ name }) => name === chain)?.rules ?? assert.fail(`no chain ${chain}`);

const kinds = (statements: readonly FilterStatement[]): string => statements.map(({ kind }) => kind).join(' ');

const table = { table: { family: 'inet', name: 't', handle: 1 } };
const chain = (name: string, more: object = {}): object => ({ chain: { family: 'inet', table: 't', name, handle: 2, ...more } });
const rule = (handle: number, expr: unknown[], more: object = {}): object => ({
  rule: { family: 'inet', table: 't', chain: 'c', handle, expr, ...more },
});

async function readNftRules(...exprs: unknown[][]): Promise<readonly FilterRule[]> {
  const listing = json(table, chain('c'), ...exprs.map((expr, index) => rule(index + 10, expr)));
  const runner = fakeRunner({ programs: { 'nft -n -j list ruleset': listing, 'nft -n -a -t list ruleset': '' } });
  return rulesOf(await readPacketFilter(runner), 'c');
}

describe('reading the rules of a namespace', () => {
  it('takes text, devices and handles from the plain listing, which JSON lacks', async () => {
    const listing = json(
      { table: { family: 'netdev', name: 'nd', handle: 4 } },
      {
        chain: {
          family: 'netdev',
          table: 'nd',
          name: 'i',
          handle: 1,
          type: 'filter',
          hook: 'ingress',
          prio: -500,
          policy: 'accept',
        },
      },
      {
        rule: {
          family: 'netdev',
          table: 'nd',
          chain: 'i',
          handle: 2,
          expr: [{ counter: { packets: 7, bytes: 9 } }, { drop: null }],
        },
      },
    );
    const plain =
      'table netdev nd { # handle 4\n\tchain i { # handle 1\n\t\ttype filter hook ingress device "eth0" priority -500; policy accept;\n\t\tcounter packets 7 bytes 9 drop # handle 2\n\t}\n}\n';
    const runner = fakeRunner({ programs: { 'nft -n -j list ruleset': listing, 'nft -n -a -t list ruleset': plain } });
    const { chains, unreadable } = await readPacketFilter(runner);
    assert.deepEqual(unreadable, []);
    assert.deepEqual(chains[0].base, {
      hook: 'ingress',
      type: 'filter',
      priority: -500,
      policy: 'accept',
      devices: ['eth0'],
      order: 4_000_001,
    });
    assert.deepEqual(chains[0].rules, [
      {
        backend: 'nft',
        family: 'netdev',
        table: 'nd',
        chain: 'i',
        handle: 2,
        text: 'counter packets 7 bytes 9 drop',
        statements: [{ kind: 'counter' }, { kind: 'drop' }],
        packets: 7,
      },
    ]);
  });

  it('understands sets, ranges, prefixes, bits, concatenations and verdict maps', async () => {
    const saddr = { payload: { protocol: 'ip', field: 'saddr' } };
    const dport = { payload: { protocol: 'tcp', field: 'dport' } };
    const [prefix, list, bits, named, pair, map] = await readNftRules(
      [{ match: { op: '!=', left: saddr, right: { prefix: { addr: '10.0.0.0', len: 8 } } } }],
      [{ match: { op: '==', left: dport, right: { set: [22, { range: [80, 90] }] } } }],
      [{ match: { op: 'in', left: { ct: { key: 'state' } }, right: [2, 4] } }],
      [{ match: { op: '!=', left: saddr, right: '@hosts' } }],
      [{ match: { op: '==', left: { concat: [saddr, dport] }, right: { set: [{ concat: ['10.0.0.1', { range: [1, 9] }] }] } } }],
      [{ vmap: { key: { meta: { key: 'iifname' } }, data: { set: [['eth*', { jump: { target: 'x' } }]] } } }],
    );
    assert.deepEqual(prefix.statements, [
      {
        kind: 'compare',
        left: { kind: 'field', field: 'ip.saddr' },
        operator: '!=',
        right: [[{ first: 0x0a000000n, last: 0x0affffffn }]],
      },
    ]);
    assert.deepEqual(
      list.statements.map((one) => 'right' in one && one.right),
      [[[{ first: 22n, last: 22n }], [{ first: 80n, last: 90n }]]],
    );
    assert.deepEqual(bits.statements, [{ kind: 'bits', left: { kind: 'field', field: 'ct.state' }, mask: 6n, any: true }]);
    assert.deepEqual(named.statements, [
      { kind: 'set', left: { kind: 'field', field: 'ip.saddr' }, set: 'hosts', inverted: true },
    ]);
    assert.deepEqual(
      pair.statements.map((one) => 'right' in one && one.right),
      [
        [
          [
            { first: 0x0a000001n, last: 0x0a000001n },
            { first: 1n, last: 9n },
          ],
        ],
      ],
    );
    assert.deepEqual(map.statements, [
      {
        kind: 'vmap',
        key: { kind: 'field', field: 'meta.iifname' },
        map: [{ key: [{ name: 'eth', wildcard: true }], verdict: { kind: 'jump', chain: 'x' } }],
      },
    ]);
  });

  it('drops nothing it does not understand', async () => {
    const daddr = { payload: { protocol: 'ip', field: 'daddr' } };
    const keyOf = ({ statements: [first] }: FilterRule) => first?.kind === 'vmap' && first.key;
    const [limit, option, strange, forward, hash, seeded] = await readNftRules(
      [{ limit: { rate: 5, per: 'second' } }, { drop: null }],
      [{ match: { op: '==', left: { 'tcp option': { name: 'sack-perm' } }, right: true } }, { drop: null }],
      [{ 'from the future': { x: 1 } }, { accept: null }],
      [{ fwd: { dev: 'eth0' } }],
      [{ vmap: { key: { jhash: { mod: 2, expr: {} } }, data: '@m' } }],
      [{ vmap: { key: { jhash: { mod: 2, seed: 7, expr: daddr } }, data: '@m' } }],
    );
    assert.equal(kinds(limit.statements), 'undecided drop');
    assert.deepEqual(option.statements[0], {
      kind: 'compare',
      left: { kind: 'unknown', text: '{"tcp option":{"name":"sack-perm"}}' },
      operator: '==',
      right: [[{ first: 1n, last: 1n }]],
    });
    assert.equal(kinds(strange.statements), 'unknown accept');
    assert.equal(kinds(forward.statements), 'unknown');
    assert.deepEqual(keyOf(hash), { kind: 'unknown', text: '{"jhash":{"mod":2,"expr":{}}}' });
    assert.deepEqual(keyOf(seeded), { kind: 'hash', field: 'ip.daddr', modulus: 2, seed: 7, offset: 0 });
  });

  it('keeps elements of sets with the time they have left, and says when it could not take all', async () => {
    const set = (name: string, type: unknown, elem: unknown[]): object => ({
      set: { family: 'inet', table: 't', name, type, elem },
    });
    const listing = json(
      table,
      set('banned', 'ipv4_addr', [{ elem: { val: '203.0.113.5', timeout: 600, expires: 583 } }, '192.0.2.1']),
      set('odd', 'cgroupsv2', ['user.slice']),
    );
    const runner = fakeRunner({ programs: { 'nft -n -j list ruleset': listing, 'nft -n -a -t list ruleset': '' } });
    const { sets, unreadable } = await readPacketFilter(runner);
    assert.deepEqual(sets[0].elements, [
      { key: [{ first: 0xcb007105n, last: 0xcb007105n }], timeout: 600, expires: 583 },
      { key: [{ first: 0xc0000201n, last: 0xc0000201n }] },
    ]);
    assert.equal(sets[1].truncated, true);
    assert.match(unreadable.join(), /inet t odd/);
  });

  it('never runs a tool of iptables-legacy where the kernel has no such table: it would make one', async () => {
    const ran: string[] = [];
    await readPacketFilter(fakeRunner({ programs: { 'nft -n -j list ruleset': json(), 'nft -n -a -t list ruleset': '' } }, ran));
    assert.deepEqual(ran, ['nft -n -j list ruleset', 'nft -n -a -t list ruleset']);
  });

  it('does not take a list of legacy tables that it may not read for none', async () => {
    const runner: CommandRunner = {
      ...fakeRunner({ programs: { 'nft -n -j list ruleset': json(), 'nft -n -a -t list ruleset': '' } }),
      readProc: async (path, options) => {
        if (options?.refusalThrows) throw new WeirError('not-permitted', `may not read ${path}`);
        return undefined;
      },
    };
    const { unreadable } = await readPacketFilter(runner);
    assert.deepEqual(unreadable, [
      'legacy tables of iptables, if there are any: may not read /proc/net/ip_tables_names',
      'legacy tables of ip6tables, if there are any: may not read /proc/net/ip6_tables_names',
    ]);
  });

  it('reads legacy tables with their built-in chains, and the sets of ipset they ask', async () => {
    const save = [
      '*filter',
      ':INPUT ACCEPT [0:0]',
      ':FORWARD DROP [3:180]',
      ':OUTPUT ACCEPT [0:0]',
      ':f2b-sshd - [0:0]',
      '[5:300] -A INPUT -p tcp -m multiport --dports 22,80:90 -j f2b-sshd',
      '[0:0] -A INPUT -m set ! --match-set pairs src,dst -j DROP',
      '[0:0] -A INPUT -i eth+ ! -s 10.0.0.0/255.0.255.0 -m comment --comment "it\\\'s \\"x\\" -j y" -g f2b-sshd',
      '[0:0] -A f2b-sshd -s 203.0.113.5/32 -j REJECT --reject-with icmp-port-unreachable',
      'COMMIT',
      '',
    ].join('\n');
    const ipset =
      'create pairs hash:ip,port family inet hashsize 1024\nadd pairs 192.0.2.1,tcp:80 timeout 30\nadd pairs 192.0.2.2,udp:53-60 nomatch\n';
    const runner = fakeRunner({
      programs: {
        'nft -n -j list ruleset': json(),
        'nft -n -a -t list ruleset': '',
        'iptables --version': 'iptables v1.8.9 (nf_tables)\n',
        'iptables-legacy-save -c': save,
        'ipset save': ipset,
      },
      files: { '/proc/net/ip_tables_names': 'filter\n' },
    });
    const filter = await readPacketFilter(runner);
    assert.deepEqual(filter.unreadable, []);
    const [ports, set, odd] = rulesOf(filter, 'INPUT');
    assert.deepEqual(ports.statements, [
      { kind: 'compare', left: { kind: 'field', field: 'meta.l4proto' }, operator: '==', right: [[{ first: 6n, last: 6n }]] },
      {
        kind: 'compare',
        left: { kind: 'field', field: 'th.dport' },
        operator: '==',
        right: [[{ first: 22n, last: 22n }], [{ first: 80n, last: 90n }]],
      },
      { kind: 'counter' },
      { kind: 'jump', chain: 'f2b-sshd' },
    ]);
    assert.deepEqual([ports.packets, ports.handle, ports.owner], [5, 1, 'fail2ban sshd']);
    assert.deepEqual(set.statements[0], {
      kind: 'set',
      left: {
        kind: 'concatenation',
        parts: ['ip.saddr', 'meta.l4proto', 'th.dport'].map((field) => ({ kind: 'field', field })),
      },
      set: 'ipset:pairs',
      inverted: true,
    });
    assert.equal(kinds(odd.statements), 'compare compare counter goto');
    assert.deepEqual(filter.sets[0].elements[1], {
      key: [
        { first: 0xc0000202n, last: 0xc0000202n },
        { first: 17n, last: 17n },
        { first: 53n, last: 60n },
      ],
      excluded: true,
    });
    assert.deepEqual(filter.chains.find(({ name }) => name === 'FORWARD')?.base, {
      hook: 'forward',
      type: 'filter',
      priority: 0,
      policy: 'drop',
      order: 0,
    });
  });

  it('asks iptables on nft what is in rules that nft hides, by their position', async () => {
    const xt = (handle: number, expr: unknown[]): object => ({
      rule: { family: 'ip', table: 'filter', chain: 'INPUT', handle, expr },
    });
    const listing = json(
      { table: { family: 'ip', name: 'filter', handle: 2 } },
      {
        chain: {
          family: 'ip',
          table: 'filter',
          name: 'INPUT',
          handle: 1,
          type: 'filter',
          hook: 'input',
          prio: 0,
          policy: 'accept',
        },
      },
      xt(15, [{ xt: { type: 'match', name: 'conntrack' } }, { counter: { packets: 0, bytes: 0 } }, { accept: null }]),
      xt(16, [
        { match: { op: '==', left: { payload: { protocol: 'tcp', field: 'dport' } }, right: 80 } },
        { xt: { type: 'target', name: 'REJECT' } },
      ]),
    );
    const save =
      '*filter\n:INPUT ACCEPT [0:0]\n[0:0] -A INPUT -m conntrack ! --ctstate INVALID,DNAT -j ACCEPT\n[0:0] -A INPUT -p tcp -m tcp --dport 80 -j REJECT --reject-with tcp-reset\nCOMMIT\n';
    const programs = { 'nft -n -j list ruleset': listing, 'nft -n -a -t list ruleset': '', 'iptables-nft-save -c': save };
    const filter = await readPacketFilter(fakeRunner({ programs }));
    assert.deepEqual(filter.unreadable, []);
    const [state, reject] = rulesOf(filter, 'INPUT');
    assert.deepEqual(state.statements[0], {
      kind: 'any',
      of: [
        { kind: 'bits', left: { kind: 'field', field: 'ct.state' }, mask: 1n, any: true },
        { kind: 'bits', left: { kind: 'field', field: 'ct.status' }, mask: 32n, any: true },
      ],
      inverted: true,
    });
    assert.deepEqual([state.handle, state.text], [15, '-A INPUT -m conntrack ! --ctstate INVALID,DNAT -j ACCEPT']);
    assert.deepEqual(reject.statements.at(-1), { kind: 'reject', answer: 'tcp-reset' });
    // Without the tool, or with a chain that changed meanwhile, what they do is not known, and said so.
    for (const partial of [
      { ...programs, 'iptables-nft-save -c': '*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n' },
      { ...programs, 'iptables-nft-save -c': { stderr: 'no', code: 1 } },
    ]) {
      const open = await readPacketFilter(fakeRunner({ programs: partial }));
      assert.match(open.unreadable.join(), /chain ip filter INPUT: some rules have parts that only iptables understands/);
      assert.ok(rulesOf(open, 'INPUT').every(({ statements }) => statements.some(({ kind }) => kind === 'unknown')));
    }
  });

  it('says what it may not see', async () => {
    const refused = { stderr: 'Operation not permitted (you must be root)', code: 1 };
    const { chains, unreadable } = await readPacketFilter(fakeRunner({ programs: { 'nft -n -j list ruleset': refused } }));
    assert.deepEqual([chains, unreadable], [[], ['rules of nft: Operation not permitted (you must be root)']]);
    const legacy = await readPacketFilter(
      fakeRunner({
        programs: { 'nft -n -j list ruleset': json(), 'nft -n -a -t list ruleset': '' },
        files: { '/proc/net/ip_tables_names': 'nat\nfilter\n' },
      }),
    );
    assert.match(legacy.unreadable.join(), /legacy tables nat, filter of iptables: .*not installed/);
  });
});
