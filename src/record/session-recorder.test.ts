// What a service reports becomes as few records as the ticks allow, and nothing of it is lost or doubled.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { WeirEvent } from '../model/event.ts';
import { type SessionRecord, type SessionStart, startsOver, takenBackSequence } from '../model/session.ts';
import { SessionRecorder } from './session-recorder.ts';

const start: SessionStart = {
  start: 1_700_000_000_000_000,
  transport: 'tcp',
  source: { ip: '192.0.2.1', port: 40000 },
  destination: { ip: '198.51.100.7', port: 2323 },
  sourceReliable: true,
  diversion: 'dmz',
  service: 'catch-all',
};

function bench(sessionBytes = 1_000_000) {
  const records: SessionRecord[] = [];
  let now = 1_700_000_000_000_000;
  const journal = { append: (event: WeirEvent) => void (event.kind === 'session' && records.push(event.session)) };
  // Ticks come by hand: the timer never fires within a test.
  const recorder = new SessionRecorder({ journal, limits: { sessionBytes }, flushMs: 1_000_000, clock: () => (now += 1) });
  return { records, recorder };
}

const bytes = (text: string): Uint8Array => Buffer.from(text);

test('a session that opened and ended within a tick is one record with everything in it', () => {
  const { records, recorder } = bench();
  const session = recorder.open(start);
  session.chunk('in', bytes('GET / HTTP/1.0\r\n\r\n'));
  session.find({ protocol: 'http', tags: ['a', 'b'] });
  session.chunk('out', bytes('HTTP/1.0 200 OK\r\n'));
  session.find({ tags: ['b', 'c'] });
  session.close('client-closed');
  recorder.flush();
  assert.equal(records.length, 1);
  const [record] = records;
  assert.equal(record.sequence, 0);
  assert.equal(record.outcome, 'client-closed');
  assert.equal(record.bytesIn, 18);
  assert.equal(record.bytesOut, 17);
  assert.equal(record.chunks.length, 2);
  assert.equal(record.protocol, 'http');
  assert.deepEqual(record.tags, ['a', 'b', 'c']);
  assert.ok(record.end && record.end > record.start);
  recorder.flush();
  assert.equal(records.length, 1);
});

test('bytes that passed unseen count, and say so', () => {
  const { records, recorder } = bench();
  const session = recorder.open(start);
  session.chunk('in', bytes('abc'));
  session.skip('in', 10);
  session.skip('out', 20);
  session.skip('out', 0);
  session.close('client-closed');
  session.skip('out', 5);
  recorder.flush();
  const [{ bytesIn, bytesOut, truncated, chunks }] = records;
  assert.deepEqual(
    { bytesIn, bytesOut, truncated, chunks: chunks.length },
    { bytesIn: 13, bytesOut: 20, truncated: true, chunks: 1 },
  );
  assert.equal(recorder.counters().truncated, 1);
  assert.equal(recorder.counters().unrecordedBytes, 30);
});

test('facts are cumulative, chunks are what is new, sequences count up', () => {
  const { records, recorder } = bench();
  const session = recorder.open(start);
  recorder.flush();
  session.chunk('in', bytes('abc'));
  recorder.flush();
  session.find({ protocol: 'telnet' });
  session.chunk('in', bytes('def'));
  session.close('idle');
  recorder.flush();
  assert.deepEqual(
    records.map(({ sequence, firstChunk, bytesIn, outcome, protocol, chunks }) => [
      sequence,
      firstChunk,
      bytesIn,
      outcome,
      protocol,
      chunks.length,
    ]),
    [
      [0, 0, 0, 'open', undefined, 0],
      [1, 0, 3, 'open', undefined, 1],
      [2, 1, 6, 'idle', 'telnet', 1],
    ],
  );
});

test('every attempt to log in is kept, within bounds; a single one is the name and password alone', () => {
  const { records, recorder } = bench();
  const one = recorder.open(start);
  one.find({ userName: 'root' });
  one.find({ password: 'a' });
  recorder.flush();
  assert.equal(records[0].credentials, undefined);
  one.find({ password: 'b' });
  one.find({ userName: 'admin', password: '' });
  one.close('idle');
  const many = recorder.open(start);
  for (let index = 0; index < 1000; index += 1) many.find({ userName: 'u', password: String(index) });
  many.close('idle');
  const long = recorder.open(start);
  for (let index = 0; index < 100; index += 1) long.find({ userName: 'u', password: 'x'.repeat(1000) });
  long.close('idle');
  recorder.flush();
  assert.deepEqual(records[1].credentials, [
    { userName: 'root', password: 'a' },
    { userName: 'root', password: 'b' },
    { userName: 'admin', password: '' },
  ]);
  assert.deepEqual([records[1].userName, records[1].password], ['admin', '']);
  assert.equal(records[2].credentials?.length, 255);
  assert.equal(records[2].password, '999');
  assert.equal(records[3].credentials?.length, 4);
});

test('the first close wins and nothing is recorded after it', () => {
  const { records, recorder } = bench();
  const session = recorder.open(start);
  session.close('client-reset', 1_700_000_000_000_500);
  session.close('idle');
  session.chunk('in', bytes('late'));
  session.find({ protocol: 'late' });
  recorder.close();
  assert.equal(records.length, 1);
  assert.equal(records[0].outcome, 'client-reset');
  assert.equal(records[0].end, 1_700_000_000_000_500);
  assert.equal(records[0].bytesIn, 0);
  assert.equal(records[0].protocol, undefined);
});

