// What every store must do with what analysis found, run by the tests of each implementation. Used by tests only.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseRange } from '../model/address.ts';
import type { ProbeRecord, WeirEvent } from '../model/event.ts';
import { createIdentifier } from '../model/identifier.ts';
import type { Insights, PayloadFamily, SessionInsight, SignatureHit, Verdict } from '../model/insight.ts';
import { parsePorts } from '../model/port-set.ts';
import type { SessionRecord } from '../model/session.ts';
import type { InsightSubject, VerdictFilter } from './analysis-store.ts';
import { dayMicros, dayStart, halfHourMicros } from './day.ts';
import { isAbout, matchesFindings } from './filter-match.ts';
import { MemoryStore } from './memory-store.ts';
import type { Filter, SessionFilter, SessionSummary, Store } from './store.ts';
import { plain, sampleSession } from './store-contract.ts';

const day = dayStart('2026-03-14');
const all: Filter = { limit: 10_000 };
const at = (segment: number) => ({ gateway: { segment, offset: 100 } });
const nothing: Insights = { sessions: [], verdicts: [], families: [], places: [] };

const insightSubjects: readonly InsightSubject[] = [
  'countries',
  'asns',
  'families',
  'signatures',
  'behaviours',
  'urls',
  'commands',
  'user-agents',
  'fingerprints',
  'users',
  'passwords',
];

export function sampleVerdict(start: number, more: Partial<Verdict> = {}): Verdict {
  return {
    id: createIdentifier(start),
    behaviour: 'port-scan',
    source: '192.0.2.1',
    start,
    end: start + 10,
    severity: 'low',
    confidence: 'certain',
    hits: 20,
    ports: 20,
    hosts: 1,
    credentials: 0,
    techniques: ['T1046'],
    cves: [],
    evidence: ['20 ports of one decoy, threshold 15'],
    records: [],
    ...more,
  };
}

const sampleHit = (rule: string): SignatureHit => ({
  rule,
  name: `the rule ${rule}`,
  intention: 'exploit',
  severity: 'high',
  tags: ['iot'],
  cves: ['CVE-2017-17215'],
  techniques: ['T1190'],
  captures: { url: 'http://192.0.2.66/\u001b[2Ja' },
});

const sampleFamily = (number: number, firstSeen: number): PayloadFamily => ({
  id: number.toString(16).padStart(16, '0'),
  firstSeen,
  payloadHash: number.toString(16).padStart(64, '0'),
  example: new Uint8Array([number, 0, 255]),
  sketch: new Uint8Array(128).fill(number),
  label: `family ${number}`,
});

export function insightOf(session: SessionRecord, more: Partial<SessionInsight> = {}): SessionInsight {
  return { id: session.id, start: session.start, source: session.source.ip, signatures: [], facts: [], ...more };
}

/** Everything a store can be asked about what analysis found, and about sources. */
export async function everythingFound(store: Store, filter: Filter = all): Promise<unknown> {
  const tops: unknown[] = [];
  const subjects = filter === all ? insightSubjects : (['asns', 'families', 'fingerprints', 'users'] as const);
  for (const subject of subjects)
    for (const by of filter === all ? (['hits', 'sources'] as const) : (['sources'] as const))
      tops.push([subject, by, await store.topInsights(subject, by, filter)]);
  const known: unknown[] = [];
  for (const subject of [...insightSubjects, 'ports'] as const) {
    const ever = await (subject === 'ports' ? store.top(subject, 'hits', all) : store.topInsights(subject, 'hits', all));
    const keys = ever.map(({ key }) => key).filter((_, index) => index % 3 > 0);
    known.push([subject, (await store.knownKeys(subject, [...keys, 'nothing'], filter)).sort()]);
  }
  const attackers = await store.attackers('hits', filter);
  const sessions = await store.sessions(filter);
  const families = await store.families(100);
  return plain({
    tops,
    known,
    attackers,
    byPorts: await store.attackers('ports', { ...filter, limit: 5 }),
    newest: await store.attackers('newest', { ...filter, limit: 2 }),
    pages: await Promise.all(attackers.slice(0, filter === all ? 2 : 1).map(({ source }) => store.attacker(source, filter))),
    nobody: await store.attacker('203.0.113.250', filter),
    verdicts: await store.verdicts(filter),
    insights: (await store.insights(sessions)).sort((a, b) => (a.id < b.id ? -1 : 1)),
    places: (await store.places(attackers.map(({ source }) => source))).sort((a, b) => (a.ip < b.ip ? -1 : 1)),
    families,
    family: await Promise.all(families.slice(0, 3).map(({ id }) => store.family(id))),
    features: await store.features(filter),
    days: await store.rollups('day', filter),
    halves: await store.rollups('half-hour', filter),
  });
}

