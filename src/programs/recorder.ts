// The recorder program: journal -> store, retention, the API and the console. Runs as uid weir without capabilities.

import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { callControl } from '../api/control.ts';
import { HttpServer } from '../api/http-server.ts';
import { systemClock } from '../base/clock.ts';
import { asWeirError } from '../base/errors.ts';
import { Lifetime } from '../base/lifetime.ts';
import { openLog } from '../base/log.ts';
import type { WeirEvent } from '../model/event.ts';
import type { Insights } from '../model/insight.ts';
import type { Status } from '../model/status.ts';
import { DuckDbStore } from '../record/duckdb-store.ts';
import { Recorder } from '../record/recorder.ts';
import { watchLifeline } from './child.ts';
import { openAnalysis } from './recorder-analysis.ts';
import { type GatewayStatus, mergeStatus, recorderPart } from './recorder-status.ts';
import type { RecorderSettings } from './settings.ts';

const { values } = parseArgs({ options: { data: { type: 'string' }, settings: { type: 'string' } } });
const data = values.data ?? '';
const settings = JSON.parse(values.settings ?? '{}') as RecorderSettings;
const log = openLog('recorder');
const lifetime = new Lifetime(log);
const packageRoot = join(dirname(fileURLToPath(import.meta.url)), '../../..');

/** Retention by size drops whole files: a small allowance needs small ones. Between 16 MiB and 1 GiB. */
const partitionBytes = (allowedBytes: number): number => Math.max(16 * 2 ** 20, Math.min(2 ** 30, Math.floor(allowedBytes / 16)));

async function main(): Promise<void> {
  const listeners = new Set<(events: readonly WeirEvent[], insights: Insights) => void>();
  const store = lifetime.own(
    'store',
    await DuckDbStore.open({ dataDirectory: data, partitionBytes: partitionBytes(settings.retention.sizeBytes), log }),
  );
  const { analyser, placeOf, status } = openAnalysis({ settings: settings.analysis, data, packageRoot, store, log });
  const recorder = new Recorder({
    dataDirectory: data,
    store,
    retention: settings.retention,
    clock: systemClock,
    log,
    analysis: analyser,
    onEvents: (events, insights) => {
      for (const listener of listeners) listener(events, insights);
    },
  });
  await recorder.start();
  lifetime.own('recorder', recorder);

  /** What the other programs say of themselves; one that does not answer is a reason, not a fault. */
  const ask = async (program: string): Promise<unknown> => {
    try {
      return await callControl(join(data, `run/${program}.sock`), 'status', null, 2000);
    } catch (error) {
      return { error: asWeirError(error).code };
    }
  };
  const server = new HttpServer({
    store,
    live: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    placeOf,
    status: async () =>
      mergeStatus(
        (await ask('status')) as Partial<Status>,
        (await ask('gateway')) as GatewayStatus,
        recorderPart(await recorder.status(), status()),
      ),
    socket: { path: join(data, 'run/recorder.sock'), mode: 0o660 },
    console: {
      ...settings.console,
      tlsDirectory: join(data, 'tls'),
      packageRoot,
    },
    log,
  });
  await server.listen();
  lifetime.own('server', server);
  log.info('ready', { pid: process.pid });
}

async function end(reason: string): Promise<void> {
  if (lifetime.ending) return;
  log.info('ending', { reason });
  await lifetime.end();
  process.exit(0);
}

process.on('SIGTERM', () => void end('SIGTERM'));
process.on('SIGINT', () => {});
process.on('SIGHUP', () => {});
watchLifeline(() => void end('the supervisor is gone'));
main().catch((error) => {
  // A start that was cut short fails somewhere; whoever cut it decides how this ends.
  if (lifetime.ending) return;
  const { code, message } = asWeirError(error);
  log.error(message, { code });
  process.exit(1);
});
