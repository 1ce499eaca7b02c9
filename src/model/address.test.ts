import assert from 'node:assert/strict';
import { isIP } from 'node:net';
import test from 'node:test';
import fc from 'fast-check';
import {
  type Address,
  type AddressRange,
  addressBytes,
  addressFromBytes,
  bitsOf,
  normalAddressText,
  parseAddress,
  parseRange,
  rangeHolds,
  rangeSize,
  rangesOverlap,
  rangeToCidrs,
  renderAddress,
  renderAddressAt,
  renderRange,
  subtractRanges,
  uniteRanges,
} from './address.ts';

const value = (family: 4 | 6) => fc.bigInt({ min: 0n, max: (1n << BigInt(bitsOf(family))) - 1n });
// An IPv4-mapped address is its IPv4 address, so its text does not come back as IPv6.
const isMapped = ({ family, value: number }: Address): boolean => family === 6 && number >> 32n === 0xffffn;
const address: fc.Arbitrary<Address> = fc
  .constantFrom(4 as const, 6 as const)
  .chain((family) => fc.oneof(value(family), fc.bigInt({ min: 0n, max: 300n })).map((number) => ({ family, value: number })));
const range: fc.Arbitrary<AddressRange> = fc
  .constantFrom(4 as const, 6 as const)
  .chain((family) =>
    fc.tuple(value(family), value(family)).map(([a, b]) => ({ family, first: a < b ? a : b, last: a < b ? b : a })),
  );
/** Ranges that meet often: all within 64 addresses of each family. */
const near: fc.Arbitrary<AddressRange> = fc
  .tuple(fc.constantFrom(4 as const, 6 as const), fc.bigInt({ min: 0n, max: 63n }), fc.bigInt({ min: 0n, max: 20n }))
  .map(([family, first, more]) => ({ family, first, last: first + more }));
const nearList = fc.array(near, { maxLength: 12 });

const members = (ranges: readonly AddressRange[]): Set<string> => {
  const found = new Set<string>();
  for (const { family, first, last } of ranges) for (let at = first; at <= last; at += 1n) found.add(`${family} ${at}`);
  return found;
};

function assertNormal(ranges: readonly AddressRange[]): void {
  for (let index = 1; index < ranges.length; index += 1) {
    const [before, after] = [ranges[index - 1], ranges[index]];
    assert.ok(
      before.family < after.family || (before.family === after.family && before.last + 1n < after.first),
      'sorted, disjoint, not touching',
    );
  }
  for (const { first, last } of ranges) assert.ok(first <= last);
}

test('text and number of an address are each other’s inverse, and the system agrees that it is an address', () => {
  fc.assert(
    fc.property(address, (one) => {
      fc.pre(!isMapped(one));
      const text = renderAddress(one);
      assert.equal(isIP(text), one.family);
      assert.deepEqual(parseAddress(text), one);
      assert.deepEqual(addressFromBytes(addressBytes(one)), one);
    }),
    { numRuns: 1000 },
  );
});

