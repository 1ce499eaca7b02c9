// The engine with everything a file can be: missing, cut, endless, unknown; and formats that do not keep their word.

import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { type TestContext, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { WeirError } from '../../base/errors.ts';
import { importFormats } from './formats.ts';
import { assertAdded, importedAt, importInputs, KeptRecords } from './import-contract.ts';
import { type FileResult, runImport } from './import-run.ts';
import { type ImportContext, type ImportFormat, type LineOutcome, type Place, rejected } from './importer.ts';
import { tcppcFormat } from './tcppc.ts';

const line = (index: number): string =>
  `{"timestamp":"2026-03-04T05:06:07.${String(index).padStart(6, '0')}Z","flow":{"proto":"tcp","src":"192.0.2.1","sport":${1 + (index % 65_000)},"dst":"198.51.100.1","dport":80},"payloads":[]}\n`;
const lines = (count: number, from = 0): string => Array.from({ length: count }, (_, index) => line(from + index)).join('');

function scratch(context: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'weir-import-run-'));
  context.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

async function importPaths(dataDirectory: string, paths: readonly string[], kept = new KeptRecords()): Promise<FileResult[]> {
  const files = await runImport({
    sources: paths.map((path) => ({ name: path, from: { path } })),
    formats: importFormats,
    dataDirectory,
    now: importedAt,
    zoneMinutes: 0,
    protocolOf: () => undefined,
    deliver: kept.deliver,
  });
  assertAdded({ files, events: [...kept.events.values()] });
  return files;
}

test('files of a rotated log are read as they follow each other, whatever order they are given in', async () => {
  const cowrie = (name: string, time: string, more = ''): string =>
    `{"eventid":"cowrie.session.${name}","session":"s","src_ip":"192.0.2.1","timestamp":"${time}"${more}}\n`;
  const connect = cowrie('connect', '2026-03-04T23:59:59Z', ',"src_port":4001,"dst_ip":"198.51.100.1","dst_port":22');
  const closed = cowrie('closed', '2026-03-05T00:00:05Z', ',"duration":6');
  for (const inputs of [
    [connect, closed],
    [closed, '# no log', connect],
    [gzipSync(closed), gzipSync(connect), connect],
  ]) {
    const imported = await importInputs(inputs);
    assertAdded(imported);
    assert.equal(imported.events.length, 1);
    const [event] = imported.events;
    assert.ok(event.kind === 'session');
    assert.deepEqual([event.session.source.port, event.session.tags], [4001, ['imported']]);
  }
});

test('one file that cannot be read or is not known does not keep the others from being imported', async (context) => {
  const directory = scratch(context);
  const put = (name: string, bytes: string | Buffer): string => {
    writeFileSync(join(directory, name), bytes);
    return join(directory, name);
  };
  const files = await importPaths(directory, [
    put('good', lines(10)),
    join(directory, 'absent'),
    directory,
    put('prose', 'Dear diary,\nnothing happened.\n'),
    put('other.json', '{"alpha":1,"beta":2}\n'),
    put('binary', Buffer.from([0x7f, 0x45, 0x4c, 0x46, 1, 2, 3, 0, 0, 0, 0, 0, 0])),
    put('empty', ''),
    put('more.gz', gzipSync(lines(10, 100))),
    put('a.xz', Buffer.from('fd377a585a000004', 'hex')),
  ]);
  assert.deepEqual(
    files.map(({ format, sessions }) => [format, sessions]),
    [
      ['tcppc', 10],
      [undefined, 0],
      [undefined, 0],
      [undefined, 0],
      [undefined, 0],
      [undefined, 0],
      [undefined, 0],
      ['tcppc', 10],
      [undefined, 0],
    ],
  );
  const errors = files.map(({ error }) => error ?? '');
  for (const [index, pattern] of Object.entries({
    1: /no such file/,
    2: /is a directory/,
    3: /text: "Dear diary,".*tcppc, /,
    4: /keys alpha, beta/,
    5: /begin with \\x7fELF/,
    8: /xz -dc/,
  }))
    assert.match(errors[Number(index)], pattern);
  assert.deepEqual([errors[0], errors[6], files[6].notes], ['', '', ['it is empty']]);
});

