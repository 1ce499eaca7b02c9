// The resources that show what analysis found: their documents, what they refuse, and what they never pass on.

import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { sampleCampaign, sampleInsights } from '../../test/support/sample-insights.ts';
import { sampleEvents, sampleId } from '../../test/support/sample-records.ts';
import { systemClock } from '../base/clock.ts';
import { silentLog } from '../base/log.ts';
import type { WeirEvent } from '../model/event.ts';
import type { Insights } from '../model/insight.ts';
import type { SessionDocument } from '../record/documents.ts';
import type { VerdictDocument } from '../record/insight-documents.ts';
import { MemoryStore } from '../record/memory-store.ts';
import { Answers } from './answers.ts';
import { createLocalApp } from './app.ts';
import { LiveFeed, type LiveMessage, type Subscribe } from './live-feed.ts';

const now = 1_700_000_000_000_000;

describe('what analysis found, over HTTP', () => {
  let app: ReturnType<typeof createLocalApp>;
  let store: MemoryStore;
  beforeEach(async () => {
    store = new MemoryStore();
    await store.apply(sampleEvents(now), {}, sampleInsights(now));
    const api = {
      store,
      feed: new LiveFeed(() => () => {}, systemClock, silentLog),
      answers: new Answers(),
      status: async () => ({}),
      clock: () => now,
      log: silentLog,
    };
    app = createLocalApp(api, () => ({ url: '', expires: 0 }));
  });
  const get = async (path: string) => {
    const response = await app.request(`/api/${path}`);
    return { status: response.status, body: JSON.parse(await response.text()) };
  };

  it('gives attackers, ranked three ways', async () => {
    const { body } = await get('attackers?by=hits');
    assert.equal(body.by, 'hits');
    assert.deepEqual(body.items.map(({ source }: { source: { ip: string } }) => source.ip).sort(), [
      '198.51.100.7',
      '2001:db8::7',
      '203.0.113.9',
    ]);
    const newest = await get('attackers?by=newest&limit=1');
    assert.equal(newest.body.items[0].source.ip, '203.0.113.9');
    assert.equal((await get('attackers?by=fame')).status, 400);
    assert.equal((await get('attackers?whatever=1')).status, 400);
  });

  it("gives one attacker's page, whatever form the address is written in", async () => {
    const { status, body } = await get(`attackers/${encodeURIComponent('2001:0DB8:0::7')}`);
    assert.equal(status, 200);
    assert.equal(body.attacker.source.ip, '2001:db8::7');
    assert.deepEqual(body.attacker.weir.attacker.behaviours, ['exploitation']);
    assert.deepEqual(
      body.ports.map(({ key }: { key: string }) => key),
      ['80/tcp'],
    );
    assert.equal(body.verdicts[0].weir.verdict.evidence[0], 'matched shell-command-download');
    assert.equal(body.families[0].id, '3fa90c11d2e4b5a6');
    assert.equal((await get('attackers/192.0.2.99')).status, 404);
    assert.equal((await get('attackers/not-an-address')).status, 400);
  });

  it('gives verdicts newest first with a cursor, and only those asked for', async () => {
    const first = await get('verdicts?limit=2');
    assert.equal(first.body.items.length, 2);
    const second = await get(`verdicts?limit=2&before=${first.body.next}`);
    assert.deepEqual(
      [...first.body.items, ...second.body.items].map(({ weir }) => weir.verdict.behaviour),
      ['brute-force', 'port-scan', 'exploitation'],
    );
    assert.equal((await get('verdicts?behaviour=sweep')).body.items.length, 0);
    assert.equal((await get('verdicts?behaviour=sweeping')).status, 400);
    assert.equal((await get('sessions?behaviour=sweeping')).status, 400);
    assert.equal((await get('sessions?behaviour=sweep')).body.items.length, 0);
    assert.ok((await get('sessions?behaviour=brute-force')).body.items.length > 0);
    assert.equal((await get('live?behaviour=sweep')).status, 400);
  });

  it('gives rollups, rankings and families', async () => {
    const { body } = await get('rollups?step=day');
    assert.equal(body.step, 'day');
    const total = body.items.reduce((sum: number, { hits }: { hits: number }) => sum + hits, 0);
    assert.equal(total, 9, 'five sessions and four probe packets');
    assert.match(body.items[0].start, /T00:00:00\.000000Z$/);
    const top = await get('top?subject=countries');
    assert.deepEqual(top.body.items[0], { key: 'DE', hits: 4, sources: 1 });
    const family = await get('families/3fa90c11d2e4b5a6');
    assert.equal(family.body.label, 'HTTP GET /shell');
    assert.equal((await get('families/0000000000000000')).status, 404);
    assert.equal((await get('families/..%2f..%2fetc')).status, 400);
  });

  it('gives campaigns, and those of one source', async () => {
    const { events, insights } = sampleCampaign(now - 1800e6);
    await store.apply(events, {}, insights);
    const { body } = await get('campaigns?since=1h');
    assert.equal(body.items.length, 1);
    assert.equal(body.items[0].size, 6);
    assert.ok(body.items[0].members.every(({ reasons }: { reasons: string[] }) => reasons.length > 0));
    assert.equal((await get('campaigns?since=1h&member=192.0.2.12')).body.items.length, 1);
    assert.equal((await get('campaigns?since=1h&member=198.51.100.120')).body.items.length, 0);
    assert.equal((await get('campaigns?member=nobody')).status, 400);
  });

  it('marks sessions in lists, and says all of one', async () => {
    const { body } = await get('sessions?source=2001:db8::7');
    assert.deepEqual(
      body.items[0].weir.signatures.map(({ id }: { id: string }) => id),
      ['shell-command-download', 'web-shell-path'],
    );
    assert.equal(body.items[0].weir.signatures[0].captures, undefined);
    assert.equal((await get('sessions?tag=dropper&country=NL')).body.items.length, 1);
    assert.equal((await get('sessions?tag=dropper&country=DE')).body.items.length, 1, 'the hostile one');
    assert.equal((await get('sessions?signature=none')).body.items.length, 0);
    assert.equal((await get('top?subject=ports&tag=dropper')).status, 400, 'where it would not narrow it is refused');
    const one = await get(`sessions/${sampleId(now - 300e6, 2)}`);
    assert.equal(one.body.session.weir.signatures[0].captures.url, 'http://198.51.100.1/x');
    assert.equal(one.body.verdicts.length, 1);
  });

  it('streams marks with sessions, and verdicts as they grow, each once a message', () => {
    let tell: (events: readonly WeirEvent[], insights?: Insights) => void = () => {};
    const subscribe: Subscribe = (listener) => {
      tell = listener;
      return () => {};
    };
    const placeOf = (ip: string) => ({ ip, country: 'NL' });
    const feed = new LiveFeed(subscribe, () => now, silentLog, placeOf);
    const messages: LiveMessage[] = [];
    feed.follow({ limit: 1 }, 40, (text) => messages.push(JSON.parse(text)) > 0);
    const insights = sampleInsights(now);
    tell(sampleEvents(now), insights);
    const grown = { ...insights.verdicts[0], hits: 500 };
    const flood = Array.from({ length: 300 }, (_, index) => ({ ...grown, id: sampleId(now, 1000 + index) }));
    tell([], { ...insights, sessions: [], verdicts: [grown] });
    feed.tick();
    const [{ sessions, verdicts }] = messages as unknown as [{ sessions: SessionDocument[]; verdicts: VerdictDocument[] }];
    const marked = sessions.find(({ source }) => source.ip === '2001:db8::7');
    assert.deepEqual(
      marked?.weir.signatures?.map(({ id }) => id),
      ['shell-command-download', 'web-shell-path'],
    );
    assert.equal(marked?.source.geo?.country_iso_code, 'NL');
    assert.equal(verdicts.length, 3);
    assert.equal(verdicts.find(({ event }) => event.id === grown.id)?.weir.verdict.hits, 500);
    const dutch: LiveMessage[] = [];
    feed.follow({ limit: 1, signature: 'shell-command-download' }, 40, (text) => dutch.push(JSON.parse(text)) > 0);
    tell(sampleEvents(now), insights);
    feed.tick();
    assert.deepEqual(
      (dutch[0].sessions as SessionDocument[]).map(({ source }) => source.ip),
      ['2001:db8::7'],
    );
    messages.length = 1;
    tell([], { ...insights, sessions: [], verdicts: flood });
    feed.tick();
    assert.deepEqual([messages[1].sessions.length, messages[1].verdicts.length], [0, 100]);
    feed.close();
  });
});
