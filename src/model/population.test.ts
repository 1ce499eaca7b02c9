// The arithmetic the kernel must share. That the kernel does is proved in test/kernel; here it is held to a second
// writing of lookup3 and to its author's own vectors.

import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { type Address, bitsOf, parseAddress } from './address.ts';
import { addressHash, decoyMac, jhash, macKeyOf, populationModulus, reciprocalScale, renderMac, resident } from './population.ts';

/** Bob Jenkins' hashlittle (lookup3.c, 2006, public domain) in wide integers; `init` is added as its `initval`. */
function lookup3(key: Uint8Array, init: number): number {
  const mask = 0xffffffffn;
  const turn = (word: bigint, by: bigint): bigint => ((word << by) | (word >> (32n - by))) & mask;
  let [a, b, c] = new Array<bigint>(3).fill((0xdeadbeefn + BigInt(key.length) + BigInt(init)) & mask);
  const words = (from: number): bigint[] =>
    [0, 4, 8].map((at) =>
      [0, 1, 2, 3].reduce((word, byte) => word | (BigInt(key[from + at + byte] ?? 0) << BigInt(8 * byte)), 0n),
    );
  let at = 0;
  for (; key.length - at > 12; at += 12) {
    const [x, y, z] = words(at);
    [a, b, c] = [(a + x) & mask, (b + y) & mask, (c + z) & mask];
    a = ((a - c) & mask) ^ turn(c, 4n);
    c = (c + b) & mask;
    b = ((b - a) & mask) ^ turn(a, 6n);
    a = (a + c) & mask;
    c = ((c - b) & mask) ^ turn(b, 8n);
    b = (b + a) & mask;
    a = ((a - c) & mask) ^ turn(c, 16n);
    c = (c + b) & mask;
    b = ((b - a) & mask) ^ turn(a, 19n);
    a = (a + c) & mask;
    c = ((c - b) & mask) ^ turn(b, 4n);
    b = (b + a) & mask;
  }
  if (at === key.length) return Number(c);
  const [x, y, z] = words(at);
  [a, b, c] = [(a + x) & mask, (b + y) & mask, (c + z) & mask];
  const minus = (left: bigint, right: bigint): bigint => (left - right) & mask;
  c = minus(c ^ b, turn(b, 14n));
  a = minus(a ^ c, turn(c, 11n));
  b = minus(b ^ a, turn(a, 25n));
  c = minus(c ^ b, turn(b, 16n));
  a = minus(a ^ c, turn(c, 4n));
  b = minus(b ^ a, turn(a, 14n));
  c = minus(c ^ b, turn(b, 24n));
  return Number(c);
}

const seed = fc.integer({ min: 0, max: 0xffffffff });
const address: fc.Arbitrary<Address> = fc
  .constantFrom(4 as const, 6 as const)
  .chain((family) => fc.bigInt({ min: 0n, max: (1n << BigInt(bitsOf(family))) - 1n }).map((value) => ({ family, value })));

test('jhash gives the vectors printed in lookup3.c', () => {
  const text = new TextEncoder().encode('Four score and seven years ago');
  assert.equal(jhash(new Uint8Array(0), 0), 0xdeadbeef);
  assert.equal(jhash(new Uint8Array(0), 0xdeadbeef), 0xbd5b7dde);
  assert.equal(jhash(text, 0), 0x17770551);
  assert.equal(jhash(text, 1), 0xcd628161);
});

test('jhash equals a second writing of lookup3 for keys of any length', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), seed, (key, init) => {
      assert.equal(jhash(key, init), lookup3(key, init));
    }),
    { numRuns: 3000 },
  );
});

test('the scaled hash stays below the modulus and grows with the hash', () => {
  fc.assert(
    fc.property(seed, seed, fc.integer({ min: 1, max: 65536 }), (a, b, modulus) => {
      const [low, high] = a < b ? [a, b] : [b, a];
      assert.ok(reciprocalScale(high, modulus) < modulus);
      assert.ok(reciprocalScale(low, modulus) <= reciprocalScale(high, modulus));
    }),
  );
  assert.equal(reciprocalScale(0xffffffff, populationModulus), 9999);
});

test('over a /16 every share comes out within half a percent, and another seed chooses others', () => {
  const shares = [
    { persona: 'a', share: 2000 },
    { persona: 'b', share: 500 },
    { persona: 'c', share: 3000 },
  ];
  const counts = new Map<number, number>();
  let moved = 0;
  for (let index = 0; index < 65536; index += 1) {
    const one: Address = { family: 4, value: 0x0a010000n + BigInt(index) };
    const home = resident({ seed: 7, shares }, one);
    counts.set(home, (counts.get(home) ?? 0) + 1);
    if (home !== resident({ seed: 8, shares }, one)) moved += 1;
  }
  for (const [home, part] of [
    [0, 0.2],
    [1, 0.05],
    [2, 0.3],
    [-1, 0.45],
  ] as const)
    assert.ok(Math.abs((counts.get(home) ?? 0) / 65536 - part) < 0.005, `${home}: ${counts.get(home)}`);
  assert.ok(moved > 30_000);
});

test('residents are where the hash falls, and nobody lives past the shares', () => {
  fc.assert(
    fc.property(
      address,
      seed,
      fc.array(fc.integer({ min: 1, max: 2000 }), { minLength: 1, maxLength: 5 }),
      (one, init, parts) => {
        const population = { seed: init, shares: parts.map((share, index) => ({ persona: `p${index}`, share })) };
        const at = addressHash(one, populationModulus, init);
        const bounds = parts.map((_, index) => parts.slice(0, index + 1).reduce((sum, part) => sum + part, 0));
        assert.equal(
          resident(population, one),
          bounds.findIndex((bound) => at < bound),
        );
      },
    ),
  );
});

test('MACs: vendor prefix, low bits keyed by the seed, no two alike within 2^24 neighbours', () => {
  const seen = new Set<string>();
  for (let index = 0; index < 4096; index += 1)
    seen.add(renderMac(decoyMac({ family: 4, value: 0x0a000000n + BigInt(index) }, ['00:0c:29'], 7)));
  assert.equal(seen.size, 4096);
  for (const mac of seen) assert.match(mac, /^00:0c:29(:[0-9a-f]{2}){3}$/);
  const one = parseAddress('10.0.0.5') as Address;
  const low = [0, 0, 0].map((_, index) => decoyMac(one, ['00:0c:29'], 7)[3 + index]).reduce((sum, byte) => sum * 256 + byte, 0);
  assert.equal(low ^ macKeyOf(7), 5);
  const vendors = new Set<string>();
  for (let index = 0; index < 200; index += 1)
    vendors.add(renderMac(decoyMac({ family: 6, value: BigInt(index) }, ['00:0c:29', '00:50:56', '00:15:5d'], 7)).slice(0, 8));
  assert.deepEqual([...vendors].sort(), ['00:0c:29', '00:15:5d', '00:50:56']);
});
