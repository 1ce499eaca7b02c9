// Alerts of sessions that are shown again after Suricata or the feeder was killed: the same alert is the same record, another is
// another, and each is of the time at which what it is about happened.

import assert from 'node:assert/strict';
import { it } from 'node:test';
import { sampleChunk, sampleSession } from '../../test/support/sample-records.ts';
import type { AlertRecord, WeirEvent } from '../model/event.ts';
import type { SessionRecord } from '../model/session.ts';
import { AlertJoiner } from './alert-joiner.ts';
import type { EveAlert } from './eve-alert.ts';
import { FlowIndex } from './flow-index.ts';
import { SessionFeeder } from './session-feeder.ts';

const start = 1_772_600_000_000_000;
const hour = 3_600_000_000;

/** A feeder that begins now. Its clock goes on by a microsecond with every look. */
function bed(maxFlows?: number) {
  const records: AlertRecord[] = [];
  const index = new FlowIndex();
  const sink = { append: (event: WeirEvent) => void (event.kind === 'alert' && records.push(event.alert)) };
  let now = start + 5 * hour;
  const clock = (): number => (now += 1);
  const joiner = new AlertJoiner({ index, sink, clock, diversionOf: () => 'dmz' });
  const feeder = new SessionFeeder({
    index,
    write: () => {},
    clock,
    sightOf: () => ({ sight: 'synthesised', vlan: 1 }),
    onFlow: (flow) => joiner.arrived(flow),
    ...(maxFlows === undefined ? {} : { maxFlows }),
  });
  const alertAbout = ({ source, destination }: SessionRecord, at = clock()): AlertRecord => {
    const signature = { id: 1_100_002, generator: 1, revision: 1, text: 'x', category: 'x', severity: 'high' } as const;
    const flow = { transport: 'tcp', source, destination, vlan: 1, interface: 'feed' };
    const alert: EveAlert = { at, ...flow, signature, cves: [], techniques: [], facts: {} };
    joiner.take(alert);
    return records.at(-1) ?? assert.fail('no alert');
  };
  return { index, feeder, joiner, alertAbout, clock };
}

const said = (at: number) => [sampleChunk(at, 'in', 'GET /../../etc/passwd HTTP/1.1\r\n\r\n')];
const whole = sampleSession(start, 1, { chunks: said(start + 10) });
const first: SessionRecord = { ...whole, outcome: 'open', sequence: 0 };
const second: SessionRecord = { ...whole, outcome: 'open', sequence: 1, firstChunk: 1, chunks: said(start + hour) };

it('an alert after a restart in the middle of a session is another than those before, and is itself when it comes again', () => {
  const { feeder, joiner, alertAbout } = bed();
  feeder.take(first);
  const before = alertAbout(whole).id;
  joiner.settle();
  feeder.reset();
  feeder.take(second);
  const after = alertAbout(whole).id;
  assert.notEqual(after, before);
  // Not answered for: shown again.
  feeder.reset();
  feeder.take(second);
  assert.equal(alertAbout(whole).id, after);
  joiner.settle();
  feeder.take({ ...second, sequence: 2, firstChunk: 2 });
  assert.ok(![before, after].includes(alertAbout(whole).id));
});

it('a feeder that knows nothing of the beginning names none as those of it; one that shows it all names the same', () => {
  const dead = bed();
  dead.feeder.take(first);
  const before = dead.alertAbout(whole).id;
  const late = bed();
  late.feeder.take(second);
  assert.notEqual(late.alertAbout(whole).id, before);
  const again = bed();
  again.feeder.take(first);
  assert.equal(again.alertAbout(whole).id, before);
});

it('a flow that was ended to make room goes on counting when its session goes on', () => {
  const { feeder, alertAbout } = bed(1);
  feeder.take(first);
  const before = alertAbout(whole).id;
  feeder.take(sampleSession(start, 2, { chunks: [], outcome: 'open' }));
  assert.equal(feeder.counters().forgotten, 1);
  feeder.take(second);
  assert.notEqual(alertAbout(whole).id, before);
});

it('an alert is of the time when it happened, however late and at once it is shown; a clock that is set back confuses nobody', () => {
  const { feeder, alertAbout, clock } = bed();
  feeder.take(first);
  const early = clock();
  feeder.take(second);
  const late = clock();
  assert.equal(alertAbout(whole, late).at, start + hour);
  assert.equal(alertAbout(whole, early).at, start + 10);
  // Of Suricata's clock, before anything was shown.
  assert.equal(alertAbout(whole, early - 1000).at, start);
  feeder.take({ ...whole, sequence: 2, firstChunk: 2, chunks: [], end: start + 2 * hour });
  assert.equal(alertAbout(whole).at, start + 2 * hour);
});

it('chunks that are on no record are counted where something is missing of what is shown', () => {
  const { feeder } = bed();
  feeder.take(first);
  feeder.take({ ...second, firstChunk: 4 });
  assert.equal(feeder.counters().missingChunks, 3);
});
