// The report over HTTP: the same figures as JSON and as a page that may show its own style and nothing else.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Report } from '../analysis/report/report.ts';
import { systemClock } from '../base/clock.ts';
import { silentLog } from '../base/log.ts';
import type { SessionRecord } from '../model/session.ts';
import { MemoryStore } from '../record/memory-store.ts';
import { sampleSession } from '../record/store-contract.ts';
import { Answers } from './answers.ts';
import { createLocalApp } from './app.ts';
import { LiveFeed } from './live-feed.ts';

const now = 1_773_446_400_000_000;
const hour = 3_600e6;

async function ask(query: string, others: readonly SessionRecord[] = []): Promise<Response> {
  const store = new MemoryStore();
  const sessions = [now - 50 * hour, now - 3 * hour, now - 2 * hour].map((start, index) =>
    sampleSession(start, {
      source: { ip: `192.0.2.${Math.min(index, 1) + 1}`, port: 1 },
      destination: { ip: '198.51.100.1', port: 22 + index },
    }),
  );
  await store.apply(
    [...sessions, ...others].map((session) => ({ kind: 'session', session })),
    {},
  );
  const api = {
    store,
    feed: new LiveFeed(() => () => {}, systemClock, silentLog),
    answers: new Answers(),
    status: async () => ({}),
    clock: () => now,
    log: silentLog,
  };
  return createLocalApp(api, () => ({ url: '', expires: 0 })).request(`/api/report${query}`);
}

test('without words it holds everything there is, in whole days', async () => {
  const report = (await (await ask('')).json()) as Report;
  assert.deepEqual([report.from, report.to], ['2026-03-11T00:00:00.000000Z', '2026-03-14T00:00:00.000000Z']);
  assert.deepEqual(
    report.days.map(({ start, hits, newSources }) => [start.slice(0, 10), hits, newSources]),
    [
      ['2026-03-11', 1, 1],
      ['2026-03-12', 0, 0],
      ['2026-03-13', 2, 1],
    ],
  );
  assert.equal(report.news.because, 'first');
  assert.equal(report.day?.date, '2026-03-13');
  assert.equal(report.day?.halfHours.length, 48);
  assert.deepEqual(report.ports.byHits.map(({ key, label }) => [key, label]).sort(), [
    ['22/tcp', 'ssh'],
    ['23/tcp', 'telnet'],
    ['24/tcp', undefined],
  ]);
});

test('what is new is what was not there before the last report', async () => {
  const report = (await (await ask('?last-report=2026-03-12')).json()) as Report;
  assert.deepEqual([report.news.because, report.news.sources, report.news.portCount], ['last-report', 1, 2]);
});

test('the page has a policy of its own', async () => {
  const answer = await ask('?as=html&from=2026-03-13&to=2026-03-14&day=2026-03-13');
  assert.equal(answer.headers.get('Content-Security-Policy'), "default-src 'none'; style-src 'unsafe-inline'");
  assert.match(await answer.text(), /<h2>2026-03-13, enlarged<\/h2>/);
});

test('what cannot be asked is refused with the reason', async () => {
  for (const [query, reason] of [
    ['?since=1d', "unknown parameter 'since'"],
    ['?from=yesterday', "from: 'yesterday' is no time"],
    ['?from=2026-03-14&to=2026-03-13', 'is not after the beginning'],
    ['?day=2026-3-1', "day: '2026-3-1' is no day"],
    ['?as=pdf', "as: 'pdf' is none of"],
  ]) {
    const answer = await ask(query);
    assert.equal(answer.status, 400, query);
    assert.ok((await answer.text()).includes(reason), query);
  }
});

test('a machine inside is whom to look at first, however little it did', async () => {
  const busy = Array.from({ length: 260 }, (_, index) =>
    [1, 2].map((each) =>
      sampleSession(now - hour - index * 100 - each, {
        source: { ip: `198.51.100.${index % 250}`, port: 1 },
        destination: { ip: `192.0.2.${Math.floor(index / 250)}`, port: 80 },
      }),
    ),
  ).flat();
  const quiet = ['10.1.2.3', 'fd00::5'].map((ip, index) =>
    sampleSession(now - 2 * hour - index, { source: { ip, port: 5 }, destination: { ip: '198.51.100.1', port: 445 } }),
  );
  const report = (await (await ask('', [...busy, ...quiet])).json()) as Report;
  assert.equal(report.totals.inside, 2);
  assert.deepEqual(report.brief.suspects.map(({ source, inside, hits }) => [source, inside, hits]).sort(), [
    ['10.1.2.3', true, 1],
    ['fd00::5', true, 1],
  ]);
  assert.match(report.brief.actions[0], /^Find 2 machines of your own networks/);
  const without = (await (await ask('')).json()) as Report;
  assert.equal(without.totals.inside, 0);
  assert.ok(!without.brief.actions.some((action) => action.startsWith('Find')));
});
