// The pattern of ranges against their arithmetic, over ranges of every shape.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseRange, renderAddress } from '../model/address.ts';
import { ipv4Pattern } from './ipv4-pattern.ts';

const patternOf = (...texts: string[]): string | undefined =>
  ipv4Pattern(texts.map((text) => parseRange(text) ?? assert.fail(text)));
const matches = (pattern: string | undefined, text: string): boolean => new RegExp(`^(?:${pattern})$`).test(text);

test('matches just the addresses from the first to the last', () => {
  // Ends near each other, near whole blocks and near either end of everything, as well as anywhere.
  const octet = fc.oneof(fc.constantFrom(0, 1, 254, 255), fc.integer({ min: 0, max: 255 }));
  const address = fc
    .tuple(octet, octet, octet, octet)
    .map((octets) => octets.reduce((sum, each) => sum * 256n + BigInt(each), 0n));
  const near = fc.tuple(fc.nat(3), fc.bigInt({ min: -2n, max: 2n }), fc.nat(3));
  fc.assert(
    fc.property(address, address, address, near, (a, b, other, [which, step, octetAt]) => {
      const [first, last] = a < b ? [a, b] : [b, a];
      const pattern = ipv4Pattern([{ family: 4, first, last }]);
      const beside = [first, last, a, b][which] + step * 256n ** BigInt(octetAt);
      for (const value of [first, last, other, BigInt.asUintN(32, beside)]) {
        const isHeld = value >= first && value <= last;
        assert.equal(matches(pattern, renderAddress({ family: 4, value })), isHeld);
      }
    }),
    { numRuns: 2000 },
  );
});

test('knows mapped addresses and zones, and none that is longer', () => {
  const pattern = patternOf('10.66.1.7', '192.0.2.0/24');
  for (const text of ['10.66.1.7', '::ffff:10.66.1.7', '0:0:0:0:0:FFFF:192.0.2.9', '192.0.2.255%eth0'])
    assert.ok(matches(pattern, text), text);
  for (const text of [
    '10.66.1.70',
    '110.66.1.7',
    '10.66.1.7.1',
    '10x66.1.7',
    '64:ff9b::10.66.1.7',
    '::10.66.1.7',
    '192.0.3.0',
    '',
  ])
    assert.ok(!matches(pattern, text), text);
});

test('leaves other ranges to numbers', () => {
  assert.equal(ipv4Pattern([]), undefined);
  assert.equal(patternOf('192.0.2.0/24', '2001:db8::/32'), undefined);
  assert.equal(patternOf(...Array.from({ length: 9 }, (_, index) => `192.0.2.${index}`)), undefined);
});
