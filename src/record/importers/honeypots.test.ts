// Lines of honeytrap (both), Dionaea, Heralding and OpenCanary to sessions and probes: what each field becomes.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runImport } from '../../../test/support/import-bed.ts';
import { importSamples } from '../../../test/support/import-samples.ts';
import { parseMicros } from '../../base/clock.ts';
import type { ProbeRecord } from '../../model/event.ts';
import type { SessionRecord } from '../../model/session.ts';
import { dionaeaFormat } from './dionaea.ts';
import { heraldingFormat } from './heralding.ts';
import { honeytrapFormat } from './honeytrap.ts';
import { honeytrapGoFormat } from './honeytrap-go.ts';
import { importInputs, KeptRecords } from './import-contract.ts';
import type { ImportedSession } from './importer.ts';
import { openCanaryFormat } from './opencanary.ts';

const input = (session: ImportedSession): string =>
  Buffer.concat(session.chunks.filter(({ direction }) => direction === 'in').map(({ bytes }) => bytes)).toString('latin1');

const honeytrapLine = (port: number, hex: string, more: object = {}): string =>
  JSON.stringify({
    is_virtual: false,
    start_time: '2022-05-28T08:02:43Z',
    end_time: '2022-05-28T08:02:44Z',
    attack_connection: {
      protocol: 'tcp',
      remote_ip: '192.0.2.1',
      remote_port: port,
      local_ip: '198.51.100.1',
      local_port: 80,
      payload: { md5_hash: 'x', length: hex.length / 2, data_hex: hex, ...more },
    },
  });

test('honeytrap: bytes, times, protocol; its own rows are no traffic', () => {
  const { sessions, counts } = runImport(honeytrapFormat, importSamples.honeytrap);
  assert.deepEqual(counts, { lines: 2, sessions: 1, merged: 1, rejected: 0 });
  const [session] = sessions;
  assert.equal(input(session), 'GET / HTTP/1.1\r\n\r\n');
  assert.deepEqual([session.protocol, session.transport], ['http', 'tcp']);
  assert.equal(session.start, parseMicros('2022-05-28T08:02:43Z'));
  assert.equal(session.end, parseMicros('2022-05-28T08:02:44Z'));
});

test('honeytrap: equal lines of a file are connections of their own; a copy of the file is the same ones', () => {
  const file = [honeytrapLine(5, '00'), honeytrapLine(5, '00'), honeytrapLine(6, '00')];
  const { sessions } = runImport(honeytrapFormat, file, file);
  const keys = sessions.map(({ key }) => key);
  assert.equal(new Set(keys.slice(0, 3)).size, 3);
  assert.deepEqual(keys.slice(3), keys.slice(0, 3));
});

test('honeytrap: a TLS client is fingerprinted; a payload that was cut says so; one that is no hexadecimal is refused', () => {
  const hello = `160301002d010000290303${'00'.repeat(32)}00000213010100`;
  const { sessions, rejections } = runImport(honeytrapFormat, [
    honeytrapLine(1, hello),
    honeytrapLine(2, '4142', { length: 100 }),
    honeytrapLine(3, '4'),
    honeytrapLine(4, 'zz'),
  ]);
  assert.equal(sessions[0].protocol, 'tls');
  assert.match(sessions[0].tls?.ja4 ?? '', /^t12i010000_/);
  assert.deepEqual([sessions[1].truncated, sessions[1].bytesIn], [true, 100]);
  assert.deepEqual(rejections, ['payload is not hexadecimal', 'payload is not hexadecimal']);
});

