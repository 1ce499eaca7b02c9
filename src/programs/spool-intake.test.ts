// What agents hand in of their own records: only what is theirs, under identifiers nobody else can have, once, and durable before
// it is acknowledged.

import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test from 'node:test';
import { acceptText } from '../../test/support/configuration-text.ts';
import { openLog } from '../base/log.ts';
import type { WeirEvent } from '../model/event.ts';
import { createIdentifier, identifierTime } from '../model/identifier.ts';
import type { SessionRecord } from '../model/session.ts';
import { planRelay } from '../plan/relay-state.ts';
import { SpoolBatch } from '../record/spool-batch.ts';
import { AgentPlaces } from './agent-places.ts';
import { openSpoolKey, remapIdentifier, SpoolIntake } from './spool-intake.ts';

const now = 1_800_000_000e6;
const clock = (): number => now;
const log = openLog('test', 'error', () => {});
const key = new Uint8Array(32).fill(7);
const places = new AgentPlaces(
  planRelay(
    acceptText(`version: 1
agents: { listen: 0.0.0.0:7443 }
diversions:
  - { name: branch, kind: agent, agent: branch-1, listen: { ports: [23], udp-ports: [161] }, persona: printer }
  - { name: other, kind: agent, agent: branch-2, listen: { ports: [23] } }
  - { name: lan, kind: host, agent: branch-1, interface: eth0, decoys: [{ addresses: 10.66.0.0/24, persona: nas }] }
  - { name: floor, kind: network, agent: branch-1, trunk: eth1, vlan: 5, address: 10.77.0.1/24, decoys: [{ addresses: 10.77.0.8/29, persona: plc }] }
`),
  ),
  [{ groups: [{ diversion: 'dmz' }] }],
);

const session = (more: Partial<SessionRecord> = {}): SessionRecord => ({
  id: createIdentifier(now - 1e6),
  sequence: 0,
  start: now - 1e6,
  transport: 'tcp',
  source: { ip: '198.51.100.7', port: 40_000 },
  destination: { ip: '192.0.2.9', port: 23 },
  sourceReliable: true,
  diversion: 'branch',
  service: 'catch-all',
  outcome: 'client-closed',
  end: now,
  bytesIn: 3,
  bytesOut: 0,
  firstChunk: 0,
  chunks: [{ at: now - 1e6, direction: 'in', bytes: Buffer.from('abc') }],
  truncated: false,
  ...more,
});
const batchOf = (...events: WeirEvent[]): Uint8Array => {
  const batch = new SpoolBatch();
  for (const event of events) assert.ok(batch.add(event));
  return Uint8Array.from(batch.bytes());
};
const sessions = (...records: SessionRecord[]): Uint8Array =>
  batchOf(...records.map((one) => ({ kind: 'session' as const, session: one })));

