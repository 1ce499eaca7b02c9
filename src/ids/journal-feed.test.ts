// The journals, a feed, and a Suricata of the test's own: nothing twice while it answers, everything again when it did not.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  closeSync,
  constants,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, it } from 'node:test';
import { sampleChunk, sampleSession } from '../../test/support/sample-records.ts';
import { systemClock } from '../base/clock.ts';
import { silentLog as log } from '../base/log.ts';
import type { SessionRecord } from '../model/session.ts';
import { markerSignature, markerTag } from '../model/suricata-settings.ts';
import { segmentName } from '../record/journal-format.ts';
import { JournalWriter } from '../record/journal-writer.ts';
import { EveReader } from './eve-reader.ts';
import { FrameFeed } from './frame-feed.ts';
import { JournalFeed, type JournalFeedOptions } from './journal-feed.ts';

const token = 'a-token-of-this-test';

async function until(what: string, holds: () => boolean): Promise<void> {
  const begun = performance.now();
  while (!holds()) {
    assert.ok(performance.now() - begun < 8000, `not in time: ${what}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

function bed(directory: string, options: Partial<JournalFeedOptions> = {}) {
  const seen: string[] = [];
  let answers = true;
  let last = 0;
  const answer = (): boolean =>
    feed.takeAnswer({
      signature: { id: markerSignature, generator: 1, revision: 1, text: '', category: '', severity: 'low' },
      source: { ip: '192.0.2.1', port: last },
      vlan: markerTag,
    });
  const feed: FrameFeed = new FrameFeed({
    token,
    patienceMs: 50,
    write: (bytes) => {
      if (Buffer.from(bytes).toString('latin1').includes(token)) {
        last = (bytes[38] << 8) | bytes[39];
        if (answers) setImmediate(answer);
      }
      return true;
    },
  });
  const journals = new JournalFeed({
    directory: path.join(directory, 'journal'),
    writers: ['gateway'],
    positionFile: path.join(directory, 'position.json'),
    feed,
    feeder: { take: (record: SessionRecord) => void seen.push(record.id), endRuns: () => {}, reset: () => seen.push('reset') },
    settle: async () => true,
    clock: systemClock,
    log,
    ...options,
  });
  return {
    seen,
    feed,
    journals,
    silence: () => {
      answers = false;
    },
    speak: () => {
      answers = true;
    },
  };
}

const session = (number: number): SessionRecord =>
  sampleSession(systemClock(), number, { chunks: [sampleChunk(systemClock(), 'in', 'x')] });

describe('sessions out of the journals', () => {
  it('recorded by a clock that was set back meanwhile are shown; a position that cannot be kept is said once', async (t) => {
    const directory = mkdtempSync(path.join(tmpdir(), 'weir-ids-'));
    t.after(() => rmSync(directory, { recursive: true }));
    let set = 0;
    const writer = new JournalWriter({
      directory: path.join(directory, 'journal/gateway'),
      clock: () => systemClock() - set,
      log,
    });
    const write = async (number: number): Promise<string> => {
      const one = session(number);
      writer.append({ kind: 'session', session: one });
      const before = writer.counters().syncs;
      await until('written', () => writer.counters().syncs > before && writer.counters().pendingBytes === 0);
      return one.id;
    };
    await write(1);
    const warned: string[] = [];
    const place = path.join(directory, 'ids');
    writeFileSync(place, '');
    let answered = 0;
    let isDurable = true;
    const { journals, feed, seen } = bed(directory, {
      positionFile: path.join(place, 'position.json'),
      settle: async () => isDurable,
      onAnswered: () => {
        answered += 1;
      },
      log: { ...log, warn: (message) => void (/kept/.test(message) && warned.push(message)) },
    });
    await journals.start();
    feed.start();
    await until('what was there is passed over', () => answered === 1);
    set = 3_600_000_000;
    const shown: string[] = [];
    for (let number = 2; number < 5; number += 1) {
      shown.push(await write(number));
      await until('shown and answered', () => seen.length >= shown.length && answered > shown.length);
      await journals.keep();
    }
    assert.deepEqual(seen, shown);
    assert.equal(warned.length, 1);
    assert.match(journals.counters().unkept ?? '', /position\.json/);
    rmSync(place);
    mkdirSync(place);
    isDurable = false;
    await journals.keep();
    assert.match(journals.counters().unkept ?? '', /alerts are not on disk/);
    assert.ok(!existsSync(path.join(place, 'position.json')));
    isDurable = true;
    await journals.keep();
    assert.deepEqual(journals.counters(), { damagedBytes: 0, goneSegments: 0 });
    await journals.close();
    feed.close();
    await writer.close();
  });

  it('that are gone or damaged are counted', async (t) => {
    const directory = mkdtempSync(path.join(tmpdir(), 'weir-ids-'));
    t.after(() => rmSync(directory, { recursive: true }));
    writeFileSync(path.join(directory, 'position.json'), JSON.stringify({ gateway: { segment: 1, offset: 64 } }));
    const journal = path.join(directory, 'journal/gateway');
    mkdirSync(journal, { recursive: true });
    for (const [segment, size] of [
      [4, 500],
      [5, 0],
    ])
      writeFileSync(path.join(journal, segmentName(segment)), Buffer.alloc(size, 1));
    const writer = new JournalWriter({ directory: journal, clock: systemClock, log });
    const one = session(1);
    writer.append({ kind: 'session', session: one });
    const { journals, feed, seen } = bed(directory);
    await journals.start();
    feed.start();
    await until('shown', () => seen.length === 1);
    assert.deepEqual(journals.counters(), { damagedBytes: 500, goneSegments: 3 });
    await journals.close();
    feed.close();
    await writer.close();
  });

  it('begin now, come once, go on after a restart from what was answered, and come again when Suricata went', async (t) => {
    const directory = mkdtempSync(path.join(tmpdir(), 'weir-ids-'));
    t.after(() => rmSync(directory, { recursive: true }));
    const writer = new JournalWriter({ directory: path.join(directory, 'journal/gateway'), clock: systemClock, log });
    const write = async (...numbers: number[]): Promise<string[]> => {
      const sessions = numbers.map(session);
      for (const one of sessions) writer.append({ kind: 'session', session: one });
      const before = writer.counters().syncs;
      await until('written', () => writer.counters().syncs > before && writer.counters().pendingBytes === 0);
      return sessions.map(({ id }) => id);
    };
    await write(1, 2);
    const first = bed(directory);
    await first.journals.start();
    first.feed.start();
    const fresh = await write(3, 4);
    await until('shown', () => first.seen.length >= 2);
    assert.deepEqual(first.seen, fresh);
    const offset = (): number => {
      try {
        return (JSON.parse(readFileSync(path.join(directory, 'position.json'), 'utf8')) as { gateway: { offset: number } })
          .gateway.offset;
      } catch {
        return 0;
      }
    };
    await until('kept', () => offset() > 0);
    const kept = offset();
    // Answered no more: what follows is shown, and is not done with.
    first.silence();
    const unanswered = await write(5);
    await until('shown', () => first.seen.includes(unanswered[0]));
    // Suricata goes, and comes back.
    first.feed.reset();
    first.journals.restart();
    first.speak();
    first.feed.start();
    await until('shown again', () => first.seen.filter((id) => id === unanswered[0]).length === 2);
    assert.ok(first.seen.includes('reset'));
    assert.equal(first.seen.filter((id) => id === fresh[1]).length, 1);
    await until('kept', () => offset() > kept);
    await first.journals.close();
    first.feed.close();
    const later = await write(6);
    const second = bed(directory);
    await second.journals.start();
    second.feed.start();
    await until('shown', () => second.seen.length > 0);
    assert.deepEqual(second.seen, later);
    await second.journals.close();
    second.feed.close();
    await writer.close();
  });
});

describe('the pipe of alerts', () => {
  it('gives lines whole, passes over those too long, and keeps what nobody read', async (t) => {
    const directory = mkdtempSync(path.join(tmpdir(), 'weir-eve-'));
    t.after(() => rmSync(directory, { recursive: true }));
    const file = path.join(directory, 'eve.fifo');
    execFileSync('mkfifo', [file]);
    const held = openSync(file, constants.O_RDWR | constants.O_NONBLOCK);
    const open = (): number => openSync(file, constants.O_RDWR | constants.O_NONBLOCK);
    const lines: string[] = [];
    const reader = new EveReader(open(), (line) => lines.push(line), assert.fail);
    writeSync(held, '{"a":1}\n{"b"');
    await until('first', () => lines.length === 1);
    writeSync(held, ':2}\n');
    await until('second', () => lines.length === 2);
    for (let count = 0; count < 4; count += 1) {
      writeSync(held, 'x'.repeat(30_000));
      await new Promise((resolve) => setImmediate(resolve));
    }
    await until('room', () => {
      try {
        return writeSync(held, '\n{"c":3}\n') > 0;
      } catch {
        return false;
      }
    });
    await until('third', () => lines.length === 3);
    assert.deepEqual(lines, ['{"a":1}', '{"b":2}', '{"c":3}']);
    assert.equal(reader.overlong, 1);
    reader.close();
    writeSync(held, '{"d":4}\n');
    const next = new EveReader(open(), (line) => lines.push(line), assert.fail);
    await until('fourth', () => lines.length === 4);
    assert.equal(lines[3], '{"d":4}');
    next.close();
    closeSync(held);
  });
});
