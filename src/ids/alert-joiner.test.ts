// Alerts and the sessions they are about: equal ports at other times, in other networks, sessions that come late or never.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { AlertRecord, WeirEvent } from '../model/event.ts';
import { AlertJoiner } from './alert-joiner.ts';
import { AlertTally } from './alert-tally.ts';
import type { EveAlert } from './eve-alert.ts';
import { FlowIndex, type IndexedFlow } from './flow-index.ts';

const start = 1_772_600_000_000_000;
const second = 1_000_000;
const source = { ip: '198.51.100.7', port: 40_001 };
const destination = { ip: '10.66.3.4', port: 80 };

const flow = (id: string, more: Partial<IndexedFlow> = {}): IndexedFlow => ({
  id,
  sight: 'synthesised',
  vlan: 1,
  transport: 'tcp',
  source,
  destination,
  diversion: 'dmz',
  service: 'catch-all',
  sourceReliable: true,
  start,
  from: start,
  alerts: new AlertTally(0),
  round: 0,
  ...more,
});

const alert = (more: Partial<EveAlert> = {}): EveAlert => ({
  at: start + second,
  transport: 'tcp',
  source,
  destination,
  flowStart: start,
  vlan: 1,
  interface: 'feed',
  signature: { id: 1_100_001, generator: 1, revision: 1, text: 'WEIR \u001b[31mred', category: 'x', severity: 'high' },
  cves: [],
  techniques: ['T1190'],
  facts: {},
  ...more,
});

function bed(waitMs = 10_000) {
  const records: AlertRecord[] = [];
  const index = new FlowIndex(1000);
  const sink = { append: (event: WeirEvent) => void (event.kind === 'alert' && records.push(event.alert)) };
  let now = start + 2 * second;
  const joiner = new AlertJoiner({
    index,
    sink,
    clock: () => now,
    waitMs,
    diversionOf: (tag) => (tag === 1 ? 'dmz' : undefined),
  });
  const add = (one: IndexedFlow): void => {
    index.add(one);
    joiner.arrived(one);
  };
  return { records, index, joiner, add, pass: (ms: number) => (now += ms * 1000) };
}

const sessionOf = (record: AlertRecord): unknown => record.details.session;

describe('an alert', () => {
  it('names its session, both ends, and the rule; its text cannot move a terminal', () => {
    const { records, joiner, add } = bed();
    add(flow('s1'));
    joiner.take(alert());
    assert.equal(records.length, 1);
    const { details, severity, message, name } = records[0];
    assert.deepEqual([name, severity, details.session, details.diversion], ['suricata', 'high', 's1', 'dmz']);
    assert.deepEqual([details.source, details.destination], [source, destination]);
    assert.ok(!message.includes('\u001b'));
  });

  it('about the answer is about the same session', () => {
    const { records, joiner, add } = bed();
    add(flow('s1'));
    joiner.take(alert({ source: destination, destination: source }));
    assert.equal(sessionOf(records[0]), 's1');
    assert.deepEqual(records[0].details.source, source);
  });

  it('finds the one of its network, and of its time, among equal five-tuples', () => {
    const { records, index, joiner, add } = bed();
    add(flow('early', { from: start - 60 * second }));
    index.end('early', start - 50 * second);
    add(flow('mine'));
    add(flow('other network', { vlan: 2 }));
    index.end('mine', start + 5 * second);
    add(flow('late', { from: start + 30 * second }));
    joiner.take(alert());
    joiner.take(alert({ flowStart: start - 55 * second }));
    joiner.take(alert({ vlan: 2 }));
    joiner.take(alert({ flowStart: start + 31 * second }));
    assert.deepEqual(records.map(sessionOf), ['mine', 'early', 'other network', 'late']);
  });

  it('waits for a session that comes late', () => {
    const { records, joiner, add } = bed();
    const { vlan: _vlan, ...untagged } = alert();
    joiner.take(untagged);
    assert.equal(joiner.counters().waiting, 1);
    const { vlan: _other, ...native } = flow('s1', { sight: 'native' });
    add(native);
    assert.deepEqual(records.map(sessionOf), ['s1']);
    assert.equal(joiner.counters().waiting, 0);
    joiner.close();
  });

  it('is recorded without one when none comes, and is counted', async () => {
    const { records, joiner, pass } = bed(100);
    joiner.take(alert());
    pass(200);
    const begun = performance.now();
    while (records.length === 0 && performance.now() - begun < 5000) await new Promise((resolve) => setImmediate(resolve));
    assert.equal(sessionOf(records[0]), undefined);
    assert.equal(records[0].details.diversion, 'dmz');
    assert.equal(joiner.counters().unmatched, 1);
    joiner.close();
  });

  it('of one rule is recorded sixteen times in a session, then counted; another rule is news', () => {
    const { records, joiner, add } = bed();
    add(flow('s1'));
    for (let count = 0; count < 100; count += 1) joiner.take(alert());
    joiner.take(alert({ signature: { ...alert().signature, id: 5 } }));
    assert.equal(records.length, 17);
    assert.equal(joiner.counters().repeated, 84);
    assert.equal(new Set(records.map(({ id }) => id)).size, 17);
  });

  it('is the same record when it is made again', () => {
    const ids = [1, 2].map(() => {
      const { records, joiner, add } = bed();
      add(flow('s1', { from: start + Math.random() * second }));
      joiner.take(alert());
      return records[0].id;
    });
    assert.equal(ids[0], ids[1]);
  });

  it('is never lost to a crowd that waits: it goes without its session', () => {
    const { records, joiner } = bed();
    for (let port = 0; port < 9000; port += 1) joiner.take(alert({ source: { ip: source.ip, port } }));
    assert.equal(joiner.counters().waiting, 8192);
    assert.equal(records.length, 9000 - 8192);
    joiner.close();
    assert.equal(records.length, 9000);
  });
});

describe('the index of flows', () => {
  it('knows a session however long its packets waited, not longer', () => {
    for (const [delay, found] of [
      [0, undefined],
      [20 * second, 's1'],
    ] as const) {
      const index = new FlowIndex(10, () => delay);
      for (const sight of ['native', 'synthesised'] as const)
        index.add(flow(sight === 'native' ? 's1' : 's2', { sight, to: start + second }));
      assert.equal(index.find(alert({ flowStart: start + 19 * second }))?.id, found);
      assert.equal(index.find(alert({ flowStart: start + 40 * second })), undefined);
    }
  });

  it('knows a session that ended by a clock that was set back', () => {
    const index = new FlowIndex();
    index.add(flow('s1'));
    index.end('s1', start - 3600 * second);
    assert.equal(index.find(alert())?.id, 's1');
  });

  it('forgets the oldest beyond its bound, and of one five-tuple beyond 32', () => {
    const index = new FlowIndex(10);
    for (let port = 0; port < 100; port += 1) index.add(flow(`s${port}`, { source: { ip: source.ip, port } }));
    assert.equal(index.size, 10);
    assert.equal(index.get('s89'), undefined);
    const same = new FlowIndex();
    for (let count = 0; count < 100; count += 1) same.add(flow(`t${count}`, { from: start + count * second }));
    assert.equal(same.size, 32);
    assert.equal(same.find(alert({ flowStart: start + 99 * second }))?.id, 't99');
  });
});
