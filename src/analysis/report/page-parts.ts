// What sections of the report's page are made of: escaped text, tables, headings. Pure text in, text out.

import { escapeMarkup } from './svg.ts';

/** All that comes from a record goes through this. */
export const e = escapeMarkup;

/** IPv4 stays on its line; IPv6 may break. */
export const address = (ip: string): string => `<code${ip.includes(':') ? '' : ' class="time"'}>${e(ip)}</code>`;

export interface Column<T> {
  readonly title: string;
  readonly number?: boolean;
  /** Markup, escaped already. */
  readonly cell: (row: T) => string;
}

export function table<T>(columns: readonly Column<T>[], rows: readonly T[]): string {
  const kind = ({ number }: Column<T>): string => (number ? ' class="number"' : '');
  const head = columns.map((column) => `<th scope="col"${kind(column)}>${e(column.title)}</th>`).join('');
  const body = rows.map((row) => `<tr>${columns.map((column) => `<td${kind(column)}>${column.cell(row)}</td>`).join('')}</tr>`);
  return `<div class="wide"><table><thead><tr>${head}</tr></thead><tbody>${body.join('')}</tbody></table></div>`;
}

/** Nothing without a body; `about` is text. */
export const section = (title: string, about: string, body: string): string =>
  body === '' ? '' : `<section><h2>${e(title)}</h2>${about === '' ? '' : `<p class="quiet">${e(about)}</p>`}${body}</section>`;
