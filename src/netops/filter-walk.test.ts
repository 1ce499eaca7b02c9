// Which verdict a walk comes to, rule by rule; that it is the kernel's is test/kernel/netops-filter-walk.test.ts.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Address, parseAddress, renderAddress } from '../model/address.ts';
import type {
  FilterChain,
  FilterElement,
  FilterExpression,
  FilterHook,
  FilterKey,
  FilterPacket,
  FilterSet,
  FilterStatement,
  PacketFilter,
  WalkContext,
} from '../model/packet-filter.ts';
import { walkFilter } from './filter-walk.ts';

const address = (text: string): Address => parseAddress(text) ?? assert.fail(text);
const one = (value: number | bigint): FilterKey => [{ first: BigInt(value), last: BigInt(value) }];

const packet: FilterPacket = {
  family: 4,
  protocol: 'tcp',
  source: address('192.0.2.1'),
  sourcePort: 40000,
  destination: address('198.51.100.1'),
  destinationPort: 80,
  inputDevice: 'eth0',
  mark: 0,
  state: 'new',
};

const at = (hook: FilterHook, more: Partial<WalkContext> = {}): WalkContext => ({
  hook,
  isLocal: ({ destination, source }, which) => renderAddress(which === 'source' ? source : destination) === '198.51.100.1',
  ...more,
});

let handles = 0;

function chain(
  name: string,
  base: Partial<NonNullable<FilterChain['base']>> | undefined,
  ...rules: FilterStatement[][]
): FilterChain {
  return {
    backend: 'nft',
    family: 'inet',
    table: 't',
    name,
    ...(base ? { base: { hook: 'input', type: 'filter', priority: 0, policy: 'accept', order: 1, ...base } } : {}),
    rules: rules.map((statements) => {
      handles += 1;
      return { backend: 'nft', family: 'inet', table: 't', chain: name, handle: handles, text: `rule of ${name}`, statements };
    }),
  };
}

const filterOf = (chains: readonly FilterChain[], sets: readonly FilterSet[] = []): PacketFilter => ({
  chains,
  sets,
  unreadable: [],
});

const port = (value: number): FilterStatement => ({
  kind: 'compare',
  left: { kind: 'field', field: 'tcp.dport' },
  operator: '==',
  right: [one(value)],
});
const limit: FilterStatement = { kind: 'undecided', text: 'limit rate 5/second', limited: true };
const accept: FilterStatement = { kind: 'accept' };
const drop: FilterStatement = { kind: 'drop' };

const verdictOf = (filter: PacketFilter, context = at('input'), sent = packet): string =>
  walkFilter(filter, sent, context).verdict.kind;

