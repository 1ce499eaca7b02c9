// A store, what analyses it and the recorder that fills it, as the recorder program runs them and as an import does where none runs.

import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { systemClock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import { DuckDbStore, type DuckDbStoreOptions } from '../record/duckdb-store.ts';
import { Recorder, type RecorderOptions } from '../record/recorder.ts';
import { openAnalysis, type RecorderAnalysis } from './recorder-analysis.ts';
import type { RecorderSettings } from './settings.ts';

export interface RecordingOptions {
  readonly data: string;
  readonly settings: RecorderSettings;
  readonly log: Log;
  readonly onEvents?: NonNullable<RecorderOptions['onEvents']>;
  readonly batch?: NonNullable<RecorderOptions['batch']>;
  /** What the store's engine may have in memory; default as DuckDbStore's. */
  readonly memory?: Pick<DuckDbStoreOptions, 'memoryBytes' | 'logBytes'>;
}

export interface Recording extends Pick<RecorderAnalysis, 'placeOf' | 'status'> {
  readonly store: DuckDbStore;
  readonly recorder: Recorder;
  /** The recorder, what analysis remembers, then the store. Idempotent. */
  close(): Promise<void>;
}

/** The directory that holds `rules` and `console`. */
export const packageRoot = join(dirname(fileURLToPath(import.meta.url)), '../../..');

/** Retention by size drops whole files: a small allowance needs small ones. Between 16 MiB and 1 GiB. */
const partitionBytes = (allowedBytes: number): number => Math.max(16 * 2 ** 20, Math.min(2 ** 30, Math.floor(allowedBytes / 16)));

/** Opens and starts. Throws `already-running` when another process has the store or the recorder's journal. */
export async function openRecording({ data, settings, log, onEvents, batch, memory }: RecordingOptions): Promise<Recording> {
  const { retention } = settings;
  const store = await DuckDbStore.open({
    dataDirectory: data,
    partitionBytes: partitionBytes(retention.sizeBytes),
    log,
    ...memory,
  });
  const {
    analyser,
    placeOf,
    status,
    close: closeAnalysis,
  } = openAnalysis({ settings: settings.analysis, data, packageRoot, store, log });
  const recorder = new Recorder({
    dataDirectory: data,
    store,
    retention,
    clock: systemClock,
    log,
    analysis: analyser,
    ...(onEvents && { onEvents }),
    ...(batch && { batch }),
  });
  const close = async (): Promise<void> => {
    await recorder.close();
    await closeAnalysis();
    await store.close();
  };
  try {
    await recorder.start();
  } catch (error) {
    await close();
    throw error;
  }
  return { store, recorder, placeOf, status, close };
}