/** A small world by chance that is always the same: `count` records over three days, and what analysis says of them. */
export function sampleWorld(count: number, seed = 1): { events: WeirEvent[]; insights: Insights } {
  let state = seed;
  const below = (bound: number): number => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fffffff;
    return (state >>> 8) % bound;
  };
  const source = (): string => (below(6) === 0 ? `2001:db8::${below(4)}` : `192.0.2.${below(12)}`);
  const events: WeirEvent[] = [];
  const sessions: SessionInsight[] = [];
  const verdicts: Verdict[] = [];
  for (let index = 0; index < count; index += 1) {
    const start = day + below(3) * dayMicros + below(48) * halfHourMicros + below(1000);
    const ports = [22, 23, 80, 445, 1000 + below(5)];
    if (below(4) === 0) {
      const targets = Array.from({ length: below(4) }, (_, number) => ({
        ip: `198.51.100.${below(5)}`,
        port: number === 3 ? 0 : ports[below(5)],
        transport: number === 3 ? ('icmp' as const) : ('tcp' as const),
        kind: 'closed' as const,
        count: 1 + below(3),
      }));
      const probe: ProbeRecord = {
        id: createIdentifier(start),
        start,
        end: start + 5,
        source: source(),
        sourcePort: 9,
        diversion: below(5) === 0 ? 'lan' : 'dmz',
        targets,
        unlisted: below(3),
      };
      events.push({ kind: 'probe', probe });
      continue;
    }
    const session = sampleSession(start, {
      source: { ip: source(), port: 40_000 + index },
      destination: { ip: `198.51.100.${below(5)}`, port: ports[below(5)] },
      transport: below(8) === 0 ? 'udp' : 'tcp',
      bytesIn: below(2000),
      ...(below(3) === 0 && { protocol: ['http', 'ssh', 'telnet'][below(3)] }),
      ...(below(9) === 0 && { outcome: 'open' as const, end: undefined }),
      ...(below(3) === 0 && {
        syn: { ttl: 60, ipId: 1, doNotFragment: true, window: 1024 * below(3), sequence: index, options: 'mss,sok', mss: 1460 },
      }),
    });
    events.push({ kind: 'session', session });
    if (below(2) === 0) {
      sessions.push(
        insightOf(session, {
          signatures: Array.from({ length: below(3) }, (_, number) => sampleHit(`rule-${number}`)),
          facts: [
            { kind: 'credential', value: `user${below(4)}:pass:${below(4)}` },
            { kind: 'credential', value: 'nobody' },
            { kind: 'url', value: `http://192.0.2.${below(3)}/ x` },
            { kind: 'command', value: `wget ${below(3)}` },
            { kind: 'user-agent', value: `agent ${below(2)}` },
            { kind: 'hassh', value: `h${below(2)}` },
            { kind: 'ja4', value: 'j' },
            { kind: 'path', value: '/' },
          ].slice(0, below(9)) as SessionInsight['facts'],
          ...(below(2) === 0 && { family: sampleFamily(below(3), day).id }),
        }),
      );
    }
    if (below(10) === 0)
      verdicts.push(
        sampleVerdict(start, {
          source: session.source.ip,
          behaviour: (['port-scan', 'sweep', 'brute-force'] as const)[below(3)],
          hits: 1 + below(50),
          ...(below(2) === 0 && {
            destination: session.destination.ip,
            port: session.destination.port,
            transport: 'tcp' as const,
          }),
          ...(below(2) === 0 && { tool: ['ZMap', 'hydra'][below(2)] }),
          ...(below(2) === 0 && { diversion: 'dmz' }),
        }),
      );
  }
  const places = Array.from({ length: 10 }, (_, index) => ({
    ip: `192.0.2.${index}`,
    ...(index % 4 !== 0 && { country: ['NL', 'US', 'CN'][index % 3] }),
    ...(index % 3 !== 0 && { asn: 64_500 + (index % 2) }),
    ...(index % 2 === 0 && { organization: 'Example' }),
  }));
  return {
    events,
    insights: { sessions, verdicts, families: [0, 1, 2].map((index) => sampleFamily(index, day + index)), places },
  };
}

const range = (text: string) => [parseRange(text) ?? assert.fail(text)];

