// Cowrie's and Kippo's text log to sessions: which line is of which connection, whatever version wrote it and whatever is missing.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runImport } from '../../../test/support/import-bed.ts';
import { parseMicros } from '../../base/clock.ts';
import type { SessionRecord } from '../../model/session.ts';
import { cowrieFormat } from './cowrie.ts';
import { importContract, importInputs } from './import-contract.ts';

const second = (value: number): string => `2021-07-19T04:04:${String(value).padStart(2, '0')}.916128Z`;
const ssh = 'cowrie.ssh.factory.CowrieSSHFactory';
const connect = (at: number, id: string, port: number, ip = '192.0.2.1', factory = ssh): string =>
  `${second(at)} [${factory}] New connection: ${ip}:${port} (198.51.100.1:2222) [session: ${id}]`;
const say = (at: number, number: number, message: string, ip = '192.0.2.1', kind = 'HoneyPotSSHTransport'): string =>
  `${second(at)} [${kind},${number},${ip}] ${message}`;

const sample = [
  '2021-07-19T04:03:00.000000Z [-] Cowrie Version 2.3.0',
  connect(1, '3077d7bc231f', 40579),
  say(1, 5, "Remote SSH version: b'SSH-2.0-Go'"),
  say(2, 5, 'SSH client hassh fingerprint: 92674389fa1e47a27ddd8d9b63ecd42b'),
  say(3, 5, "login attempt [b'root'/b'a/b'] failed"),
  say(4, 5, 'login attempt [root/c] succeeded'),
  `${second(5)} [SSHChannel session (0) on SSHService b'ssh-connection' on HoneyPotSSHTransport,5,192.0.2.1] CMD: cat <<x`,
  '\tsecond line',
  say(6, 5, 'Command found: cat'),
  say(7, 5, `Downloaded URL (b'http://203.0.113.5/x') with SHA-256 ${'ab'.repeat(32)} to var/lib/${'ab'.repeat(32)}`),
  say(8, 5, 'Connection lost after 7 seconds'),
  connect(9, '18b3361c21c2', 36673, '2001:db8::7', 'cowrie.telnet.factory.HoneyPotTelnetFactory'),
  say(9, 0, 'login attempt [admin/admin] failed', '2001:db8::7', 'CowrieTelnetTransport'),
  say(20, 0, 'Connection lost after 11 seconds', '2001:db8::7', 'CowrieTelnetTransport'),
];

importContract(cowrieFormat, sample.join('\n'));

test('text log: a session with everything, by SSH and by telnet', () => {
  const { sessions, counts } = runImport(cowrieFormat, sample);
  assert.deepEqual(counts, { lines: 14, sessions: 2, merged: 12, rejected: 0 });
  const [one, two] = sessions;
  assert.deepEqual([one.source, one.destination.port], [{ ip: '192.0.2.1', port: 40579 }, 2222]);
  assert.deepEqual([one.start, one.end], [parseMicros(second(1)), parseMicros(second(8))]);
  assert.deepEqual(one.credentials, [
    { userName: 'root', password: 'a/b', accepted: false },
    { userName: 'root', password: 'c', accepted: true },
  ]);
  assert.deepEqual(
    one.chunks.map(({ bytes }) => Buffer.from(bytes).toString()),
    ['SSH-2.0-Go\r\n', 'cat <<x\n', 'second line\n'],
  );
  assert.deepEqual(
    one.facts?.map(({ kind, value }) => [kind, value]),
    [
      ['client', 'SSH-2.0-Go'],
      ['hassh', '92674389fa1e47a27ddd8d9b63ecd42b'],
      ['url', 'http://203.0.113.5/x'],
      ['hash', 'ab'.repeat(32)],
    ],
  );
  assert.deepEqual([two.source.ip, two.source.port, two.protocol, two.userName], ['2001:db8::7', 36673, 'telnet', 'admin']);
});

