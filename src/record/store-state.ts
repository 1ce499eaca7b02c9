// The store's small facts beside its partitions, in one file replaced as a whole: how far the journals are applied, which
// days are gone for good, and what is being rebuilt. Losing it costs a replay, nothing else.

import { readFileSync } from 'node:fs';
import { open, rename, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import type { Micros } from '../base/clock.ts';
import type { Checkpoint, StoreDamage } from './store.ts';

export interface StoreState {
  readonly checkpoint: Checkpoint;
  /** Records that start before this were dropped by retention and are not taken again. */
  readonly droppedBefore: Micros;
  /** The same for imports, by when they were imported. */
  readonly importsDroppedBefore: Micros;
  readonly damage?: StoreDamage;
}

const emptyState: StoreState = { checkpoint: {}, droppedBefore: 0, importsDroppedBefore: 0 };

/** What the file says; the empty state when it is missing or does not parse (everything is then replayed). */
export function readStoreState(directory: string): StoreState {
  try {
    const state: unknown = JSON.parse(readFileSync(join(directory, 'state.json'), 'utf8'));
    if (typeof state !== 'object' || state === null) return emptyState;
    const { checkpoint, droppedBefore, importsDroppedBefore, damage } = state as Partial<StoreState>;
    if (typeof checkpoint !== 'object' || checkpoint === null) return emptyState;
    for (const position of Object.values(checkpoint)) {
      if (!Number.isSafeInteger(position?.segment) || !Number.isSafeInteger(position?.offset)) return emptyState;
    }
    return {
      checkpoint,
      droppedBefore: typeof droppedBefore === 'number' ? droppedBefore : 0,
      importsDroppedBefore: typeof importsDroppedBefore === 'number' ? importsDroppedBefore : 0,
      ...(damage && Number.isFinite(damage.since) && { damage }),
    };
  } catch {
    return emptyState;
  }
}

/** Durable when it resolves; throws the system's error and leaves the old file. */
export async function writeStoreState(directory: string, state: StoreState): Promise<void> {
  const temporary = join(directory, 'state.json.new');
  try {
    const handle = await open(temporary, 'w', 0o600);
    try {
      await handle.writeFile(JSON.stringify(state));
      await handle.datasync();
    } finally {
      await handle.close();
    }
    await rename(temporary, join(directory, 'state.json'));
  } catch (error) {
    await unlink(temporary).catch(() => {});
    throw error;
  }
}
