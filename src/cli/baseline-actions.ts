// What `weir baseline` asks of the machine and of its own files. programs/ does it; a test has its own.

import type { NetworkSettings } from '../model/network-settings.ts';
import type { AccessMatrix, MatrixReading } from '../netops/baseline/access-matrix.ts';
import type { AccessCheck } from '../netops/baseline/matrix-check.ts';
import type { RestorePlan } from '../netops/baseline/settings-restore.ts';
import type { SnapshotFiles } from '../netops/baseline/snapshot-store.ts';
import type { SettingsWatchOptions } from '../netops/baseline/watch-settings.ts';

/** Files are for their owner alone, durable, and bring their folder with them. They throw `not-permitted`, `disk-full`. */
export interface BaselineActions extends SnapshotFiles {
  /** Who reaches what now. Reads only; works with any privilege, what was not seen is said. */
  readAccess(): Promise<MatrixReading>;
  checkAccess(matrix: AccessMatrix): Promise<AccessCheck>;
  /**
   * Rules, routes and sysctls of this namespace. What could not be read is in it. `data`: of a Weir here, whose changes to sysctls are not
   * counted, in this and the next two.
   */
  readSettings(data: string | undefined): Promise<NetworkSettings>;
  /** See netops/baseline/watch-settings.ts. */
  watch(
    options: SettingsWatchOptions,
    onReading: (settings: NetworkSettings, authors: readonly string[] | undefined) => Promise<void>,
    data: string | undefined,
  ): Promise<number>;
  /** See netops/baseline/settings-restore.ts. `signal`: what is half done is taken back, then it throws. */
  restore(
    plan: RestorePlan,
    folder: string,
    confirmWithinMs: number | undefined,
    data: string | undefined,
    signal: AbortSignal,
  ): Promise<void>;
  /** False: nothing waits for a confirmation. */
  confirm(folder: string): Promise<boolean>;
  /** Into the record of the Weir with this data directory. Throws `already-running`, `not-permitted`. */
  alert(data: string, differences: AccessCheck['differences'], at: number): Promise<void>;
}