test('text log: connections of one address at once are told apart by their numbers; a restart begins them again', () => {
  const passwords = (...lines: readonly string[]): Record<number, string | undefined> =>
    Object.fromEntries(
      runImport(cowrieFormat, lines).sessions.map(({ source, credentials }) => [
        source.port,
        credentials?.map(({ password }) => password).join(' '),
      ]),
    );
  const attempt = (at: number, number: number, password: string): string =>
    say(at, number, `login attempt [root/${password}] failed`);
  const lost = (at: number, number: number): string => say(at, number, 'Connection lost after 1 seconds');
  assert.deepEqual(
    passwords(
      connect(1, 'aaaaaaaaaaaa', 1001),
      attempt(2, 30, 'one'),
      connect(3, 'bbbbbbbbbbbb', 1002),
      connect(4, 'cccccccccccc', 1003),
      attempt(5, 32, 'three'),
      attempt(6, 31, 'two'),
      attempt(7, 30, 'again'),
      ...[30, 31, 32].map((number) => lost(8, number)),
      '2021-07-19T04:04:09.000000Z [-] Cowrie Version 2.3.0',
      connect(10, 'dddddddddddd', 1004),
      attempt(11, 0, 'four'),
      lost(12, 0),
      // A number that was another connection's an instant ago.
      connect(13, 'eeeeeeeeeeee', 1005),
      attempt(14, 0, 'five'),
    ),
    { 1001: 'one again', 1002: 'two', 1003: 'three', 1004: 'four', 1005: 'five' },
  );
});

test('text log: Kippo, and sessions of which the log has the end alone', () => {
  const { sessions, counts } = runImport(cowrieFormat, [
    '2016-09-21 13:07:00+0530 [SSHService ssh-userauth on HoneyPotTransport,16957,192.0.2.9] login attempt [root/x] failed',
    '2016-09-21 13:07:09+0530 [kippo.core.ssh.HoneyPotSSHFactory] New connection: 192.0.2.8:64167 (198.51.100.9:2222) [session: 16958]',
    '2016-09-21 13:07:10+0530 [HoneyPotTransport,16958,192.0.2.8] Remote SSH version: SSH-2.0-JSCH-0.1.51',
    '2016-09-21 13:07:11+0530 [HoneyPotTransport,16957,192.0.2.9] connection lost',
    '2016-09-21 13:07:12+0530 [HoneyPotTransport,16958,192.0.2.8] connection lost',
    'Traceback (most recent call last):',
  ]);
  assert.deepEqual(counts, { lines: 6, sessions: 2, merged: 3, rejected: 1 });
  const [known, headless] = [...sessions].sort((a, b) => b.source.port - a.source.port);
  assert.deepEqual([known.source.port, known.key, known.start], [64167, '/16958', parseMicros('2016-09-21T07:37:09.000000Z')]);
  assert.deepEqual(
    [headless.source, headless.tags, headless.userName],
    [{ ip: '192.0.2.9', port: 0 }, ['beginning-missing'], 'root'],
  );
});

test('text log: the `textlog` output names the session itself', () => {
  const { sessions, counts } = runImport(cowrieFormat, [
    `${second(1)} 3077d7bc231f New connection: 192.0.2.1:40579 (198.51.100.1:2222) [session: 3077d7bc231f]`,
    `${second(2)} 3077d7bc231f login attempt [root/admin] failed`,
    `${second(3)} 3077d7bc231f Connection lost after 2 seconds`,
  ]);
  assert.deepEqual(counts, { lines: 3, sessions: 1, merged: 2, rejected: 0 });
  assert.deepEqual([sessions[0].userName, sessions[0].source.port, sessions[0].protocol], ['root', 40579, 'ssh']);
});

test('text log: as containers keep it', async () => {
  const plain = await importInputs([sample.join('\n')]);
  const docker = sample.map((line) => JSON.stringify({ log: `${line}\n`, stream: 'stdout', time: '2021-07-19T04:05:00Z' }));
  const stamped = sample.map((line) => (line.startsWith('\t') ? line : `2021-07-19T04:05:00.123456789Z ${line}`));
  for (const lines of [docker, stamped]) assert.deepEqual((await importInputs([lines.join('\n')])).events, plain.events);
});

test('text log: beside the JSON log of the same sensor it adds only what that has not', async () => {
  const json = JSON.stringify({
    eventid: 'cowrie.session.connect',
    session: '3077d7bc231f',
    src_ip: '192.0.2.1',
    src_port: 40579,
    dst_ip: '198.51.100.1',
    dst_port: 2222,
    sensor: 'x',
    timestamp: second(1),
  });
  const { files, events } = await importInputs([sample.join('\n'), json]);
  assert.deepEqual(
    files.map(({ lines, sessions, merged, rejected }) => [lines, sessions, merged, rejected]),
    [
      [14, 1, 13, 0],
      [1, 1, 0, 0],
    ],
  );
  const sessions = events.map((event) => (event as { session: SessionRecord }).session);
  assert.deepEqual(sessions.map(({ source }) => source.ip).sort(), ['192.0.2.1', '2001:db8::7']);
});
