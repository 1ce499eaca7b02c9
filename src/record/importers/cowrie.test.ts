// Cowrie's lines to sessions: old and new shapes, lines missing at either end, late lines, identifiers used again; and ADBHoney's.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runImport } from '../../../test/support/import-bed.ts';
import { importSamples } from '../../../test/support/import-samples.ts';
import { parseMicros } from '../../base/clock.ts';
import { adbhoneyFormat } from './adbhoney.ts';
import { cowrieFormat } from './cowrie.ts';
import { parsePythonBytes } from './python-text.ts';

const line = (event: string, timestamp: string, more: object = {}): string =>
  JSON.stringify({ eventid: `cowrie.${event}`, timestamp, session: 's', sensor: 'n', src_ip: '192.0.2.1', ...more });
const connect = (timestamp: string, more: object = {}): string =>
  line('session.connect', timestamp, { src_port: 9, dst_ip: '198.51.100.1', dst_port: 22, protocol: 'ssh', ...more });

test('a session with everything: attempts, bytes, facts, its time', () => {
  const [session] = runImport(cowrieFormat, importSamples.cowrie).sessions;
  assert.deepEqual(session.source, { ip: '192.0.2.7', port: 40000 });
  assert.deepEqual(session.destination, { ip: '198.51.100.2', port: 2222 });
  assert.deepEqual([session.protocol, session.agent, session.outcome], ['ssh', 'shore', 'unknown']);
  assert.equal(session.start, parseMicros('2018-05-09T01:00:00.000001Z'));
  assert.equal(session.end, parseMicros('2018-05-09T01:00:05.000000Z'));
  assert.deepEqual(session.credentials, [
    { userName: 'root', password: 'a', accepted: false },
    { userName: 'root', password: 'b', accepted: true },
  ]);
  assert.deepEqual(
    session.chunks.map(({ bytes }) => Buffer.from(bytes).toString()),
    ['SSH-2.0-PUTTY\r\n', 'GET / HTTP/1.0\r\n\0', 'uname -a\n'],
  );
  const hassh = session.facts?.find(({ kind }) => kind === 'hassh')?.value;
  // md5 of `a,b;c;d;none`
  assert.equal(hassh, '27cf8f3fc7ebe14f501a91434b6d3d26');
  assert.ok(session.facts?.some(({ kind, value }) => kind === 'url' && value === 'http://203.0.113.5/x'));
  assert.ok(session.facts?.some(({ kind, value }) => kind === 'address' && value === '203.0.113.80'));
  assert.deepEqual(session.tags, ['direct-tcpip', 'download']);
});

test('durations in seconds, as text and in milliseconds tell when a session without its beginning began', () => {
  const begun = (more: object): number =>
    runImport(cowrieFormat, [line('session.closed', '2024-01-01T00:00:10.000000Z', more)]).sessions[0].start;
  const at = parseMicros('2024-01-01T00:00:06.000000Z');
  assert.equal(begun({ duration: 4 }), at);
  assert.equal(begun({ duration: '4.0' }), at);
  assert.equal(begun({ duration_ms: 4000 }), at);
  assert.equal(begun({ duration: -1 }), at + 4e6);
  assert.equal(begun({ duration: 1e300 }), at + 4e6);
});

test('a session without its beginning is one, where its sensor listens; so is one that never ends', () => {
  const { sessions } = runImport(cowrieFormat, [
    connect('2024-01-01T00:00:00Z', { session: 'a' }),
    line('login.failed', '2024-01-01T00:00:01Z', { session: 'b', username: 'x', password: 'y' }),
  ]);
  assert.equal(sessions.length, 2);
  const headless = sessions.find(({ key }) => key === 'n/b');
  assert.deepEqual(headless?.destination, { ip: '198.51.100.1', port: 0 });
  assert.deepEqual(headless?.tags, ['beginning-missing']);
});