test('Dionaea: attempts in both shapes, FTP commands, datagrams, refusals', () => {
  const { sessions, probes } = runImport(dionaeaFormat, importSamples.dionaea);
  assert.deepEqual(
    sessions.map(({ protocol, transport }) => [protocol, transport]),
    [
      ['http', 'tcp'],
      ['mysql', 'tcp'],
      ['ftp', 'tcp'],
      ['sip', 'udp'],
    ],
  );
  assert.deepEqual(sessions[1].credentials, [
    { userName: 'root', password: '' },
    { userName: 'sa', password: 'x' },
  ]);
  assert.equal(input(sessions[2]), 'USER joe\r\nLIST\r\n');
  assert.equal(sessions[0].start, parseMicros('2022-05-28T08:10:33.530080Z'));
  assert.deepEqual(probes[0].targets, [{ ip: '198.51.100.5', port: 7, transport: 'tcp', kind: 'closed', count: 1 }]);
  assert.equal(sessions[3].tags, undefined);
  const outward = { ...JSON.parse(importSamples.dionaea[0]), connection: { protocol: 'x', transport: 'tcp', type: 'connect' } };
  assert.deepEqual(runImport(dionaeaFormat, [JSON.stringify(outward)]).sessions[0].tags, ['outbound']);
  const flat = { username: ['a', 'b'], password: ['c'] };
  const line = { ...JSON.parse(importSamples.dionaea[0]), credentials: flat };
  assert.deepEqual(runImport(dionaeaFormat, [JSON.stringify(line)]).sessions[0].credentials, [
    { userName: 'a', password: 'c' },
    { userName: 'b' },
  ]);
});

test("Dionaea: rows of its database's table of connections, as one array", async () => {
  const row = {
    connection: 1,
    connection_type: 'accept',
    connection_transport: 'tcp',
    connection_protocol: 'smbd',
    connection_timestamp: 1653725433.53008,
    connection_root: 1,
    connection_parent: null,
    local_host: '::ffff:198.51.100.5',
    local_port: 445,
    remote_host: '::ffff:192.0.2.9',
    remote_hostname: '',
    remote_port: 40_000,
  };
  const listens = { ...row, connection: 2, connection_type: 'listen', remote_host: '', remote_port: 0 };
  const refused = { ...row, connection: 3, connection_type: 'reject', connection_protocol: 'pcap', local_port: 7 };
  const timeless = { ...row, connection: 4, connection_timestamp: null };
  const { events, files } = await importInputs([JSON.stringify([row, listens, refused, timeless], undefined, 2)]);
  assert.deepEqual([files[0].format, files[0].lines, files[0].merged, files[0].rejected], ['dionaea', 4, 1, 1]);
  const [{ session }, { probe }] = events as unknown as [{ session: SessionRecord }, { probe: ProbeRecord }];
  assert.equal(session.start, parseMicros('2022-05-28T08:10:33.530080Z'));
  assert.deepEqual([session.source.ip, session.destination.ip, session.protocol], ['192.0.2.9', '198.51.100.5', 'smb']);
  assert.equal(probe.targets[0].port, 7);
});

test('Heralding: every attempt, over TLS too; a session told twice is one', () => {
  const [imap, vnc] = runImport(heraldingFormat, importSamples.heralding).sessions;
  assert.deepEqual([imap.protocol, imap.tags], ['imap', ['tls']]);
  assert.deepEqual(imap.credentials, [
    { userName: 'a', password: 'b', accepted: false },
    { userName: 'a', accepted: false },
  ]);
  assert.equal((imap.end ?? 0) - imap.start, 2e6);
  assert.deepEqual([vnc.protocol, (vnc.end ?? 0) - vnc.start, vnc.place.line], ['vnc', 9e6, 2]);
});

