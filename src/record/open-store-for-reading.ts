// The store without a recorder: what commands ask while none runs. Writes nothing.

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { WeirError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { DuckDbStore } from './duckdb-store.ts';
import type { Store } from './store.ts';

/**
 * The store for questions while no recorder runs. Throws `not-found` when there is none yet, `already-running` when a
 * recorder has it open: then ask the recorder. `store-unavailable` when it is of an earlier format.
 */
export async function openStoreForReading(dataDirectory: string, log?: Log): Promise<Store> {
  if (!existsSync(join(dataDirectory, 'store'))) {
    throw new WeirError('not-found', `there is no store in ${dataDirectory} yet`, { dataDirectory });
  }
  return DuckDbStore.open({ dataDirectory, readOnly: true, ...(log && { log }) });
}
