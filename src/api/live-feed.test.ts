// The live stream under flood: every session is in a message or counted, slow followers are told what they missed.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { hostileSession, sampleChunk, sampleProbe, sampleSession } from '../../test/support/sample-records.ts';
import { silentLog } from '../base/log.ts';
import type { WeirEvent } from '../model/event.ts';
import { takenBackSequence } from '../model/session.ts';
import type { SessionDocument } from '../record/documents.ts';
import type { Filter } from '../record/store.ts';
import { Activity } from './activity.ts';
import { Answers } from './answers.ts';
import { LiveFeed, maxFollowers } from './live-feed.ts';

const start = 1_772_600_000_000_000;

interface Message {
  readonly sessions: SessionDocument[];
  readonly skipped: number;
  readonly missed?: number;
  readonly rate: [number, number, number][];
}

function setUp(): { feed: LiveFeed; emit: (...events: WeirEvent[]) => void; pass: (micros: number) => void } {
  let now = start;
  let listener: (events: readonly WeirEvent[]) => void = () => {};
  const feed = new LiveFeed(
    (given) => {
      listener = given;
      return () => {
        listener = () => {};
      };
    },
    () => now,
    silentLog,
  );
  return {
    feed,
    emit: (...events) => listener(events),
    pass: (micros) => {
      now += micros;
    },
  };
}

const everything: Filter = { limit: 1 };
const sessionEvent = (number: number, facts = {}): WeirEvent => ({
  kind: 'session',
  session: sampleSession(start, number, facts),
});

function follow(feed: LiveFeed, filter: Filter, rows: number): { messages: Message[]; stop: () => void } {
  const messages: Message[] = [];
  const stop = feed.follow(filter, rows, (text) => {
    messages.push(JSON.parse(text));
    return true;
  });
  assert.ok(stop);
  return { messages, stop };
}

describe('the live feed', () => {
  it('sends the newest sessions and counts the rest, exactly', () => {
    const { feed, emit } = setUp();
    const { messages } = follow(feed, everything, 40);
    for (let batch = 0; batch < 30; batch += 1)
      emit(...Array.from({ length: 1000 }, (_, index) => sessionEvent(batch * 1000 + index)));
    feed.tick();
    assert.equal(messages.length, 1);
    const [message] = messages;
    assert.equal(message.sessions.length, 40);
    assert.equal(message.skipped, 30_000 - 40);
    assert.equal(
      message.rate.reduce((sum, [, sessions]) => sum + sessions, 0),
      30_000,
    );
    feed.close();
  });

  it('is silent when nothing happened', () => {
    const { feed, emit } = setUp();
    const { messages } = follow(feed, everything, 40);
    feed.tick();
    emit(sessionEvent(1));
    feed.tick();
    feed.tick();
    assert.equal(messages.filter(({ sessions }) => sessions.length > 0).length, 1);
    assert.ok(messages.length <= 2);
    feed.close();
  });

  it('gives each follower what passes its filter, even when a flood of other things comes', () => {
    const { feed, emit } = setUp();
    const rare = follow(feed, { limit: 1, ports: [{ first: 22, last: 22 }] }, 40);
    const flood = Array.from({ length: 5000 }, (_, index) =>
      sessionEvent(index, { destination: { ip: '10.66.0.1', port: 445 } }),
    );
    emit(...flood.slice(0, 2500), sessionEvent(9000), ...flood.slice(2500));
    feed.tick();
    assert.equal(rare.messages[0].sessions.length, 1);
    assert.equal(rare.messages[0].skipped, 0);
    assert.equal(rare.messages[0].sessions[0].destination.port, 22);
    feed.close();
  });

  it('shows one version of a session, with its first bytes', () => {
    const { feed, emit } = setUp();
    const { messages } = follow(feed, everything, 40);
    emit(sessionEvent(1, { outcome: 'open', end: undefined, chunks: [sampleChunk(start, 'in', 'hello ')] }));
    emit(sessionEvent(1, { sequence: 1, firstChunk: 1, chunks: [sampleChunk(start, 'in', 'world')] }));
    feed.tick();
    const [session] = messages[0].sessions;
    assert.equal(messages[0].sessions.length, 1);
    assert.equal(session.weir.session.outcome, 'client-closed');
    assert.equal(Buffer.from(session.weir.payload.preview ?? '', 'base64').toString(), 'hello world');
    feed.close();
  });

  it('tells a slow follower how many messages it missed', () => {
    const { feed, emit, pass } = setUp();
    const taken: Message[] = [];
    let slow = true;
    feed.follow(everything, 40, (text) => {
      if (slow) return false;
      taken.push(JSON.parse(text));
      return true;
    });
    for (let tick = 0; tick < 3; tick += 1) {
      emit(sessionEvent(tick));
      pass(250_000);
      feed.tick();
    }
    slow = false;
    emit(sessionEvent(9));
    feed.tick();
    assert.equal(taken.length, 1);
    assert.equal(taken[0].missed, 3);
    emit(sessionEvent(10));
    feed.tick();
    assert.equal(taken[1].missed, undefined);
    feed.close();
  });

  it('takes a bounded number of followers', () => {
    const { feed } = setUp();
    const stops = Array.from({ length: maxFollowers }, () => feed.follow(everything, 1, () => true));
    assert.equal(
      feed.follow(everything, 1, () => true),
      undefined,
    );
    stops[0]?.();
    assert.ok(feed.follow(everything, 1, () => true));
    feed.close();
  });

  it('carries hostile text as data', () => {
    const { feed, emit } = setUp();
    const { messages } = follow(feed, everything, 40);
    emit({ kind: 'session', session: hostileSession(start, 1) });
    feed.tick();
    assert.equal(messages[0].sessions[0].user?.name, hostileSession(start, 1).userName);
    feed.close();
  });
});

