// Zeek's conn.log, as columns under a `#fields` header (any separator; where it was cut off, Zeek's own) or as JSON: a connection
// a line. The state Zeek gives it says whether a handshake was made: without one it is a probe. Payloads are not in it.
// Source: Zeek documentation, "conn.log" (conn_state, history) and "ASCII log writer" (headers, escapes).

import type { ProbeKind } from '../../model/event.ts';
import type { SessionOutcome } from '../../model/session.ts';
import type { ImportContext, ImportedFile, ImportFormat, LineOutcome, LineParser, Place, Sample } from './importer.ts';
import { Rejection, rejected } from './importer.ts';
import { type JsonObject, member, objectOf, parseJsonLine, parseLogTime } from './json-line.ts';
import { SessionDraft } from './session-draft.ts';

interface Columns {
  separator: string;
  unset: string;
  empty: string;
  path: string | undefined;
  fields: readonly string[] | undefined;
}

/** Text of a field; undefined when it is unset. */
type Reader = (name: string) => string | undefined;

const maxFields = 256;
const maxFiles = 1000;
const maxSeconds = 31 * 86_400;
const plain = (text: string): string =>
  text.includes('\\x')
    ? text.replace(/\\x([0-9a-f]{2})/gi, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 16)))
    : text;

class ZeekParser implements LineParser {
  readonly #context: ImportContext;
  readonly #files = new Map<number, Columns>();

  constructor(context: ImportContext) {
    this.#context = context;
  }

  begin(file: ImportedFile): void {
    if (this.#files.size >= maxFiles) this.#files.clear();
    this.#files.set(file.index, fresh());
  }

  take(line: string, place: Place): LineOutcome {
    let columns = this.#files.get(place.file);
    if (!columns) {
      columns = fresh();
      this.#files.set(place.file, columns);
    }
    if (line.startsWith('#')) {
      readHeader(line, columns);
      return 'merged';
    }
    const read = line.startsWith('{') ? jsonReader(line) : columnReader(line, columns);
    return read instanceof Rejection ? read : this.#connection(read, place);
  }

  finish(file: ImportedFile): void {
    this.#files.delete(file.index);
  }

  end(): void {}

  #connection(read: Reader, place: Place): LineOutcome {
    const at = parseTime(read('ts') ?? '');
    if (Number.isNaN(at)) return rejected('no time');
    const protocol = read('proto')?.toLowerCase();
    if (protocol !== 'tcp' && protocol !== 'udp' && protocol !== 'icmp') return rejected('neither TCP, UDP nor ICMP');
    const [from, to] = [read('id.orig_h'), read('id.resp_h')];
    if (!from || !to) return rejected('no addresses');
    const [fromPort, toPort] = [port(read('id.orig_p')), port(read('id.resp_p'))];
    if (fromPort === undefined || toPort === undefined) return rejected('no ports');
    const key = (read('uid') ?? `${protocol}/${from}:${fromPort}>${to}:${toPort}`).slice(0, 128);
    const seconds = Number(read('duration') ?? 0);
    const end = at + (seconds > 0 && seconds < maxSeconds ? Math.round(seconds * 1e6) : 0);
    const [bytesIn, bytesOut] = [size(read('orig_bytes')), size(read('resp_bytes'))];
    const history = (read('history') ?? '').slice(0, 256);
    const state = read('conn_state') ?? '';
    if (protocol === 'icmp' && fromPort !== 8 && fromPort !== 128) return 'merged';
    const kind = protocol === 'icmp' ? 'echo' : protocol === 'tcp' ? probeKind(state, history, bytesIn) : undefined;
    if (kind !== undefined) {
      const icmp = protocol === 'icmp';
      const count = Math.max(1, size(read('orig_pkts')));
      const target = { ip: to, port: icmp ? 0 : toPort, transport: icmp ? 'icmp' : 'tcp', kind, count } as const;
      this.#context.probe({ place, key, start: at, end, source: from, sourcePort: icmp ? 0 : fromPort, targets: [target] });
      return 'session';
    }
    const draft = new SessionDraft(place, key, at, { ip: from, port: fromPort }, { ip: to, port: toPort });
    draft.transport = protocol === 'udp' ? 'udp' : 'tcp';
    draft.end = end;
    draft.outcome = protocol === 'tcp' ? outcomeOf(state, history) : 'idle';
    draft.bytesIn = bytesIn;
    draft.bytesOut = bytesOut;
    draft.truncated = bytesIn > 0 || bytesOut > 0;
    const services = (read('service') ?? '').toLowerCase().split(',').filter(Boolean);
    if (services.length > 0) draft.protocol = ourName(services).slice(0, 32);
    if (services.length > 1 && services.some((name) => name === 'ssl')) draft.tag('tls');
    const mac = read('orig_l2_addr');
    if (mac !== undefined && /^[0-9a-f]{2}(?::[0-9a-f]{2}){5}$/i.test(mac)) draft.sourceMac = mac.toLowerCase();
    if (yes(read('local_orig')) && read('local_resp') !== undefined && !yes(read('local_resp'))) draft.tag('outbound');
    this.#context.session(draft.done(this.#context));
    return 'session';
  }
}