test('a line that comes after the end belongs to the session; the same identifier later is another', () => {
  const { sessions, outcomes } = runImport(cowrieFormat, [
    connect('2024-01-01T00:00:00Z'),
    line('session.closed', '2024-01-01T00:00:05Z', { duration: 5 }),
    line('session.file_download', '2024-01-01T00:00:20Z', { url: 'http://198.51.100.99/late' }),
    connect('2024-01-01T01:00:00Z', { src_port: 10 }),
    connect('2024-01-01T01:00:00Z', { src_port: 10 }),
  ]);
  assert.deepEqual(outcomes, ['sessions', 'merged', 'merged', 'sessions', 'merged']);
  assert.equal(sessions[0].facts?.[0].value, 'http://198.51.100.99/late');
  assert.deepEqual(
    sessions.map(({ source }) => source.port),
    [9, 10],
  );
  const unended = runImport(cowrieFormat, [connect('2024-01-01T00:00:00Z'), connect('2024-01-01T01:00:00Z', { src_port: 10 })]);
  assert.equal(unended.sessions.length, 2);
});

test('what comes much later, or again, of a session that is over begins none', () => {
  const first = [
    connect('2024-01-01T00:00:00Z', { session: '0123456789ab' }),
    line('session.closed', '2024-01-01T00:00:05Z', { session: '0123456789ab' }),
  ];
  const second = [
    connect('2024-01-02T00:00:00Z', { session: 'ba9876543210' }),
    connect('2024-01-02T09:00:00Z', { session: 'c' }),
  ];
  const { sessions, counts } = runImport(cowrieFormat, first, second, first.slice(1));
  assert.deepEqual(counts, { lines: 5, sessions: 3, merged: 2, rejected: 0 });
  assert.equal(sessions.filter(({ tags }) => tags?.includes('beginning-missing')).length, 0);
});

test('events that had numbers still', () => {
  const numbered = (eventid: string, second: number, more: object = {}): string =>
    JSON.stringify({
      eventid,
      timestamp: `2015-05-01T00:00:0${second}.000000Z`,
      session: 'a1b2c3d4',
      src_ip: '192.0.2.1',
      ...more,
    });
  const { sessions, counts } = runImport(cowrieFormat, [
    numbered('KIPP0001', 1, { src_port: 9, dst_ip: '198.51.100.1', dst_port: 2222 }),
    numbered('COW0003', 2, { username: 'root', password: 'x' }),
    numbered('COW0010', 3),
    numbered('COW0005', 4, { input: 'id' }),
    numbered('COW0011', 5),
  ]);
  assert.deepEqual(counts, { lines: 5, sessions: 1, merged: 4, rejected: 0 });
  assert.deepEqual([sessions[0].userName, sessions[0].destination.port, sessions[0].chunks.length], ['root', 2222, 1]);
});

test('sessions of two sensors under one identifier stay apart, however their lines mix', () => {
  const lines: string[] = [];
  for (const sensor of ['n1', 'n2']) lines.push(connect('2024-01-01T00:00:00Z', { sensor }));
  for (const sensor of ['n1', 'n2'])
    lines.push(line('login.failed', '2024-01-01T00:00:01Z', { sensor, username: sensor, password: 'p' }));
  const { sessions } = runImport(cowrieFormat, lines);
  assert.deepEqual(
    sessions.map(({ agent, userName }) => [agent, userName]),
    [
      ['n1', 'n1'],
      ['n2', 'n2'],
    ],
  );
});

test('what one session keeps is bounded, and it says so', () => {
  const lines = [connect('2024-01-01T00:00:00Z')];
  for (let index = 0; index < 300; index += 1)
    lines.push(line('login.failed', '2024-01-01T00:00:01Z', { username: 'u', password: String(index) }));
  for (let index = 0; index < 3; index += 1)
    lines.push(line('command.input', '2024-01-01T00:00:02Z', { input: 'x'.repeat(500_000) }));
  const [session] = runImport(cowrieFormat, lines).sessions;
  assert.equal(session.credentials?.length, 255);
  assert.ok(session.tags?.includes('more-credentials'));
  assert.equal(session.truncated, true);
  assert.equal(
    session.chunks.reduce((sum, { bytes }) => sum + bytes.length, 0),
    1 << 20,
  );
});

