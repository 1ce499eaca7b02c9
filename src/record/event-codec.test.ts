// The body of a journal record: what goes in comes out, and hostile bytes never throw or hang.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { eventArbitrary } from '../../test/support/event-arbitraries.ts';
import { bodyBound, decodeEvent, encodeEvent } from './event-codec.ts';

/** Own plain objects and arrays, so that deepEqual does not see Buffer against Uint8Array. */
const plain = (value: unknown): unknown =>
  JSON.parse(JSON.stringify(value, (_, item) => (item instanceof Uint8Array ? [...item] : item)));

test('every event comes back as it was, within the announced bound', () => {
  fc.assert(
    fc.property(eventArbitrary, fc.nat({ max: 50 }), (event, at) => {
      const bound = bodyBound(event);
      const buffer = Buffer.alloc(at + bound + 16, 0xee);
      const end = encodeEvent(event, 1_700_000_000_000_001, buffer, at);
      assert.ok(end - at <= bound, `${end - at} > ${bound}`);
      assert.ok(buffer.subarray(end).every((byte) => byte === 0xee));
      const decoded = decodeEvent(buffer, at, end);
      assert.equal(decoded?.recordedAt, 1_700_000_000_000_001);
      assert.deepEqual(plain(decoded.event), plain(event));
    }),
    { numRuns: 500 },
  );
});

test('a body cut anywhere, or with any byte changed, is refused or decodes to something plain, and never throws', () => {
  fc.assert(
    fc.property(eventArbitrary, fc.nat(), fc.nat({ max: 255 }), (event, where, value) => {
      const buffer = Buffer.alloc(bodyBound(event));
      const end = encodeEvent(event, 1, buffer, 0);
      const cut = where % end;
      assert.equal(decodeEvent(Buffer.from(buffer.subarray(0, cut))), undefined);
      const changed = Buffer.from(buffer.subarray(0, end));
      changed[cut] = value;
      decodeEvent(changed);
    }),
    { numRuns: 500 },
  );
});

test('random bytes never throw', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 400 }), fc.constantFrom(0xa1, 0xa2, 0xa3, 0xa4), (bytes, kind) => {
      decodeEvent(Buffer.from([kind, ...bytes]));
    }),
    { numRuns: 2000 },
  );
});