const fresh = (): Columns => ({ separator: '\t', unset: '-', empty: '(empty)', path: undefined, fields: undefined });
const yes = (text: string | undefined): boolean => text === 'T' || text === 'true';

function readHeader(line: string, columns: Columns): void {
  if (line.startsWith('#separator')) {
    const text = plain(line.slice('#separator'.length).trim());
    if (text.length > 0 && text.length <= 8) columns.separator = text;
    return;
  }
  const [name, ...rest] = line.split(columns.separator, maxFields + 1);
  if (name === '#fields') columns.fields = rest;
  else if (name === '#path') columns.path = rest[0];
  else if (name === '#unset_field' && rest[0] !== undefined) columns.unset = rest[0];
  else if (name === '#empty_field' && rest[0] !== undefined) columns.empty = rest[0];
}

/** Of every version, up to the state; then `local_resp` where there is one (since 2.4), then the others as far as they are read. */
const firstColumns =
  'ts uid id.orig_h id.orig_p id.resp_h id.resp_p proto service duration orig_bytes resp_bytes conn_state local_orig'.split(' ');
const lastColumns = 'missed_bytes history orig_pkts orig_ip_bytes resp_pkts resp_ip_bytes tunnel_parents'.split(' ');
const newColumns: readonly string[] = [...firstColumns, 'local_resp', ...lastColumns];
const oldColumns: readonly string[] = [...firstColumns, ...lastColumns];
const states = /^(?:S[0-3]|SF|REJ|RST[OR]|RSTOS0|RSTRH|SHR?|OTH|-)$/;

/** The columns Zeek writes by itself, where the header was cut off and the line can be nothing else. */
function defaultFields(values: readonly string[]): readonly string[] | undefined {
  const [time, uid, , from, , to, protocol] = values;
  const bare = values.length >= 19 && /^\d{9,11}\.\d{1,9}$/.test(time) && /^C[0-9A-Za-z]{8,24}$/.test(uid);
  if (!bare || port(from) === undefined || port(to) === undefined) return undefined;
  if (!/^(?:tcp|udp|icmp|unknown_transport)$/.test(protocol) || !states.test(values[firstColumns.indexOf('conn_state')]))
    return undefined;
  return /^[TF-]$/.test(values[firstColumns.length]) ? newColumns : oldColumns;
}

function columnReader(line: string, { separator, unset, empty, path, fields }: Columns): Reader | Rejection {
  if (path !== undefined && path !== 'conn') return rejected('a line of another log than conn');
  const values = line.split(separator, maxFields + 1);
  const names = fields ?? defaultFields(values);
  if (!names) return rejected('no #fields line before it');
  if (values.length < 6) return rejected('too few columns');
  return (name) => {
    const index = names.indexOf(name);
    const value = index < 0 ? undefined : values[index];
    return value === undefined || value === unset || value === empty || value === '' ? undefined : plain(value);
  };
}

