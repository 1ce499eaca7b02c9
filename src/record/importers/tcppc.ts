// tcppc-go: one JSON line for each session, written when it ended; what the client sent, in base64. Older versions write no
// `proto`; behind a REDIRECT the destination is the sensor's own port. See docs of tcppc-go, "Session data format".

import type { Micros } from '../../base/clock.ts';
import type { Chunk } from '../../model/session.ts';
import {
  type ImportContext,
  type ImportFormat,
  type LineOutcome,
  type LineParser,
  type Place,
  Rejection,
  rejected,
} from './importer.ts';
import {
  isObject,
  type JsonObject,
  listOf,
  numberOf,
  objectOf,
  parseJsonLine,
  parseLogTime,
  portOf,
  textOf,
} from './json-line.ts';

/** How many payloads one session may have here; beyond it is cut. */
const maxPayloads = 50_000;

class TcppcParser implements LineParser {
  readonly #context: ImportContext;

  constructor(context: ImportContext) {
    this.#context = context;
  }

  take(line: string, place: Place): LineOutcome {
    const object = parseJsonLine(line);
    if (object instanceof Rejection) return object;
    const flow = objectOf(object, 'flow');
    if (!flow) return rejected('no flow');
    const start = this.#time(object);
    if (Number.isNaN(start)) return rejected('no valid timestamp');
    const proto = (textOf(flow, 'proto') ?? 'tcp').toLowerCase();
    if (proto !== 'tcp' && proto !== 'udp' && proto !== 'tls') return rejected('its protocol is none of tcp, tls, udp');
    const [src, sport, dst, dport] = [textOf(flow, 'src'), portOf(flow, 'sport'), textOf(flow, 'dst'), portOf(flow, 'dport')];
    if (src === undefined || sport === undefined) return rejected('no source');
    if (dst === undefined || dport === undefined) return rejected('no destination');
    const chunks = this.#chunks(listOf(object, 'payloads'), start);
    if (chunks instanceof Rejection) return chunks;
    const transport = proto === 'udp' ? 'udp' : 'tcp';
    const first = chunks.find(({ bytes }) => bytes.length > 0);
    const spoken = first && this.#context.protocolOf(first.bytes, dport, transport);
    const protocol = spoken ?? (proto === 'tls' ? 'tls' : undefined);
    this.#context.session({
      place,
      key: `${proto} ${src} ${sport} ${dst} ${dport}`,
      start,
      end: chunks.reduce((last, { at }) => Math.max(last, at), start),
      transport,
      source: { ip: src, port: sport },
      destination: { ip: dst, port: dport },
      outcome: 'unknown',
      chunks,
      redirected: true,
      ...(protocol !== undefined && { protocol }),
      ...(proto === 'tls' && { tags: ['tls'] }),
    });
    return 'session';
  }

  end(): void {}

  #time(object: JsonObject): Micros {
    return parseLogTime(textOf(object, 'timestamp') ?? '', this.#context.zoneMinutes);
  }

  /** In the order of their index, which is the order they came in. */
  #chunks(payloads: readonly unknown[], start: Micros): Chunk[] | Rejection {
    const indexed: { index: number; chunk: Chunk }[] = [];
    for (const [position, payload] of payloads.slice(0, maxPayloads).entries()) {
      if (!isObject(payload)) return rejected('a payload is no object');
      const data = textOf(payload, 'data');
      const bytes = data === undefined ? undefined : decodeBase64(data);
      if (!bytes) return rejected('a payload is not base64');
      const at = this.#time(payload);
      const chunk: Chunk = { at: Number.isNaN(at) ? start : Math.max(start, at), direction: 'in', bytes };
      indexed.push({ index: numberOf(payload, 'index') ?? position, chunk });
    }
    return indexed.sort((a, b) => a.index - b.index).map(({ chunk }) => chunk);
  }
}

/** Undefined for what is not base64: the decoder itself passes over what it does not know. */
function decodeBase64(text: string): Uint8Array | undefined {
  const padding = text.endsWith('==') ? 2 : text.endsWith('=') ? 1 : 0;
  const bytes = Buffer.from(text, 'base64');
  return text.length % 4 === 0 && bytes.length === (text.length / 4) * 3 - padding ? bytes : undefined;
}

export const tcppcFormat: ImportFormat = {
  name: 'tcppc',
  title: 'tcppc-go: JSON lines, one for each session, with payloads',
  reads: 'lines',
  joins: 'sessions',
  detect({ objects }) {
    const own = objects.filter((object) => {
      const flow = objectOf(object, 'flow');
      return (
        flow && portOf(flow, 'sport') !== undefined && portOf(flow, 'dport') !== undefined && Object.hasOwn(object, 'payloads')
      );
    });
    return own.length === 0 ? 0 : own.length * 2 >= objects.length ? 0.95 : 0.5;
  },
  open: (context) => new TcppcParser(context),
};
