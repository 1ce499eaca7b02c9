import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { ProbeRecord } from '../model/event.ts';
import { type ProbeLimits, ProbeTracker } from './probe-tracker.ts';
import { createTupleSeeds, networkKey, tupleKey } from './tuple-key.ts';

const seeds = createTupleSeeds();

interface Shape {
  readonly source: number;
  readonly target: number;
  readonly port: number;
  readonly sequence: number;
}

function packetOf({ source, target, port, sequence }: Shape): Uint8Array {
  const bytes = new Uint8Array(40);
  const view = new DataView(bytes.buffer);
  bytes[0] = 0x45;
  bytes[8] = 50;
  bytes[9] = 6;
  view.setUint32(12, 0x0a000000 + source);
  view.setUint32(16, 0x0a630000 + target);
  view.setUint16(20, 4000);
  view.setUint16(22, port);
  view.setUint32(24, sequence);
  bytes[32] = 0x50;
  bytes[33] = 0x02;
  return bytes;
}

const keyOf = (shape: Shape): number => {
  const bytes = packetOf(shape);
  return tupleKey(seeds, networkKey(seeds, ''), 4, bytes, 12, 4000, bytes, 16, shape.port);
};

function bench(limits: Partial<ProbeLimits> = {}) {
  const records: ProbeRecord[] = [];
  const time = { now: 1_000_000_000_000 };
  const tracker = new ProbeTracker(
    seeds,
    () => time.now,
    (record) => records.push(record),
    limits,
  );
  const see = (kind: string, shape: Shape): void => {
    const bytes = packetOf(shape);
    tracker.packet('', `weir:${kind}:dmz`, bytes, 0, bytes.length, -1);
  };
  const pass = (ms: number): void => {
    time.now += ms * 1000;
    tracker.tick();
  };
  return { records, time, tracker, see, pass };
}

const one: Shape = { source: 1, target: 1, port: 80, sequence: 7 };

test('a SYN that becomes a connection leaves no record, whichever is told first', () => {
  for (const order of ['syn first', 'accept first']) {
    const { records, tracker, see, pass } = bench();
    if (order === 'syn first') see('syn', one);
    tracker.accepted(keyOf(one), order === 'syn first' ? one.sequence : undefined);
    if (order === 'accept first') see('syn', one);
    see('syn', one); // a retransmission
    pass(5000);
    pass(5000);
    assert.deepEqual(records, []);
    assert.equal(tracker.counters.matched, 2);
    assert.equal(tracker.counters.seen, 2);
  }
});

test('a SYN nobody accepts in time is half-open; one with another sequence number is not its connection', () => {
  const { records, tracker, see, pass } = bench();
  see('syn', one);
  tracker.accepted(keyOf(one), 8);
  pass(2900);
  assert.equal(tracker.counters.held, 1);
  pass(200);
  pass(1100);
  assert.equal(records.length, 1);
  assert.deepEqual(records[0].targets, [{ ip: '10.99.0.1', port: 80, transport: 'tcp', kind: 'half-open', count: 1 }]);
  assert.deepEqual(
    [records[0].source, records[0].sourcePort, records[0].diversion, records[0].start],
    ['10.0.0.1', 4000, 'dmz', 1_000_000_000_000],
  );
  assert.equal(records[0].syn?.ttl, 50);
});

test('a client that asks again may still succeed, but not for ever', () => {
  const { records, tracker, see, pass } = bench();
  see('syn', one);
  pass(2500);
  see('syn', one);
  pass(2500);
  tracker.accepted(keyOf(one), one.sequence);
  assert.deepEqual([tracker.counters.matched, tracker.counters.held], [2, 0]);
  for (let count = 0; count < 10; count += 1) {
    see('syn', { ...one, port: 81 });
    pass(1000);
  }
  pass(2000);
  assert.ok(records.flatMap(({ targets }) => targets).some(({ port, kind }) => port === 81 && kind === 'half-open'));
});