test('a gzip that was cut gives its whole lines, and says that it was cut', async (context) => {
  const directory = scratch(context);
  const whole = gzipSync(lines(20_000));
  writeFileSync(join(directory, 'cut.gz'), whole.subarray(0, whole.length - 5000));
  const [file] = await importPaths(directory, [join(directory, 'cut.gz')]);
  assert.match(file.error ?? '', /ends in the middle/);
  assert.ok(file.sessions > 10_000 && file.rejected <= 1, JSON.stringify(file));
});

test('a line of 100 MB is one rejected line and little memory; what follows it is read', async () => {
  const piece = Buffer.alloc(1 << 20, 'a');
  const input = Readable.from(
    (function* () {
      yield Buffer.from(lines(3));
      for (let index = 0; index < 100; index += 1) yield piece;
      yield Buffer.from(`\n${lines(3, 50)}`);
      for (let index = 0; index < 100; index += 1) yield piece;
    })(),
  );
  const before = process.memoryUsage().rss;
  const { files, rejects } = await importInputs([''], { sources: [{ name: '-', from: { stream: input } }] });
  assert.deepEqual([files[0].lines, files[0].sessions, files[0].rejected], [8, 6, 2]);
  assert.match(rejects[0].reason, /104857600 bytes long/);
  assert.deepEqual([rejects[0].line, rejects[1].line, rejects[0].text.length], [4, 8, 512]);
  assert.ok(process.memoryUsage().rss - before < 100 << 20);
});

test('JSON bombs are rejected lines', async () => {
  const bombs = [
    `{"a":${'['.repeat(400_000)}`,
    `{"a":${'['.repeat(40)}${']'.repeat(40)}}`,
    `{"a":[${'1,'.repeat(200_000)}1]}`,
    `{${Array.from({ length: 100_000 }, (_, index) => `"k${index}":1`).join(',')}}`,
    `{"a":"${'\\'.repeat(500_001)}`,
    `{"a":"${'"'.repeat(300_000)}`,
  ];
  const begun = performance.now();
  const { files } = await importInputs([`${bombs.join('\n')}\n${line(1)}`], { format: tcppcFormat });
  assert.deepEqual([files[0].lines, files[0].rejected, files[0].sessions], [7, 6, 1]);
  assert.ok(performance.now() - begun < 5000);
});

test('rejected lines cannot turn a terminal around, and their file is bounded', async (context) => {
  const directory = scratch(context);
  writeFileSync(join(directory, 'bad'), `{"flow"\u001b[2J\u202e\u009b\n${`{${'z'.repeat(5000)}\n`.repeat(6000)}`);
  const kept = new KeptRecords();
  const [file] = await runImport({
    sources: [{ name: 'bad', from: { path: join(directory, 'bad') } }],
    formats: importFormats,
    format: tcppcFormat,
    dataDirectory: directory,
    now: importedAt,
    zoneMinutes: 0,
    protocolOf: () => undefined,
    deliver: kept.deliver,
  });
  assert.equal(file.rejected, 6001);
  const path = file.rejectedFile ?? '';
  assert.ok(statSync(path).size < 17 << 20);
  const text = readFileSync(path, 'utf8');
  // biome-ignore lint/suspicious/noControlCharactersInRegex: what must not be there
  assert.doesNotMatch(text, /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202e]/);
  const rows = text
    .trim()
    .split('\n')
    .map((row) => JSON.parse(row) as { omitted?: number; text?: string });
  assert.equal(rows[0].text, '{"flow"\u001b[2J\u202e\u009b');
  assert.equal(rows.length - 1 + (rows.at(-1)?.omitted ?? 0), 6001);
  assert.match(file.notes.join(), /counted but not set aside/);
  assert.equal(readdirSync(join(directory, 'imports')).length, 1);
});

