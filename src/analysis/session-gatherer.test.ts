// Sessions in pieces become the view they would have been in one record, whatever is let go in between.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { sampleChunk, sampleSession } from '../../test/support/sample-records.ts';
import type { WeirEvent } from '../model/event.ts';
import { type Chunk, type SessionRecord, takenBackSequence } from '../model/session.ts';
import { SessionGatherer, wholeView } from './session-gatherer.ts';
import { type SessionView, viewBytes } from './session-view.ts';

const at = 1_700_000_000_000_000;

/** The records of one session whose chunks were recorded in groups. */
function recordsOf(number: number, groups: readonly (readonly Chunk[])[]): SessionRecord[] {
  const whole = sampleSession(at, number);
  let firstChunk = 0;
  return groups.map((chunks, sequence) => {
    const last = sequence === groups.length - 1;
    const record = {
      ...whole,
      sequence,
      chunks,
      firstChunk,
      outcome: last ? whole.outcome : ('open' as const),
      end: last ? whole.end : undefined,
    };
    firstChunk += chunks.length;
    return record;
  });
}

const bytesOf = (view: SessionView | undefined) =>
  view && {
    id: view.session.id,
    outcome: view.session.outcome,
    input: Buffer.from(view.input).toString('latin1'),
    output: Buffer.from(view.output).toString('latin1'),
    firstInput: view.firstInput,
  };

const eventOf = (session: SessionRecord): WeirEvent => ({ kind: 'session', session });

