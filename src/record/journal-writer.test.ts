// The writer against real files: what is flushed is there, a damaged tail is cut at the last good record at every byte
// position, one writer per directory, bounds hold.

import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import fc from 'fast-check';
import { eventArbitrary } from '../../test/support/event-arbitraries.ts';
import { systemClock } from '../base/clock.ts';
import { silentLog } from '../base/log.ts';
import type { WeirEvent } from '../model/event.ts';
import { decodeEvent } from './event-codec.ts';
import { checkRecord, decodeSegmentHeader, recordHeaderBytes, segmentHeaderBytes, segmentName } from './journal-format.ts';
import { findTail, listSegments } from './journal-tail.ts';
import { JournalWriter, type JournalWriterOptions } from './journal-writer.ts';

function scratch(context: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'weir-journal-'));
  context.after(() => rmSync(directory, { recursive: true, force: true }));
  return join(directory, 'gateway');
}

const open = (directory: string, options: Partial<JournalWriterOptions> = {}): JournalWriter =>
  new JournalWriter({ directory, clock: systemClock, log: silentLog, ...options });

const alert = (message: string): WeirEvent => ({
  kind: 'alert',
  alert: { id: `alert-${message}`, at: 1_700_000_000_000_000, name: 'test', severity: 'info', message, details: {} },
});

function session(id: string, bytes: Uint8Array): WeirEvent {
  return {
    kind: 'session',
    session: {
      id,
      sequence: 0,
      start: 1_700_000_000_000_000,
      outcome: 'client-closed',
      transport: 'tcp',
      source: { ip: '192.0.2.1', port: 4000 },
      destination: { ip: '198.51.100.1', port: 23 },
      sourceReliable: true,
      diversion: 'dmz',
      service: 'catch-all',
      bytesIn: bytes.length,
      bytesOut: 0,
      firstChunk: 0,
      chunks: [{ at: 1_700_000_000_000_000, direction: 'in', bytes }],
      truncated: false,
    },
  };
}

function readAll(directory: string): WeirEvent[] {
  const events: WeirEvent[] = [];
  for (const segment of listSegments(directory)) {
    const bytes = readFileSync(join(directory, segmentName(segment)));
    const header = decodeSegmentHeader(bytes);
    assert.ok(header);
    let at = segmentHeaderBytes;
    while (at < bytes.length) {
      const check = checkRecord(bytes, at, bytes.length, header.salt);
      assert.equal(check.state, 'whole');
      if (check.state !== 'whole') break;
      const decoded = decodeEvent(bytes, at + recordHeaderBytes, check.end);
      assert.ok(decoded);
      events.push(decoded.event);
      at = check.end;
    }
  }
  return events;
}

const messages = (events: readonly WeirEvent[]): string[] =>
  events.flatMap((event) => (event.kind === 'alert' ? [event.alert.message] : []));
const names = (events: readonly WeirEvent[]): string[] =>
  events.flatMap((event) => (event.kind === 'system' ? [event.system.name] : event.kind === 'alert' ? [event.alert.name] : []));

test('what was flushed is on disk, in order, over several segments, for the owner only', async (context) => {
  const directory = scratch(context);
  const writer = open(directory, { segmentBytes: 4096 });
  const sent: string[] = [];
  for (let index = 0; index < 200; index += 1) {
    sent.push(`message ${index} ${'x'.repeat(100)}`);
    assert.equal(writer.append(alert(sent[index])), true);
    if (index % 20 === 19) assert.equal(await writer.flush(), true);
  }
  assert.deepEqual(messages(readAll(directory)), sent);
  assert.ok(listSegments(directory).length > 4);
  assert.equal(statSync(join(directory, segmentName(1))).mode & 0o777, 0o640);
  assert.equal(statSync(directory).mode & 0o777, 0o700);
  const counters = writer.counters();
  assert.equal(counters.records, 201);
  assert.equal(counters.pendingBytes, 0);
  await writer.close();
  assert.equal(writer.append(alert('late')), false);
  assert.deepEqual(
    readdirSync(directory).filter((name) => !name.endsWith('.wj')),
    [],
  );
});

test('records are written without a flush being asked for', async (context) => {
  const directory = scratch(context);
  const writer = open(directory, { flushMs: 1 });
  writer.append(alert('by itself'));
  const deadline = Date.now() + 5000;
  while (writer.counters().records < 2 && Date.now() < deadline) await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(messages(readAll(directory)), ['by itself']);
  await writer.close();
});

test('a second writer of the directory is refused while the first lives, and a dead holder is taken over', async (context) => {
  const directory = scratch(context);
  const writer = open(directory);
  assert.throws(() => open(directory), { code: 'already-running' });
  await writer.close();
  // Process 1 lives but did not start at tick 1: its number was used again.
  symlinkSync('1:1:0', join(directory, 'lock'));
  const next = open(directory);
  assert.equal(next.epoch, 2);
  await next.close();
});

