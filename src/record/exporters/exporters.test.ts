// Golden lines of every export, the community id against published values, and a stream that pages.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { takenBackSequence } from '../../model/session.ts';
import { MemoryStore } from '../memory-store.ts';
import { sampleSession } from '../store-contract.ts';
import { communityId } from './community-id.ts';
import { exportLines } from './export.ts';
import { renderEvent, renderLine } from './jsonl.ts';
import { renderGoTime } from './tcppc.ts';

const start = 1_773_446_400_123_400;

test('community ids equal those of the specification, either way round', () => {
  const a = { ip: '128.232.110.120', port: 34855 };
  const b = { ip: '66.35.250.204', port: 80 };
  assert.equal(communityId('tcp', a, b), '1:LQU9qZlK+B5F3KDmev6m5PMibrg=');
  assert.equal(communityId('tcp', b, a), '1:LQU9qZlK+B5F3KDmev6m5PMibrg=');
  assert.equal(
    communityId('udp', { ip: '192.168.1.52', port: 54585 }, { ip: '8.8.8.8', port: 53 }),
    '1:d/FP5EW3wiY1vCndhwleRRKHowQ=',
  );
  assert.equal(communityId('tcp', { ip: 'no', port: 1 }, b), undefined);
});

test('a session as an ECS document', () => {
  const session = sampleSession(start, {
    id: '1abcdefghjk12345678',
    sourceMac: '00:0c:29:aa:bb:cc',
    tls: { version: 'TLSv1.3', ja3: 'aa', ja4: 'bb', serverName: 'example.org' },
    userName: 'root',
    tags: ['t'],
  });
  assert.deepEqual(JSON.parse(renderLine(renderEvent({ kind: 'session', session }))), {
    '@timestamp': '2026-03-14T00:00:00.123400Z',
    event: {
      id: '1abcdefghjk12345678',
      kind: 'event',
      category: ['network', 'intrusion_detection'],
      type: ['connection', 'end'],
      dataset: 'weir.session',
      start: '2026-03-14T00:00:00.123400Z',
      end: '2026-03-14T00:00:00.124400Z',
      duration: 1_000_000,
    },
    source: { ip: '192.0.2.1', port: 40000, mac: '00-0C-29-AA-BB-CC', bytes: 5 },
    destination: { ip: '198.51.100.1', port: 23, bytes: 0 },
    network: { transport: 'tcp', type: 'ipv4', community_id: communityId('tcp', session.source, session.destination), bytes: 5 },
    tls: { version: 'TLSv1.3', client: { ja3: 'aa', ja4: 'bb', server_name: 'example.org' } },
    user: { name: 'root' },
    weir: {
      session: { id: '1abcdefghjk12345678', outcome: 'client-closed', source_reliable: true, chunks: 1 },
      diversion: 'dmz',
      service: 'catch-all',
      payload: { sha256: '2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824', truncated: false },
      tags: ['t'],
    },
  });
});

test('the only record of a session that an agent took back has its hash, a later one has none', () => {
  const hashOf = (sequence: number, firstChunk: number): unknown =>
    JSON.parse(renderLine(renderEvent({ kind: 'session', session: sampleSession(start, { sequence, firstChunk }) }))).weir.payload
      ?.sha256;
  assert.equal(hashOf(takenBackSequence, 0), hashOf(0, 0));
  assert.ok(hashOf(0, 0));
  assert.equal(hashOf(takenBackSequence + 1, 0), undefined);
});

test('a probe of several targets has no single destination', () => {
  const target = { ip: '198.51.100.1', port: 22, transport: 'tcp' as const, kind: 'closed' as const, count: 2 };
  const probe = {
    id: 'x',
    start,
    end: start + 5,
    source: '2001:db8::1',
    sourcePort: 9,
    diversion: 'dmz',
    targets: [target],
    unlisted: 0,
  };
  const one = JSON.parse(renderLine(renderEvent({ kind: 'probe', probe })));
  assert.deepEqual(one.destination, { ip: '198.51.100.1', port: 22 });
  assert.equal(one.event.dataset, 'weir.probe');
  assert.equal(one.network.type, 'ipv6');
  const many = JSON.parse(renderLine(renderEvent({ kind: 'probe', probe: { ...probe, unlisted: 7 } })));
  assert.equal(many.destination, undefined);
  assert.equal(many.source.packets, 9);
});

test('sessions as tcppc-go writes them', async () => {
  const store = new MemoryStore();
  const chunks = [
    { at: start + 100, direction: 'in' as const, bytes: Buffer.from('a\n') },
    { at: start + 200, direction: 'out' as const, bytes: Buffer.from('no') },
    { at: start + 600, direction: 'in' as const, bytes: Buffer.from([0, 255]) },
  ];
  const plain = sampleSession(start, { chunks });
  const silent = sampleSession(start + 1, { chunks: [], tls: { version: 'TLSv1.2', ja3: '', ja4: '' } });
  await store.apply(
    [plain, silent].map((session) => ({ kind: 'session', session })),
    {},
  );
  const lines: string[] = [];
  for await (const line of exportLines(store, 'tcppc', {}, start)) lines.push(line);
  assert.deepEqual(lines, [
    '{"timestamp":"2026-03-14T00:00:00.123401Z","flow":{"proto":"tls","src":"192.0.2.1","sport":40000,"dst":"198.51.100.1","dport":23},"payloads":[]}\n',
    '{"timestamp":"2026-03-14T00:00:00.1234Z","flow":{"proto":"tcp","src":"192.0.2.1","sport":40000,"dst":"198.51.100.1","dport":23},' +
      '"payloads":[{"index":0,"timestamp":"2026-03-14T00:00:00.1235Z","data":"YQo="},{"index":1,"timestamp":"2026-03-14T00:00:00.124Z","data":"AP8="}]}\n',
  ]);
  assert.equal(renderGoTime(1_773_446_400_000_000), '2026-03-14T00:00:00Z');
});

test('an export pages through everything, and stops at a limit', async () => {
  const store = new MemoryStore();
  const events = Array.from({ length: 1234 }, (_, index) => ({
    kind: 'session' as const,
    session: sampleSession(start + index),
  }));
  await store.apply(events, {});
  const count = async (limit?: number): Promise<number> => {
    const ids = new Set<string>();
    for await (const line of exportLines(store, 'jsonl', limit === undefined ? {} : { limit }, start))
      ids.add(JSON.parse(line).event.id);
    return ids.size;
  };
  assert.equal(await count(), 1234);
  assert.equal(await count(700), 700);
});