describe('a walk through the rules', () => {
  it('accepts without rules, and lets accept end its own base chain only', () => {
    assert.equal(verdictOf(filterOf([])), 'accept');
    const walk = walkFilter(
      filterOf([chain('a', { priority: -1 }, [accept]), chain('b', { priority: 1 }, [port(80), drop])]),
      packet,
      at('input'),
    );
    assert.equal(walk.verdict.kind, 'drop');
    assert.equal(walk.verdict.kind === 'drop' && walk.verdict.rule?.chain, 'b');
    assert.deepEqual(
      walk.steps.map(({ rule, outcome }) => [rule.chain, outcome]),
      [
        ['a', 'matched'],
        ['b', 'matched'],
      ],
    );
  });

  it('returns from a jump, not from a goto, and takes the policy at the end', () => {
    const below = chain('below', undefined, [{ kind: 'return' }]);
    const jump = chain('in', { policy: 'drop' }, [{ kind: 'jump', chain: 'below' }], [accept]);
    assert.equal(verdictOf(filterOf([jump, below])), 'accept');
    const goto = chain('in', { policy: 'drop' }, [{ kind: 'goto', chain: 'below' }], [accept]);
    const { verdict } = walkFilter(filterOf([goto, below]), packet, at('input'));
    assert.deepEqual(verdict, { kind: 'drop', policyOf: { backend: 'nft', family: 'inet', table: 't', chain: 'in' } });
  });

  it('says unknown where a limit decides, names its rule, and both ends it may come to', () => {
    const { verdict, possible } = walkFilter(filterOf([chain('in', {}, [limit, accept], [drop])]), packet, at('input'));
    assert.equal(verdict.kind === 'unknown' && verdict.rule?.text, 'rule of in');
    assert.match(verdict.kind === 'unknown' ? verdict.why : '', /rate/);
    assert.deepEqual(possible.map(({ kind }) => kind).sort(), ['accept', 'drop']);
  });

  it('decides all the same where the limit makes no difference', () => {
    assert.equal(verdictOf(filterOf([chain('in', {}, [limit, { kind: 'log' }], [limit, drop], [drop])])), 'drop');
    // Twenty limits on rules that only log are no choices at all.
    const logs = Array.from({ length: 20 }, (): FilterStatement[] => [limit, { kind: 'log' }]);
    assert.equal(verdictOf(filterOf([chain('in', {}, ...logs, [port(80), drop])])), 'drop');
  });

  it('gives up, and says so, where there are too many ways', () => {
    const writes = Array.from({ length: 20 }, (_, index): FilterStatement[] => [
      limit,
      { kind: 'write', field: 'meta.mark', value: { kind: 'constant', value: one(index) } },
    ]);
    const { verdict } = walkFilter(filterOf([chain('in', {}, ...writes)]), packet, at('input'));
    assert.match(verdict.kind === 'unknown' ? verdict.why : '', /more than 512 ways/);
    const loop = chain('loop', undefined, [{ kind: 'jump', chain: 'loop' }]);
    const endless = walkFilter(filterOf([chain('in', {}, [{ kind: 'jump', chain: 'loop' }]), loop]), packet, at('input'));
    assert.match(endless.verdict.kind === 'unknown' ? endless.verdict.why : '', /more than 64 deep/);
  });

  it('takes what it does not understand for unknown, never for nothing', () => {
    const strange: FilterStatement = { kind: 'unknown', text: 'xt target FOO' };
    assert.equal(verdictOf(filterOf([chain('in', {}, [strange], [accept])])), 'unknown');
    assert.equal(verdictOf(filterOf([chain('in', {}, [port(81), strange], [accept])])), 'accept');
    const left: FilterStatement = {
      kind: 'compare',
      left: { kind: 'unknown', text: 'tcp option' },
      operator: '==',
      right: [one(1)],
    };
    assert.equal(verdictOf(filterOf([chain('in', {}, [left, drop])])), 'unknown');
  });

  it('hashes an address as the kernel does, and nothing else', () => {
    const hash = (field: string): FilterExpression => ({ kind: 'hash', field, modulus: 10_000, seed: 7, offset: 1 });
    const is = (field: string, value: number): FilterStatement => ({
      kind: 'compare',
      left: hash(field),
      operator: '==',
      right: [one(value)],
    });
    assert.equal(verdictOf(filterOf([chain('in', {}, [is('ip.daddr', 5018), drop])])), 'drop');
    assert.equal(verdictOf(filterOf([chain('in', {}, [is('ip.daddr', 5019), drop])])), 'accept');
    assert.equal(verdictOf(filterOf([chain('in', {}, [is('ip6.daddr', 5018), drop])])), 'accept');
    assert.equal(verdictOf(filterOf([chain('in', {}, [is('tcp.dport', 1), drop])])), 'unknown');
  });

  it('translates at the first rule that does, and shows later hooks the new destination', () => {
    const to = (text: string): FilterStatement => ({
      kind: 'dnat',
      address: { kind: 'constant', value: one(address(text).value) },
      prefix: false,
      random: false,
    });
    const nat = chain('nat', { hook: 'prerouting', type: 'nat', priority: -100 }, [port(80), to('10.0.0.1')], [to('10.0.0.2')]);
    const walk = walkFilter(filterOf([nat]), packet, at('prerouting'));
    assert.equal(renderAddress(walk.packet.destination), '10.0.0.1');
    assert.deepEqual(walk.packet.originalDestination, { address: packet.destination, port: 80 });
    // Known connections are not asked about.
    const known = walkFilter(filterOf([nat]), { ...packet, state: 'established' }, at('prerouting'));
    assert.equal(known.packet, known.packet.originalDestination === undefined ? known.packet : undefined);
    assert.equal(renderAddress(known.packet.destination), '198.51.100.1');
  });

  it('does not know who translates first where both backends do: the one registered last', () => {
    const to = (text: string): FilterStatement[] => [
      { kind: 'dnat', address: { kind: 'constant', value: one(address(text).value) }, prefix: false, random: false },
    ];
    const nft = chain('nat', { hook: 'prerouting', type: 'nat', priority: -100 }, to('10.0.0.1'));
    const legacy: FilterChain = {
      ...chain('PREROUTING', { hook: 'prerouting', type: 'nat', priority: -100, order: 0 }, to('10.0.0.2')),
      backend: 'legacy',
      family: 'ip',
      table: 'nat',
    };
    const walk = walkFilter(filterOf([nft, legacy]), packet, at('prerouting'));
    assert.deepEqual([walk.verdict.kind, walk.blurred], ['accept', ['destination']]);
    // Where they agree there is nothing to tell.
    const same = { ...legacy, rules: nft.rules };
    assert.deepEqual(walkFilter(filterOf([nft, same]), packet, at('prerouting')).blurred, []);
  });

  it('sees no connection before connection tracking looked, and none after notrack', () => {
    const state = (mask: bigint): FilterStatement => ({
      kind: 'bits',
      left: { kind: 'field', field: 'ct.state' },
      mask,
      any: true,
    });
    const raw = (...rules: FilterStatement[][]): FilterChain => chain('raw', { hook: 'prerouting', priority: -300 }, ...rules);
    assert.equal(verdictOf(filterOf([raw([state(8n), drop])]), at('prerouting')), 'accept');
    assert.equal(verdictOf(filterOf([raw([state(1n), drop])]), at('prerouting')), 'drop');
    const later = chain('later', { hook: 'prerouting', priority: 0 }, [state(64n), drop]);
    assert.equal(verdictOf(filterOf([raw([{ kind: 'notrack' }]), later]), at('prerouting')), 'drop');
  });

  it('tells a queue that nobody reads from one that somebody does', () => {
    const queue = (bypass: boolean): PacketFilter => filterOf([chain('in', {}, [{ kind: 'queue', first: 3, last: 3, bypass }])]);
    assert.equal(verdictOf(queue(false)), 'queue');
    assert.equal(verdictOf(queue(false), at('input', { hasQueueConsumer: () => false })), 'drop');
    assert.equal(verdictOf(queue(true), at('input', { hasQueueConsumer: () => false })), 'accept');
    assert.equal(verdictOf(queue(true), at('input', { hasQueueConsumer: () => true })), 'queue');
  });

  it('looks sets up by value, by block and by range, and is not sure of one it does not have whole', () => {
    const set = (truncated: boolean): FilterSet => ({
      backend: 'nft',
      family: 'inet',
      table: 't',
      name: 's',
      type: 'ipv4_addr',
      elements: [
        { key: one(address('203.0.113.7').value) },
        { key: [{ first: address('192.0.2.0').value, last: address('192.0.2.255').value }] },
        { key: [{ first: address('10.0.0.3').value, last: address('10.0.0.9').value }] },
      ],
      truncated,
    });
    const filter = (truncated: boolean): PacketFilter =>
      filterOf(
        [chain('in', {}, [{ kind: 'set', left: { kind: 'field', field: 'ip.saddr' }, set: 's', inverted: false }, drop])],
        [set(truncated)],
      );
    for (const [source, verdict] of [
      ['203.0.113.7', 'drop'],
      ['192.0.2.200', 'drop'],
      ['10.0.0.3', 'drop'],
      ['10.0.0.10', 'accept'],
    ])
      assert.equal(verdictOf(filter(false), at('input'), { ...packet, source: address(source) }), verdict, source);
    assert.equal(verdictOf(filter(true), at('input'), { ...packet, source: address('10.0.0.10') }), 'unknown');
  });

  it("takes nft's catch-all where no other element is, of names and of concatenations too", () => {
    const star: FilterKey = [{ first: 0n, last: (1n << 128n) - 1n }];
    const field = (name: string): FilterExpression => ({ kind: 'field', field: name });
    const map = (key: FilterExpression, first: FilterKey): PacketFilter => {
      const elements = [
        { key: first, verdict: drop },
        { key: star, verdict: accept },
      ] as FilterElement[];
      return filterOf([chain('in', { policy: 'drop' }, [{ kind: 'vmap', key, map: elements }])]);
    };
    const byName = map(field('meta.iifname'), [{ name: 'wan0', wildcard: false }]);
    assert.equal(verdictOf(byName), 'accept');
    assert.equal(verdictOf(byName, at('input'), { ...packet, inputDevice: 'wan0' }), 'drop');
    const pair: FilterExpression = { kind: 'concatenation', parts: [field('ip.saddr'), field('tcp.dport')] };
    const byPair = map(pair, [...one(packet.source.value), ...one(22)]);
    assert.equal(verdictOf(byPair), 'accept');
    assert.equal(verdictOf(byPair, at('input'), { ...packet, destinationPort: 22 }), 'drop');
    assert.equal(verdictOf(map(field('tcp.dport'), one(22))), 'accept');
    // What is not there at all ends the rule before it is looked up.
    assert.equal(verdictOf(map(field('udp.dport'), one(22))), 'drop');
  });

  it("lets ipset's narrowest entry win, also when it is an exception", () => {
    const set: FilterSet = {
      backend: 'legacy',
      family: 'ip',
      table: '',
      name: 'nets',
      type: 'hash:net',
      elements: [
        { key: [{ first: address('192.0.2.0').value, last: address('192.0.2.255').value }] },
        { key: [{ first: address('192.0.2.0').value, last: address('192.0.2.1').value }], excluded: true },
      ],
      truncated: false,
    };
    const filter = filterOf(
      [chain('in', {}, [{ kind: 'set', left: { kind: 'field', field: 'ip.saddr' }, set: 'ipset:nets', inverted: false }, drop])],
      [set],
    );
    assert.equal(verdictOf(filter), 'accept');
    assert.equal(verdictOf(filter, at('input'), { ...packet, source: address('192.0.2.9') }), 'drop');
  });

  it('fails a comparison of what the packet does not have, whichever way it asks', () => {
    const notPort: FilterStatement = {
      kind: 'compare',
      left: { kind: 'field', field: 'udp.dport' },
      operator: '!=',
      right: [one(53)],
    };
    assert.equal(verdictOf(filterOf([chain('in', {}, [notPort, drop])])), 'accept');
    const notSix: FilterStatement = {
      kind: 'compare',
      left: { kind: 'field', field: 'ip6.saddr' },
      operator: '!=',
      right: [one(1)],
    };
    assert.equal(verdictOf(filterOf([chain('in', {}, [notSix, drop])])), 'accept');
    const reset: FilterStatement = { kind: 'reject', answer: 'tcp-reset' };
    assert.equal(verdictOf(filterOf([chain('in', {}, [reset], [drop])]), at('input'), { ...packet, protocol: 'udp' }), 'drop');
    assert.equal(verdictOf(filterOf([chain('in', {}, [reset], [drop])])), 'reject');
  });
});

describe("nft's socket", () => {
  it('is the one that listens, ends the rule without one, and is unknown where nobody can tell', () => {
    const transparent: FilterStatement = {
      kind: 'compare',
      left: { kind: 'field', field: 'socket.transparent' },
      operator: '==',
      right: [one(0)],
    };
    const filter = filterOf([chain('in', {}, [transparent, accept], [drop])]);
    assert.equal(verdictOf(filter, at('input', { findSocket: () => ({ transparent: false, wildcard: true }) })), 'accept');
    assert.equal(verdictOf(filter, at('input', { findSocket: () => ({ transparent: true, wildcard: true }) })), 'drop');
    assert.equal(verdictOf(filter, at('input', { findSocket: () => null })), 'drop');
    assert.equal(verdictOf(filter), 'unknown');
  });
});
