// What an agent hands over of its spool: what goes in comes out, and hostile bytes never throw.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { eventArbitrary } from '../../test/support/event-arbitraries.ts';
import type { SessionRecord } from '../model/session.ts';
import { decodeSpoolBatch, maxSpoolBatchBytes, maxSpoolBatchRecords, SpoolBatch } from './spool-batch.ts';

const plain = (value: unknown): unknown =>
  JSON.parse(JSON.stringify(value, (_, item) => (item instanceof Uint8Array ? [...item] : item)));

test('every record comes back as it was, in order, with its time', () => {
  fc.assert(
    fc.property(fc.array(eventArbitrary, { maxLength: 20 }), (events) => {
      const batch = new SpoolBatch();
      for (const [index, event] of events.entries()) assert.ok(batch.add(event, 1_700_000_000_000_000 + index));
      const records = decodeSpoolBatch(Uint8Array.from(batch.bytes()));
      assert.deepEqual(plain(records?.map(({ event }) => event)), plain(events));
      assert.deepEqual(
        records?.map(({ recordedAt }) => recordedAt),
        events.map((_, index) => 1_700_000_000_000_000 + index),
      );
    }),
    { numRuns: 200 },
  );
});

test('a batch cut anywhere is refused or holds fewer records, one with other bytes never throws', () => {
  fc.assert(
    fc.property(
      fc.array(eventArbitrary, { minLength: 1, maxLength: 4 }),
      fc.nat(),
      fc.nat({ max: 255 }),
      (events, where, value) => {
        const batch = new SpoolBatch();
        for (const event of events) batch.add(event);
        const bytes = Uint8Array.from(batch.bytes());
        const cut = where % bytes.length;
        assert.ok((decodeSpoolBatch(bytes.subarray(0, cut))?.length ?? 0) < events.length);
        bytes[cut] = value;
        decodeSpoolBatch(bytes);
      },
    ),
    { numRuns: 300 },
  );
  fc.assert(fc.property(fc.uint8Array({ maxLength: 400 }), (bytes) => void decodeSpoolBatch(bytes)));
});

test('a batch is bounded in bytes and in records, and used again', () => {
  const session = (sizeBytes: number): SessionRecord => ({
    id: '0'.repeat(19),
    sequence: 0,
    start: 1,
    outcome: 'open',
    transport: 'tcp',
    source: { ip: '192.0.2.1', port: 1 },
    destination: { ip: '192.0.2.2', port: 2 },
    sourceReliable: true,
    diversion: 'branch',
    service: 'catch-all',
    bytesIn: 0,
    bytesOut: 0,
    firstChunk: 0,
    chunks: [{ at: 1, direction: 'in', bytes: Buffer.alloc(sizeBytes) }],
    truncated: false,
  });
  const large = new SpoolBatch();
  let added = 0;
  while (large.add({ kind: 'session', session: session(1024 * 1024) })) added += 1;
  assert.equal(added, 3);
  assert.ok(large.sizeBytes <= maxSpoolBatchBytes);
  assert.equal(decodeSpoolBatch(large.bytes())?.length, 3);
  large.clear();
  assert.ok(large.add({ kind: 'session', session: session(1) }));
  assert.equal(decodeSpoolBatch(large.bytes())?.length, 1);
  const many = new SpoolBatch();
  added = 0;
  while (many.add({ kind: 'session', session: session(0) })) added += 1;
  assert.equal(added, maxSpoolBatchRecords);
  assert.equal(decodeSpoolBatch(many.bytes())?.length, added);
});