class Journal {
  readonly events: WeirEvent[] = [];
  durable = true;
  strip = false;
  #stripped = 0;
  append(event: WeirEvent): boolean {
    this.events.push(event);
    if (this.strip) this.#stripped += 1;
    return true;
  }
  async flush(): Promise<boolean> {
    return this.durable;
  }
  counters(): { pendingBytes: number; strippedRecords: number } {
    return { pendingBytes: this.durable ? 0 : 2 << 20, strippedRecords: this.#stripped };
  }
  get sessions(): SessionRecord[] {
    return this.events.flatMap((event) => (event.kind === 'session' ? [event.session] : []));
  }
}
const open = (): { journal: Journal; intake: SpoolIntake } => {
  const journal = new Journal();
  return { journal, intake: new SpoolIntake({ journal, key, places: () => places, clock, log }) };
};

test('a session of its own is taken: agent, service and persona are ours to say', async () => {
  const { journal, intake } = open();
  const sent = session({ agent: 'branch-2', service: 'win', persona: 'windows-server', writer: 'gateway#1' });
  await intake.take('branch-1', sessions(sent));
  const [taken] = journal.sessions;
  assert.equal(taken.agent, 'branch-1');
  assert.equal(taken.service, 'catch-all');
  assert.equal(taken.persona, 'printer');
  assert.equal(taken.writer, undefined);
  assert.equal(Buffer.from(taken.chunks[0].bytes).toString(), 'abc');
  assert.deepEqual([taken.source, taken.destination, taken.start], [sent.source, sent.destination, sent.start]);
  assert.notEqual(taken.id, sent.id);
  assert.equal(identifierTime(taken.id), identifierTime(sent.id), 'sorts by time as before');
});

test('the same batch again gives the same identifiers; another agent or key gives others', async () => {
  const { journal, intake } = open();
  const batch = sessions(session());
  await intake.take('branch-1', batch);
  await intake.take('branch-1', batch);
  assert.equal(journal.sessions[0].id, journal.sessions[1].id);
  const { id } = session();
  const ids = [
    remapIdentifier(key, 'branch-1', 'session', id),
    remapIdentifier(key, 'branch-2', 'session', id),
    remapIdentifier(new Uint8Array(32), 'branch-1', 'session', id),
    remapIdentifier(key, 'branch-1', 'probe', id),
  ];
  assert.equal(new Set(ids).size, 4);
  for (const one of ids) assert.match(one, /^[0-9a-hjkmnp-tv-z]{19}$/);
});

test('what is another’s is refused, counted, and keeps nothing else from being taken', async () => {
  const foreign: Partial<SessionRecord>[] = [
    { diversion: 'other' },
    { diversion: 'dmz' },
    { diversion: 'other', destination: { ip: '10.66.0.5', port: 80 } },
  ];
  const malformed: Partial<SessionRecord>[] = [
    { id: 'short' },
    { id: createIdentifier(now + 2 * 86_400e6) },
    { id: createIdentifier(1e6) },
    { source: { ip: 'somebody', port: 1 } },
    { destination: { ip: 'nowhere', port: 23 } },
  ];
  const own: Partial<SessionRecord>[] = [
    {},
    { transport: 'udp', destination: { ip: '2001:db8::1', port: 161 } },
    { diversion: 'lan', destination: { ip: '10.66.0.5', port: 80 } },
    { diversion: 'floor', destination: { ip: '10.77.0.9', port: 102 } },
  ];
  const { journal, intake } = open();
  await intake.take('branch-1', sessions(...[...foreign, ...malformed, ...own].map((more) => session(more))));
  assert.deepEqual(
    journal.sessions.map(({ diversion, persona }) => `${diversion} ${persona}`),
    ['branch printer', 'branch printer', 'lan nas', 'floor plc'],
  );
  assert.deepEqual(intake.counters, {
    batches: 1,
    sessions: 4,
    probes: 0,
    alerts: 0,
    alertsShed: 0,
    displaced: 0,
    foreign: foreign.length,
    malformed: malformed.length,
  });
});

test('what it recorded by rules it no longer has is kept, under its own name', async () => {
  const former: Partial<SessionRecord>[] = [
    { diversion: 'gone', persona: 'nas' },
    { destination: { ip: '192.0.2.9', port: 24 } },
    { transport: 'udp' },
    { diversion: 'lan', destination: { ip: '10.67.0.1', port: 80 } },
    { diversion: 'floor', destination: { ip: '10.77.0.16', port: 80 } },
    { diversion: 'floor', destination: { ip: '10.66.0.5', port: 80 } },
  ];
  const { journal, intake } = open();
  await intake.take('branch-1', sessions(...former.map((more) => session(more))));
  assert.deepEqual(
    journal.sessions.map(({ diversion, agent, persona }) => [diversion, agent, persona]),
    former.map(() => ['agent branch-1', 'branch-1', undefined]),
  );
  assert.deepEqual(
    [intake.counters.sessions, intake.counters.displaced, intake.counters.foreign],
    [former.length, former.length, 0],
  );
});

test('agents say nothing about the system, and no probes of others’ diversions', async () => {
  const { journal, intake } = open();
  const probe = (diversion: string, ip: string) => ({
    kind: 'probe' as const,
    probe: {
      id: createIdentifier(now),
      start: now,
      end: now,
      source: '198.51.100.7',
      sourcePort: 1,
      diversion,
      targets: [{ ip, port: 80, transport: 'tcp' as const, kind: 'dead' as const, count: 1 }],
      unlisted: 0,
    },
  });
  const system = { id: createIdentifier(now), at: now, name: 'applied', program: 'netd', message: 'x', details: {} };
  const alert = {
    id: createIdentifier(now),
    at: now,
    name: 'records-lost',
    severity: 'high' as const,
    message: 'x',
    details: {},
  };
  await intake.take(
    'branch-1',
    batchOf(
      { kind: 'system', system },
      { kind: 'system', system: { ...system, name: 'process-started', program: 'agent' } },
      { kind: 'alert', alert },
      probe('lan', '10.66.0.9'),
      probe('lan', '10.9.9.9'),
      probe('other', '10.66.0.9'),
    ),
  );
  assert.deepEqual(
    journal.events.map((event) => (event.kind === 'probe' ? event.probe.diversion : event.kind)),
    ['alert', 'lan', 'agent branch-1'],
  );
  const { malformed, foreign, displaced, probes } = intake.counters;
  assert.deepEqual([malformed, foreign, displaced, probes], [1, 1, 1, 2], 'what its journal notes of itself is no loss');
});

test("alerts are taken under the agent's name, short, and few of each agent", async () => {
  const { journal, intake } = open();
  const alert = (more: object = {}) => ({
    kind: 'alert' as const,
    alert: {
      id: createIdentifier(now),
      at: now,
      name: 'records-lost',
      severity: 'high' as const,
      message: `3 lost\u202e${'x'.repeat(5000)}`,
      details: { droppedRecords: 3, agent: 'branch-2', cause: '\u001b[2J', deep: { a: 1 } },
      ...more,
    },
  });
  const first = batchOf(alert());
  await intake.take('branch-1', first);
  await intake.take('branch-1', first);
  const alerts = () => journal.events.flatMap((event) => (event.kind === 'alert' ? [event.alert] : []));
  const [one, again] = alerts();
  assert.equal(one.id, again.id, 'sent twice, it is the same');
  assert.match(one.message, /^agent branch-1: 3 lost\\u\{202e\}x+…$/);
  assert.deepEqual(one.details, { droppedRecords: 3, agent: 'branch-1', cause: '\\x1b[2J' });
  await intake.take('branch-1', batchOf(alert({ name: 'No name' }), alert({ at: now + 400 * 86_400e6 })));
  assert.equal(intake.counters.malformed, 2);
  await intake.take('branch-1', batchOf(...Array.from({ length: 500 }, () => alert())));
  assert.deepEqual([alerts().length, intake.counters.alerts, intake.counters.alertsShed], [20, 20, 482]);
  await intake.take('branch-2', batchOf(alert()));
  assert.equal(alerts().length, 21, 'those of another still come');
});

test('nothing is acknowledged that is not durable and whole', async () => {
  const { journal, intake } = open();
  await assert.rejects(intake.take('branch-1', Buffer.from('no batch')), { code: 'bad-request' });
  journal.strip = true;
  await assert.rejects(intake.take('branch-1', sessions(session())), { code: 'disk-full' });
  journal.strip = false;
  journal.durable = false;
  const before = journal.events.length;
  await assert.rejects(intake.take('branch-1', sessions(session())), { code: 'disk-full' });
  assert.equal(journal.events.length, before, 'a journal that cannot write is not filled');
  journal.durable = true;
  await intake.take('branch-1', sessions(session()));
});

test('batches are taken one after the other', async () => {
  const order: string[] = [];
  const slow = {
    append: (event: WeirEvent): boolean => {
      order.push(`append ${event.kind === 'session' ? event.session.agent : ''}`);
      return true;
    },
    flush: async (): Promise<boolean> => {
      await new Promise((resolve) => setImmediate(resolve));
      order.push('flush');
      return true;
    },
    counters: () => ({ pendingBytes: 0, strippedRecords: 0 }),
  };
  const intake = new SpoolIntake({ journal: slow, key, places: () => places, clock, log });
  const other = session({ diversion: 'other' });
  await Promise.all([intake.take('branch-1', sessions(session())), intake.take('branch-2', sessions(other))]);
  assert.deepEqual(order, ['append branch-1', 'flush', 'append branch-2', 'flush']);
});

test('the key is made once, for its owner alone', async () => {
  const directory = mkdtempSync(path.join(tmpdir(), 'weir-spool-'));
  try {
    const first = await openSpoolKey(directory);
    assert.equal(first.length, 32);
    assert.deepEqual(Buffer.from(await openSpoolKey(directory)), Buffer.from(first));
    assert.equal(statSync(path.join(directory, 'spool.key')).mode & 0o777, 0o600);
    assert.equal(readFileSync(path.join(directory, 'spool.key'), 'utf8').trim(), Buffer.from(first).toString('hex'));
  } finally {
    rmSync(directory, { recursive: true });
  }
});