describe('SessionGatherer', () => {
  it('gives a session of one record at once, without copying its only chunk', () => {
    const gatherer = new SessionGatherer();
    const chunk = sampleChunk(at + 5, 'in', 'GET / HTTP/1.0\r\n\r\n');
    const record = sampleSession(at, 1, { chunks: [chunk] });
    const view = gatherer.take(record);
    assert.equal(view?.input.buffer, chunk.bytes.buffer);
    assert.equal(view?.firstInput, at + 5);
    assert.deepEqual(gatherer.counters(), { held: 0, heldBytes: 0, spilled: 0, partial: 0 });
    assert.equal(view?.session, record);
  });

  it('begins anew with what an agent took back from its gateway', () => {
    const gatherer = new SessionGatherer();
    const said = [sampleChunk(at + 5, 'in', 'GE'), sampleChunk(at + 6, 'out', 'no')];
    const own = [[sampleChunk(at + 50, 'in', 'GET /')], [sampleChunk(at + 60, 'out', 'ok')]];
    const [theirs] = recordsOf(1, [said, []]);
    const [first, last] = recordsOf(1, own).map((each) => ({ ...each, sequence: each.sequence + takenBackSequence }));
    assert.equal(gatherer.take(theirs), undefined);
    assert.equal(gatherer.take(first), undefined);
    assert.equal(gatherer.take({ ...theirs, sequence: 1, outcome: 'client-reset' }), undefined);
    const { input, output, firstInput } = bytesOf(gatherer.take(last)) ?? {};
    assert.deepEqual([input, output, firstInput], ['GET /', 'ok', at + 50]);
    assert.deepEqual(gatherer.counters(), { held: 0, heldBytes: 0, spilled: 0, partial: 0 });
  });

  it('holds nothing of a session that has said nothing', () => {
    const gatherer = new SessionGatherer();
    const [open, ended] = recordsOf(1, [[], []]);
    assert.equal(gatherer.take(open), undefined);
    assert.equal(gatherer.counters().held, 0);
    const view = gatherer.take(ended);
    assert.deepEqual([view?.input.length, view?.output.length, view?.firstInput], [0, 0, undefined]);
  });

  it('is the same however a session was cut into records and batches, with replays and spills in between', () => {
    const chunk = fc.record({
      direction: fc.constantFrom('in' as const, 'out' as const),
      text: fc.string({ minLength: 1, maxLength: 12 }),
    });
    const session = fc.array(fc.array(chunk, { maxLength: 3 }), { minLength: 1, maxLength: 5 });
    const plan = fc.array(session, { minLength: 1, maxLength: 6 });
    fc.assert(
      fc.property(plan, fc.integer({ min: 1, max: 7 }), fc.integer({ min: 0, max: 3 }), (sessions, batchSize, maxSessions) => {
        let moment = at;
        const all = sessions.map((groups, number) =>
          recordsOf(
            number,
            groups.map((group) =>
              group.map(({ direction, text }) => {
                moment += 1;
                return sampleChunk(moment, direction, text);
              }),
            ),
          ),
        );
        // Records of all sessions in turns, each twice in a row as a replay would.
        const stream: SessionRecord[] = [];
        for (let sequence = 0; sequence < 5; sequence += 1)
          for (const records of all) if (records[sequence]) stream.push(records[sequence]);
        const stored = new Map<string, Chunk[]>();
        const gatherer = new SessionGatherer({ maxSessions });
        const views: SessionView[] = [];
        for (let from = 0; from < stream.length; from += batchSize) {
          const batch = stream.slice(from, from + batchSize);
          for (const [id, next] of gatherer.missing(batch.map(eventOf))) gatherer.recall(id, stored.get(id) ?? [], next);
          for (const record of batch) {
            const view = gatherer.take(record);
            if (view) views.push(view);
            if (record.outcome === 'open') assert.equal(gatherer.take(record), undefined);
          }
          for (const { id, chunks } of batch) stored.set(id, [...(stored.get(id) ?? []), ...chunks]);
          gatherer.settle();
          assert.ok(gatherer.counters().held <= maxSessions);
        }
        const expected = all.map((records) =>
          bytesOf(wholeView({ ...(records.at(-1) as SessionRecord), chunks: records.flatMap(({ chunks }) => chunks) })),
        );
        const order = (a: { id: string } | undefined, b: { id: string } | undefined) => ((a?.id ?? '') < (b?.id ?? '') ? -1 : 1);
        assert.deepEqual(views.map(bytesOf).sort(order), expected.sort(order));
        assert.equal(gatherer.counters().partial, 0);
        assert.deepEqual([gatherer.counters().held, gatherer.counters().heldBytes], [0, 0]);
      }),
      { numRuns: 300 },
    );
  });

  it('looks at the first bytes of each direction alone, and holds no more', () => {
    const gatherer = new SessionGatherer();
    const big = 'a'.repeat(viewBytes - 10);
    const groups = [[sampleChunk(at, 'in', big)], [sampleChunk(at, 'in', 'b'.repeat(50)), sampleChunk(at, 'out', 'c')], []];
    const [first, second, last] = recordsOf(1, groups);
    gatherer.take(first);
    gatherer.take(second);
    assert.ok(gatherer.counters().heldBytes < viewBytes + 1000);
    const view = gatherer.take(last);
    assert.equal(view?.input.length, viewBytes);
    assert.equal(Buffer.from(view?.input.subarray(-11) ?? []).toString(), `a${'b'.repeat(10)}`);
    const whole = wholeView({ ...last, chunks: groups.flat() });
    assert.deepEqual(bytesOf(view), bytesOf(whole));
  });

  it('keeps its bounds in bytes: a thousand open sessions that send byte by byte', () => {
    const gatherer = new SessionGatherer({ maxBytes: 100_000 });
    for (let number = 0; number < 1000; number += 1) {
      const [open] = recordsOf(number, [[sampleChunk(at, 'in', 'x'.repeat(500))], []]);
      gatherer.take(open);
      gatherer.settle();
      assert.ok(gatherer.counters().heldBytes <= 100_000);
    }
    assert.ok(gatherer.counters().spilled > 800);
  });

  it('says so when neither it nor the store has the beginning', () => {
    const gatherer = new SessionGatherer();
    const [, last] = recordsOf(1, [[sampleChunk(at, 'in', 'lost')], [sampleChunk(at, 'in', 'kept')]]);
    const missing = gatherer.missing([eventOf(last)]);
    assert.deepEqual([...missing], [[last.id, 1]]);
    gatherer.recall(last.id, [], 1);
    assert.equal(Buffer.from(gatherer.take(last)?.input ?? []).toString(), 'kept');
    assert.equal(gatherer.counters().partial, 1);
  });
});