test('OpenCanary: lines of a connection are one session, knocks are probes, requests are written out', () => {
  const { sessions, probes } = runImport(openCanaryFormat, importSamples.opencanary);
  const [ssh, http, redis] = sessions;
  assert.deepEqual([ssh.protocol, ssh.userName, ssh.password, ssh.agent], ['ssh', 'root', '1', 'n1']);
  assert.equal(input(ssh), 'SSH-2.0-Go\r\n');
  assert.equal((ssh.end ?? 0) - ssh.start, 2e6);
  assert.equal(input(http), 'GET /index.html HTTP/1.1\r\nHost: nas\r\nUser-Agent: curl/8\r\n\r\n');
  assert.deepEqual(http.tags, ['reconstructed']);
  assert.equal(input(redis), 'CONFIG GET dir\r\n');
  assert.equal(probes[0].start, parseMicros('2023-02-04T07:21:50.861053Z'));
  assert.deepEqual(probes[0].targets[0].kind, 'half-open');
});

test('OpenCanary: a password of VNC that the sensor does not know is an attempt, not a password', () => {
  const line = (password: string): string =>
    JSON.stringify({
      ...JSON.parse(importSamples.opencanary[4]),
      dst_port: 5900,
      logtype: 12_001,
      logdata: { 'VNC Server Challenge': '00ff', 'VNC Client Response': '01fe', 'VNC Password': password },
    });
  const of = (password: string) => runImport(openCanaryFormat, [line(password)]).sessions[0];
  const unknown = of('<Password was not in the common list>');
  assert.deepEqual([unknown.password, unknown.tags], [undefined, ['login-attempt']]);
  assert.deepEqual([of('letmein').password, of('letmein').tags], ['letmein', undefined]);
});

test('OpenCanary: the same ports after ten silent minutes are another connection', () => {
  const line = (time: string): string =>
    JSON.stringify({ ...JSON.parse(importSamples.opencanary[4]), utc_time: `2023-02-04 ${time}` });
  const sessions = (...times: string[]): number => runImport(openCanaryFormat, times.map(line)).sessions.length;
  assert.equal(sessions('08:00:00.000000', '08:09:59.000000'), 1);
  assert.equal(sessions('08:00:00.000000', '08:10:01.000000'), 2);
});

test('OpenCanary: without a source port every line is a session; line breaks in what it names stay in their place', () => {
  const line = { ...JSON.parse(importSamples.opencanary[5]), src_port: -1 };
  line.logdata.PATH = '/a\r\nX-Evil: 1';
  const { sessions } = runImport(openCanaryFormat, [JSON.stringify(line), JSON.stringify(line)]);
  assert.equal(sessions.length, 2);
  assert.equal(input(sessions[0]).split('\r\n')[0], 'GET /a X-Evil: 1 HTTP/1.1');
});

test('honeytrap in Go: events of a connection are one session, port scans are probes', () => {
  const { sessions, probes } = runImport(honeytrapGoFormat, importSamples['honeytrap-go']);
  const [ssh, redis] = sessions;
  assert.deepEqual([ssh.protocol, ssh.userName, ssh.password, ssh.agent, input(ssh)], ['ssh', 'root', 'x', 't1', 'uname\n']);
  assert.deepEqual([redis.protocol, input(redis), redis.destination.port], ['redis', 'PING', 6379]);
  assert.deepEqual(
    probes[0].targets.map(({ port, transport }) => [port, transport]),
    [
      [1, 'tcp'],
      [2, 'udp'],
    ],
  );
});

test('Heralding: a line with blanks in front is as good as one without', () => {
  const indented = importSamples.heralding.map((line) => ` \t${line}`);
  assert.deepEqual(runImport(heraldingFormat, indented).counts, runImport(heraldingFormat, importSamples.heralding).counts);
  assert.equal(runImport(heraldingFormat, indented).sessions.length, 2);
});

