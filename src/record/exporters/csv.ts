// Sessions as a table (RFC 4180), one line each. Cells that a spreadsheet would run as a formula get an apostrophe. Pure.

import { renderMicros } from '../../base/clock.ts';
import { printable } from '../../base/printable.ts';
import type { SessionMarks } from '../session-marks.ts';
import type { SessionSummary } from '../store.ts';

export interface SessionCells extends SessionMarks {
  readonly session: SessionSummary;
}

type Cell = string | number | boolean | undefined;

/** Column names and what stands in them, in order. */
export const sessionColumns: readonly (readonly [string, (cells: SessionCells) => Cell])[] = [
  ['start', ({ session }) => renderMicros(session.start)],
  ['end', ({ session }) => session.end && renderMicros(session.end)],
  ['session', ({ session }) => session.id],
  ['source_ip', ({ session }) => session.source.ip],
  ['source_port', ({ session }) => session.source.port],
  ['source_reliable', ({ session }) => session.sourceReliable],
  ['source_country', ({ place }) => place?.country],
  ['source_asn', ({ place }) => place?.asn],
  ['source_organization', ({ place }) => place?.organization],
  ['destination_ip', ({ session }) => session.destination.ip],
  ['destination_port', ({ session }) => session.destination.port],
  ['transport', ({ session }) => session.transport],
  ['protocol', ({ session }) => session.protocol],
  ['diversion', ({ session }) => session.diversion],
  ['service', ({ session }) => session.service],
  ['persona', ({ session }) => session.persona],
  ['agent', ({ session }) => session.agent],
  ['outcome', ({ session }) => session.outcome],
  ['bytes_in', ({ session }) => session.bytesIn],
  ['bytes_out', ({ session }) => session.bytesOut],
  ['user', ({ session }) => session.userName],
  ['password', ({ session }) => session.password],
  ['tls_server_name', ({ session }) => session.tls?.serverName],
  ['ja3', ({ session }) => session.tls?.ja3],
  ['ja4', ({ session }) => session.tls?.ja4],
  ['payload_sha256', ({ session }) => session.payloadHash],
  ['payload_family', ({ insight }) => insight?.family],
  ['signatures', ({ insight }) => insight?.signatures.map(({ rule }) => rule).join(' ')],
  ['tags', ({ session }) => session.tags?.join(' ')],
];

/** One cell, quoted where it must be. */
export function renderCell(value: Cell): string {
  if (value === undefined) return '';
  if (typeof value !== 'string') return String(value);
  const safe = printable(value);
  const inert = /^[=+\-@]/.test(safe) ? `'${safe}` : safe;
  return /[",]/.test(inert) ? `"${inert.replaceAll('"', '""')}"` : inert;
}

/** The first line. */
export const csvHead = `${sessionColumns.map(([name]) => name).join(',')}\r\n`;

export const renderCsv = (cells: SessionCells): string =>
  `${sessionColumns.map(([, value]) => renderCell(value(cells))).join(',')}\r\n`;
