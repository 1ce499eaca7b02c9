// Cowrie's JSON log, of any year, and its text log: many lines tell of one SSH or Telnet session. Commands and what clients send
// become its bytes, every attempt to log in is kept, downloads and fingerprints become facts; nothing is fetched.
// Source: docs.cowrie.org, "Output Event Code Reference"; before 2019 the key exchange is part of `client.version`.

import { createHash } from 'node:crypto';
import type { Micros } from '../../base/clock.ts';
import type { Endpoint } from '../../model/session.ts';
import { CowrieText, cowrieLine, isCowrieText } from './cowrie-text.ts';
import type { ImportContext, ImportFormat, LineOutcome, LineParser, Place } from './importer.ts';
import { Rejection, rejected } from './importer.ts';
import { type JsonObject, listOf, numberOf, parseJsonLine, parseLogTime, portOf, textOf } from './json-line.ts';
import { parsePythonBytes, parsePythonText } from './python-text.ts';
import { SessionDraft } from './session-draft.ts';
import { SessionTable } from './session-table.ts';
import { ToldSessions } from './told-sessions.ts';

/** Event families that tell of a session; the others are what the sensor asked other services about it. */
const ofSessions = /^cowrie\.(?:session|login|command|client|direct-tcpip|log|telnet)\./;
const maxSensors = 1000;
/** A download goes on when its client is gone. */
const lingerMicros: Micros = 3600e6;
const maxDurationMs = 31 * 86_400_000;

/** What the first logs, of 2015, have numbers for. */
const numbered: Readonly<Record<string, string>> = {
  '0001': 'cowrie.session.connect',
  '0002': 'cowrie.login.success',
  '0003': 'cowrie.login.failed',
  '0005': 'cowrie.command.input',
  '0006': 'cowrie.command.input',
  '0007': 'cowrie.session.file_download',
  '0008': 'cowrie.session.input',
  '0009': 'cowrie.client.version',
  '0011': 'cowrie.session.closed',
};

/** Undefined for what is no event of Cowrie's. */
function eventName(object: JsonObject): string | undefined {
  const event = textOf(object, 'eventid') ?? '';
  if (event.startsWith('cowrie.')) return event;
  const number = /^(?:COW|KIPP)(\d{4})$/.exec(event)?.[1];
  return number === undefined ? undefined : (numbered[number] ?? 'cowrie.log.other');
}

interface Line {
  readonly event: string;
  readonly at: Micros;
  readonly object: JsonObject;
}

/** How long a session had lasted when it was closed: `duration` in seconds, also as text; `duration_ms` in newer logs. */
function lasted(object: JsonObject): Micros {
  const milliseconds = numberOf(object, 'duration_ms') ?? (numberOf(object, 'duration') ?? 0) * 1000;
  return milliseconds > 0 && milliseconds < maxDurationMs ? Math.round(milliseconds * 1000) : 0;
}

/** Named otherwise by who forwards the log (T-Pot). */
const destinationIp = (object: JsonObject): string | undefined =>
  textOf(object, 'dst_ip') || textOf(object, 'dest_ip') || undefined;
const destinationPort = (object: JsonObject): number => portOf(object, 'dst_port') ?? portOf(object, 'dest_port') ?? 0;

class CowrieDraft extends SessionDraft {
  /** Time of the first line that told of it. */
  readonly firstAt: Micros = this.start;
  /** Lines up to here told already what they tell: a copy of the log is being read. */
  copiedUntil: Micros = Number.NEGATIVE_INFINITY;

  /** A line that can only be the first that told of it, again. */
  beginsAgain(event: string, at: Micros): boolean {
    if (event === 'cowrie.session.connect') return !this.headless;
    return this.headless && at <= this.firstAt && (this.end ?? this.start) > this.firstAt;
  }
}