test('closing the recorder ends what is open as shutdown', () => {
  const { records, recorder } = bench();
  recorder.open(start);
  recorder.open(start);
  recorder.close();
  assert.deepEqual(
    records.map(({ outcome }) => outcome),
    ['shutdown', 'shutdown'],
  );
  assert.equal(recorder.counters().open, 0);
});

test('any sequence of chunks and ticks: the cap holds, counts are true, what is kept is the beginning', () => {
  const step = fc.oneof(
    fc.record({ direction: fc.constantFrom('in' as const, 'out' as const), size: fc.integer({ min: 0, max: 3_000_000 }) }),
    fc.constant('tick' as const),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 12 }), fc.integer({ min: 0, max: 5_000_000 }), (steps, cap) => {
      const { records, recorder } = bench(cap);
      const session = recorder.open(start);
      const sent: Uint8Array[] = [];
      let value = 0;
      for (const each of steps) {
        if (each === 'tick') recorder.flush();
        else {
          value += 1;
          const data = new Uint8Array(each.size).fill(value);
          sent.push(data);
          session.chunk(each.direction, data);
        }
      }
      session.close('idle');
      recorder.flush();
      const offered = Buffer.concat(sent);
      const kept = Buffer.concat(records.flatMap(({ chunks }) => chunks.map((chunk) => chunk.bytes)));
      assert.ok(kept.equals(offered.subarray(0, Math.min(cap, offered.length))));
      const last = records[records.length - 1];
      assert.equal(last.bytesIn + last.bytesOut, offered.length);
      assert.equal(last.truncated, offered.length > cap);
      assert.equal(recorder.counters().unrecordedBytes, offered.length - kept.length);
      let chunks = 0;
      records.forEach((record, index) => {
        assert.equal(record.sequence, index);
        assert.equal(record.firstChunk, chunks);
        assert.equal(record.outcome, index === records.length - 1 ? 'idle' : 'open');
        assert.ok(record.chunks.reduce((sum, chunk) => sum + chunk.bytes.length, 0) <= 1024 * 1024);
        chunks += record.chunks.length;
      });
    }),
    { numRuns: 60 },
  );
});

test('many tiny chunks are bounded by number', () => {
  const { records, recorder } = bench();
  const session = recorder.open(start);
  for (let index = 0; index < 20_000; index += 1) session.chunk('in', bytes('x'));
  session.close('idle');
  recorder.flush();
  assert.equal(records[0].chunks.length, 16_384);
  assert.equal(records[0].bytesIn, 20_000);
  assert.equal(records[0].truncated, true);
});

function claim(sequence = 0) {
  let tell: (isOurs: boolean) => void = () => {};
  const whenSettled = (settled: (isOurs: boolean) => void): void => {
    tell = settled;
  };
  return { claim: { id: '0123456789a00000000', sequence, whenSettled }, settle: (isOurs: boolean) => tell(isOurs) };
}

test('a claimed session that is settled at once is one record, under the name and number of its claim', () => {
  const { records, recorder } = bench();
  const { claim: given, settle } = claim(7);
  const session = recorder.open(start, given);
  session.chunk('in', bytes('abc'));
  session.close('client-closed');
  recorder.flush();
  assert.deepEqual([records.length, recorder.counters().unsettled], [0, 1], 'somebody else may say how it went');
  settle(true);
  recorder.flush();
  assert.deepEqual(
    records.map(({ id, sequence, outcome }) => [id, sequence, outcome]),
    [['0123456789a00000000', 7, 'client-closed']],
  );
  assert.equal(recorder.counters().unsettled, 0);
  assert.notEqual(recorder.open(start, given).id, given.id, 'a claim is good for one session');
  recorder.close();
});

test('the end of a claimed session waits until it is settled, its beginning does not wait for long', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const { records, recorder } = bench();
  const { claim: given, settle } = claim();
  let now = 0;
  t.mock.method(performance, 'now', () => now);
  const session = recorder.open(start, given);
  session.close('client-reset');
  recorder.flush();
  now = 100;
  recorder.flush();
  recorder.flush();
  assert.deepEqual(
    records.map(({ outcome, end }) => [outcome, end]),
    [['open', undefined]],
  );
  settle(true);
  settle(true);
  recorder.flush();
  assert.deepEqual(
    records.map(({ sequence, outcome }) => [sequence, outcome]),
    [
      [0, 'open'],
      [1, 'client-reset'],
    ],
  );
});

test('of a session that somebody else recorded nothing more is said; one that waits is over when the recorder closes', () => {
  const { records, recorder } = bench();
  const [theirs, ours] = [claim(), claim()];
  const running = recorder.open(start, theirs.claim);
  running.chunk('in', bytes('abc'));
  theirs.settle(false);
  running.chunk('in', bytes('def'));
  recorder.open(start, ours.claim).close('idle');
  recorder.close();
  assert.deepEqual(
    records.map(({ outcome }) => outcome),
    ['idle'],
  );
  const { open, closed, unsettled } = recorder.counters();
  assert.deepEqual([open, closed, unsettled], [0, 2, 0]);
});

test('a session of more than a million records does not come to the numbers of what is taken back', () => {
  const { records, recorder } = bench();
  const { claim: given, settle } = claim(takenBackSequence - 2);
  const session = recorder.open(start, given);
  settle(true);
  for (let tick = 0; tick < 5; tick += 1) {
    // Nothing of it is kept, so every record begins at the first chunk.
    session.skip('in', 1);
    recorder.flush();
  }
  recorder.close();
  assert.equal(records.length, 6);
  for (const [index, record] of records.slice(1).entries()) {
    assert.ok(record.sequence > records[index].sequence);
    assert.ok(!startsOver(record, records[index].sequence), `${record.sequence}`);
  }
});
