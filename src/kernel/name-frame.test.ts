import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseAddress } from '../model/address.ts';
import { foldChecksum, sumWords } from '../model/checksum.ts';
import { parseNameFrame, renderNameFrame } from './name-frame.ts';

const address = (text: string) => {
  const parsed = parseAddress(text);
  assert.ok(parsed);
  return parsed;
};
const groupMac = Uint8Array.from([1, 0, 0x5e, 0, 0, 0xfc]);
const fromMac = Uint8Array.from([0, 0x0c, 0x29, 1, 2, 3]);
const frameOf = (source: string, destination: string, payload: Uint8Array): Uint8Array =>
  renderNameFrame(
    groupMac,
    fromMac,
    { source: address(source), sourcePort: 40_000, destination: address(destination), destinationPort: 5355, ttl: 1 },
    payload,
  );

test('what is rendered is parsed again, whatever the payload, also behind padding', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 512 }), fc.boolean(), fc.nat(20), (payload, six, padding) => {
      const frame = six ? frameOf('fd99::1', 'ff02::1:3', payload) : frameOf('10.99.0.1', '224.0.0.252', payload);
      const padded = new Uint8Array(frame.length + padding);
      padded.set(frame);
      const parsed = parseNameFrame(padded);
      assert.ok(parsed);
      assert.deepEqual([parsed.family, parsed.sourcePort, parsed.destinationPort], [six ? 6 : 4, 40_000, 5355]);
      assert.deepEqual([...parsed.payload], [...payload]);
      assert.deepEqual([...parsed.toMac, ...parsed.fromMac], [...groupMac, ...fromMac]);
    }),
  );
});

test('the header is what RFC 791 says: its checksum holds, the hop limit is 1', () => {
  const frame = frameOf('10.99.0.1', '224.0.0.252', new Uint8Array(9));
  assert.equal(foldChecksum(sumWords(frame, 14, 34)), 0);
  assert.equal(frame[22], 1);
});

test('frames to one station, fragments, other protocols and lengths that lie are not taken', () => {
  const good = frameOf('10.99.0.1', '224.0.0.252', new Uint8Array(20));
  const broken = (at: number, value: number): Uint8Array => {
    const frame = good.slice();
    frame[at] = value;
    return frame;
  };
  assert.ok(parseNameFrame(good));
  for (const [why, frame] of [
    ['to one station', broken(0, 0)],
    ['another version', broken(14, 0x65)],
    ['a header shorter than one', broken(14, 0x44)],
    ['a header beyond the end', broken(14, 0x4f)],
    ['TCP', broken(23, 6)],
    ['more fragments follow', broken(20, 0x20)],
    ['a later fragment', broken(21, 1)],
    ['longer than it is', broken(17, 200)],
    ['UDP longer than IP', broken(39, 200)],
    ['UDP shorter than its header', broken(39, 7)],
    ['ARP', broken(13, 6)],
    ['cut', good.subarray(0, 41)],
  ] as const)
    assert.equal(parseNameFrame(frame), undefined, why);
});

test('hostile bytes never throw and never give more than there is', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.constantFrom(0x0800, 0x86dd), (bytes, type) => {
      const frame = bytes.slice();
      if (frame.length > 24) {
        frame[0] |= 1;
        frame[12] = type >> 8;
        frame[13] = type & 255;
        frame[type === 0x0800 ? 23 : 20] = 17;
        frame[14] = (frame[14] & 15) | (type === 0x0800 ? 0x40 : 0x60);
      }
      const parsed = parseNameFrame(frame);
      if (parsed) assert.ok(parsed.payload.length + 8 + 34 <= frame.length);
    }),
    { numRuns: 3000 },
  );
});