test('Heralding: a row of log_session.csv is the session that log_session.json has, taken once', async () => {
  const facts = {
    timestamp: '2022-05-28 08:07:29.836336',
    duration: 3,
    session_id: 'a1',
    source_ip: '192.0.2.1',
    source_port: 1328,
  };
  const json = {
    ...facts,
    destination_ip: '198.51.100.9',
    destination_port: 993,
    protocol: 'imaps',
    num_auth_attempts: 0,
    auth_attempts: [],
  };
  const { auth_attempts: _none, ...row } = json;
  const header = Object.keys(row).join(',');
  const other = Object.values({ ...row, session_id: 'a2', destination_port: 21, protocol: 'ftp' }).join(',');
  const kept = new KeptRecords();
  const csv = `${header}\r\n${Object.values(row).join(',')}\r\n${other}\r\nhalf,a row\r\n`;
  const { files } = await importInputs([`${JSON.stringify(json)}\n`, csv], {}, kept);
  assert.deepEqual(
    files.map(({ format, lines, sessions, merged, rejected }) => [format, lines, sessions, merged, rejected]),
    [
      ['heralding', 1, 1, 0, 0],
      ['heralding', 4, 1, 2, 1],
    ],
  );
  const [first, second] = [...kept.events.values()].map((event) => (event.kind === 'session' ? event.session : undefined));
  assert.deepEqual([first?.protocol, first?.tags?.includes('tls'), second?.protocol], ['imap', true, 'ftp']);
  assert.deepEqual([second?.destination.port, (second?.end ?? 0) - (second?.start ?? 0)], [21, 3_000_000]);
});

const authHeader =
  'timestamp,auth_id,session_id,source_ip,source_port,destination_ip,destination_port,protocol,username,password,password_hash';
const sessionId = (digit: number): string => `${String(digit).repeat(8)}-0000-4000-8000-000000000000`;
const authRow = (second: number, session: number, credentials: string): string =>
  `2022-05-28 08:07:${second}.836336,${sessionId(9)},${sessionId(session)},192.0.2.1,4001,198.51.100.9,110,pop3s,${credentials},`;

test('Heralding: rows of log_auth.csv are attempts of their session, whatever a password holds, with or without header', async () => {
  const rows = [
    authRow(10, 1, 'joe,"a,""b"""'),
    authRow(11, 2, 'root,"two\r\nlines, ""and"" more'),
    'until here"',
    authRow(12, 1, ',x'),
    'half,a row',
  ];
  for (const header of [[authHeader], []]) {
    const { files, events } = await importInputs([`${[...header, ...rows].join('\r\n')}\r\n`]);
    const [{ format, lines, sessions, merged, rejected }] = files;
    const more = header.length;
    assert.deepEqual([format, lines, sessions, merged, rejected], ['heralding', 6 + more, 2, 3 + more, 1]);
    const all = events.map((event) => (event.kind === 'session' ? event.session : undefined));
    const [one, two] = all.sort((a, b) => (a?.start ?? 0) - (b?.start ?? 0));
    assert.deepEqual(one?.credentials, [
      { userName: 'joe', password: 'a,"b"', accepted: false },
      { userName: '', password: 'x', accepted: false },
    ]);
    assert.deepEqual([one?.protocol, one?.destination.port, (one?.end ?? 0) - (one?.start ?? 0)], ['pop3', 110, 2e6]);
    assert.deepEqual([two?.userName, two?.password], ['root', 'two']);
  }
});

test('Heralding: the columns of early versions; a quote that never ends costs 64 KiB of rows at most', async () => {
  const header = 'timestamp,auth_id,auth_type,session_id,source_ip,souce_port,destination_port,protocol,username,password';
  const row = (second: number, port: number, password: string): string =>
    `2016-03-12 20:35:${second}.258198,${sessionId(9)},plaintext,${sessionId(port % 10)},192.0.2.1,${port},23,telnet,bond,${password}`;
  const { files, events } = await importInputs([
    [header, row(10, 51_551, '"james'), '.'.repeat(65_536), row(11, 51_552, 'x')].join('\n'),
  ]);
  assert.deepEqual([files[0].sessions, files[0].merged, files[0].rejected], [2, 2, 0]);
  assert.deepEqual(
    events.map((event) => event.kind === 'session' && [event.session.source.port, event.session.destination.port]),
    [
      [51_551, 23],
      [51_552, 23],
    ],
  );
});

