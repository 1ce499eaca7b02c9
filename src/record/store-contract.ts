// What every store must do, run by the tests of each implementation. Used by tests only.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { eventArbitrary } from '../../test/support/event-arbitraries.ts';
import { parseRange } from '../model/address.ts';
import type { WeirEvent } from '../model/event.ts';
import { createIdentifier } from '../model/identifier.ts';
import { parsePorts } from '../model/port-set.ts';
import { type Chunk, type SessionRecord, takenBackSequence } from '../model/session.ts';
import { dayMicros, dayStart } from './day.ts';
import { MemoryStore } from './memory-store.ts';
import { payloadHashOf } from './session-summary.ts';
import type { Filter, Store, TopSubject } from './store.ts';

const day = dayStart('2026-03-14');
const all: Filter = { limit: 10_000 };
const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text));
const chunk = (at: number, text: string, direction: 'in' | 'out' = 'in'): Chunk => ({ at, direction, bytes: bytes(text) });

export function sampleSession(start: number, more: Partial<SessionRecord> = {}): SessionRecord {
  return {
    id: createIdentifier(start),
    sequence: 0,
    start,
    outcome: 'client-closed',
    end: start + 1000,
    transport: 'tcp',
    source: { ip: '192.0.2.1', port: 40_000 },
    destination: { ip: '198.51.100.1', port: 23 },
    sourceReliable: true,
    diversion: 'dmz',
    service: 'catch-all',
    bytesIn: 5,
    bytesOut: 0,
    firstChunk: 0,
    chunks: [chunk(start + 10, 'hello')],
    truncated: false,
    ...more,
  };
}

const asEvent = (session: SessionRecord): WeirEvent => ({ kind: 'session', session });
const at = (segment: number) => ({ gateway: { segment, offset: 100 } });

/** Own plain values, keys sorted, so that stores may differ in the order and kind of their objects only. */
export function plain(value: unknown): unknown {
  if (value instanceof Uint8Array) return Buffer.from(value).toString('hex');
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).filter(([, item]) => item !== undefined);
  return Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, item]) => [key, plain(item)]));
}

/** Everything a store can be asked about its records. */
export async function everything(store: Store, filter: Filter = all): Promise<unknown> {
  const sessions = await store.sessions(filter);
  const subjects: TopSubject[] = ['ports', 'sources', 'destinations', 'protocols', 'payloads', 'credentials'];
  const tops: unknown[] = [];
  for (const subject of subjects) for (const by of ['hits', 'sources'] as const) tops.push(await store.top(subject, by, filter));
  const bodies = await Promise.all(sessions.slice(0, 50).map(({ id }) => store.session(id)));
  const together: unknown[] = [];
  for await (const stored of store.stored(sessions.slice(0, 50))) together.push(stored);
  assert.deepEqual(plain(together), plain(bodies), 'sessions asked for together are those asked for one by one');
  return plain({
    sessions,
    bodies,
    open: (await store.openSessions()).sort((a, b) => (a.id < b.id ? -1 : 1)),
    probes: await store.probes(filter),
    alerts: await store.alerts(filter),
    system: await store.systemEvents(filter),
    counts: await store.counts(filter),
    tops,
  });
}

