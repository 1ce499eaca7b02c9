// What an import's two processes say to each other: the settings on a pipe, then lines of JSON on standard output. The
// parent opens the files as the caller; the child, which reads them, gets descriptors and is nobody.

import type { FileResult, ImportProgress } from '../record/importers/import-run.ts';
import type { RecorderSettings } from './settings.ts';

export interface ImportSettings {
  readonly data: string;
  /** `auto`, or a format's name. */
  readonly format: string;
  /** As typed; the descriptors from 4 on are theirs in this order, but for `-`, which is standard input. */
  readonly files: readonly string[];
  /** Why a file has no descriptor, by its place in `files`. */
  readonly unopened: Readonly<Record<number, string>>;
  readonly zoneMinutes: number;
  readonly year?: number;
  readonly bootedAt?: number;
  readonly joinWindowMs?: number;
  readonly recorder: RecorderSettings;
}

export type ImportMessage =
  | { readonly kind: 'progress'; readonly progress: ImportProgress }
  | { readonly kind: 'done'; readonly files: readonly FileResult[]; readonly seconds: number; readonly running: boolean }
  | {
      readonly kind: 'failed';
      readonly code: string;
      readonly message: string;
      readonly details: Readonly<Record<string, unknown>>;
    };

/** The settings, as JSON: with thousands of files they are too long for an argument. */
export const settingsDescriptor = 3;
/** The first descriptor that is a file's. */
export const firstFileDescriptor = 4;