/** Questions that take every way: whole days, parts of days, filters beyond time. */
export const sampleFilters: readonly Filter[] = [
  all,
  { limit: 3, since: day + dayMicros, until: day + 2 * dayMicros },
  { ...all, since: day + 7 * halfHourMicros + 500, until: day + 2 * dayMicros + 5 * halfHourMicros },
  { ...all, sources: range('192.0.2.0/29') },
  { ...all, transport: 'tcp', ports: parsePorts('22-445'), destinations: range('198.51.100.0-198.51.100.2') },
  { ...all, protocol: 'http', diversion: 'dmz', service: 'catch-all' },
  { ...all, ports: parsePorts('0-23,445'), since: day + 3 * halfHourMicros },
  { ...all, transport: 'udp', diversion: 'dmz' },
  { ...all, before: createIdentifier(day + dayMicros + 9 * halfHourMicros) },
];

/** `withStore` gives a fresh, empty store to its argument and cleans up. */
export function analysisStoreContract(name: string, withStore: (use: (store: Store) => Promise<void>) => Promise<void>): void {
  const contract = (title: string, use: (store: Store) => Promise<void>): void => {
    test(`${name}: ${title}`, () => withStore(use));
  };

  contract('sessions are selected by what was found in them, over pages and partitions', async (store) => {
    const { events, insights } = sampleWorld(120, 7);
    const tagged = sampleSession(day + 9, { tags: ['own "tag"'] });
    // About much: a port of one source over days, and all of another on a later day than it begins.
    const wide = [
      sampleVerdict(day, { behaviour: 'brute-force', source: '192.0.2.3', end: day + 3 * dayMicros, port: 22, transport: 'tcp' }),
      sampleVerdict(day + 5, { behaviour: 'sweep', source: '2001:db8::1', end: day + 2 * dayMicros, destination: undefined }),
    ];
    await store.apply([...events, { kind: 'session', session: tagged }], at(1), {
      ...insights,
      verdicts: [...insights.verdicts, ...wide],
    });
    const sessions = await store.sessions(all);
    const found = new Map((await store.insights(sessions)).map((insight) => [insight.id, insight]));
    const places = new Map((await store.places(sessions.map(({ source }) => source.ip))).map((place) => [place.ip, place]));
    const [hit] = [...found.values()].flatMap(({ signatures }) => signatures);
    const [family] = [...found.values()].flatMap((insight) => insight.family ?? []);
    const [{ country }] = [...places.values()];
    for (const filter of [{ signature: hit.rule }, { tag: hit.tags[0] }, { tag: 'own "tag"' }, { family }, { country, family }]) {
      const expected = sessions.filter((one) =>
        matchesFindings(filter as SessionFilter, one, found.get(one.id), places.get(one.source.ip)),
      );
      assert.ok(expected.length > 0 && expected.length < sessions.length, JSON.stringify(filter));
      const ids: string[] = [];
      for (let before: string | undefined; ; before = ids.at(-1)) {
        const page = await store.sessions({ ...filter, limit: 7, ...(before && { before }) });
        ids.push(...page.map(({ id }) => id));
        if (page.length < 7) break;
      }
      assert.deepEqual(
        ids,
        expected.map(({ id }) => id),
        JSON.stringify(filter),
      );
    }
    assert.deepEqual(await store.sessions({ limit: 5, tag: "') OR true --" }), []);
    for (const behaviours of [['port-scan'], ['sweep', 'brute-force'], ['flood']] as const) {
      const verdicts = await store.verdicts({ behaviours, limit: 1000 });
      const expected = sessions.filter((one) => verdicts.some((verdict) => isAbout(verdict, one)));
      assert.deepEqual(await store.sessions({ behaviours, limit: 1000 }), expected, behaviours.join());
      assert.ok(expected.length < sessions.length && (behaviours[0] !== 'sweep' || expected.length > 3), behaviours.join());
      const paged: SessionSummary[] = [];
      for (let before: string | undefined; ; before = paged.at(-1)?.id) {
        const page = await store.sessions({ behaviours, limit: 3, ...(before && { before }) });
        paged.push(...page);
        if (page.length < 3) break;
      }
      assert.deepEqual(paged, expected, behaviours.join());
      for (const { start } of expected) {
        const within = { since: start, until: start + dayMicros };
        const some = expected.filter((one) => one.start >= within.since && one.start < within.until);
        assert.deepEqual(await store.sessions({ behaviours, limit: 1000, ...within }), some);
      }
    }
  });

  contract('an insight comes back whole; one that says nothing, or of a session that is not there, does not', async (store) => {
    const [first, second] = [sampleSession(day), sampleSession(day + dayMicros)];
    const insight = insightOf(first, {
      signatures: [sampleHit('a'), sampleHit('b')],
      facts: [
        { kind: 'command', value: 'cd /tmp; wget http://x/\0"\'' },
        { kind: 'credential', value: ' root: ' },
      ],
      family: sampleFamily(1, day).id,
    });
    const stray = insightOf(sampleSession(day + 5), { family: 'f' });
    await store.apply([{ kind: 'session', session: first }], at(1), { ...nothing, sessions: [insight, stray] });
    await store.apply([{ kind: 'session', session: second }], at(2), { ...nothing, sessions: [insightOf(second)] });
    assert.deepEqual(plain(await store.insight(first.id, day)), plain(insight));
    assert.equal(await store.insight(second.id, second.start), undefined);
    assert.equal(await store.insight(stray.id, stray.start), undefined);
    assert.deepEqual(plain(await store.insights([first, second, stray])), plain([insight]));
    await store.apply([], at(3), { ...nothing, sessions: [insightOf(second, { family: 'late' })] });
    assert.equal((await store.insight(second.id, second.start))?.family, 'late');
  });

  contract(
    'a later verdict of an identifier replaces the earlier; a place too; a family stays as it was founded',
    async (store) => {
      const verdict = sampleVerdict(day, { source: '192.0.2.7', destination: '198.51.100.1', tool: 'ZMap' });
      const later = { ...verdict, hits: 99, end: day + 99, evidence: ['99 ports'] };
      const family = sampleFamily(7, day);
      const place = { ip: '192.0.2.7', country: 'NL', asn: 64_500, organization: 'Example' };
      await store.apply([], at(1), { ...nothing, verdicts: [verdict], families: [family], places: [place] });
      await store.apply([], at(2), {
        ...nothing,
        verdicts: [sampleVerdict(day + dayMicros), { ...verdict, hits: 50 }, later],
        families: [{ ...family, label: 'another' }, sampleFamily(8, day + 1)],
        places: [{ ip: '192.0.2.7', country: 'US' }],
      });
      const found = await store.verdicts(all);
      assert.equal(found.length, 2);
      assert.deepEqual(plain(found[1]), plain(later));
      assert.deepEqual(plain(await store.family(family.id)), plain(family));
      assert.deepEqual(
        (await store.families(1)).map(({ label }) => label),
        ['family 8'],
      );
      assert.deepEqual(plain(await store.places(['192.0.2.7', '192.0.2.8'])), [{ ip: '192.0.2.7', country: 'US' }]);
    },
  );

  contract('verdicts by every part of a filter, newest first', async (store) => {
    const verdicts = [
      sampleVerdict(day + 1, { behaviour: 'sweep', port: 23, transport: 'tcp' }),
      sampleVerdict(day + 2, { source: '2001:db8::1', destination: '198.51.100.9', diversion: 'lan' }),
      sampleVerdict(day + dayMicros + 3, { behaviour: 'flood', transport: 'icmp' }),
    ];
    await store.apply([], at(1), { ...nothing, verdicts });
    const which = async (filter: Partial<VerdictFilter>): Promise<number[]> => {
      const found = await store.verdicts({ ...all, ...filter });
      return found.map(({ id }) => verdicts.findIndex((verdict) => verdict.id === id));
    };
    assert.deepEqual(await which({}), [2, 1, 0]);
    assert.deepEqual(await which({ behaviours: ['sweep', 'flood'] }), [2, 0]);
    assert.deepEqual(await which({ behaviours: [] }), []);
    assert.deepEqual(await which({ since: day + 2, until: day + dayMicros }), [1]);
    assert.deepEqual(await which({ sources: range('2001:db8::/32') }), [1]);
    assert.deepEqual(await which({ destinations: range('198.51.100.0/24') }), [1]);
    assert.deepEqual(await which({ ports: parsePorts('1-100') }), [0]);
    assert.deepEqual(await which({ transport: 'tcp' }), [0]);
    assert.deepEqual(await which({ diversion: 'lan' }), [1]);
    assert.deepEqual(await which({ protocol: 'http' }), []);
    assert.deepEqual(await which({ limit: 1 }), [2]);
    assert.deepEqual(await which({ before: verdicts[1].id }), [0]);
  });

  contract('rollups: a scan has many ports, repetition few; a source is new once', async (store) => {
    const events: WeirEvent[] = [];
    const session = (start: number, ip: string, port: number): void => {
      events.push({
        kind: 'session',
        session: sampleSession(start, { source: { ip, port: 9 }, destination: { ip: '198.51.100.1', port } }),
      });
    };
    for (let index = 0; index < 30; index += 1) session(day + index, '192.0.2.1', 1000 + index);
    for (let index = 0; index < 40; index += 1) session(day + halfHourMicros + index, '192.0.2.2', 23);
    session(day + halfHourMicros, '192.0.2.1', 23);
    session(day + dayMicros, '192.0.2.2', 23);
    session(day + dayMicros, '192.0.2.3', 23);
    await store.apply(events, at(1));
    const row = (start: number, hits: number, sources: number, ports: number, newSources: number) => ({
      start,
      hits,
      sessions: hits,
      probes: 0,
      sources,
      ports,
      destinations: 1,
      newSources,
    });
    const halves = [row(day, 30, 1, 30, 1), row(day + halfHourMicros, 41, 2, 1, 1), row(day + dayMicros, 2, 2, 1, 1)];
    assert.deepEqual(await store.rollups('half-hour', all), halves);
    const days = [row(day, 71, 2, 31, 2), row(day + dayMicros, 2, 2, 1, 1)];
    assert.deepEqual(await store.rollups('day', all), days);
    assert.deepEqual(await store.rollups('half-hour', { ...all, since: day + halfHourMicros }), halves.slice(1));
    const cutting = { ...all, since: day - halfHourMicros, until: day + 3 * dayMicros + 1 };
    assert.deepEqual(await store.rollups('day', cutting), days, 'days without any record are cut');
    assert.deepEqual(await store.rollups('half-hour', { limit: 2 }), halves.slice(1));
  });

  contract('what was imported is kept by when that was, and found by when it happened', async (store) => {
    const old = dayStart('2018-06-01');
    const now = day + 5 * dayMicros;
    const imported = (start: number, recordedAt: number): WeirEvent => ({
      kind: 'session',
      session: sampleSession(start, { diversion: 'import', recordedAt, chunks: [] }),
    });
    const first = [0, 1, 2].map((index) => imported(old + index * 100 * dayMicros, day + 1));
    const second = [0, 1].map((index) => imported(old + index * 150 * dayMicros + 5, now));
    const live: WeirEvent = { kind: 'session', session: sampleSession(now) };
    const idOf = (event: WeirEvent): string => (event.kind === 'session' ? event.session.id : '');
    const verdict = sampleVerdict(old + 7, { diversion: 'import' });
    await store.apply(first, at(1), { ...nothing, verdicts: [verdict] });
    await store.apply([...second, live], at(2));
    const inOrder = [...first, ...second, live].map(idOf).sort().reverse();
    assert.deepEqual(
      (await store.sessions(all)).map(({ id }) => id),
      inOrder,
    );
    assert.deepEqual(
      (await store.sessions({ limit: 2, before: inOrder[1] })).map(({ id }) => id),
      inOrder.slice(2, 4),
    );
    assert.equal((await store.sessions({ ...all, since: old, until: old + dayMicros })).length, 2);
    assert.equal((await store.session(idOf(first[1])))?.session.start, old + 100 * dayMicros);
    assert.deepEqual([...(await store.known([...first.map(idOf), 'x']))].sort(), first.map(idOf).sort());
    const before = await everythingFound(store);
    await store.apply(
      first.map((event) => imported(0, now) && event),
      at(3),
      { ...nothing, verdicts: [verdict] },
    );
    assert.deepEqual(await everythingFound(store), before);
    assert.equal((await store.size()).sessions, 6);
    await store.prune(day, Number.POSITIVE_INFINITY);
    assert.equal((await store.sessions(all)).length, 6);
    assert.equal((await store.verdicts(all)).length, 1);
    assert.equal((await store.prune(day + dayMicros, Number.POSITIVE_INFINITY)).length, 1);
    assert.deepEqual(
      (await store.sessions(all)).map(({ id }) => id),
      [live, ...second.reverse()].map(idOf),
    );
    assert.equal((await store.verdicts(all)).length, 0);
  });

  contract('any world, applied twice in pieces, gives the same answers as the store in memory', async (store) => {
    const { events, insights } = sampleWorld(120);
    const model = new MemoryStore();
    for (const target of [store, model]) {
      await target.apply(events.slice(0, 70), at(1), { ...insights, sessions: insights.sessions.slice(0, 20) });
      await target.apply(events.slice(50), at(2), insights);
      await target.apply(events.slice(0, 70), at(3), insights);
    }
    for (const filter of sampleFilters)
      assert.deepEqual(
        await everythingFound(store, filter),
        await everythingFound(model, filter),
        JSON.stringify(plain(filter), bigText),
      );
    await store.prune(day + dayMicros, Number.POSITIVE_INFINITY);
    await model.prune(day + dayMicros, Number.POSITIVE_INFINITY);
    assert.deepEqual(await everythingFound(store), await everythingFound(model));
  });
}

const bigText = (_key: string, value: unknown): unknown => (typeof value === 'bigint' ? String(value) : value);
