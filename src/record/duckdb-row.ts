// Single values of the embedded store's rows: texts, bytes, addresses as numbers. Tables are duckdb-schema.ts.

import type { DuckDBAppender } from '@duckdb/node-api';
import { recordedAddress } from './filter-match.ts';

/** An address as one number for range conditions: IPv6 as it is, IPv4 as its mapped form; null when it is none. */
export function addressKey(ip: string): bigint | null {
  const address = recordedAddress(ip);
  if (!address) return null;
  return address.family === 4 ? mappedPrefix | address.value : address.value;
}

export const mappedPrefix = 0xffff_0000_0000n;

/** Where a row's bytes are: inside, or in bodies by hash. */
export interface RowBytes {
  readonly packed: Uint8Array | undefined;
  readonly inBody: string | undefined;
  readonly outBody: string | undefined;
}

export const noBytes: RowBytes = { packed: undefined, inBody: undefined, outBody: undefined };

export function appendText(appender: DuckDBAppender, text: string | undefined): void {
  if (text === undefined) appender.appendNull();
  else appender.appendVarchar(text);
}

export function appendKey(appender: DuckDBAppender, ip: string): void {
  const key = addressKey(ip);
  if (key === null) appender.appendNull();
  else appender.appendUHugeInt(key);
}

export function appendBytes(appender: DuckDBAppender, bytes: Uint8Array | undefined): void {
  if (bytes === undefined) appender.appendNull();
  else appender.appendBlob(bytes);
}