function jsonReader(line: string): Reader | Rejection {
  const object = parseJsonLine(line);
  if (object instanceof Rejection) return object;
  const ends = objectOf(object, 'id') ?? {};
  return (name) => {
    // Some forwarders take names with a dot apart.
    const value = member(object, name) ?? (name.startsWith('id.') ? member(ends, name.slice(3)) : undefined);
    return typeof value === 'string'
      ? value
      : typeof value === 'number' || typeof value === 'boolean'
        ? String(value)
        : undefined;
  };
}

/** Seconds since 1970 with a fraction, or ISO 8601. */
function parseTime(text: string): number {
  const match = /^(\d{1,11})(?:\.(\d{1,12}))?$/.exec(text);
  if (!match) return parseLogTime(text, 0);
  return Number(match[1]) * 1e6 + Number(`${match[2] ?? ''}000000`.slice(0, 6));
}

function port(text: string | undefined): number | undefined {
  const value = text === undefined || !/^\d{1,5}$/.test(text) ? -1 : Number(text);
  return value >= 0 && value <= 65_535 ? value : undefined;
}

function size(text: string | undefined): number {
  const value = Number(text ?? 0);
  return value > 0 && Number.isSafeInteger(value) ? value : 0;
}

/** Of TCP without a handshake. A client that answers SYN-ACK with RST alone made none either. */
function probeKind(state: string, history: string, bytesIn: number): ProbeKind | undefined {
  switch (state) {
    case 'S0':
      return bytesIn > 0 ? undefined : 'filtered';
    case 'REJ':
      return 'closed';
    case 'RSTOS0':
    case 'SH':
      return 'half-open';
    case 'RSTRH':
    case 'SHR':
      return 'ack';
    case 'RSTO':
      return bytesIn === 0 && !/[A-Z]/.test(history.replace(/[SR^]/g, '')) && history !== '' ? 'half-open' : undefined;
    case 'OTH':
      return bytesIn > 0 ? undefined : strayKind(history);
    default:
      return undefined;
  }
}

/** What came without a SYN: history has a letter for each kind of packet, upper case from the originator. */
function strayKind(history: string): ProbeKind {
  if (history.startsWith('F')) return 'fin';
  return 'ack';
}

function outcomeOf(state: string, history: string): Exclude<SessionOutcome, 'open'> {
  switch (state) {
    case 'SF': {
      const [ours, theirs] = [history.indexOf('f'), history.indexOf('F')];
      if (ours < 0 && theirs < 0) return 'unknown';
      return theirs >= 0 && (ours < 0 || theirs < ours) ? 'client-closed' : 'server-closed';
    }
    case 'RSTO':
      return 'client-reset';
    case 'RSTR':
    case 'S3':
      return 'server-closed';
    case 'S2':
      return 'client-closed';
    case 'S1':
      return 'idle';
    default:
      return 'unknown';
  }
}

const names: Readonly<Record<string, string>> = {
  ssl: 'tls',
  pgsql: 'postgres',
  postgresql: 'postgres',
  rfb: 'vnc',
  krb: 'kerberos',
  gssapi: 'kerberos',
};

function ourName(services: readonly string[]): string {
  const [service] = services.length > 1 ? services.filter((name) => name !== 'ssl') : services;
  return Object.hasOwn(names, service) ? names[service] : service;
}

function detect({ lines, objects }: Sample): number {
  if (lines.some((line) => /^#path\s+conn$/.test(line.trimEnd()))) return 0.99;
  if (lines.some((line) => line.startsWith('#fields') && line.includes('id.orig_h') && line.includes('conn_state'))) return 0.97;
  if (lines.some((line) => defaultFields(line.split('\t', maxFields + 1)) !== undefined)) return 0.95;
  const named = (object: JsonObject): boolean => 'id.orig_h' in object || 'orig_h' in (objectOf(object, 'id') ?? {});
  return objects.some((object) => 'conn_state' in object && named(object)) ? 0.97 : 0;
}

export const zeekFormat: ImportFormat = {
  name: 'zeek',
  title: 'Zeek, conn.log (columns or JSON)',
  reads: 'lines',
  detect,
  open: (context) => new ZeekParser(context),
};