describe('activity', () => {
  it('counts every session once and every packet, whatever the order', () => {
    const event = fc.record({
      second: fc.integer({ min: 0, max: 299 }),
      probe: fc.boolean(),
      sequence: fc.integer({ min: 0, max: 2 }),
    });
    fc.assert(
      fc.property(fc.array(event, { maxLength: 200 }), fc.constantFrom(1, 7, 30), (events, step) => {
        const activity = new Activity();
        let sessions = 0;
        let packets = 0;
        for (const [number, { second, probe, sequence }] of events.entries()) {
          const at = start + second * 1e6;
          if (probe) {
            packets += 4;
            activity.feed({ kind: 'probe', probe: sampleProbe(at, number) });
          } else {
            if (sequence === 0) sessions += 1;
            activity.feed({ kind: 'session', session: sampleSession(at, number, { sequence }) });
          }
        }
        const series = activity.series(start + 299e6, 330, step);
        assert.equal(
          series.reduce((sum, point) => sum + point.sessions, 0),
          sessions,
        );
        assert.equal(
          series.reduce((sum, point) => sum + point.probes, 0),
          packets,
        );
        for (const [index, point] of series.entries()) if (index > 0) assert.equal(point.at - series[index - 1].at, step);
      }),
    );
  });

  it('counts what an agent took back, once with what its gateway had of it', () => {
    const activity = new Activity();
    for (const sequence of [0, 1, takenBackSequence, takenBackSequence + 1])
      activity.feed(sessionEvent(1, { agent: 'branch-1', sequence, outcome: 'open' }));
    assert.equal(activity.sessionsSeen, 1);
    for (const sequence of [takenBackSequence, takenBackSequence + 1, 0])
      activity.feed(sessionEvent(2, { agent: 'branch-1', sequence, outcome: 'open' }));
    assert.equal(activity.sessionsSeen, 2);
  });

  it('forgets what is older than its span', () => {
    const activity = new Activity();
    activity.feed(sessionEvent(1));
    activity.feed({ kind: 'session', session: sampleSession(start + 2000e6, 2) });
    const series = activity.series(start + 2000e6, 900, 1);
    assert.equal(
      series.reduce((sum, point) => sum + point.sessions, 0),
      1,
    );
  });
});

describe('shared answers', () => {
  it('asks once for equal questions at the same moment, again when the answer is old, and never keeps a failure', async () => {
    let now = 0;
    const answers = new Answers(1000, () => now);
    let asked = 0;
    const ask = async (): Promise<number> => {
      asked += 1;
      if (asked === 3) throw new Error('no');
      return asked;
    };
    assert.deepEqual(await Promise.all([answers.get('a', ask), answers.get('a', ask)]), [1, 1]);
    now = 1000;
    assert.equal(await answers.get('a', ask), 2);
    now = 2000;
    await assert.rejects(answers.get('a', ask));
    assert.equal(await answers.get('a', ask), 4);
  });

  it('runs few at once and refuses beyond a bound', async () => {
    const answers = new Answers();
    let running = 0;
    let most = 0;
    const releases: (() => void)[] = [];
    const ask = (): Promise<void> =>
      new Promise((resolve) => {
        running += 1;
        most = Math.max(most, running);
        releases.push(() => {
          running -= 1;
          resolve();
        });
      });
    const asked = Array.from({ length: 69 }, (_, index) =>
      answers.get(`q${index}`, ask).then(
        () => 'done',
        (error) => error.code,
      ),
    );
    assert.equal(await asked[68], 'store-unavailable');
    while (releases.length > 0) {
      releases.shift()?.();
      await new Promise(setImmediate);
    }
    const results = await Promise.all(asked);
    assert.equal(results.filter((result) => result === 'done').length, 68);
    assert.equal(most, 4);
  });
});
