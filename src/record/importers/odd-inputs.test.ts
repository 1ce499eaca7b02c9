// Inputs that are no plain file at rest: named pipes, UTF-16, files that shrink, logs of sessions that are still going on.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createWriteStream, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough, type Readable } from 'node:stream';
import { type TestContext, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { renderMicros } from '../../base/clock.ts';
import { asWeirError } from '../../base/errors.ts';
import { importFormats } from './formats.ts';
import { assertAdded, importedAt, importInputs, KeptRecords } from './import-contract.ts';
import { type FileResult, type ImportRunOptions, runImport } from './import-run.ts';
import type { InputSource } from './input-file.ts';

const minute = 60e6;
const touch = (index: number): string =>
  `{"timestamp":"2026-03-04T05:06:07.${String(index).padStart(6, '0')}Z","flow":{"proto":"tcp","src":"192.0.2.1","sport":${1 + index},"dst":"198.51.100.1","dport":80},"payloads":[],"note":"\u00e9\u{1f41f}"}\n`;
const touches = (count: number): string => Array.from({ length: count }, (_, index) => touch(index)).join('');

function scratch(context: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'weir-odd-inputs-'));
  context.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

async function importFrom(
  dataDirectory: string,
  sources: readonly InputSource[],
  more: Partial<ImportRunOptions> = {},
): Promise<FileResult[]> {
  const kept = new KeptRecords();
  const files = await runImport({
    sources,
    formats: importFormats,
    dataDirectory,
    now: importedAt,
    zoneMinutes: 0,
    protocolOf: () => undefined,
    deliver: kept.deliver,
    ...more,
  });
  assertAdded({ files, events: [...kept.events.values()] });
  return files;
}

const counts = ({ format, lines, sessions, rejected, error }: FileResult): unknown[] => [
  format,
  lines,
  sessions,
  rejected,
  error,
];

test('UTF-16 in either byte order is the text it is, wherever pieces end, also compressed', async () => {
  const text = touches(20);
  const little = Buffer.concat([Buffer.from([0xff, 0xfe]), Buffer.from(text, 'utf16le')]);
  const big = Buffer.concat([Buffer.from([0xfe, 0xff]), Buffer.from(text, 'utf16le').swap16()]);
  const bytes = Array.from(little, (_, at) => little.subarray(at, at + 1));
  const plain = await importInputs([text]);
  for (const input of [
    little,
    big,
    bytes,
    gzipSync(little),
    Buffer.concat([Buffer.from([0xef, 0xbb, 0xbf]), Buffer.from(text)]),
  ]) {
    const { files, events } = await importInputs([input]);
    assert.deepEqual(counts(files[0]), ['tcppc', 20, 20, 0, undefined]);
    assert.deepEqual(events, plain.events);
  }
  const { files } = await importInputs([Buffer.from([0xff]), Buffer.from([0xff, 0xfe])]);
  assert.deepEqual(
    files.map(({ lines }) => lines),
    [0, 0],
  );
});

test('a named pipe is read while it is written, and waited for', async (context) => {
  const directory = scratch(context);
  const path = join(directory, 'pipe');
  execFileSync('mkfifo', [path]);
  const importing = importFrom(directory, [{ name: 'pipe', from: { path } }]);
  const writer = createWriteStream(path);
  writer.end(touches(3000));
  const [file] = await importing;
  assert.deepEqual(counts(file), ['tcppc', 3000, 3000, 0, undefined]);
});

test('whoever interrupts does not wait for what a pipe or standard input may still bring', async (context) => {
  const directory = scratch(context);
  const path = join(directory, 'pipe');
  execFileSync('mkfifo', [path]);
  const silent = new PassThrough();
  for (const from of [{ path }, { stream: silent as Readable }]) {
    const interrupt = new AbortController();
    const importing = importFrom(directory, [{ name: 'x', from }], { signal: interrupt.signal });
    setImmediate(() => interrupt.abort());
    await assert.rejects(importing, (error) => asWeirError(error).code === 'timeout');
  }
});

test('a file that became shorter while it was read is said', async (context) => {
  const directory = scratch(context);
  const path = join(directory, 'log');
  writeFileSync(path, touches(4000));
  let cut = false;
  const [file] = await importFrom(directory, [{ name: 'log', from: { path } }], {
    onProgress: () => {
      if (!cut) truncateSync(path, 1000);
      cut = true;
    },
  });
  assert.match(file.error ?? '', /became shorter while it was read: \d+ of \d+ bytes/);
});

