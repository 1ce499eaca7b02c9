// honeytrap, the C honeypot that listens on demand, as its JSON log has it (T-Pot): one line for each connection, with what the
// client sent in hexadecimal. Rows marked virtual (1970, no addresses) are its own book-keeping, not traffic.
// Source: honeytrap's log modules; times are whole seconds.

import type { ImportContext, ImportFormat, LineOutcome, LineParser, Place } from './importer.ts';
import { Rejection, rejected } from './importer.ts';
import {
  isObject,
  type JsonObject,
  member,
  numberOf,
  objectOf,
  parseJsonLine,
  parseLogTime,
  portOf,
  textOf,
} from './json-line.ts';
import { Occurrences } from './occurrences.ts';
import { SessionDraft } from './session-draft.ts';

/** The bytes, or undefined when they are not such digits. */
export function parseHex(text: string): Buffer | undefined {
  if (text.length % 2 !== 0) return undefined;
  const bytes = Buffer.from(text, 'hex');
  return bytes.length === text.length / 2 ? bytes : undefined;
}

class HoneytrapParser implements LineParser {
  readonly #context: ImportContext;
  readonly #occurrences = new Occurrences();

  constructor(context: ImportContext) {
    this.#context = context;
  }

  take(text: string, place: Place): LineOutcome {
    const object = parseJsonLine(text);
    if (object instanceof Rejection) return object;
    const attack = objectOf(object, 'attack_connection');
    if (!attack) return rejected('no attack_connection');
    if (member(object, 'is_virtual') === true) return 'merged';
    const protocol = textOf(attack, 'protocol');
    if (protocol !== 'tcp' && protocol !== 'udp') return rejected('neither TCP nor UDP');
    const at = this.#time(textOf(object, 'start_time') ?? textOf(object, '@timestamp'), place);
    if (Number.isNaN(at)) return rejected('no start time');
    const source = endpoint(attack, 'remote') ?? endpoint(object, 'src');
    const destination = endpoint(attack, 'local') ?? endpoint(object, 'dest');
    if (!source) return rejected('no source address');
    if (!destination) return rejected('no destination address');
    const payload = objectOf(attack, 'payload');
    const input = parseHex((payload && textOf(payload, 'data_hex')) ?? '');
    if (!input) return rejected('payload is not hexadecimal');
    const proxy = objectOf(object, 'proxy_connection');
    const answer = proxy && parseHex(textOf(objectOf(proxy, 'payload') ?? {}, 'data_hex') ?? '');

    const hash = (payload && textOf(payload, 'md5_hash')) ?? '';
    const flow = `${protocol}/${source.ip}:${source.port}>${destination.ip}:${destination.port}`;
    const one = `${flow}/${at}/${hash.slice(0, 32)}`;
    const count = this.#occurrences.count(place.file, one);
    const draft = new SessionDraft(place, count === 0 ? `${flow}/${hash}` : `${flow}/${hash}#${count}`, at, source, destination);
    draft.transport = protocol;
    const end = this.#time(textOf(object, 'end_time'), place);
    if (!Number.isNaN(end)) draft.touch(Math.max(at, end));
    draft.end ??= at;
    draft.chunk('in', at, input);
    if (answer) draft.chunk('out', draft.end, answer);
    const length = (payload && numberOf(payload, 'length')) ?? input.length;
    if (Number.isSafeInteger(length) && length > input.length) {
      draft.bytesIn = length;
      draft.truncated = true;
    }
    if ((numberOf(object, 'download_tries') ?? 0) > 0) draft.tag('download');
    addDownloads(draft, member(object, 'downloads'));
    this.#context.session(draft.done(this.#context));
    return 'session';
  }

  end(): void {}

  /** Old ones end in the name of the sensor's zone (`2016-05-28 08:02:43 CEST`), which says less than an offset does. */
  #time(text = '', { file }: Place): number {
    if (text.endsWith('Z')) return parseLogTime(text, 0);
    const local = / (?!UTC|GMT)[A-Z]{2,5}$/.exec(text);
    if (local) this.#context.note(file, 'times name a zone, which says less than an offset does: they are read as --zone says');
    return parseLogTime(local ? text.slice(0, local.index) : text.replace(/GMT$/, 'UTC'), this.#context.zoneMinutes);
  }
}

/** `src` and `dest`: beside the connection, where T-Pot's forwarder puts them. */
function endpoint(connection: JsonObject, side: 'remote' | 'local' | 'src' | 'dest'): { ip: string; port: number } | undefined {
  const ip = textOf(connection, `${side}_ip`);
  const port = portOf(connection, `${side}_port`);
  return ip && port !== undefined ? { ip, port } : undefined;
}

/** What it says of files it fetched, whatever their shape: hashes and locations by their names. */
function addDownloads(draft: SessionDraft, downloads: unknown): void {
  const items = Array.isArray(downloads) ? downloads : isObject(downloads) ? Object.values(downloads) : [];
  for (const item of items.slice(0, 16)) {
    if (!isObject(item)) continue;
    for (const name of ['url', 'uri']) draft.fact('url', textOf(item, name));
    for (const name of ['md5_hash', 'sha512_hash', 'sha256_hash'])
      draft.fact('hash', textOf(item, name) ?? textOf(objectOf(item, 'payload') ?? {}, name));
    draft.fact('file', textOf(item, 'filename'));
  }
}

export const honeytrapFormat: ImportFormat = {
  name: 'honeytrap',
  title: 'honeytrap (C, as in T-Pot), JSON log',
  reads: 'lines',
  detect: ({ objects }) => (objects.some((object) => objectOf(object, 'attack_connection')) ? 0.98 : 0),
  open: (context) => new HoneytrapParser(context),
};
