// Heralding's logs: log_session.json has a line for each session of its protocols, with every attempt to log in (none is let in),
// log_session.csv the same without the attempts, log_auth.csv the attempts alone: there a session is what tells of its attempts.
// Source: Heralding's file reporters; times are UTC without saying so, durations whole seconds.

import type { Micros } from '../../base/clock.ts';
import { HeraldingRows, isHeraldingAuth, isHeraldingCsv } from './heralding-csv.ts';
import type { ImportContext, ImportedFile, ImportFormat, LineOutcome, LineParser, Place } from './importer.ts';
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
import { ToldSessions } from './told-sessions.ts';

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

/** Named otherwise by who forwards the log (T-Pot). */
const first = (object: JsonObject, ...names: readonly string[]): string | undefined => {
  for (const name of names) {
    const text = textOf(object, name);
    if (text !== undefined) return text;
  }
  return undefined;
};

interface Line {
  readonly at: Micros;
  readonly object: JsonObject;
}

class HeraldingParser implements LineParser {
  readonly #context: ImportContext;
  readonly #sessions: SessionTable;
  readonly #rows = new HeraldingRows();
  /** Sessions of which a line told every attempt. */
  readonly #told = new ToldSessions();
  /** Sessions that began with an attempt: they start there, whatever else tells of them. */
  readonly #tried = new ToldSessions();

  constructor(context: ImportContext) {
    this.#context = context;
    this.#sessions = new SessionTable(context);
  }

  begin(file: ImportedFile): void {
    this.#rows.begin(file);
  }

  take(text: string, place: Place): LineOutcome {
    const line = text.trimStart();
    const row = line.startsWith('{') ? undefined : this.#rows.read(line, place.file);
    const object = row ?? parseJsonLine(line);
    if (object instanceof Rejection)
      return line.startsWith('{') ? object : rejected('neither JSON nor a row of log_session.csv or log_auth.csv');
    if (object === 'header' || object === 'continued') return 'merged';
    const id = textOf(object, 'session_id');
    if (!id || id.length > 64) return rejected('no session identifier');
    const at = parseLogTime(first(object, 'timestamp', '@timestamp') ?? '', 0);
    if (Number.isNaN(at)) return rejected('no timestamp');
    const ip = first(object, 'source_ip', 'src_ip');
    const port = portOf(object, 'source_port') ?? portOf(object, 'src_port');
    if (!ip || port === undefined) return rejected('no source address');
    const draft = new SessionDraft(place, id, at, { ip, port }, destinationOf(object));
    return 'auth_id' in object ? this.#attempt(draft, { at, object }) : this.#session(draft, { at, object });
  }

  end(): void {
    this.#sessions.end();
  }

  /** A later line of a session tells all of it again; without attempts, all but those. */
  #session({ place, key, source, destination }: SessionDraft, { at, object }: Line): LineOutcome {
    const over = member(object, 'session_ended') !== false;
    const whole = 'auth_attempts' in object;
    const known = this.#sessions.get(key);
    if (!known && !whole && this.#tried.has(key)) return 'merged';
    if (whole && over && !this.#context.alone) this.#told.add(key);
    if (known && !whole) {
      known.touch(at + durationOf(object));
      name(known, object);
      this.#sessions.grew(key, at);
      if (over) this.#sessions.close(key);
      return 'merged';
    }
    const draft = new SessionDraft(known?.place ?? place, key, known?.start ?? at, source, destination);
    fill(draft, at, object);
    if (known) this.#sessions.replace(key, draft, at);
    else if (over) this.#context.session(draft.done(this.#context));
    else this.#sessions.add(key, draft, at);
    if (known && over) this.#sessions.close(key);
    return known ? 'merged' : 'session';
  }

  /** One attempt to log in. */
  #attempt(draft: SessionDraft, { at, object }: Line): LineOutcome {
    if (this.#told.has(draft.key)) return 'merged';
    const known = this.#sessions.get(draft.key, at);
    const session = known ?? draft;
    name(session, object);
    session.touch(at);
    // Only who tried nothing at all has neither.
    session.credential(textOf(object, 'username') ?? '', textOf(object, 'password') ?? '', false);
    if (known) {
      this.#sessions.grew(draft.key, at);
      return 'merged';
    }
    this.#sessions.add(draft.key, draft, at);
    if (!this.#context.alone) this.#tried.add(draft.key);
    return 'session';
  }
}

const destinationOf = (object: JsonObject): { ip: string; port: number } => ({
  ip: first(object, 'destination_ip', 'dest_ip') || '0.0.0.0',
  port: portOf(object, 'destination_port') ?? portOf(object, 'dest_port') ?? 0,
});

function durationOf(object: JsonObject): Micros {
  const seconds = numberOf(object, 'duration') ?? 0;
  return seconds >= 0 && seconds < maxDurationSeconds ? Math.round(seconds * 1e6) : 0;
}

function fill(draft: SessionDraft, at: number, object: JsonObject): void {
  draft.end = draft.start + durationOf(object);
  draft.touch(at);
  name(draft, object);
  for (const attempt of listOf(object, 'auth_attempts'))
    if (isObject(attempt)) draft.credential(textOf(attempt, 'username'), textOf(attempt, 'password'), false);
  const more = objectOf(object, 'auxiliary_data') ?? {};
  draft.fact('client', textOf(more, 'client_version') ?? textOf(more, 'client_name'));
  draft.fact('hassh', textOf(more, 'hassh'));
}

/** What it spoke. */
function name(draft: SessionDraft, object: JsonObject): void {
  const named = (first(object, 'protocol', 'proto') ?? '').toLowerCase().slice(0, 32);
  const [protocol, tls] = Object.hasOwn(protocols, named) ? protocols[named] : [named, false];
  if (protocol !== '') draft.protocol = protocol;
  if (tls) draft.tag('tls');
}

export const heraldingFormat: ImportFormat = {
  name: 'heralding',
  title: 'Heralding, log_session.json, log_session.csv or log_auth.csv',
  reads: 'lines',
  detect: ({ lines, objects }) => {
    const mine = objects.some(
      (object) => 'num_auth_attempts' in object || 'auth_attempts' in object || ('auth_id' in object && 'session_id' in object),
    );
    return mine || lines.some(isHeraldingCsv) ? 0.97 : 0;
  },
  readRank: ({ lines, objects }) => {
    if (objects.some((object) => 'auth_attempts' in object)) return 0;
    return lines.some(isHeraldingAuth) || objects.some((object) => 'auth_id' in object) ? 1 : 2;
  },
  open: (context) => new HeraldingParser(context),
};
