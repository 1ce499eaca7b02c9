// Fixes as text: names of links, chains and sets are whatever somebody called them, and what takes a fix back is only given where it does.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { type Address, parseAddress } from '../../model/address.ts';
import type { CauseId, DiagnosisFix } from '../../model/diagnosis.ts';
import type { Machine, MachineNamespace } from '../../model/machine.ts';
import type { FilterPacket, PacketFilter, RulePlace } from '../../model/packet-filter.ts';
import { withoutPolicy } from './filter-hop.ts';
import { planFixes } from './fixes.ts';
import { type Fault, type FaultParts, hopOf } from './hop.ts';

const at = (text: string): Address => parseAddress(text) as Address;
const machine = { namespaces: [], processes: [] } as unknown as Machine;
const packet: FilterPacket = {
  family: 4,
  protocol: 'tcp',
  source: at('10.0.0.7'),
  sourcePort: 50_000,
  destination: at('10.0.0.9'),
  destinationPort: 443,
  mark: 0,
  state: 'new',
  tcpFlags: 'syn',
};

const fixesOf = (
  id: CauseId,
  parts: FaultParts,
  more: Partial<MachineNamespace> & Partial<Pick<Fault, 'certain'>> = {},
): DiagnosisFix[] => {
  const { certain = true, ...rest } = more;
  const namespace = {
    inode: '1',
    name: '',
    links: [],
    routes: [],
    rules: [],
    qdiscs: [],
    sysctls: {},
    ...rest,
  } as unknown as MachineNamespace;
  const fault = { id, detail: id, effect: 'silence' as const, certain, parts: { packet, ...parts } };
  return planFixes(machine, hopOf({ namespace, way: 'there' }, { layer: 'x', state: 'fail', detail: id, fault }));
};

/** The words a program gets, of a command that a shell reads; a shell that finds more in it than one command says so. */
function wordsOf(command: string): string[] {
  const words = command.slice(command.indexOf(' '));
  const { stdout, stderr } = spawnSync('/bin/sh', ['-c', `words() { printf '%s\\n' "$@"; }; words${words}`], {
    encoding: 'utf8',
    env: { PATH: '' },
  });
  assert.equal(stderr, '', command);
  return stdout.split('\n').slice(0, -1);
}

const hostile = ['x;$(id)', '`id`', "a'b", 'a"b', 'a|b&c', 'a>b', '*'];

test('a name of a link is one word to the shell, whatever it is', () => {
  for (const name of hostile) {
    const text = `10.0.0.9 dev ${name} scope link`;
    const there = {
      table: 254,
      destination: at('10.0.0.9'),
      prefixLength: 32,
      family: 4,
      type: 'unicast',
      metric: 0,
      hops: [],
      text,
    };
    const [route] = fixesOf('no-return-route', { address: at('10.0.0.9'), inputDevice: name }, {
      routes: [there],
    } as unknown as Partial<MachineNamespace>);
    assert.deepEqual(wordsOf(route.cmd), ['route', 'replace', '10.0.0.9/32', 'dev', name]);
    assert.deepEqual(wordsOf(route.undo), ['route', 'replace', ...text.split(' ')]);
    const link = { name, up: false, addresses: [] } as unknown as FaultParts['link'];
    const [up] = fixesOf('link-down', { link });
    assert.ok(wordsOf(up.cmd).includes(name), up.cmd);
    const [rp] = fixesOf('rpfilter', { inputDevice: name });
    if (!rp.cmd.startsWith('#')) assert.ok(wordsOf(rp.cmd).some((word) => word.includes(name)));
    const [inside] = fixesOf('link-down', { link }, { path: `/run/netns/${name}` });
    assert.ok(wordsOf(inside.cmd).includes(`--net=/run/netns/${name}`), inside.cmd);
  }
});

const rule = (more: Partial<RulePlace>): RulePlace => ({
  backend: 'nft',
  family: 'inet',
  table: 't',
  chain: 'c',
  handle: 4,
  text: 'drop',
  ...more,
});