class CowrieParser implements LineParser {
  readonly #context: ImportContext;
  readonly #sessions: SessionTable<CowrieDraft>;
  /** Where each sensor's latest connection went to: sessions without their beginning went there too. */
  readonly #addresses = new Map<string, string>();
  readonly #text: CowrieText;
  /** Sessions of the JSON log, which tells more than the text log. */
  readonly #told = new ToldSessions();
  /** Sessions whose end was read. One that had to make room may go on, and is not among them. */
  readonly #over = new ToldSessions();

  constructor(context: ImportContext) {
    this.#context = context;
    this.#sessions = new SessionTable(context, { lingerMicros });
    this.#text = new CowrieText(context.zoneMinutes);
  }

  take(text: string, place: Place): LineOutcome {
    const line = cowrieLine(text);
    const read = line.startsWith('{') ? undefined : this.#text.read(line);
    if (read === 'nothing') return 'merged';
    if (read) return this.#told.has(String(read.session)) ? 'merged' : this.#event(read, place);
    const object = parseJsonLine(text);
    if (object instanceof Rejection) return object;
    const outcome = this.#event(object, place);
    if (outcome === 'session') this.#told.add(textOf(object, 'session') ?? '');
    return outcome;
  }

  #event(object: JsonObject, place: Place): LineOutcome {
    const event = eventName(object);
    if (event === undefined) return rejected('no cowrie event');
    if (!ofSessions.test(event)) return 'merged';
    const id = textOf(object, 'session');
    if (!id || id.length > 64) return rejected('no session identifier');
    const at = parseLogTime(textOf(object, 'timestamp') ?? '', this.#context.zoneMinutes);
    if (Number.isNaN(at)) return rejected('no timestamp');
    const sensor = (textOf(object, 'sensor') ?? '').slice(0, 128);
    const key = `${sensor}/${id}`;
    const line = { event, at, object };
    const known = this.#sessions.get(key);
    if (known && !this.#isAnother(known, line)) {
      if (known.beginsAgain(event, at)) known.copiedUntil = known.end ?? known.start;
      if (at > known.copiedUntil) this.#add(known, line);
      known.touch(at);
      this.#sessions.grew(key, at);
      if (event === 'cowrie.session.closed') this.#end(key, id, at);
      return 'merged';
    }
    // Of a session that is over: a very late line, or one of a file that was given twice.
    if (!known && event !== 'cowrie.session.connect' && this.#over.has(id)) return 'merged';
    const source = textOf(object, 'src_ip');
    if (!source) return rejected('no source address');
    if (known) this.#sessions.close(key);
    const draft = this.#begin(line, place, key, sensor, source);
    this.#add(draft, line);
    draft.touch(at);
    this.#sessions.add(key, draft, at);
    if (event === 'cowrie.session.closed') this.#end(key, id, at);
    return 'session';
  }

  #end(key: string, id: string, at: Micros): void {
    this.#sessions.ended(key, at);
    this.#over.add(id);
  }

  end(): void {
    this.#sessions.end();
  }

