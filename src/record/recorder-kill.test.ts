// kill -9 of the recorder while it applies: whatever moment it hits, in the end the embedded store answers exactly as a
// store in memory that read the journal once.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { systemClock } from '../base/clock.ts';
import { silentLog } from '../base/log.ts';
import { DuckDbStore } from './duckdb-store.ts';
import { JournalReader } from './journal-reader.ts';
import { JournalWriter } from './journal-writer.ts';
import { MemoryStore } from './memory-store.ts';
import { Recorder } from './recorder.ts';
import { SessionRecorder } from './session-recorder.ts';
import { everything } from './store-contract.ts';

async function until(condition: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const deadline = Date.now() + 20_000;
  while (!(await condition())) {
    assert.ok(Date.now() < deadline, `not in time: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

test('kill -9 of the recorder, again and again: nothing is lost, nothing is doubled', async (context) => {
  const dataDirectory = mkdtempSync(join(tmpdir(), 'weir-kill-'));
  context.after(() => rmSync(dataDirectory, { recursive: true, force: true }));
  const journal = new JournalWriter({ directory: join(dataDirectory, 'journal', 'gateway'), clock: systemClock, log: silentLog });
  const sessions = new SessionRecorder({ journal, limits: { sessionBytes: 200_000 }, flushMs: 3, clock: systemClock });
  let offered = 0;
  const load = setInterval(() => {
    for (let index = 0; index < 10; index += 1) {
      const handle = sessions.open({
        start: systemClock(),
        transport: 'tcp',
        source: { ip: `192.0.2.${offered % 200}`, port: 1 + (offered % 60_000) },
        destination: { ip: '198.51.100.1', port: 1 + (offered % 100) },
        sourceReliable: true,
        diversion: 'dmz',
        service: 'catch-all',
      });
      handle.chunk('in', Buffer.alloc(offered % 500 === 0 ? 100_000 : 50, offered));
      if (offered % 3 === 0) sessions.flush();
      handle.chunk('out', Buffer.from('ok'));
      if (offered % 10 !== 0) handle.close('client-closed');
      offered += 1;
    }
  }, 4);
  context.after(() => clearInterval(load));
  const program = fileURLToPath(new URL('../../test/support/recorder-run.js', import.meta.url));
  for (let round = 0; round < 6; round += 1) {
    const child = spawn(process.execPath, [program, dataDirectory], { stdio: ['ignore', 'pipe', 'inherit'] });
    const exited = new Promise((resolve) => child.once('exit', resolve));
    let batches = 0;
    child.stdout.on('data', () => {
      batches += 1;
    });
    await until(() => batches > 3 + round * 4, 'some batches');
    child.kill('SIGKILL');
    await exited;
  }
  clearInterval(load);
  sessions.flush();
  await journal.flush();

  const store = await DuckDbStore.open({ dataDirectory });
  const retention = { days: 36_500, sizeBytes: 1e12 };
  const recorder = new Recorder({ dataDirectory, store, retention, clock: systemClock, log: silentLog, gatherMs: 1 });
  context.after(async () => {
    await recorder.close();
    await journal.close();
    await store.close();
  });
  await recorder.start();
  await until(async () => (await store.counts({ limit: 1 })).sessions === offered, 'every session');
  // One start of the gateway, seven of recorders: the last one writes its own while it reads.
  await until(async () => (await store.systemEvents({ limit: 100 })).length === 8, 'every start');
  await until(async () => (await recorder.status()).lagBytes === 0, 'the end of the journal');
  await recorder.close();

  const model = new MemoryStore();
  const reader = new JournalReader({ directory: join(dataDirectory, 'journal'), checkpoint: {}, log: silentLog });
  for (let batch = await reader.read(); batch; batch = await reader.read()) await model.apply(batch.events, batch.checkpoint);
  await reader.close();
  const filter = { limit: 10_000 };
  assert.equal((await store.sessions(filter)).length, Math.min(offered, 10_000));
  assert.deepEqual(await everything(store, filter), await everything(model, filter));
});