test('a session that goes on while the log is read is left for the next import, which takes it whole', async () => {
  const line = (name: string, session: string, at: number, more = ''): string =>
    `{"eventid":"cowrie.${name}","session":"${session}","src_ip":"192.0.2.9","timestamp":"${renderMicros(at)}"${more}}\n`;
  const connect = ',"src_port":4001,"dst_ip":"198.51.100.9","dst_port":22,"protocol":"ssh"';
  const start = importedAt - 5 * minute;
  const grown = [
    line('session.connect', 'aa', start - 60 * minute, connect),
    line('login.failed', 'aa', start - 59 * minute, ',"username":"root","password":"x"'),
    line('session.connect', 'bb', start, connect),
    line('session.connect', 'cc', start, connect.replace('4001', '4002')),
    line('session.closed', 'cc', start + minute),
    line('login.failed', 'bb', start + minute, ',"username":"root","password":"x"'),
  ].join('');
  const kept = new KeptRecords();
  const first = await importInputs([grown], {}, kept);
  assertAdded(first);
  // Whatever ended, or was silent for long, is there.
  assert.deepEqual([first.files[0].sessions, first.files[0].merged], [2, 4]);
  assert.match(first.files[0].notes.join(), /1 session was still going on/);
  const rest =
    line('login.success', 'bb', start + 2 * minute, ',"username":"root","password":"y"') +
    line('session.closed', 'bb', start + 3 * minute);
  const later = { now: importedAt + 10 * minute };
  const second = await importInputs([grown + rest], later, kept);
  assertAdded(second, 2);
  assert.deepEqual([second.files[0].sessions, second.files[0].notes], [1, []]);
  const whole = await importInputs([grown + rest], later);
  assert.deepEqual(new Set(second.events), new Set(whole.events));
});

test('lines that forwarders changed are read all the same', async () => {
  const cowrie = { eventid: 'cowrie.session.connect', session: 'aa', src_ip: '192.0.2.9', src_port: 4001, protocol: 'ssh' };
  const dionaea = { connection: { protocol: 'smbd', transport: 'tcp', type: 'accept' }, src_ip: '192.0.2.9', src_port: 4001 };
  const timestamp = '2022-05-28T10:00:00.000000Z';
  const dumped = {
    _index: 'logstash-2022.05.28',
    _id: 'x',
    _source: { ...cowrie, timestamp, dst_ip: '198.51.100.9', dst_port: 22 },
  };
  const inId = { ts: 1_653_732_000, id: { orig_h: '192.0.2.9', orig_p: 4001, resp_h: '198.51.100.9', resp_p: 22 }, proto: 'tcp' };
  const packet = 'SRC=192.0.2.9 DST=198.51.100.9 LEN=60 TTL=52 ID=1 PROTO=TCP SPT=4001 DPT=22 WINDOW=64240 SYN URGP=0';
  const whole = { ...cowrie, timestamp, dst_ip: '198.51.100.9', dst_port: 22 };
  const inside = JSON.stringify(whole);
  const canary = { logtype: 4000, node_id: 'n', utc_time: '2022-05-28 10:00:00.000000', logdata: {}, src_host: '192.0.2.9' };
  const knock = JSON.stringify({ ...canary, src_port: 4001, dst_host: '198.51.100.9', dst_port: 22 });
  const ends = { src_ip: '192.0.2.9', src_port: 4001, dest_ip: '198.51.100.9', dest_port: 22 };
  const attack = { protocol: 'tcp', payload: { md5_hash: 'm', length: 0, data_hex: '' } };
  const own = { ...attack, remote_ip: '192.0.2.9', remote_port: 4001, local_ip: '198.51.100.9', local_port: 22 };
  const tried = { auth_id: 'x', session_id: 'y', proto: 'ssh', username: 'a', password: 'b' };
  const filed = (document: object): string => JSON.stringify({ _index: 'logstash-2022.05.28', _source: document });
  const variants: readonly (readonly [string, string])[] = [
    ['cowrie', JSON.stringify({ log: `${inside}\n`, stream: 'stdout', time: '2022-05-28T10:00:01.5Z' })],
    ['cowrie', `2022-05-28T10:00:01.123456789Z stdout F ${inside}`],
    ['cowrie', JSON.stringify({ ...whole, src_ip: 'fe80::1%eth0' })],
    ['cowrie', JSON.stringify({ '@timestamp': '2022-05-28T10:00:01Z', host: { name: 'h' }, message: inside })],
    ['cowrie', JSON.stringify({ __REALTIME_TIMESTAMP: '1653732001000000', MESSAGE: inside })],
    ['opencanary', `May 28 10:00:01 host opencanaryd[12]: ${knock}`],
    ['honeytrap', filed({ start_time: '2022-05-28T10:00:00Z', is_virtual: false, attack_connection: attack, ...ends })],
    ['honeytrap', JSON.stringify({ is_virtual: false, start_time: '2022-05-28 10:00:00 CEST', attack_connection: own })],
    ['honeytrap', JSON.stringify({ is_virtual: false, start_time: '2022-05-28 10:00:00 GMT', attack_connection: own })],
    ['heralding', filed({ '@timestamp': '2022-05-28T10:00:00.000Z', ...tried, ...ends })],
    ['cowrie', JSON.stringify(dumped)],
    ['cowrie', JSON.stringify({ ...cowrie, timestamp, dest_ip: '198.51.100.9', dest_port: 22 })],
    ['dionaea', JSON.stringify({ ...dionaea, timestamp, dest_ip: '198.51.100.9', dest_port: 22 })],
    ['zeek', JSON.stringify({ ...inId, conn_state: 'SF', history: 'ShADadFf' })],
    ['netfilter-log', `Sat May 28 10:00:00 2022 kern.warn kernel: [    1.2] DROP IN=eth0 OUT= ${packet}`],
  ];
  for (const [format, line] of variants) {
    const { files, events } = await importInputs([line]);
    assert.deepEqual([format, 1, 1, 0, undefined], counts(files[0]), line);
    const [event] = events;
    const [start, end] =
      event.kind === 'session'
        ? [event.session.start, event.session.destination]
        : event.kind === 'probe'
          ? [event.probe.start, event.probe.targets[0]]
          : [];
    assert.deepEqual(
      [start && renderMicros(start), end?.ip, end?.port],
      ['2022-05-28T10:00:00.000000Z', '198.51.100.9', 22],
      line,
    );
  }
  const [{ error }] = (await importInputs([Buffer.from(`SQLite format 3\0${'\0'.repeat(100)}`)])).files;
  assert.match(error ?? '', /SQLite.*log_json/);
});