test('every start is an epoch of its own, with a segment of its own', async (context) => {
  const directory = scratch(context);
  for (const epoch of [1, 2, 3]) {
    const writer = open(directory);
    assert.equal(writer.epoch, epoch);
    await writer.close();
    const header = decodeSegmentHeader(readFileSync(join(directory, segmentName(epoch))));
    assert.equal(header?.epoch, epoch);
  }
});

test('damage: whatever follows the last good record is cut, at every length and with any byte changed', async (context) => {
  const directory = scratch(context);
  const events = fc.sample(eventArbitrary, 12);
  const first = open(directory);
  for (const event of events) first.append(event);
  await first.close();
  const whole = readFileSync(join(directory, segmentName(1)));
  const salt = decodeSegmentHeader(whole)?.salt ?? 0;
  const ends = [segmentHeaderBytes];
  for (;;) {
    const check = checkRecord(whole, ends[ends.length - 1], whole.length, salt);
    if (check.state !== 'whole') break;
    ends.push(check.end);
  }
  assert.equal(ends.at(-1), whole.length);
  for (let length = 0; length < whole.length; length += 1) {
    const { end } = findTail(whole.subarray(0, length));
    const expected = ends.filter((at) => at <= length).at(-1) ?? 0;
    assert.equal(end, expected, `cut at ${length}`);
  }
  fc.assert(
    fc.property(
      fc.integer({ min: segmentHeaderBytes, max: whole.length - 1 }),
      fc.integer({ min: 1, max: 255 }),
      (at, change) => {
        const bytes = Buffer.from(whole);
        bytes[at] ^= change;
        const damagedIndex = ends.findIndex((end) => end > at) - 1;
        const { end, bytesDamaged } = findTail(bytes);
        const isLast = damagedIndex === ends.length - 2;
        assert.equal(end, isLast ? ends[damagedIndex] : whole.length);
        assert.equal(bytesDamaged, isLast ? 0 : ends[damagedIndex + 1] - ends[damagedIndex]);
      },
    ),
    { numRuns: 300 },
  );
  writeFileSync(join(directory, segmentName(1)), Buffer.concat([whole, Buffer.alloc(777)]));
  const second = open(directory);
  await second.close();
  assert.equal(statSync(join(directory, segmentName(1))).size, whole.length);
  const cut = readAll(directory).find((event) => event.kind === 'system' && event.system.name === 'journal-cut');
  assert.equal(cut?.kind === 'system' && cut.system.details.bytesCut, 777);
});

test('bytes of a client never pass for a record, even when they hold one', async (context) => {
  const directory = scratch(context);
  const other = open(`${directory}-other`);
  other.append(alert('forged'));
  await other.close();
  const forged = readFileSync(join(`${directory}-other`, segmentName(1)));
  const writer = open(directory);
  writer.append(session('1', forged));
  await writer.close();
  const bytes = readFileSync(join(directory, segmentName(1)));
  // The record that holds the forgery is damaged, so that a reader has to look for the next one.
  const where = bytes.indexOf(forged.subarray(segmentHeaderBytes));
  assert.ok(where > 0);
  bytes[bytes.indexOf('catch-all')] ^= 1;
  assert.ok(findTail(bytes).end < where);
});

test('beyond the bound: sessions lose their bytes first, then records are refused; all of it is counted and told', async (context) => {
  const directory = scratch(context);
  const writer = open(directory, { bufferBytes: 64 * 1024, flushMs: 1000 });
  const body = new Uint8Array(4000).fill(65);
  let refused = 0;
  for (let index = 0; index < 1000; index += 1) if (!writer.append(session(`s${index}`, body))) refused += 1;
  const full = writer.counters();
  assert.ok(full.strippedRecords > 20);
  assert.equal(full.droppedRecords, refused);
  assert.ok(full.pendingBytes <= 64 * 1024);
  assert.equal(await writer.flush(), true);
  await writer.close();
  const events = readAll(directory);
  const sessions = events.filter((event) => event.kind === 'session');
  assert.equal(sessions.length + refused, 1000);
  assert.equal(
    sessions.filter((event) => event.session.truncated && event.session.chunks.length === 0).length,
    full.strippedRecords,
  );
  const lost = events.find((event) => event.kind === 'alert' && event.alert.name === 'records-lost');
  assert.ok(lost?.kind === 'alert');
  assert.equal(lost.alert.details.droppedRecords, refused);
  assert.deepEqual(names(events).slice(0, 1), ['process-started']);
});

test('a record larger than the format allows loses its chunks and nothing else', async (context) => {
  const directory = scratch(context);
  const writer = open(directory);
  assert.equal(writer.append(session('big', new Uint8Array(5 * 1024 * 1024))), true);
  await writer.close();
  const event = readAll(directory).find((candidate) => candidate.kind === 'session');
  assert.equal(event?.kind === 'session' && event.session.bytesIn, 5 * 1024 * 1024);
  assert.equal(event?.kind === 'session' && event.session.truncated, true);
});
