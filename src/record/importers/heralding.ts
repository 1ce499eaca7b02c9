// Heralding's log_session.json: one line for each session of its protocols, with every attempt to log in; none is let in. Its
// log_session.csv has the same sessions without the attempts.
// Source: Heralding's file reporters; times are UTC without saying so, durations whole seconds.

import type { ImportContext, ImportFormat, LineOutcome, LineParser, Place } from './importer.ts';
import { Rejection, rejected } from './importer.ts';
import {
  isObject,
  type JsonObject,
  listOf,
  member,
  numberOf,
  objectOf,
  parseJsonLine,
  parseLogTime,
  portOf,
  textOf,
} from './json-line.ts';
import { SessionDraft } from './session-draft.ts';
import { SessionTable } from './session-table.ts';

/** Those it has over TLS, and those we call otherwise. */
const protocols: Readonly<Record<string, readonly [name: string, tls: boolean]>> = {
  imaps: ['imap', true],
  pop3s: ['pop3', true],
  smtps: ['smtp', true],
  https: ['http', true],
  ftps: ['ftp', true],
  postgresql: ['postgres', false],
};

const maxDurationSeconds = 86_400;

/** Its columns; the number of attempts, behind them, is not read. */
const csvStart = 'timestamp,duration,session_id,source_ip,source_port,destination_ip,destination_port,protocol';
const csvNames = csvStart.split(',');

/** A row of log_session.csv as the line of log_session.json without its attempts. None of the columns ever needs quotes. */
function parseRow(line: string): JsonObject | Rejection {
  const values = line.split(',', 32);
  if (values.length < csvNames.length) return rejected('neither JSON nor a row of log_session.csv');
  return Object.fromEntries([...csvNames.entries()].map(([index, name]) => [name, values[index]]));
}

class HeraldingParser implements LineParser {
  readonly #context: ImportContext;
  readonly #sessions: SessionTable;

  constructor(context: ImportContext) {
    this.#context = context;
    this.#sessions = new SessionTable(context);
  }

  take(line: string, place: Place): LineOutcome {
    const text = line.trimStart();
    if (text.startsWith(csvStart)) return 'merged';
    const object = text.startsWith('{') ? parseJsonLine(text) : parseRow(text);
    if (object instanceof Rejection) return object;
    const id = textOf(object, 'session_id');
    if (!id || id.length > 64) return rejected('no session identifier');
    const at = parseLogTime(textOf(object, 'timestamp') ?? '', 0);
    if (Number.isNaN(at)) return rejected('no timestamp');
    const ip = textOf(object, 'source_ip');
    const port = portOf(object, 'source_port');
    const destination = { ip: textOf(object, 'destination_ip') ?? '0.0.0.0', port: portOf(object, 'destination_port') ?? 0 };
    if (!ip || port === undefined) return rejected('no source address');
    const over = member(object, 'session_ended') !== false;
    const known = this.#sessions.get(id);
    // A later line of a session tells all of it again.
    const draft = new SessionDraft(known?.place ?? place, id, known?.start ?? at, { ip, port }, destination);
    fill(draft, at, object);
    if (known) this.#sessions.replace(id, draft, at);
    else if (over) this.#context.session(draft.done(this.#context));
    else this.#sessions.add(id, draft, at);
    if (known && over) this.#sessions.close(id);
    return known ? 'merged' : 'session';
  }

  end(): void {
    this.#sessions.end();
  }
}

function fill(draft: SessionDraft, at: number, object: JsonObject): void {
  const seconds = numberOf(object, 'duration') ?? 0;
  draft.end = draft.start + (seconds >= 0 && seconds < maxDurationSeconds ? Math.round(seconds * 1e6) : 0);
  draft.touch(at);
  const named = (textOf(object, 'protocol') ?? '').toLowerCase().slice(0, 32);
  const [protocol, tls] = Object.hasOwn(protocols, named) ? protocols[named] : [named, false];
  if (protocol !== '') draft.protocol = protocol;
  if (tls) draft.tag('tls');
  for (const attempt of listOf(object, 'auth_attempts'))
    if (isObject(attempt)) draft.credential(textOf(attempt, 'username'), textOf(attempt, 'password'), false);
  const more = objectOf(object, 'auxiliary_data') ?? {};
  draft.fact('client', textOf(more, 'client_version') ?? textOf(more, 'client_name'));
  draft.fact('hassh', textOf(more, 'hassh'));
}

export const heraldingFormat: ImportFormat = {
  name: 'heralding',
  title: 'Heralding, log_session.json or log_session.csv',
  reads: 'lines',
  detect: ({ lines, objects }) => {
    const mine = objects.some((object) => 'num_auth_attempts' in object || 'auth_attempts' in object);
    return mine || lines[0]?.startsWith(csvStart) ? 0.97 : 0;
  },
  open: (context) => new HeraldingParser(context),
};
