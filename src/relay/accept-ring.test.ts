import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { AcceptRing, createAcceptRingMemory } from './accept-ring.ts';
import { createTupleSeeds, networkKey, tupleKey } from './tuple-key.ts';

test('what is written is read once, in order; a full ring refuses and counts', () => {
  fc.assert(
    fc.property(
      fc.array(
        fc.oneof(
          fc.record({ key: fc.maxSafeNat(), sequence: fc.option(fc.nat(0xffffffff), { nil: undefined }) }),
          fc.constant('drain'),
        ),
      ),
      (steps) => {
        const memory = createAcceptRingMemory(8);
        const writer = new AcceptRing(memory);
        const reader = new AcceptRing(memory);
        const model: [number, number | undefined][] = [];
        let refused = 0;
        for (const step of steps) {
          if (typeof step === 'string') {
            const got: [number, number | undefined][] = [];
            reader.drain((key, sequence) => got.push([key, sequence]));
            assert.deepEqual(got, model.splice(0));
          } else if (model.length === 8) {
            assert.equal(writer.push(step.key, step.sequence), false);
            refused += 1;
          } else {
            assert.equal(writer.push(step.key, step.sequence), true);
            model.push([step.key, step.sequence]);
          }
        }
        assert.equal(writer.refused, refused);
      },
    ),
  );
});

test('the ring goes on past 2^32 entries', () => {
  const memory = createAcceptRingMemory(4);
  new Int32Array(memory.words).fill(-2, 0, 2);
  const ring = new AcceptRing(memory);
  for (let round = 0; round < 3; round += 1) {
    for (let key = 0; key < 4; key += 1) assert.equal(ring.push(key, key), true);
    assert.equal(ring.push(9, 9), false);
    const keys: number[] = [];
    ring.drain((key) => keys.push(key));
    assert.deepEqual(keys, [0, 1, 2, 3]);
  }
});

test('a tuple key depends on every field and on the seeds, not on where the bytes lie', () => {
  const seeds = createTupleSeeds();
  fc.assert(
    fc.property(
      fc.constantFrom(4, 16),
      fc.uint8Array({ minLength: 32, maxLength: 32 }),
      fc.nat(65535),
      fc.nat(65535),
      fc.nat(15),
      (size, bytes, sourcePort, destinationPort, flip) => {
        const key = tupleKey(seeds, 0, size, bytes, 0, sourcePort, bytes, 16, destinationPort);
        assert.ok(Number.isSafeInteger(key) && key >= 0);
        const moved = new Uint8Array(40);
        moved.set(bytes, 5);
        assert.equal(tupleKey(seeds, 0, size, moved, 5, sourcePort, moved, 21, destinationPort), key);
        const other = bytes.slice();
        other[flip % size] ^= 1;
        assert.notEqual(tupleKey(seeds, 0, size, other, 0, sourcePort, other, 16, destinationPort), key);
        assert.notEqual(tupleKey(seeds, 0, size, bytes, 0, sourcePort ^ 1, bytes, 16, destinationPort), key);
        const elsewhere = networkKey(seeds, 'floor-3');
        assert.notEqual(tupleKey(seeds, elsewhere, size, bytes, 0, sourcePort, bytes, 16, destinationPort), key);
        assert.notEqual(tupleKey(createTupleSeeds(), 0, size, bytes, 0, sourcePort, bytes, 16, destinationPort), key);
      },
    ),
  );
});
