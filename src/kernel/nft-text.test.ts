// Ruleset text in and out: nothing but known words is rendered, and listings of the kernel are read for what they are.

import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { parseListing, readOwnComments } from './nft-read.ts';
import { renderRule, renderTables } from './nft-render.ts';
import { accept, match, type NftTable, verdict } from './nft-ruleset.ts';

const table = (more: Partial<NftTable>): NftTable => ({
  family: 'inet',
  name: 'weir',
  comment: 'x',
  sets: [],
  chains: [],
  ...more,
});

test('no word can leave its place in the text', () => {
  const places: ((word: string) => string)[] = [
    (word) => renderTables([table({ name: word })]),
    (word) => renderTables([table({ comment: word })]),
    (word) => renderTables([table({ chains: [{ name: word, rules: [] }] })]),
    (word) => renderTables([table({ chains: [{ name: 'a', comment: word, rules: [] }] })]),
    (word) =>
      renderTables([
        table({ chains: [{ name: 'a', hook: { type: 'filter', hook: 'ingress', device: word, priority: 0 }, rules: [] }] }),
      ]),
    (word) => renderTables([table({ sets: [{ name: 'a', type: 'ipv4_addr', interval: false, elements: [word] }] })]),
    (word) => renderRule([match('ip saddr', word)]),
    (word) => renderRule([match('iifname', word)]),
    (word) => renderRule([{ do: 'log', prefix: word, group: 1, snaplen: 1, queueThreshold: 1 }]),
    (word) => renderRule([verdict({ goto: word })]),
  ];
  fc.assert(
    fc.property(
      fc.constantFrom(...places),
      fc.string({ maxLength: 10 }),
      fc.constantFrom('"', '\n', ';', '{', '}', '#', '$', '\\', '\0', '`'),
      fc.string({ maxLength: 10 }),
      (place, before, bad, after) => {
        // A link's name may hold most characters; what it may not is what ends a quoted string.
        const word = `${before}${bad}${after}`;
        let text: string;
        try {
          text = place(word);
        } catch (error) {
          assert.equal((error as { code?: string }).code, 'fault');
          return;
        }
        assert.ok(!'"\n\\'.includes(bad) && text.includes(`"${word}"`), text);
      },
    ),
  );
});

test('numbers that are none are refused', () => {
  for (const bad of [Number.NaN, 1.5, Number.POSITIVE_INFINITY])
    assert.throws(() => renderRule([{ do: 'tproxy', family: 4, port: bad }]), { code: 'fault' });
});

test('links are quoted where they are matched: one may be called like a word of nft', () => {
  assert.equal(renderRule([match('iifname', 'accept'), accept]), 'iifname "accept" accept');
});

const listing = `table inet weir {
\tcomment "Weir decoys"
\tset s {
\t\ttype ipv4_addr
\t}

\tchain restore-0 {
\t\tcomment "sysctl net/ipv4/conf/eth0/arp_ignore=1"
\t}
}
table ip nat {
\tchain DOCKER {
\t\ttype nat hook prerouting priority -100; policy accept;
\t}
}
table inet weir2 {
\tchain c {
\t\tcomment "not ours"
\t\ttype filter hook input priority 0; policy drop;
\t}
}
table ip6 weir {
\tchain theirs {
\t}
}
table netdev weir {
\tchain ingress-0 {
\t}
}
`;

test('a listing is parted into ours and theirs', () => {
  const { own, families, foreign } = parseListing(listing);
  assert.deepEqual(families, ['inet', 'netdev']);
  assert.ok(own.includes('table inet weir {') && own.includes('table netdev weir {'));
  assert.ok(!/weir2|ip6|DOCKER|not ours/.test(own));
  assert.deepEqual(foreign, { tracking: true, closedInputs: ['inet weir2 c'] });
  assert.deepEqual(readOwnComments(own), ['sysctl net/ipv4/conf/eth0/arp_ignore=1']);
  assert.deepEqual(parseListing(''), { own: '', families: [], foreign: { tracking: false, closedInputs: [] } });
  assert.equal(parseListing('table inet x {\n\tchain c {\n\t\tct state established accept\n\t}\n}\n').foreign.tracking, true);
});
