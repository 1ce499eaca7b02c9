// ADBHoney's JSON log: a connection to Android's debug port, the shell commands it ran and the files it sent.
// Source: ADBHoney's own output (`adbhoney.session.*`, `adbhoney.command.input`); older ones write `dst_ip` for `dest_ip`.

import type { Endpoint } from '../../model/session.ts';
import type { ImportContext, ImportFormat, LineOutcome, LineParser, Place } from './importer.ts';
import { Rejection, rejected } from './importer.ts';
import { type JsonObject, numberOf, parseJsonLine, parseLogTime, portOf, textOf } from './json-line.ts';
import { SessionDraft } from './session-draft.ts';
import { SessionTable } from './session-table.ts';

const defaultPort = 5555;
/** Its limit is an hour. */
const maxDurationSeconds = 86_400;

class AdbHoneyParser implements LineParser {
  readonly #sessions: SessionTable;

  constructor(context: ImportContext) {
    this.#sessions = new SessionTable(context);
  }

  take(text: string, place: Place): LineOutcome {
    const object = parseJsonLine(text);
    if (object instanceof Rejection) return object;
    const event = textOf(object, 'eventid');
    if (!event?.startsWith('adbhoney.')) return rejected('no adbhoney event');
    const id = textOf(object, 'session');
    if (!id || id.length > 64) return rejected('no session identifier');
    const seconds = numberOf(object, 'unixtime');
    const told = parseLogTime(textOf(object, 'timestamp') ?? '', 0);
    const at = Number.isNaN(told) && seconds !== undefined && seconds > 0 ? Math.round(seconds * 1e6) : told;
    if (Number.isNaN(at)) return rejected('no timestamp');
    const key = `${(textOf(object, 'sensor') ?? '').slice(0, 128)}/${id}`;
    const closed = event === 'adbhoney.session.closed';
    const connect = event === 'adbhoney.session.connect';
    const known = this.#sessions.get(key);
    const port = portOf(object, 'src_port') ?? 0;
    if (known && !(connect && known.source.port !== 0 && (known.start !== at || known.source.port !== port))) {
      add(known, event, at, object);
      known.touch(at);
      this.#sessions.grew(key, at);
      if (closed) this.#sessions.ended(key, at);
      return 'merged';
    }
    const ip = textOf(object, 'src_ip');
    if (!ip) return rejected('no source address');
    if (known) this.#sessions.close(key);
    const destination: Endpoint = {
      ip: textOf(object, 'dest_ip') || textOf(object, 'dst_ip') || '0.0.0.0',
      port: portOf(object, 'dest_port') ?? portOf(object, 'dst_port') ?? defaultPort,
    };
    const draft = new SessionDraft(place, key, at, { ip, port }, destination);
    draft.headless = !connect;
    draft.protocol = 'adb';
    const sensor = textOf(object, 'sensor');
    if (sensor) draft.agent = sensor;
    add(draft, event, at, object);
    draft.touch(at);
    this.#sessions.add(key, draft, at);
    if (closed) this.#sessions.ended(key, at);
    return 'session';
  }

  end(): void {
    this.#sessions.end();
  }
}

function add(draft: SessionDraft, event: string, at: number, object: JsonObject): void {
  if (event === 'adbhoney.command.input') draft.chunk('in', at, `${textOf(object, 'input') ?? ''}\n`);
  else if (event === 'adbhoney.session.file_upload') {
    draft.fact('hash', textOf(object, 'shasum'));
    draft.fact('file', textOf(object, 'filename'));
    draft.tag('upload');
  } else if (event === 'adbhoney.session.closed' && draft.headless) {
    const seconds = numberOf(object, 'duration') ?? 0;
    if (seconds > 0 && seconds < maxDurationSeconds) draft.start = Math.min(draft.start, at - Math.round(seconds * 1e6));
  }
}

export const adbhoneyFormat: ImportFormat = {
  name: 'adbhoney',
  title: 'ADBHoney, JSON log (Android debug bridge)',
  reads: 'lines',
  detect: ({ objects }) => (objects.some((object) => textOf(object, 'eventid')?.startsWith('adbhoney.')) ? 0.99 : 0),
  open: (context) => new AdbHoneyParser(context),
};