test('one record per source and second; a full one is followed by others, then packets are only counted', () => {
  const { records, see, pass, tracker } = bench({ targetsPerRecord: 4, recordsPerSource: 2 });
  for (let port = 1; port <= 20; port += 1) see('closed', { ...one, port });
  see('closed', { ...one, source: 2 });
  pass(1100);
  assert.deepEqual(
    records.map(({ source, targets, unlisted }) => [source, targets.length, unlisted]),
    [
      ['10.0.0.1', 4, 0],
      ['10.0.0.1', 4, 12],
      ['10.0.0.2', 1, 0],
    ],
  );
  assert.equal(tracker.counters.listed + tracker.counters.unlisted, 21);
});

test('prefixes that are not ours and packets that are none are dropped and counted', () => {
  const { tracker } = bench();
  const bytes = packetOf(one);
  for (const prefix of ['', 'weir:', 'weir:closed', 'weir:open:dmz', 'weir:closed:DMZ', 'other:closed:dmz', 'weir:closed:a:b'])
    tracker.packet('', prefix, bytes, 0, bytes.length, -1);
  tracker.packet('', 'weir:closed:dmz', bytes, 0, 12, -1);
  tracker.packet('', 'weir:syn:dmz', bytes, 0, 30, -1);
  assert.equal(tracker.counters.dropped, 9);
  assert.equal(tracker.counters.seen, 9);
});

const step = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constantFrom('syn', 'syn', 'closed', 'xmas', 'dead', 'nonsense'),
      source: fc.nat(5),
      target: fc.nat(5),
      port: fc.integer({ min: 1, max: 4 }),
      sequence: fc.nat(2),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      accept: fc.record({ source: fc.nat(5), target: fc.nat(5), port: fc.integer({ min: 1, max: 4 }), sequence: fc.nat(2) }),
      known: fc.boolean(),
    }),
  },
  { weight: 2, arbitrary: fc.record({ passMs: fc.integer({ min: 1, max: 2500 }) }) },
);

test('every packet ends in exactly one place, under any bounds', () => {
  fc.assert(
    fc.property(
      fc.array(step, { maxLength: 200 }),
      fc.record({
        held: fc.integer({ min: 1, max: 6 }),
        records: fc.integer({ min: 1, max: 4 }),
        targetsPerRecord: fc.integer({ min: 1, max: 4 }),
        targets: fc.integer({ min: 1, max: 6 }),
        recordsPerSource: fc.integer({ min: 1, max: 3 }),
        recordsPerSecond: fc.integer({ min: 1, max: 5 }),
      }),
      (steps, limits) => {
        const { records, tracker, see, pass } = bench(limits);
        let packets = 0;
        for (const action of steps) {
          if ('kind' in action) {
            see(action.kind, action);
            packets += 1;
          } else if ('accept' in action)
            tracker.accepted(keyOf(action.accept), action.known ? action.accept.sequence : undefined);
          else pass(action.passMs);
          const { seen, matched, listed, unlisted, dropped, held, pending } = tracker.counters;
          assert.equal(seen, packets);
          assert.equal(seen, matched + listed + unlisted + dropped + held + pending);
        }
        tracker.flush();
        const { matched, dropped, held, pending } = tracker.counters;
        assert.deepEqual([held, pending], [0, 0]);
        const recorded = records.reduce(
          (sum, { targets, unlisted }) => targets.reduce((all, { count }) => all + count, sum + unlisted),
          0,
        );
        assert.equal(recorded + matched + dropped, packets);
        for (const { targets } of records) assert.ok(targets.length <= limits.targetsPerRecord);
      },
    ),
    { numRuns: 500 },
  );
});

test('the same packet in two networks is two: an accept in one leaves the other held', () => {
  const records: ProbeRecord[] = [];
  const time = { now: 1_000_000_000_000 };
  const tracker = new ProbeTracker(
    seeds,
    () => time.now,
    (record) => records.push(record),
  );
  const bytes = packetOf(one);
  for (const network of ['floor-3', 'floor-4']) tracker.packet(network, `weir:syn:${network}`, bytes, 0, bytes.length, -1);
  tracker.accepted(tupleKey(seeds, networkKey(seeds, 'floor-4'), 4, bytes, 12, 4000, bytes, 16, 80), one.sequence);
  time.now += 4_000_000;
  tracker.tick();
  time.now += 2_000_000;
  tracker.tick();
  assert.deepEqual(
    records.map(({ diversion, targets }) => [diversion, targets[0].kind]),
    [['floor-3', 'half-open']],
  );
  assert.equal(tracker.counters.matched, 1);
});