test('a name that nft would read as more than a name is in no command of it', () => {
  assert.match(fixesOf('fw-rule-drop', { rule: rule({}) })[0].cmd, /^nft insert rule inet t c handle 4 /);
  for (const name of [...hostile, 'a; flush ruleset', 'a b', '4a', '']) {
    const named = [
      fixesOf('fw-rule-drop', { rule: rule({ chain: name }) }),
      fixesOf('fw-rule-drop', { rule: rule({ table: name }) }),
      fixesOf('fw-rule-drop', { policyOf: { family: 'inet', table: 't', chain: name, backend: 'nft' } }),
      fixesOf('banned', { set: { backend: 'nft', family: 'inet', table: 't', name } }),
    ];
    for (const fixes of named) {
      assert.notEqual(fixes.length, 0);
      assert.ok(
        fixes.every(({ cmd, undo }) => cmd.startsWith('#') && undo === ''),
        JSON.stringify(fixes),
      );
    }
    const [legacy] = fixesOf('fw-legacy-drop', { rule: rule({ backend: 'legacy', family: 'ip', table: 'filter', chain: name }) });
    assert.ok(wordsOf(legacy.cmd).includes(name), legacy.cmd);
  }
});

test('a dot in the name of a link is no separator of a key; two keys are both written or neither', () => {
  const before = { 'net/ipv4/conf/eth0.100/rp_filter': '1', 'net/ipv4/conf/eth0.100/forwarding': '0' };
  const [rp] = fixesOf('rpfilter', { inputDevice: 'eth0.100' }, { sysctls: before });
  assert.equal(rp.cmd, 'sysctl -w net/ipv4/conf/eth0.100/rp_filter=2');
  assert.equal(rp.undo, 'sysctl -w net/ipv4/conf/eth0.100/rp_filter=1');
  assert.match(fixesOf('rpfilter', { inputDevice: 'a=b' })[0].cmd, /^#/);
  const [two] = fixesOf('forwarding-disabled', { devices: ['eth0.100', 'eth1'] }, { sysctls: before });
  const undone = 'sysctl -w net/ipv4/conf/eth0.100/forwarding=0 net/ipv4/conf/eth1/forwarding=0';
  assert.equal(two.undo, undone);
  assert.equal(two.cmd, `${undone.replaceAll('=0', '=1')} || { ${undone}; false; }`);
  const [inside] = fixesOf('forwarding-disabled', { devices: ['a', 'b'] }, { path: '/run/netns/n' });
  assert.match(inside.cmd, /^nsenter --net=\/run\/netns\/n -- sh -c '/);
  for (const text of [inside.cmd, inside.undo]) assert.match(text, /net:\[1\]/, 'a name may be another namespace by then');
});

test('a queue is taken away only where it lets nothing through, and where putting it back is one command', () => {
  const queue = (kind: string, parameters: string) => ({
    device: 'eth0',
    kind,
    drops: 9,
    overlimits: 0,
    text: `qdisc ${kind} 1: dev eth0 root refcnt 2 ${parameters}`,
  });
  const fixOf = (kind: string, parameters: string, certain: boolean, below = 0): string => {
    const qdisc = queue(kind, parameters);
    const qdiscs = [
      qdisc,
      ...Array.from({ length: below }, () => ({ ...queue('fq_codel', ''), text: 'qdisc fq_codel 2: parent 1:1' })),
    ];
    const [{ cmd, undo }] = fixesOf('qdisc-drop', { qdisc }, { qdiscs, certain });
    return cmd.startsWith('#') ? 'advice' : `${cmd} / ${undo}`;
  };
  assert.equal(
    fixOf('tbf', 'rate 8bit burst 10b lat 1ms', true),
    'tc qdisc del dev eth0 root / tc qdisc add dev eth0 root handle 1: tbf rate 8bit burst 10b latency 1ms',
  );
  assert.equal(fixOf('tbf', 'rate 1Mbit burst 16Kb lat 50ms', false), 'advice');
  assert.equal(fixOf('htb', 'r2q 10 default 0x30', false), 'advice');
  assert.equal(fixOf('hfsc', 'default 1', false), 'advice');
  assert.equal(fixOf('tbf', 'rate 8bit burst 10b lat 1ms', true, 1), 'advice');
});

test('an address is taken away only where one command brings all of it back; IPv6 forwarding is never switched', () => {
  const fixOf = (addresses: object[], routes: object[] = []): string => {
    const link = { name: 'br0', addresses } as unknown as FaultParts['link'];
    const namespace = { routes } as unknown as Partial<MachineNamespace>;
    return fixesOf('gateway-ip-is-local', { link, address: at('10.0.0.1'), prefixLength: 24 }, namespace)[0].cmd;
  };
  const one = { address: at('10.0.0.1'), prefixLength: 24, usable: true, plain: true };
  const six = { address: at('fe80::1'), prefixLength: 64, usable: true };
  const connected = { family: 4, protocol: 'kernel', hops: [{ device: 'br0' }] };
  assert.equal(fixOf([one, six], [connected]), 'ip addr del 10.0.0.1/24 dev br0');
  assert.match(fixOf([{ ...one, plain: undefined }]), /^# /, 'with a broadcast address, a label or a time');
  assert.match(fixOf([one, { ...one, address: at('10.0.0.2') }]), /^# /, 'secondaries go with the first');
  assert.match(fixOf([one], [connected, { ...connected, protocol: 'static' }]), /^# /, 'routes by that link go too');
  const sixth = { ...packet, family: 6 as const, source: at('fd00::7'), destination: at('fd00::9') };
  assert.match(fixesOf('forwarding-disabled', { packet: sixth, devices: ['eth0'] })[0].cmd, /^# /);
});

test('a policy is that of its own chain: family, backend, and whose table it is', () => {
  const cmdOf = (family: string, table: string, backend: 'nft' | 'legacy' = 'nft'): string =>
    fixesOf('fw-rule-drop', { policyOf: { family, table, chain: 'INPUT', backend } })[0].cmd;
  assert.match(cmdOf('ip', 'filter'), /^iptables-nft -t filter -A INPUT /);
  assert.match(cmdOf('ip6', 'filter'), /^ip6tables-nft /);
  assert.match(cmdOf('ip', 'filter', 'legacy'), /^iptables-legacy .*-t filter -A INPUT /);
  assert.match(cmdOf('inet', 'filter'), /^nft add rule inet filter INPUT /);
  assert.match(cmdOf('ip', 'mine'), /^nft add rule ip mine INPUT /);
  const chain = (family: string, backend: string) => ({
    family,
    backend,
    table: 'filter',
    name: 'INPUT',
    base: { policy: 'drop' },
  });
  const filter = { chains: [chain('ip', 'nft'), chain('ip6', 'nft'), chain('ip', 'legacy')] } as unknown as PacketFilter;
  const rest = withoutPolicy(filter, { family: 'ip6', backend: 'nft', table: 'filter', chain: 'INPUT' });
  assert.deepEqual(
    rest.chains.map(({ base }) => base?.policy),
    ['drop', 'accept', 'drop'],
  );
});

test('the undo of one fix names what that fix made, not what another did; legacy tables wait for their lock', () => {
  const [first, second] = [1, 2].map(() => fixesOf('fw-rule-drop', { rule: rule({}) })[0]);
  const commentOf = (text: string): string => /weir-doctor-[0-9a-f]{12}/.exec(text)?.[0] ?? assert.fail(text);
  assert.equal(commentOf(first.cmd), commentOf(first.undo));
  assert.notEqual(commentOf(first.cmd), commentOf(second.undo));
  const [legacy] = fixesOf('fw-legacy-drop', {
    rule: rule({ backend: 'legacy', family: 'ip', table: 'filter', chain: 'INPUT' }),
  });
  assert.match(legacy.cmd, /^iptables-legacy -w 10 -t filter -I INPUT 4 /);
  assert.match(legacy.undo, /^iptables-legacy -w 10 -t filter -D INPUT /);
});

test('a route is put where it decides, and taken back to what was there: table and metric', () => {
  const route = (text: string, more: object) => ({
    table: 254,
    destination: at('10.0.0.9'),
    prefixLength: 32,
    family: 4,
    type: 'unicast',
    metric: 0,
    hops: [],
    text,
    ...more,
  });
  const fixOf = (parts: FaultParts, ...routes: object[]): string => {
    const [{ cmd, undo }] = fixesOf('return-route-blackhole', { address: at('10.0.0.9'), inputDevice: 'eth0', ...parts }, {
      routes,
    } as unknown as Partial<MachineNamespace>);
    return `${cmd} / ${undo}`;
  };
  assert.equal(fixOf({}), 'ip route add 10.0.0.9/32 dev eth0 / ip route del 10.0.0.9/32 dev eth0');
  assert.equal(
    fixOf({ table: 100 }, route('10.0.0.9 dev eth1', {})),
    'ip route add 10.0.0.9/32 dev eth0 table 100 / ip route del 10.0.0.9/32 dev eth0 table 100',
  );
  const far = route('10.0.0.9 dev eth1 metric 600', { metric: 600 });
  const near = route('blackhole 10.0.0.9 metric 100', { metric: 100, type: 'blackhole' });
  assert.equal(
    fixOf({}, far, near),
    'ip route replace 10.0.0.9/32 dev eth0 metric 100 / ip route replace blackhole 10.0.0.9 metric 100',
  );
  const inTable = route('10.0.0.9 dev eth1 table 7', { table: 7 });
  assert.equal(
    fixOf({ table: 7 }, far, inTable),
    'ip route replace 10.0.0.9/32 dev eth0 table 7 / ip route replace 10.0.0.9 dev eth1 table 7',
  );
  assert.match(fixOf({}, route('10.0.0.9 dev eth1 linkdown', {})), /^# ip route replace 10\.0\.0\.9\/32 dev eth0: instead of /);
});

test('the message that tells a size is named by its type, in each family, and nothing else of ICMP', () => {
  const told = (family: 4 | 6): FilterPacket => ({
    ...packet,
    family,
    protocol: 'icmp',
    source: at(family === 4 ? '10.0.0.1' : 'fd00::1'),
    destination: at(family === 4 ? '10.0.0.9' : 'fd00::9'),
    icmp: family === 4 ? { type: 3, code: 4 } : { type: 2, code: 0 },
  });
  const of = (family: 4 | 6, more: Partial<RulePlace>): DiagnosisFix =>
    fixesOf('pmtu-blackhole', { packet: told(family), rule: rule(more) })[0];
  assert.match(of(4, {}).cmd, / icmp type destination-unreachable icmp code frag-needed accept /);
  assert.match(of(6, {}).cmd, / ip6 saddr fd00::1 ip6 daddr fd00::9 icmpv6 type packet-too-big accept /);
  const iptables = { table: 'filter', chain: 'INPUT', text: '-A INPUT -j DROP' };
  assert.match(of(4, { ...iptables, family: 'ip' }).cmd, /-p icmp --icmp-type fragmentation-needed -j ACCEPT$/);
  const six = of(6, { ...iptables, family: 'ip6' });
  assert.match(six.cmd, /^ip6tables-nft .* -p ipv6-icmp --icmpv6-type packet-too-big -j ACCEPT$/);
  assert.match(six.scope, /lets ICMPv6 "packet too big" from fd00::1 to fd00::9 past/);
});

test('a namespace that is not this one is looked at again from inside, before anything is done', () => {
  const [up] = fixesOf(
    'link-down',
    { link: { name: "a'b", up: false } as unknown as FaultParts['link'] },
    {
      path: '/proc/4711/ns/net',
      inode: '4026532999',
    },
  );
  const told = wordsOf(up.cmd);
  assert.deepEqual(told.slice(0, 4), ['--net=/proc/4711/ns/net', '--', 'sh', '-c']);
  const inner = told.slice(4).join('\n');
  assert.match(inner, /^\[ "\$\(readlink \/proc\/self\/ns\/net\)" = "net:\[4026532999\]" \] \|\| \{ .* exit 1; \}; ip link set /);
  const { status, stderr } = spawnSync('/bin/sh', ['-c', inner], { encoding: 'utf8' });
  assert.equal(status, 1, 'this process is in another one');
  assert.match(stderr, /another network namespace is there now/);
});

test('a route that could not be written again is not replaced', () => {
  const of = (more: object): DiagnosisFix => {
    const address = at('10.0.0.9');
    const there = {
      table: 254,
      destination: address,
      prefixLength: 32,
      family: 4,
      type: 'unicast',
      metric: 0,
      hops: [],
      text: '10.0.0.9 dev a',
      ...more,
    };
    const routes = [there] as unknown as MachineNamespace['routes'];
    return fixesOf('no-return-route', { address, inputDevice: 'b' }, { routes })[0];
  };
  assert.equal(of({}).undo, 'ip route replace 10.0.0.9 dev a');
  assert.deepEqual([of({ partial: true }).undo, of({ partial: true }).cmd.slice(0, 2)], ['', '# ']);
});