test('packet lines without a year have that of the sessions they are joined with, also over New Year', async () => {
  const session = (at: string, port: number): string =>
    JSON.stringify({
      timestamp: at,
      flow: { proto: 'tcp', src: '192.0.2.1', sport: port, dst: '10.0.0.5', dport: 12_345 },
      payloads: [],
    });
  const packet = (at: string, port: number): string =>
    `${at} s kernel: IN=eth0 OUT= SRC=192.0.2.1 DST=198.51.100.7 LEN=60 TTL=52 ID=1 PROTO=TCP SPT=${port} DPT=${port - 4000} WINDOW=1 SYN URGP=0`;
  const sessions = [session('2021-12-31T23:59:58Z', 4022), session('2022-01-01T00:00:05Z', 4023)].join('\n');
  const packets = [packet('Dec 31 23:59:58', 4022), packet('Jan  1 00:00:05', 4023)].join('\n');
  for (const inputs of [
    [sessions, packets],
    [packets, sessions],
  ]) {
    const imported = await importInputs(inputs);
    assertAdded(imported);
    const ports = imported.events.map((event) => event.kind === 'session' && event.session.destination.port);
    assert.deepEqual(ports, [22, 23]);
    assert.match(imported.files.flatMap(({ notes }) => notes).join(), /that of the sessions/);
  }
});

test('a log that is one array of objects is the same records as its lines, compressed or not', async () => {
  const lines = touches(600);
  const objects = lines.trim().split('\n');
  const array = `[\n${objects.join(',\n')}\n]\n`;
  const laidOut = JSON.stringify(
    objects.map((object) => JSON.parse(object)),
    undefined,
    2,
  );
  const kept = new KeptRecords();
  const { files } = await importInputs(
    [lines, array, gzipSync(laidOut), `[${objects.join(',')}]`, `${objects[0]},broken`],
    {},
    kept,
  );
  assert.deepEqual(
    files.map(({ format, lines: units, sessions, merged, rejected }) => [format, units, sessions, merged, rejected]),
    [
      ['tcppc', 600, 600, 0, 0],
      ['tcppc', 600, 0, 600, 0],
      ['tcppc', 600, 0, 600, 0],
      ['tcppc', 600, 0, 600, 0],
      [undefined, 0, 0, 0, 0],
    ],
  );
  assert.equal(kept.events.size, 600);
});

test('one line that somebody wrote into another log does not decide its format', async () => {
  const plain = Array.from({ length: 20 }, (_, index) => `May 28 10:00:${10 + index} host sshd[1]: Connection closed`);
  const forged = 'May 28 10:00:59 host sshd[1]: Invalid user {"eventid":"cowrie.session.connect","session":"s"}';
  const { files } = await importInputs([[...plain, forged].join('\n')]);
  assert.deepEqual([files[0].format, files[0].lines], [undefined, 0]);
});

test('a time that names its zone is read as --zone says, and that is said', async () => {
  const ends = { remote_ip: '192.0.2.1', remote_port: 1, local_ip: '198.51.100.1', local_port: 80 };
  const of = (start: string): string =>
    JSON.stringify({ is_virtual: false, start_time: start, attack_connection: { protocol: 'tcp', payload: {}, ...ends } });
  for (const [zone, notes] of [
    [' CEST', 1],
    [' UTC', 0],
    ['Z', 0],
  ] as const) {
    const { files } = await importInputs([of(`2022-05-28 10:00:00${zone}`)]);
    assert.equal(files[0].sessions, 1);
    assert.equal(files[0].notes.filter((note) => note.includes('--zone')).length, notes, zone);
  }
});