/** A format whose every line is what the line says. */
function puppet(take: (line: string, place: Place, context: ImportContext) => LineOutcome, end?: () => void): ImportFormat {
  return {
    name: 'puppet',
    title: 'for tests',
    reads: 'lines',
    detect: () => 1,
    open: (context) => ({ take: (text, place) => take(text, place, context), end: () => end?.() }),
  };
}

test('a format that fails costs its lines, never the import', async () => {
  const failing = puppet((text) => {
    if (text === 'throw') throw new Error('oh');
    return text === 'owe' ? 'session' : rejected('no');
  });
  const { files, rejects } = await importInputs(['throw\nowe\nno\n'], { format: failing });
  assert.deepEqual([files[0].lines, files[0].sessions, files[0].rejected], [3, 0, 3]);
  assert.deepEqual(
    rejects.map(({ reason }) => reason),
    ['its importer is at fault: oh', 'no'],
  );
  assert.match(files[0].notes.join(), /1 lines that began a session gave none/);
});

test('a record that is none is a rejected line, with its place', async () => {
  const record = { key: 'k', start: importedAt, transport: 'tcp', outcome: 'unknown', chunks: [] } as const;
  const good = { ip: '192.0.2.1', port: 1 };
  const wrong = [
    { source: { ip: 'x', port: 1 }, destination: good },
    { source: good, destination: { ip: '192.0.2.1', port: 1.5 } },
    { source: good, destination: good, start: Number.NaN },
    { source: good, destination: good, start: -1 },
  ];
  const format = puppet((text, place, context) => {
    context.session({ ...record, ...wrong[Number(text)], place });
    return 'session';
  });
  const { files, rejects } = await importInputs(['0\n1\n2\n3\n'], { format });
  assert.deepEqual([files[0].sessions, files[0].rejected], [0, 4]);
  assert.deepEqual(
    rejects.map(({ line: number }) => number),
    [1, 2, 3, 4],
  );
});

test('what is too long in a record is cut, and the session says so', async () => {
  const chunk = { at: importedAt, direction: 'in', bytes: Buffer.alloc(300_000, 'y') } as const;
  const format = puppet((_, place, context) => {
    context.session({
      place,
      key: 'k',
      start: importedAt,
      transport: 'tcp',
      source: { ip: '192.0.2.1', port: 1 },
      destination: { ip: '192.0.2.2', port: 2 },
      outcome: 'unknown',
      chunks: Array.from({ length: 20 }, () => chunk),
      userName: 'u'.repeat(5000),
      tags: Array.from({ length: 500 }, (__, index) => `${index} `.repeat(100)),
      agent: 'a'.repeat(10_000),
    });
    return 'session';
  });
  const { events } = await importInputs(['x\n'], { format });
  const [event] = events;
  assert.ok(event.kind === 'session');
  const { chunks, truncated, bytesIn, userName, tags, agent } = event.session;
  assert.equal(
    chunks.reduce((sum, { bytes }) => sum + bytes.length, 0),
    2 << 20,
  );
  assert.deepEqual([truncated, bytesIn, userName?.length, tags?.length, agent?.length], [true, 6_000_000, 1024, 65, 255]);
});

test('an import whose records are not taken ends with the reason; a signal ends it too', async () => {
  const refusal = new WeirError('disk-full', 'no room');
  await assert.rejects(importInputs([lines(9000)], { deliver: () => Promise.reject(refusal) }), refusal);
  const stop = new AbortController();
  const endless = Readable.from(
    (function* () {
      for (let index = 0; ; index += 100) {
        if (index === 5000) stop.abort();
        yield Buffer.from(lines(100, index));
      }
    })(),
  );
  await assert.rejects(
    importInputs([''], { sources: [{ name: '-', from: { stream: endless } }], signal: stop.signal }),
    /interrupted/,
  );
});
