// Rows of Heralding's two CSV logs, log_session.csv and log_auth.csv (T-Pot's auth.csv), as the objects its JSON log has. Which
// columns there are the header says; where a rotation cut it off, the shape of a row does.
// Source: Heralding's file reporter (Python's csv module, RFC 4180), versions 0.1 to 1.0.

import type { ImportedFile } from './importer.ts';
import type { JsonObject } from './json-line.ts';
import { longLine, ownText } from './own-text.ts';

const sessionColumns =
  'timestamp,duration,session_id,source_ip,source_port,destination_ip,destination_port,protocol,num_auth_attempts'.split(',');
const authColumns =
  'timestamp,auth_id,session_id,source_ip,source_port,destination_ip,destination_port,protocol,username,password,password_hash'.split(
    ',',
  );
/** As early versions misspelled it. */
const misspelled: Readonly<Record<string, string>> = { souce_port: 'source_port' };
const maxColumns = 32;
const maxFiles = 1000;

/** Names of columns are short: of longer lines the pattern would try every end. */
const maxHeader = 1000;
const headerNames = /^timestamp,(?:duration|auth_id)[,_a-z]*,protocol[,_a-z]*$/;
const isHeader = (line: string): boolean => line.length <= maxHeader && headerNames.test(line);
/** A value longer than any request it may have come in has lost its end: rows are looked for again. */
const maxContinued = 65_536;
const time = String.raw`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d{1,6})?`;
const uuid = '[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}';
const sessionRow = new RegExp(String.raw`^${time},\d+(?:\.\d+)?,${uuid},`);
const authRow = new RegExp(`^${time},${uuid},${uuid},`);
const rowStart = new RegExp(`^${time},`);

/** A header or a row of either log. */
export const isHeraldingCsv = (line: string): boolean => isHeader(line) || sessionRow.test(line) || authRow.test(line);

/** A header or a row of log_auth.csv, which tells less than the other logs. */
export const isHeraldingAuth = (line: string): boolean => line.startsWith('timestamp,auth_id,') || authRow.test(line);

/** `header` and `continued` hold nothing of their own; undefined: no row. */
export type CsvLine = JsonObject | 'header' | 'continued' | undefined;

export class HeraldingRows {
  readonly #columns = new Map<number, readonly string[]>();
  /** The last row's last value has not ended: a user name or password may hold line ends. */
  #open = false;
  /** Characters of it in further lines. What begins like a row there is what the attacker typed. */
  #continued = 0;

  begin(file: ImportedFile): void {
    this.#open = false;
    this.#columns.delete(file.index);
  }

  read(line: string, file: number): CsvLine {
    if (this.#open && (this.#continued < maxContinued || !rowStart.test(line))) {
      this.#continued += line.length + 1;
      this.#open = !closes(line);
      return 'continued';
    }
    this.#open = false;
    if (isHeader(line)) {
      if (this.#columns.size >= maxFiles) this.#columns.clear();
      this.#columns.set(
        file,
        line.split(',', maxColumns).map((name) => (Object.hasOwn(misspelled, name) ? misspelled[name] : name)),
      );
      return 'header';
    }
    const names =
      this.#columns.get(file) ?? (authRow.test(line) ? authColumns : sessionRow.test(line) ? sessionColumns : undefined);
    if (!names) return undefined;
    const { values, open } = parseRow(line);
    if (values.length <= names.indexOf('protocol')) return undefined;
    this.#open = open;
    this.#continued = 0;
    return Object.fromEntries(
      values.slice(0, names.length).map((value, index) => [names[index], line.length > longLine ? ownText(value) : value]),
    );
  }
}

/** A line that ends the quoted value before it: an odd number of quotes. */
const closes = (line: string): boolean => (line.split('"').length - 1) % 2 === 1;

/** Values of a row; `open` when a quote in it does not end. RFC 4180. */
function parseRow(line: string): { readonly values: readonly string[]; readonly open: boolean } {
  const values: string[] = [];
  let at = 0;
  while (values.length < maxColumns) {
    if (line[at] === '"') {
      let value = '';
      at += 1;
      for (;;) {
        const quote = line.indexOf('"', at);
        if (quote < 0) return { values: [...values, value + line.slice(at)], open: true };
        value += line.slice(at, quote);
        at = quote + 1;
        if (line[at] !== '"') break;
        value += '"';
        at += 1;
      }
      values.push(value);
      at = line.indexOf(',', at);
    } else {
      const comma = line.indexOf(',', at);
      values.push(line.slice(at, comma < 0 ? undefined : comma));
      at = comma;
    }
    if (at < 0) break;
    at += 1;
  }
  return { values, open: false };
}
