// The thread that keeps an import's records where no recorder runs: store, analysis and recorder, as the recorder program has
// them. Started by import-thread.ts; ends when it has closed.

import { parentPort, workerData } from 'node:worker_threads';
import { systemClock } from '../base/clock.ts';
import { asWeirError, WeirError } from '../base/errors.ts';
import { openLog } from '../base/log.ts';
import { ImportIntake } from '../record/import-intake.ts';
import type { FromImportThread, ImportThreadData, ToImportThread } from './import-thread-messages.ts';
import { openRecording, type Recording } from './recording.ts';

const port = parentPort;
if (!port) throw new Error('import-thread-worker runs as a worker thread');
const { data, settings } = workerData as ImportThreadData;
const log = openLog('import', 'warn');
const none: readonly number[] = [];
/** Nobody waits for an answer beside an import: fewer transactions, each of more records. */
const batch = { maxEvents: 4000, maxBytes: 4 << 20 };

/**
 * Nobody asks questions of the store meanwhile: less than the recorder's has. A longer log goes into the files less often, and each
 * time the last rows there are written again.
 */
const memory = { memoryBytes: 128 << 20, logBytes: 40 << 20 };

let recording: Recording | undefined;
let intake: ImportIntake | undefined;

async function open(): Promise<readonly number[]> {
  recording = await openRecording({ data, settings, log, batch, memory });
  intake = new ImportIntake({ dataDirectory: data, store: recording.store, clock: systemClock, log });
  return none;
}

/** Whatever fails, all of it is closed. */
async function close(hurry: boolean): Promise<readonly number[]> {
  try {
    if (!hurry) await intake?.settled();
  } finally {
    await intake?.close();
    await recording?.close();
  }
  return none;
}

function answer(request: ToImportThread): Promise<readonly number[]> {
  if (request.type === 'open') return open();
  if (request.type === 'close') return close(request.hurry);
  return intake?.take(request.batch) ?? Promise.reject(new WeirError('fault', 'the store is not open'));
}

port.on('message', (request: ToImportThread) => {
  const { number, type } = request;
  const say = (message: FromImportThread): void => port.postMessage(message);
  answer(request)
    .then(
      (known) => say({ number, known }),
      (error) => {
        const { code, message, details } = asWeirError(error);
        say({ number, code, message, details });
      },
    )
    .finally(() => type === 'close' && port.close());
});
