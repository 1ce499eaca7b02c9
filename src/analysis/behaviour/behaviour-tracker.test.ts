// What holds for all behaviours: replays, disorder, restarts, imports of other times, bounds.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { attacker, probe, secondsOf, session, syns, TrackerBed, times } from '../../../test/support/behaviour-bed.ts';
import type { WeirEvent } from '../../model/event.ts';
import type { Verdict } from '../../model/insight.ts';

/** A scan, a guess, a crawl and noise, mixed by time. */
const mixture = (): WeirEvent[] =>
  [
    ...times(60, (n) => session(n * 2, attacker, `10.66.0.9:${100 + n}`)),
    ...times(60, (n) => probe(n * 2 + 0.5, '198.51.100.8', [`10.66.1.${n}:445`], { syn: syns.zmap })),
    ...times(40, (n) =>
      session(n * 3 + 1, '198.51.100.9', '10.66.0.9:23', 'x', { protocol: 'telnet', userName: 'root', password: `${n}` }),
    ),
    ...times(60, (n) => session(n * 2 + 1.5, '198.51.100.10', '10.66.0.9:80', 'hello')),
  ].sort((a, b) => timeOf(a) - timeOf(b));

const timeOf = (event: WeirEvent): number =>
  event.kind === 'session' ? event.session.start : event.kind === 'probe' ? event.probe.start : 0;
const byId = (verdicts: readonly Verdict[]): Verdict[] => [...verdicts].sort((a, b) => (a.id < b.id ? -1 : 1));

