// The recorder program: journal -> store, retention, the API and the console. Runs as uid weir without capabilities.

import { join } from 'node:path';
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
import { ImportIntake } from '../record/import-intake.ts';
import { type IdsAnswer, withIds } from './ids-status.ts';
import { liveUntilTold } from './program-life.ts';
import { type GatewayStatus, mergeStatus, recorderPart } from './recorder-status.ts';
import { openRecording, packageRoot } from './recording.ts';
import type { RecorderSettings } from './settings.ts';

const { values } = parseArgs({ options: { data: { type: 'string' }, settings: { type: 'string' } } });
const data = values.data ?? '';
const settings = JSON.parse(values.settings ?? '{}') as RecorderSettings;
const log = openLog('recorder');
const lifetime = new Lifetime(log);

async function main(): Promise<void> {
  const listeners = new Set<(events: readonly WeirEvent[], insights: Insights) => void>();
  const recording = await openRecording({
    data,
    settings,
    log,
    onEvents: (events, insights) => {
      for (const listener of listeners) listener(events, insights);
    },
  });
  lifetime.own('recording', recording);
  const { store, recorder, placeOf, status } = recording;
  const imports = lifetime.own('imports', new ImportIntake({ dataDirectory: data, store, clock: systemClock, log }));

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
        withIds((await ask('status')) as Partial<Status>, (await ask('ids')) as IdsAnswer),
        (await ask('gateway')) as GatewayStatus,
        recorderPart(await recorder.status(), status()),
      ),
    takeImport: (batch) => imports.take(batch),
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

liveUntilTold({ main, lifetime, log, onLost: 'the supervisor is gone' });