  /** A connection under an identifier that a former one had; or the same again, of which the former told all. */
  #isAnother(known: CowrieDraft, { event, at, object }: Line): boolean {
    if (event !== 'cowrie.session.connect' || known.headless) return false;
    return this.#sessions.hasEnded(known.key) || at !== known.start || (portOf(object, 'src_port') ?? 0) !== known.source.port;
  }

  #begin({ event, at, object }: Line, place: Place, key: string, sensor: string, ip: string): CowrieDraft {
    const connect = event === 'cowrie.session.connect';
    const address = destinationIp(object);
    if (connect && address) {
      if (this.#addresses.size >= maxSensors) this.#addresses.clear();
      this.#addresses.set(sensor, address);
    }
    const source: Endpoint = { ip, port: (connect ? portOf(object, 'src_port') : undefined) ?? 0 };
    const destination: Endpoint = connect
      ? { ip: address ?? '0.0.0.0', port: destinationPort(object) }
      : { ip: this.#addresses.get(sensor) ?? '0.0.0.0', port: 0 };
    const draft = new CowrieDraft(place, key, at, source, destination);
    draft.headless = !connect;
    if (sensor) draft.agent = sensor;
    return draft;
  }

  #add(draft: SessionDraft, { event, at, object }: Line): void {
    switch (event) {
      case 'cowrie.session.connect': {
        // The line may come behind others of its session.
        draft.headless = false;
        draft.start = Math.min(draft.start, at);
        const protocol = textOf(object, 'protocol');
        if (protocol) draft.protocol = protocol;
        if (draft.source.port !== 0) break;
        draft.source = { ip: draft.source.ip, port: portOf(object, 'src_port') ?? 0 };
        draft.destination = { ip: destinationIp(object) ?? draft.destination.ip, port: destinationPort(object) };
        break;
      }
      case 'cowrie.session.closed':
        if (draft.headless) draft.start = Math.min(draft.start, at - lasted(object));
        break;
      case 'cowrie.client.version':
        this.#version(draft, at, object);
        break;
      case 'cowrie.client.kex':
        draft.protocol ??= 'ssh';
        draft.fact('hassh', textOf(object, 'hassh'));
        break;
      case 'cowrie.client.fingerprint':
        draft.credential(textOf(object, 'username'), undefined);
        draft.fact('hash', textOf(object, 'fingerprint'));
        draft.tag('public-key');
        break;
      case 'cowrie.login.success':
      case 'cowrie.login.failed':
        draft.credential(textOf(object, 'username'), textOf(object, 'password'), event === 'cowrie.login.success');
        break;
      case 'cowrie.command.input':
      case 'cowrie.session.input':
        draft.chunk('in', at, `${textOf(object, 'input') ?? ''}\n`);
        break;
      case 'cowrie.session.file_download':
      case 'cowrie.session.file_download.failed':
      case 'cowrie.session.file_upload':
        draft.fact('url', textOf(object, 'url'));
        draft.fact('hash', textOf(object, 'shasum'));
        draft.fact('file', textOf(object, 'filename') ?? textOf(object, 'destfile'));
        draft.tag(event === 'cowrie.session.file_upload' ? 'upload' : 'download');
        break;
      case 'cowrie.direct-tcpip.request': {
        const target = textOf(object, 'dst_ip');
        if (target) draft.fact(/^[\d.]+$|:/.test(target) ? 'address' : 'domain', target);
        draft.tag('direct-tcpip');
        break;
      }
      case 'cowrie.direct-tcpip.data':
        draft.chunk('in', at, parsePythonBytes(textOf(object, 'data') ?? ''));
        break;
      case 'cowrie.direct-tcpip.ja4':
        draft.fact('ja4', textOf(object, 'ja4'));
        break;
    }
  }

  #version(draft: SessionDraft, at: Micros, object: JsonObject): void {
    draft.protocol ??= 'ssh';
    const version = parsePythonText(textOf(object, 'version') ?? '');
    draft.fact('client', version);
    if (version) draft.chunk('in', at, `${version}\r\n`);
    const algorithms = ['kexAlgs', 'encCS', 'macCS', 'compCS'].map((name) =>
      listOf(object, name)
        .filter((item) => typeof item === 'string')
        .join(','),
    );
    if (algorithms[0] !== '') draft.fact('hassh', createHash('md5').update(algorithms.join(';')).digest('hex'));
  }
}

export const cowrieFormat: ImportFormat = {
  name: 'cowrie',
  title: "Cowrie, JSON log (SSH and Telnet), old and new; its text log and Kippo's",
  reads: 'lines',
  detect: ({ lines, objects }) =>
    lines.some(isCowrieText) || objects.some((object) => eventName(object) !== undefined) ? 0.99 : 0,
  readRank: ({ lines }) => (lines.some(isCowrieText) ? 1 : 0),
  open: (context) => new CowrieParser(context),
};
