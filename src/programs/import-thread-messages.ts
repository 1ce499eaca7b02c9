// What an import says to the thread that keeps its records, and what that answers: each request is answered once, by its number.

import type { ErrorCode } from '../base/errors.ts';
import type { RecorderSettings } from './settings.ts';

export interface ImportThreadData {
  readonly data: string;
  readonly settings: RecorderSettings;
}

/**
 * `open` comes first, `close` last; the bytes of a batch are the thread's from then on. Who closes in a `hurry` leaves what the
 * store did not take yet to the journal.
 */
export type ToImportThread = { readonly number: number } & (
  | { readonly type: 'open' }
  | { readonly type: 'take'; readonly batch: Uint8Array<ArrayBuffer> }
  | { readonly type: 'close'; readonly hurry: boolean }
);

export type FromImportThread =
  | { readonly number: number; readonly known: readonly number[] }
  | {
      readonly number: number;
      readonly code: ErrorCode;
      readonly message: string;
      readonly details: Readonly<Record<string, unknown>>;
    };