/** `withStore` gives a fresh, empty store to its argument and cleans up. */
export function storeContract(name: string, withStore: (use: (store: Store) => Promise<void>) => Promise<void>): void {
  const contract = (title: string, use: (store: Store) => Promise<void>): void => {
    test(`${name}: ${title}`, () => withStore(use));
  };

  contract('a session of several records comes back as one, with every chunk and the newest facts', async (store) => {
    const first = sampleSession(day, {
      outcome: 'open',
      end: undefined,
      chunks: [],
      bytesIn: 0,
      writer: 'gateway#1',
      recordedAt: day + 5,
    });
    const second = { ...first, sequence: 1, chunks: [chunk(day + 20, 'USER '), chunk(day + 21, '220 ok', 'out')], bytesIn: 5 };
    const third: SessionRecord = {
      ...second,
      sequence: 2,
      firstChunk: 2,
      chunks: [chunk(day + 30, 'root\0\u{1f600}')],
      outcome: 'idle',
      end: day + 60,
      protocol: 'ftp',
      userName: 'ro\0ot',
      password: '',
      tags: ['a', 'b"'],
      tls: { version: 'TLSv1.3', ja3: 'x', ja4: 'y', alpn: ['h2'] },
      syn: { ttl: 64, ipId: 54321, doNotFragment: false, window: 1024, sequence: 4_000_000_000, options: 'mss' },
    };
    await store.apply([asEvent(first)], at(1));
    assert.equal((await store.openSessions()).length, 1);
    assert.equal((await store.counts(all)).openSessions, 1);
    await store.apply([asEvent(second)], at(2));
    const open = await store.session(first.id);
    assert.equal(open?.session.outcome, 'open');
    assert.equal(open.chunks.length, 2);
    await store.apply([asEvent(third)], at(3));
    const stored = await store.session(first.id);
    assert.ok(stored);
    const { chunks: _chunks, firstChunk: _firstChunk, ...facts } = third;
    const hash = payloadHashOf([...second.chunks, ...third.chunks]);
    assert.deepEqual(
      plain(stored.session),
      plain({ ...facts, chunkCount: 3, payloadHash: hash, preview: Buffer.concat([bytes('USER '), third.chunks[0].bytes]) }),
    );
    assert.deepEqual(plain(stored.chunks), plain([...second.chunks, ...third.chunks]));
    assert.deepEqual(await store.openSessions(), []);
    assert.deepEqual(plain(await store.sessions(all)), plain([stored.session]));
    assert.equal(await store.session('nothing'), undefined);
  });

  contract('applying the same again, in any order of batches, changes nothing', async (store) => {
    const events: WeirEvent[] = [];
    for (let index = 0; index < 40; index += 1) {
      const start = day + index * 1000;
      const open = sampleSession(start, { outcome: 'open', end: undefined, chunks: [chunk(start, `a${index}`)] });
      events.push(asEvent(open));
      if (index % 2)
        events.push(
          asEvent({ ...open, sequence: 1, firstChunk: 1, chunks: [chunk(start + 1, 'b')], outcome: 'idle', end: start + 9 }),
        );
    }
    events.push(sampleProbe(day + 5, 3), sampleAlert(day + 6), sampleSystem(day + 7));
    await store.apply(events, at(1));
    const before = await everything(store);
    await store.apply(events, at(1));
    await store.apply(events.slice(30), at(2));
    await store.apply([...events.slice(0, 30), ...events.slice(10)], at(3));
    assert.deepEqual(await everything(store), before);
    assert.deepEqual(await store.checkpoint(), at(3));
    const ids = events.map((event) => (event.kind === 'session' ? event.session.id : ''));
    assert.deepEqual([...(await store.known([...ids, createIdentifier(day), 'x']))].sort(), [...new Set(ids)].sort().slice(1));
  });

  contract('what an agent took back replaces what its gateway recorded of it, and the other way round nothing', async (store) => {
    const theirs = sampleSession(day, {
      outcome: 'open',
      end: undefined,
      chunks: [chunk(day + 5, 'GE'), chunk(day + 6, 'no', 'out')],
    });
    const next = { ...theirs, sequence: 1, firstChunk: 2, chunks: [chunk(day + 7, 'T')] };
    const over: SessionRecord = { ...next, sequence: 2, firstChunk: 3, chunks: [], outcome: 'client-reset', end: day + 9 };
    const agents = { ...theirs, sequence: takenBackSequence, chunks: [chunk(day + 50, 'GET /')] };
    const last: SessionRecord = {
      ...agents,
      sequence: takenBackSequence + 1,
      firstChunk: 1,
      chunks: [chunk(day + 60, ' x'), chunk(day + 61, 'ok', 'out')],
      outcome: 'idle',
      end: day + 70,
    };
    const whole = { ...last, firstChunk: 0, chunks: [...agents.chunks, ...last.chunks] };
    const ways: readonly (readonly (readonly SessionRecord[])[])[] = [
      [[theirs], [next], [agents], [last], [over]],
      [[theirs, next, agents, last, over]],
      [
        [theirs, next],
        [whole, over],
      ],
      [
        [theirs, agents],
        [next, over, last],
      ],
      [[agents], [theirs, next, over], [last]],
      [[whole], [theirs, next, over]],
    ];
    for (const [index, batches] of ways.entries()) {
      const { id } = sampleSession(day + index);
      const events = batches.map((records) => records.map((record) => asEvent({ ...record, id })));
      for (const _again of [0, 1]) for (const batch of events) await store.apply(batch, at(1));
      const stored = await store.session(id);
      assert.deepEqual([stored?.session.outcome, stored?.session.chunkCount], ['idle', 3], `way ${index}`);
      assert.deepEqual(plain(stored?.chunks), plain(whole.chunks), `way ${index}`);
      assert.equal(stored?.session.payloadHash, payloadHashOf(whole.chunks), `way ${index}`);
      assert.equal(Buffer.from(stored?.session.preview ?? []).toString(), 'GET / x', `way ${index}`);
    }
    assert.equal((await store.counts(all)).sessions, ways.length);
    assert.deepEqual(await store.openSessions(), []);
  });

  contract('a session of more than a million records keeps its beginning', async (store) => {
    const first = sampleSession(day, { outcome: 'open', end: undefined, chunks: [chunk(day + 5, 'GE')] });
    const before = { ...first, sequence: takenBackSequence - 1, firstChunk: 1, chunks: [chunk(day + 6, 'T')] };
    const over: SessionRecord = {
      ...before,
      sequence: takenBackSequence,
      firstChunk: 2,
      chunks: [],
      outcome: 'idle',
      end: day + 9,
    };
    await store.apply([first, before].map(asEvent), at(1));
    await store.apply([asEvent(over)], at(2));
    const stored = await store.session(first.id);
    assert.deepEqual(plain(stored?.chunks), plain([...first.chunks, ...before.chunks]));
    assert.equal(stored?.session.payloadHash, payloadHashOf(stored?.chunks ?? []));
  });

  contract('a session of an earlier day goes on after midnight', async (store) => {
    const first = sampleSession(day + dayMicros - 10, { outcome: 'open', end: undefined });
    await store.apply([asEvent(first)], at(1));
    const next = sampleSession(day + dayMicros + 10);
    const last: SessionRecord = {
      ...first,
      sequence: 1,
      firstChunk: 1,
      chunks: [chunk(day + dayMicros + 50, '!')],
      outcome: 'idle',
      end: day + dayMicros + 60,
    };
    await store.apply([asEvent(next), asEvent(last)], at(2));
    assert.deepEqual(
      (await store.sessions(all)).map(({ id }) => id),
      [next.id, first.id],
    );
    const stored = await store.session(first.id);
    assert.equal(stored?.session.outcome, 'idle');
    assert.equal(Buffer.concat(stored.chunks.map((each) => each.bytes)).toString(), 'hello!');
    assert.equal((await store.counts({ ...all, since: day + dayMicros })).sessions, 1);
  });

  contract('bodies of any size come back byte for byte', async (store) => {
    const big = new Uint8Array(300_000).map((_, index) => index * 7);
    const chunks: Chunk[] = [
      { at: day + 1, direction: 'in', bytes: big.subarray(0, 100_000) },
      { at: day + 2, direction: 'out', bytes: bytes('more?') },
      { at: day + 3, direction: 'in', bytes: big.subarray(100_000) },
    ];
    const session = sampleSession(day, { chunks, bytesIn: big.length });
    await store.apply([asEvent(session)], at(1));
    const stored = await store.session(session.id);
    assert.deepEqual(plain(stored?.chunks), plain(chunks));
    assert.equal(stored?.session.payloadHash, payloadHashOf(chunks));
    assert.equal(stored?.session.preview?.length, 64);
  });

  contract('filters: every part, alone and together', async (store) => {
    const sessions = [
      sampleSession(day + 1, { source: { ip: '192.0.2.1', port: 1 }, protocol: 'http' }),
      sampleSession(day + 2, {
        source: { ip: '2001:db8::1', port: 1 },
        destination: { ip: '2001:db8:66::5', port: 443 },
        service: 'web',
      }),
      sampleSession(day + 3, { transport: 'udp', destination: { ip: '198.51.100.77', port: 53 }, diversion: 'lan' }),
      sampleSession(day + 4, {
        source: { ip: '203.0.113.255', port: 9 },
        destination: { ip: '198.51.100.1', port: 8080 },
        protocol: 'http',
      }),
    ];
    await store.apply([...sessions.map(asEvent), sampleProbe(day + 5, 2)], at(1));
    const which = async (filter: Partial<Filter>): Promise<number[]> => {
      const found = await store.sessions({ ...all, ...filter });
      return found.map(({ id }) => sessions.findIndex((session) => session.id === id)).reverse();
    };
    const range = (text: string) => [parseRange(text) ?? assert.fail(text)];
    assert.deepEqual(await which({}), [0, 1, 2, 3]);
    assert.deepEqual(await which({ since: day + 2, until: day + 4 }), [1, 2]);
    assert.deepEqual(await which({ sources: range('192.0.2.0/24') }), [0, 2]);
    assert.deepEqual(await which({ sources: range('2001:db8::/32') }), [1]);
    assert.deepEqual(await which({ sources: range('0.0.0.0/0') }), [0, 2, 3]);
    assert.deepEqual(await which({ sources: [] }), []);
    assert.deepEqual(await which({ destinations: range('198.51.100.64-198.51.100.127') }), [2]);
    assert.deepEqual(await which({ ports: parsePorts('1-23,443') }), [0, 1]);
    assert.deepEqual(await which({ ports: [] }), []);
    assert.deepEqual(await which({ transport: 'udp' }), [2]);
    assert.deepEqual(await which({ protocol: 'http' }), [0, 3]);
    assert.deepEqual(await which({ diversion: 'lan' }), [2]);
    assert.deepEqual(await which({ service: 'web' }), [1]);
    assert.deepEqual(await which({ protocol: 'http', ports: parsePorts('8080'), sources: range('203.0.113.0/24') }), [3]);
    assert.deepEqual(await which({ limit: 2 }), [2, 3]);
    assert.deepEqual(await which({ before: sessions[2].id }), [0, 1]);
    // An agent's or a log's way to write the same decoy.
    const odd = sampleSession(day + 6, { destination: { ip: '::ffff:c633:6441', port: 23 } });
    await store.apply([asEvent(odd)], at(2));
    const found = await store.sessions({ ...all, destinations: range('198.51.100.65') });
    assert.deepEqual(
      found.map(({ id }) => id),
      [odd.id],
    );
    assert.equal((await store.probes({ ...all, protocol: 'http' })).length, 0);
    assert.equal((await store.probes({ ...all, ports: parsePorts('1000') })).length, 1);
    assert.equal((await store.probes({ ...all, ports: parsePorts('7') })).length, 0);
    assert.equal((await store.counts({ ...all, ports: parsePorts('1001') })).probes, 1);
  });

  contract('pages by cursor give every session once, newest first, over days', async (store) => {
    const events = [];
    for (let index = 0; index < 250; index += 1) events.push(asEvent(sampleSession(day + index * (dayMicros / 100))));
    await store.apply(events, at(1));
    const seen: string[] = [];
    for (;;) {
      const page = await store.sessions({ limit: 17, ...(seen.length > 0 && { before: seen[seen.length - 1] }) });
      seen.push(...page.map(({ id }) => id));
      if (page.length < 17) break;
    }
    assert.equal(seen.length, 250);
    assert.deepEqual(seen, [...new Set(seen)].sort().reverse());
  });

  contract('rankings count sessions and probe packets, by hits and by sources', async (store) => {
    const events: WeirEvent[] = [];
    for (let index = 0; index < 6; index += 1) {
      events.push(
        asEvent(
          sampleSession(day + index, {
            destination: { ip: '198.51.100.1', port: 445 },
            source: { ip: '192.0.2.1', port: index },
          }),
        ),
      );
    }
    for (let index = 0; index < 3; index += 1) {
      const source = { ip: `192.0.2.${10 + index}`, port: 1 };
      events.push(asEvent(sampleSession(day + 100 + index, { source, userName: 'root', password: 'x', protocol: 'telnet' })));
    }
    events.push(sampleProbe(day + 200, 2));
    await store.apply(events, at(1));
    assert.deepEqual(await store.top('ports', 'hits', { limit: 2 }), [
      { key: '445/tcp', hits: 6, sources: 1 },
      { key: '23/tcp', hits: 3, sources: 3 },
    ]);
    assert.equal((await store.top('ports', 'sources', { limit: 1 }))[0].key, '23/tcp');
    assert.deepEqual(await store.top('credentials', 'hits', all), [{ key: 'root:x', hits: 3, sources: 3 }]);
    assert.deepEqual(await store.top('protocols', 'hits', all), [{ key: 'telnet', hits: 3, sources: 3 }]);
    assert.deepEqual(await store.top('payloads', 'hits', all), [
      { key: payloadHashOf([chunk(0, 'hello')]) ?? '', hits: 9, sources: 4 },
    ]);
    const sources = await store.top('sources', 'hits', all);
    assert.deepEqual(
      sources.find(({ key }) => key === '203.0.113.9'),
      { key: '203.0.113.9', hits: 7, sources: 1 },
    );
    assert.deepEqual(await store.counts(all), { sessions: 9, openSessions: 0, probes: 7, sources: 5, bytesIn: 45, alerts: 0 });
  });

  contract('pruning drops whole days, oldest first, and they do not come back', async (store) => {
    const events = [0, 1, 2, 3].map((index) => asEvent(sampleSession(day + index * dayMicros)));
    await store.apply([...events, sampleAlert(day + 5)], at(1));
    const dropped = await store.prune(day + 2 * dayMicros + 5, Number.POSITIVE_INFINITY);
    assert.deepEqual(dropped, ['2026-03-14', '2026-03-15']);
    await store.apply(events, at(2));
    assert.equal((await store.sessions(all)).length, 2);
    assert.equal((await store.alerts(all)).length, 0);
    assert.deepEqual(await store.prune(0, 0), ['2026-03-16']);
    assert.equal((await store.sessions(all)).length, 1);
    assert.equal((await store.size()).sessions, 1);
  });

  test(`${name}: any events give the same answers as the store in memory`, async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(eventArbitrary, { maxLength: 25 }), fc.nat({ max: 25 }), async (events, cut) => {
        const model = new MemoryStore();
        await withStore(async (store) => {
          for (const target of [store, model]) {
            await target.apply(events.slice(0, cut), at(1));
            await target.apply(events.slice(Math.max(0, cut - 3)), at(2));
          }
          assert.deepEqual(await everything(store), await everything(model));
        });
      }),
      // The first counterexample is told as it is: making it smaller takes a database each time.
      { numRuns: 8, endOnFailure: true },
    );
  });
}

function sampleProbe(start: number, targets: number): WeirEvent {
  const list = Array.from({ length: targets }, (_, index) => ({
    ip: '198.51.100.9',
    port: 1000 + index,
    transport: 'tcp' as const,
    kind: 'closed' as const,
    count: index === 0 ? 2 : 1,
  }));
  return {
    kind: 'probe',
    probe: {
      id: createIdentifier(start),
      start,
      end: start + 10,
      source: '203.0.113.9',
      sourcePort: 7,
      diversion: 'dmz',
      targets: list,
      unlisted: 4,
    },
  };
}

const sampleAlert = (time: number): WeirEvent => ({
  kind: 'alert',
  alert: {
    id: createIdentifier(time),
    at: time,
    name: 'address-conflict',
    severity: 'high',
    message: 'm',
    details: { ip: '192.0.2.1' },
  },
});

const sampleSystem = (time: number): WeirEvent => ({
  kind: 'system',
  system: { id: createIdentifier(time), at: time, name: 'applied', program: 'netd', message: 'm', details: { n: 1 } },
});
