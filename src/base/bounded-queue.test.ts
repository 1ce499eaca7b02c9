import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { BoundedQueue } from './bounded-queue.ts';

test('a queue behaves like a list with bounds, whatever is done to it', () => {
  const step = fc.oneof(
    { weight: 5, arbitrary: fc.record({ push: fc.nat(100) }) },
    { weight: 4, arbitrary: fc.constant('shift' as const) },
    { weight: 1, arbitrary: fc.constant('drain' as const) },
  );
  fc.assert(
    fc.property(
      fc.array(step, { maxLength: 200 }),
      fc.integer({ min: 1, max: 20 }),
      fc.integer({ min: 1, max: 500 }),
      (steps, maxItems, maxBytes) => {
        const queue = new BoundedQueue<number>(maxItems, maxBytes);
        const model: number[] = [];
        let dropped = 0;
        let droppedBytes = 0;
        for (const one of steps) {
          if (one === 'shift') assert.equal(queue.shift(), model.shift());
          else if (one === 'drain') assert.deepEqual(queue.drain(), model.splice(0));
          else {
            const fits = model.length < maxItems && model.reduce((sum, size) => sum + size, 0) + one.push <= maxBytes;
            assert.equal(queue.push(one.push, one.push), fits);
            if (fits) model.push(one.push);
            else {
              dropped += 1;
              droppedBytes += one.push;
            }
          }
          assert.equal(queue.length, model.length);
          assert.equal(
            queue.sizeBytes,
            model.reduce((sum, size) => sum + size, 0),
          );
        }
        assert.deepEqual([queue.dropped, queue.droppedBytes], [dropped, droppedBytes]);
      },
    ),
    { numRuns: 500 },
  );
});

test('order holds over many times the size at which the queue tidies itself', () => {
  const queue = new BoundedQueue<number>(3000);
  let next = 0;
  for (let value = 0; value < 50_000; value += 1) {
    assert.ok(queue.push(value));
    if (value % 3 !== 0 || queue.length > 2000) assert.equal(queue.shift(), next++);
  }
  for (const value of queue.drain()) assert.equal(value, next++);
  assert.equal(next, 50_000);
});