test('IPv6 text is that of RFC 5952', () => {
  for (const [written, canonical] of [
    ['2001:db8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
    ['2001:0DB8::0001', '2001:db8::1'],
    ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
    ['0:0:0:0:0:0:0:0', '::'],
    ['1::', '1::'],
    ['::ffff:192.0.2.1', '192.0.2.1'],
    ['64:ff9b::192.0.2.33', '64:ff9b::c000:221'],
  ]) {
    const parsed = parseAddress(written);
    assert.ok(parsed, written);
    assert.equal(renderAddress(parsed), canonical);
  }
});

test('what the system does not take for an address is refused', () => {
  for (const text of [
    '',
    '1.2.3',
    '1.2.3.4.5',
    '1.2.3.256',
    '01.2.3.4',
    '1.2.3.4 ',
    ' 1.2.3.4',
    '1..3.4',
    '::1%eth0',
    ':::',
    '1:2:3:4:5:6:7',
    '1:2:3:4:5:6:7:8:9',
    '1::2::3',
    '12345::',
    'g::',
    '::1.2.3',
    '1.2.3.4::',
    ':1:2:3:4:5:6:7',
    '1:2:3:4:5:6:7:',
  ])
    assert.equal(parseAddress(text), undefined, text);
  const characters = fc.constantFrom('0', '1', '9', '255', '.', ':', '::', 'f', 'ffff', 'g', ' ', '%');
  fc.assert(
    fc.property(fc.array(characters, { maxLength: 16 }), (parts) => {
      const text = parts.join('');
      assert.equal(parseAddress(text) !== undefined, isIP(text) !== 0 && !text.includes('%'), text);
    }),
    { numRuns: 5000 },
  );
});

test('ranges are read as address, block or both ends', () => {
  for (const [text, first, last] of [
    ['10.0.0.5', '10.0.0.5', '10.0.0.5'],
    ['10.0.0.5/24', '10.0.0.0', '10.0.0.255'],
    ['10.0.0.5 - 10.0.1.0', '10.0.0.5', '10.0.1.0'],
    ['0.0.0.0/0', '0.0.0.0', '255.255.255.255'],
    ['2001:db8::/64', '2001:db8::', '2001:db8::ffff:ffff:ffff:ffff'],
  ]) {
    const parsed = parseRange(text);
    assert.ok(parsed);
    assert.equal(renderAddress({ family: parsed.family, value: parsed.first }), first);
    assert.equal(renderAddress({ family: parsed.family, value: parsed.last }), last);
  }
  for (const text of ['', '10.0.0.0/33', '10.0.0.0/', '10.0.0.0/-1', '10.0.0.9-10.0.0.1', '10.0.0.1-::1', '10.0.0.1-', '-'])
    assert.equal(parseRange(text), undefined, text);
});

test('a rendered range reads back as itself', () => {
  fc.assert(
    fc.property(range, (one) => {
      fc.pre(!isMapped({ family: one.family, value: one.first }) && !isMapped({ family: one.family, value: one.last }));
      assert.deepEqual(parseRange(renderRange(one)), one);
    }),
  );
});

test('the blocks of a range cover it exactly, in order, and no two could be one', () => {
  fc.assert(
    fc.property(range, (one) => {
      const blocks = rangeToCidrs(one);
      let at = one.first;
      for (const { first, prefixLength } of blocks) {
        const size = 1n << BigInt(bitsOf(one.family) - prefixLength);
        assert.equal(first.value, at);
        assert.equal(first.value % size, 0n, 'aligned');
        at += size;
      }
      assert.equal(at, one.last + 1n);
      for (let index = 1; index < blocks.length; index += 1) {
        const [a, b] = [blocks[index - 1], blocks[index]];
        if (a.prefixLength === b.prefixLength)
          assert.notEqual(a.first.value % (1n << BigInt(bitsOf(one.family) - a.prefixLength + 1)), 0n);
      }
    }),
  );
});

test('united ranges have the same members, sorted and joined', () => {
  fc.assert(
    fc.property(nearList, (list) => {
      const united = uniteRanges(list);
      assertNormal(united);
      assert.deepEqual(members(united), members(list));
      assert.deepEqual(uniteRanges(united), united);
    }),
    { numRuns: 1000 },
  );
});

test('subtraction takes out exactly the holes', () => {
  fc.assert(
    fc.property(nearList, nearList, (list, holes) => {
      const left = subtractRanges(list, holes);
      for (const one of left) assert.ok(one.first <= one.last);
      const gone = members(holes);
      assert.deepEqual(members(left), new Set([...members(list)].filter((member) => !gone.has(member))));
      assert.deepEqual(uniteRanges(left), left, 'sorted and joined');
    }),
    { numRuns: 2000 },
  );
});

test('overlap, membership and size agree', () => {
  fc.assert(
    fc.property(near, near, (a, b) => {
      const [inA, inB] = [members([a]), members([b])];
      assert.equal(
        rangesOverlap(a, b),
        [...inA].some((member) => inB.has(member)),
      );
      assert.equal(rangeSize(a), BigInt(inA.size));
      assert.equal(rangeHolds(a, { family: b.family, value: b.first }), inA.has(`${b.family} ${b.first}`));
    }),
  );
});

test('the short ways from text to text and from bytes to text agree with the long ones', () => {
  const piece = fc.constantFrom(
    '0',
    '1',
    'ffff',
    'abcd',
    '00ff',
    'FFFF',
    ':',
    '::',
    '.',
    '192.0.2.1',
    '10.0.0.07',
    '::ffff:',
    '12345',
    'g',
    '',
  );
  const valid = fc.bigInt({ min: 0n, max: (1n << 128n) - 1n }).map((value) => renderAddress({ family: 6, value }));
  fc.assert(
    fc.property(
      fc.oneof(
        fc.array(piece, { maxLength: 12 }).map((parts) => parts.join('')),
        fc.ipV6(),
        fc.ipV4(),
        valid,
      ),
      (text) => {
        const address = parseAddress(text);
        const colon = text.includes(':');
        assert.equal(address !== undefined, isIP(text) !== 0, text);
        // Read by the platform's own rules (WHATWG URL); an IPv4-mapped address it leaves in IPv6.
        if (colon && address?.family === 6)
          assert.equal(renderAddress(address), new URL(`http://[${text}]/`).hostname.slice(1, -1));
        assert.equal(normalAddressText(text, 6), colon && address ? renderAddress(address) : undefined);
        assert.equal(normalAddressText(text, 4), !colon && address ? renderAddress(address) : undefined);
      },
    ),
    { numRuns: 3000 },
  );
  const word = fc.constantFrom(0, 0, 0, 1, 255);
  fc.assert(
    fc.property(fc.array(word, { minLength: 18, maxLength: 18 }), fc.boolean(), (numbers, mapped) => {
      const bytes = Uint8Array.from(numbers);
      if (mapped) bytes.set([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255], 2);
      for (const [family, size] of [
        [4, 4],
        [6, 16],
      ] as const) {
        const text = renderAddress(addressFromBytes(bytes.subarray(2, 2 + size)));
        const address = parseAddress(text);
        assert.equal(renderAddressAt(bytes, 2, family), address && renderAddress(address));
      }
    }),
    { numRuns: 1000 },
  );
});
