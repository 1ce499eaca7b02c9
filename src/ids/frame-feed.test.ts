// The feed and a Suricata of the test's own, that answers when it likes.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { markerSignature, markerTag } from '../model/suricata-settings.ts';
import { FrameFeed } from './frame-feed.ts';

const token = 'a-token-of-this-test';
const frame = new Uint8Array(100);

function bed(options: { patienceMs?: number; refuses?: boolean } = {}) {
  const asked: number[] = [];
  const written: Uint8Array[] = [];
  const feed = new FrameFeed({
    token,
    ...(options.patienceMs === undefined ? {} : { patienceMs: options.patienceMs }),
    write: (bytes) => {
      written.push(bytes);
      const text = Buffer.from(bytes).toString('latin1');
      // Tagged UDP over IPv4: the source port is at 18 + 20.
      if (text.includes(token)) asked.push((bytes[38] << 8) | bytes[39]);
      return options.refuses !== true;
    },
  });
  const answer = (port: number | undefined): boolean =>
    feed.takeAnswer({
      signature: { id: markerSignature, generator: 1, revision: 1, text: '', category: '', severity: 'low' },
      source: { ip: '192.0.2.1', port: port ?? 0 },
      vlan: markerTag,
    });
  return { feed, asked, written, answer, answerAll: () => answer(asked.at(-1)) };
}

describe('the feed', () => {
  it('lets nothing out before Suricata answers', () => {
    const { feed, asked, answerAll } = bed();
    assert.equal(feed.hasRoom, false);
    feed.start();
    assert.equal(asked.length, 1);
    assert.deepEqual([feed.hasRoom, feed.isHeard], [false, false]);
    answerAll();
    assert.deepEqual([feed.hasRoom, feed.isHeard], [true, true]);
    feed.close();
  });

  it('stays within its window of the last answer, and asks often enough to go on', async () => {
    const { feed, asked, written, answerAll } = bed();
    feed.start();
    answerAll();
    let sent = 0;
    while (feed.hasRoom) {
      feed.write(frame);
      sent += 1;
    }
    assert.ok(sent > 1500 && sent <= 2048, String(sent));
    assert.ok(asked.length > 5);
    const room = feed.room();
    const before = written.length;
    // An answer in the middle frees what is before it.
    answerAll();
    await room;
    assert.equal(feed.hasRoom, true);
    assert.equal(written.length, before);
    feed.close();
  });

  it('tells when everything so far was judged', () => {
    const { feed, asked, answer, answerAll } = bed();
    feed.start();
    answerAll();
    const judged: string[] = [];
    feed.write(frame);
    feed.mark(() => judged.push('first'));
    const first = asked.at(-1);
    feed.write(frame);
    feed.mark(() => judged.push('second'));
    answer(first);
    assert.deepEqual(judged, ['first']);
    answerAll();
    assert.deepEqual(judged, ['first', 'second']);
    feed.close();
  });

  it('keeps promises beyond the questions it remembers', () => {
    const { feed, answerAll } = bed();
    feed.start();
    answerAll();
    let judged = 0;
    for (let count = 0; count < 500; count += 1) feed.mark(() => (judged += 1));
    answerAll();
    assert.equal(judged, 500);
    feed.close();
  });

  it('asks again when nobody answers, and says so', async () => {
    const { feed, asked, answerAll } = bed({ patienceMs: 20 });
    feed.start();
    answerAll();
    feed.mark(() => {});
    const begun = performance.now();
    while (feed.isHeard && performance.now() - begun < 5000) await new Promise((resolve) => setImmediate(resolve));
    assert.equal(feed.isHeard, false);
    assert.ok(feed.counters().unanswered >= 3);
    assert.ok(asked.length >= 4);
    answerAll();
    assert.equal(feed.isHeard, true);
    feed.close();
  });

  it('after a reset waits for an answer again, and wakes who waited for room', async () => {
    const { feed, answerAll } = bed();
    feed.start();
    const room = feed.room();
    feed.reset();
    await room;
    assert.equal(feed.hasRoom, false);
    feed.start();
    answerAll();
    assert.equal(feed.hasRoom, true);
    feed.close();
  });

  it('queues live frames within a bound, sheds and counts the rest, and sends them when there is room', () => {
    const { feed, written, answerAll } = bed();
    feed.start();
    for (let count = 0; count < 10_000; count += 1) feed.offer(frame);
    assert.equal(feed.counters().shed, 10_000 - 8192);
    for (let rounds = 0; rounds < 20; rounds += 1) answerAll();
    assert.equal(written.filter(({ length }) => length === frame.length).length, 8192);
    feed.close();
  });

  it('knows how long live frames waited', async () => {
    const { feed, answerAll } = bed();
    feed.start();
    feed.offer(frame);
    const begun = performance.now();
    while (performance.now() - begun < 30) await new Promise((resolve) => setImmediate(resolve));
    assert.equal(feed.liveDelayMs, 0);
    answerAll();
    assert.ok(feed.liveDelayMs >= 29, String(feed.liveDelayMs));
    feed.close();
  });

  it('counts frames the device refuses', () => {
    const { feed, answerAll } = bed({ refuses: true });
    feed.start();
    answerAll();
    feed.write(frame);
    assert.equal(feed.counters().refused, 2);
    feed.close();
  });

  it('takes an answer of its own rule alone, and whatever other rules say of its markers for no alert', () => {
    const { feed, asked } = bed();
    feed.start();
    const signature = { id: markerSignature, generator: 1, revision: 1, text: '', category: '', severity: 'low' } as const;
    const source = { ip: '192.0.2.1', port: asked[0] };
    assert.equal(feed.takeAnswer({ signature, source, vlan: 3 }), false);
    assert.equal(feed.takeAnswer({ signature: { ...signature, id: 1 }, source, vlan: markerTag }), true);
    assert.equal(feed.isHeard, false);
    assert.equal(feed.takeAnswer({ signature, source, vlan: markerTag }), true);
    assert.equal(feed.isHeard, true);
    feed.close();
  });
});