test('Heralding: beside log_session.json its attempts are known, whatever order the files are given in', async () => {
  const auth = [authHeader, authRow(10, 1, 'joe,a'), authRow(11, 2, 'root,b')].join('\r\n');
  const session = JSON.stringify({
    timestamp: '2022-05-28 08:07:09.000000',
    duration: 3,
    session_id: sessionId(1),
    source_ip: '192.0.2.1',
    source_port: 4001,
    destination_ip: '198.51.100.9',
    destination_port: 110,
    protocol: 'pop3s',
    num_auth_attempts: 1,
    auth_attempts: [{ timestamp: '2022-05-28 08:07:10.836336', username: 'joe', password: 'a' }],
    session_ended: true,
  });
  for (const inputs of [
    [auth, session],
    [session, auth],
  ]) {
    const { files, events } = await importInputs(inputs);
    const [csv, json] = inputs[0] === auth ? files : [...files].reverse();
    assert.deepEqual([csv.sessions, csv.merged, json.sessions, events.length], [1, 2, 1, 2]);
  }
});

test('Heralding: no password makes rows or columns of its own; a header of a mebibyte is none', { timeout: 5000 }, async () => {
  const forged = ['timestamp,auth_id,session_id,protocol,source_ip', authRow(11, 3, 'made,up'), 'end"'];
  const rows = [authHeader, authRow(10, 1, `joe,"a\r\n${forged.join('\r\n')}`), authRow(12, 2, 'root,b')];
  const { files, events } = await importInputs([`${rows.join('\r\n')}\r\n`]);
  assert.deepEqual([files[0].sessions, files[0].merged, files[0].rejected, events.length], [2, 4, 0, 2]);
  const names = events.map((event) => event.kind === 'session' && event.session.userName);
  assert.deepEqual(names, ['joe', 'root']);
  const long = await importInputs([
    `${authHeader}\n${authRow(10, 1, 'joe,a')}\ntimestamp,auth_id${',protocol'.repeat(110_000)}!\n`,
  ]);
  assert.deepEqual([long.files[0].sessions, long.files[0].rejected], [1, 1]);
});

test('Heralding: its three logs imported together keep every attempt, with the JSON log and without it', async () => {
  const columns =
    'timestamp,duration,session_id,source_ip,source_port,destination_ip,destination_port,protocol,num_auth_attempts';
  const row = (session: number): string =>
    `2022-05-28 08:07:09.000000,30,${sessionId(session)},192.0.2.1,4001,198.51.100.9,110,pop3s,${session % 2}`;
  const csv = [columns, row(1), row(2)].join('\n');
  const auth = [authHeader, authRow(10, 1, 'joe,a')].join('\n');
  const end = { protocol: 'pop3s', session_ended: true, auth_attempts: [{ username: 'joe', password: 'a' }] };
  const ends = { source_ip: '192.0.2.1', source_port: 4001, destination_ip: '198.51.100.9', destination_port: 110 };
  const json = JSON.stringify({
    ...{ timestamp: '2022-05-28 08:07:09.000000', duration: 30, session_id: sessionId(1), num_auth_attempts: 1 },
    ...ends,
    ...end,
  });
  for (const inputs of [
    [csv, auth, json],
    [json, auth, csv],
    [csv, auth],
    [auth, csv],
  ]) {
    const { files, events } = await importInputs(inputs);
    assert.equal(
      files.reduce((sum, { rejected }) => sum + rejected, 0),
      0,
    );
    const told = events.map((event) => event.kind === 'session' && [event.session.userName, event.session.end]);
    told.sort((a, b) => String(b).length - String(a).length);
    const until = parseMicros('2022-05-28T08:07:39.000000Z');
    assert.deepEqual(told, [
      ['joe', until],
      [undefined, until],
    ]);
  }
});