test('lines that are none are refused with a reason', () => {
  const { rejections } = runImport(cowrieFormat, [
    'text',
    '{"eventid":"other"}',
    line('session.connect', 'yesterday'),
    JSON.stringify({ eventid: 'cowrie.session.connect', timestamp: '2024-01-01T00:00:00Z' }),
    JSON.stringify({ eventid: 'cowrie.session.connect', timestamp: '2024-01-01T00:00:00Z', session: 'q' }),
  ]);
  assert.deepEqual(rejections, ['not JSON', 'no cowrie event', 'no timestamp', 'no session identifier', 'no source address']);
});

test('byte strings as Python shows them', () => {
  const hex = (text: string): string => parsePythonBytes(text).toString('hex');
  assert.equal(hex("b'a\\x00\\n\\'\\\\'"), '61000a275c');
  assert.equal(hex('"it\'s"'), Buffer.from("it's").toString('hex'));
  assert.equal(hex('plain \\x41'), Buffer.from('plain \\x41').toString('hex'));
  assert.equal(hex("'\\x4'"), Buffer.from('\\x4').toString('hex'));
  assert.equal(hex("'"), '27');
});

test('ADBHoney: commands, uploads, and a session of which only the end is there', () => {
  const { sessions } = runImport(adbhoneyFormat, importSamples.adbhoney);
  const [whole, headless] = sessions;
  assert.deepEqual(whole.destination, { ip: '198.51.100.3', port: 5555 });
  assert.deepEqual([whole.protocol, whole.agent, Buffer.from(whole.chunks[0].bytes).toString()], ['adb', 'h', 'id\n']);
  assert.deepEqual(whole.facts, [
    { kind: 'hash', value: 'cd' },
    { kind: 'file', value: 'x.apk' },
  ]);
  assert.equal(headless.start, parseMicros('2022-05-28T09:00:00.000000Z'));
  assert.deepEqual(headless.tags, ['beginning-missing']);
});

test('a log that is given twice tells nothing twice: sessions that ended, that are open, that began before it', () => {
  const of = (session: string): object => ({ session });
  const attempt = (at: string, session: string): string =>
    line('login.failed', `2024-01-01T00:00:${at}Z`, { session, username: 'u', password: at });
  const log = [
    attempt('00', 'cccccccccccc'),
    connect('2024-01-01T00:00:01Z', of('aaaaaaaaaaaa')),
    attempt('02', 'aaaaaaaaaaaa'),
    connect('2024-01-01T00:00:03Z', of('bbbbbbbbbbbb')),
    attempt('04', 'bbbbbbbbbbbb'),
    line('command.input', '2024-01-01T00:00:05Z', { ...of('bbbbbbbbbbbb'), input: 'id' }),
    line('session.closed', '2024-01-01T00:00:06Z', of('aaaaaaaaaaaa')),
    attempt('07', 'cccccccccccc'),
  ];
  const rest = [attempt('08', 'bbbbbbbbbbbb'), line('session.closed', '2024-01-01T00:00:09Z', of('cccccccccccc'))];
  const { sessions } = runImport(cowrieFormat, log, log, rest);
  const told = (key: string): string[] =>
    sessions
      .filter((session) => session.key === `n/${key}`)
      .map(({ credentials, chunks }) => `${credentials?.map(({ password }) => password)} ${chunks.length}`);
  assert.deepEqual(told('aaaaaaaaaaaa'), ['02 0', '02 0']);
  assert.deepEqual(told('bbbbbbbbbbbb'), ['04,08 1']);
  assert.deepEqual(told('cccccccccccc'), ['00,07 0']);
});

test('lines of a session that had to make room begin another, all of them kept', () => {
  const id = (index: number): string => index.toString(16).padStart(12, '0');
  const lines = Array.from({ length: 20_001 }, (_, index) => connect('2024-01-01T00:00:00Z', { session: id(index) }));
  for (const password of ['a', 'b'])
    lines.push(line('login.failed', '2024-01-01T00:00:01Z', { session: id(0), username: 'u', password }));
  lines.push(line('session.closed', '2024-01-01T00:00:02Z', { session: id(0) }));
  const { sessions } = runImport(cowrieFormat, lines);
  const parts = sessions.filter(({ key }) => key === `n/${id(0)}`);
  assert.deepEqual(
    parts.map(({ credentials, tags }) => [credentials?.length, tags]),
    [
      [undefined, undefined],
      [2, ['beginning-missing']],
    ],
  );
});