describe('BehaviourTracker', () => {
  test('the same events again change nothing', () => {
    const events = mixture();
    const bed = new TrackerBed().takeAll(events);
    const once = bed.found();
    assert.equal(bed.summary(), 'brute-force 1, port-scan 1, repeated-access 1, sweep 1');
    bed.takeAll(events).takeAll([...events].reverse());
    assert.deepEqual(bed.tracker.flush(), [], 'nothing grew');
    assert.deepEqual(bed.found(), once);
  });

  test('the same verdicts, whatever the batches', () => {
    const events = mixture();
    const whole = byId(new TrackerBed().takeAll(events).found());
    const bed = new TrackerBed();
    for (const event of events) {
      bed.take(event);
      bed.flush();
    }
    assert.deepEqual(byId(bed.found()), whole);
  });

  test('a session is counted once, however many records it has', () => {
    const bed = new TrackerBed();
    for (const index of times(20, (n) => n)) {
      const event = session(index, attacker, '10.66.0.9:80', 'x');
      assert.ok(event.kind === 'session');
      const open = { ...event.session, outcome: 'open' as const, end: undefined };
      bed.take({ kind: 'session', session: open });
      bed.take({ kind: 'session', session: { ...open, sequence: 1 } });
      bed.take({ kind: 'session', session: { ...event.session, sequence: 2 } });
      bed.take({ kind: 'session', session: { ...event.session, sequence: 2 } });
    }
    assert.equal(bed.found()[0].hits, 20);
  });

  test('events a minute out of order are the same verdicts', () => {
    const events = mixture();
    const whole = new TrackerBed().takeAll(events).found();
    const shape = (verdicts: readonly Verdict[]) =>
      verdicts
        .map(({ behaviour, source, ports, hosts, credentials }) => [behaviour, source, ports, hosts, credentials].join(' '))
        .sort();
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 0, max: 60_000_000 }), { minLength: events.length, maxLength: events.length }),
        (delays) => {
          const late = events
            .map((event, index) => ({ event, at: timeOf(event) + delays[index] }))
            .sort((a, b) => a.at - b.at)
            .map(({ event }) => event);
          assert.deepEqual(shape(new TrackerBed().takeAll(late).found()), shape(whole));
        },
      ),
      { numRuns: 40 },
    );
  });

  test('a restart goes on with the same verdicts: same identifiers, no count lost or counted twice', () => {
    const events = mixture();
    const whole = byId(new TrackerBed().takeAll(events).found());
    for (const part of [0.4, 0.5, 0.9, 1]) {
      const cut = Math.floor(events.length * part);
      const bed = new TrackerBed().takeAll(events.slice(0, cut));
      bed.found();
      bed.restart();
      // The newest half hour comes from the store again, and nothing of it is told.
      bed.takeAll(events.slice(0, cut));
      const told = bed.tracker.flush();
      assert.ok(told.every(({ id, hits }) => bed.verdicts.get(id)?.hits === hits));
      bed.takeAll(events.slice(cut));
      const figures = (verdicts: readonly Verdict[]) =>
        byId(verdicts).map(({ id, behaviour, hits, ports, hosts, credentials, start, end }) => ({
          id,
          behaviour,
          hits,
          ports,
          hosts,
          credentials,
          start,
          end,
        }));
      assert.deepEqual(figures(bed.found()), figures(whole), `cut at ${part}`);
    }
  });

  test('an import of another time is apart from what the source does now', () => {
    const bed = new TrackerBed();
    for (const index of times(10, (n) => n)) {
      bed.take(session(index, attacker, `10.66.0.9:${100 + index}`));
      bed.take(session(index - 3e7, attacker, `10.66.0.9:${200 + index}`, '', { diversion: 'import' }));
    }
    assert.equal(bed.summary(), '');
    for (const index of times(5, (n) => n))
      bed.take(session(10 + index - 3e7, attacker, `10.66.0.9:${300 + index}`, '', { diversion: 'import' }));
    assert.deepEqual(
      bed.found().map(({ behaviour, diversion, start }) => [behaviour, diversion, start]),
      [['port-scan', 'import', secondsOf(-3e7)]],
    );
  });

  test('a file older than the one before it is judged by its own time', () => {
    const scan = (from: number): WeirEvent[] =>
      times(20, (n) => session(from + n, attacker, `10.66.0.9:${100 + n}`, '', { diversion: 'import' }));
    const bed = new TrackerBed().takeAll(scan(0)).takeAll(scan(-86_400 * 30));
    assert.deepEqual(
      bed.found().map(({ hits, start }) => [hits, start]),
      [
        [20, secondsOf(0)],
        [20, secondsOf(-86_400 * 30)],
      ],
    );
  });

  test('forged sources in any number cost bounded memory and push no scanner out', () => {
    const bed = new TrackerBed({ sources: 5000, memoryBytes: 8 << 20 });
    for (const index of times(200_000, (n) => n)) {
      bed.take(
        probe(index / 1000, `11.${index >> 16}.${(index >> 8) & 255}.${index & 255}`, ['10.66.0.9:80'], { syn: syns.zmap }),
      );
      // Four touches among newcomers make it somebody; from then on it may be as rare as it likes.
      if (index < 4000 ? index % 1000 === 0 : index % 16_000 === 0)
        bed.take(session(index / 1000, attacker, `10.66.0.9:${1000 + index / 1000}`));
    }
    const { sources, bytes, evicted } = bed.tracker.counters();
    assert.ok(sources <= 5000 && bytes <= 8 << 20, `${sources} sources, ${bytes} bytes`);
    assert.ok(evicted >= 195_000, 'what is forgotten is counted');
    assert.deepEqual(
      bed.found().map(({ behaviour, source }) => [behaviour, source]),
      [['port-scan', attacker]],
    );
  });

  test('one source that does everything everywhere keeps within the bounds too', () => {
    const bed = new TrackerBed({ memoryBytes: 1 << 20 });
    for (const index of times(60_000, (n) => n)) {
      const target = `10.66.${(index * 7) % 256}.${(index * 13) % 256}:${1 + ((index * 31) % 65_000)}`;
      bed.take(session(index * 3, attacker, target, `GET /${index} HTTP/1.1\r\n\r\n`, { userName: `u${index}`, password: 'x' }));
    }
    assert.ok(bed.tracker.counters().bytes < 1 << 20);
    assert.ok(bed.found().length < 200, `${bed.summary()}`);
    assert.equal(bed.tracker.counters().evicted, 0);
  });

  test('credentials of a source that has all the verdicts it may have are forgotten again', () => {
    const bed = new TrackerBed();
    const credentials = (from: number, count: number) => times(count, (n) => ({ userName: `u${from + n}`, password: 'x' }));
    for (const port of times(64, (n) => n))
      bed.take(session(port, attacker, `10.66.0.9:${1000 + port}`, 'x', { credentials: credentials(0, 5) }));
    const before = bed.tracker.counters().bytes;
    for (const index of times(640, (n) => n))
      bed.take(session(70 + index / 10, attacker, '10.66.0.9:5000', 'x', { credentials: credentials(index * 255, 255) }));
    const { bytes, refused } = bed.tracker.counters();
    assert.ok(refused > 600);
    assert.ok(bytes < before + 50_000, `${bytes - before} bytes more`);
  });

  test('a slow scan goes on under its name after a restart on another day', () => {
    const bed = new TrackerBed();
    const slowly = (from: number, to: number) => {
      for (const index of times(to - from, (n) => from + n))
        bed.take(session(index * 3600, attacker, `10.66.0.9:${1000 + index}`));
    };
    slowly(0, 60);
    const [{ id }] = bed.found();
    bed.restart();
    slowly(60, 90);
    const found = bed.found();
    assert.deepEqual(
      found.map((verdict) => [verdict.id, verdict.behaviour, verdict.start, verdict.end]),
      [[id, 'slow-scan', secondsOf(0), secondsOf(89 * 3600)]],
    );
  });

  test('what had to wait for its second is told by a later call, or at once at the end', () => {
    const bed = new TrackerBed();
    for (const index of times(15, (n) => n)) bed.take(session(index, attacker, `10.66.0.9:${100 + index}`));
    assert.equal(bed.tracker.flush().length, 1);
    bed.take(session(20, attacker, '10.66.0.9:9000'));
    assert.deepEqual([bed.tracker.flush().length, bed.tracker.counters().pending], [0, 1]);
    assert.equal(bed.tracker.flush(true)[0].ports, 16);
    assert.equal(bed.tracker.counters().pending, 0);
  });
});
