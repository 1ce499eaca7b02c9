// honeytrap, the honeypot framework in Go, as its file and stream channels write it: an event a line, flat keys with dashes and
// dots. Events of one connection are put together by its own session identifier, else by the flow.
// Source: honeytrap's event package and services (`source-ip`, `category`, `ssh.sessionid`, `payload-hex`).

import type { Micros } from '../../base/clock.ts';
import type { ProbeTarget } from '../../model/event.ts';
import { parseHex } from './honeytrap.ts';
import type { ImportContext, ImportFormat, LineOutcome, LineParser, Place } from './importer.ts';
import { Rejection, rejected } from './importer.ts';
import { type JsonObject, listOf, numberOf, parseJsonLine, parseLogTime, portOf, textOf } from './json-line.ts';
import { SessionDraft } from './session-draft.ts';
import { SessionTable } from './session-table.ts';

/** Categories that are not protocols. */
const noProtocols = new Set(['heartbeat', 'other', 'canary', 'connection', 'portscan', 'echo', 'system', 'container']);
const datagramServices = /^(?:dns|ntp|snmp|tftp|ssdp|sip|netbios|memcached-udp|udp)$/;
const flowIdleMicros = 300e6;
const maxPortsListed = 4096;

interface Line {
  readonly at: Micros;
  readonly object: JsonObject;
  readonly category: string;
  readonly type: string;
}

class HoneytrapGoParser implements LineParser {
  readonly #context: ImportContext;
  readonly #sessions: SessionTable;

  constructor(context: ImportContext) {
    this.#context = context;
    this.#sessions = new SessionTable(context, { idleMicros: flowIdleMicros });
  }

  take(text: string, place: Place): LineOutcome {
    const object = parseJsonLine(text);
    if (object instanceof Rejection) return object;
    const category = (textOf(object, 'category') ?? '').toLowerCase().slice(0, 32);
    if (category === '' && textOf(object, 'type') === undefined) return rejected('no category or type');
    const ip = textOf(object, 'source-ip');
    // What it says of itself: heartbeats, services that start.
    if (!ip) return 'merged';
    const at = parseLogTime(textOf(object, 'date') ?? textOf(object, '@timestamp') ?? '', this.#context.zoneMinutes);
    if (Number.isNaN(at)) return rejected('no date');
    const line = { at, object, category, type: (textOf(object, 'type') ?? '').toLowerCase().slice(0, 64) };
    const destination = { ip: textOf(object, 'destination-ip') || '0.0.0.0', port: portOf(object, 'destination-port') ?? 0 };
    if (category === 'portscan') return this.#portScan(line, place, ip, destination.ip);
    const port = portOf(object, 'source-port') ?? 0;
    const transport = datagramServices.test(category) || /udp/.test(textOf(object, 'protocol') ?? '') ? 'udp' : 'tcp';
    const flow = `${transport}/${ip}:${port}>${destination.ip}:${destination.port}`;
    const identifier = textOf(object, `${category}.sessionid`)?.slice(0, 64);
    const key = identifier === undefined ? flow : `${flow}/${identifier}`;
    const known = this.#sessions.get(key, at);
    if (known) {
      add(known, line);
      this.#sessions.grew(key, at);
      return 'merged';
    }
    const draft = new SessionDraft(place, key, at, { ip, port }, destination);
    draft.transport = transport;
    const sensor = textOf(object, 'token') ?? textOf(object, 'sensor');
    if (sensor) draft.agent = sensor;
    add(draft, line);
    this.#sessions.add(key, draft, at);
    return 'session';
  }

  end(): void {
    this.#sessions.end();
  }

  /** Ports somebody knocked at, as `tcp/22`. */
  #portScan({ at, object }: Line, place: Place, source: string, ip: string): LineOutcome {
    const targets: ProbeTarget[] = [];
    for (const port of listOf(object, 'portscan.ports').slice(0, maxPortsListed)) {
      const match = typeof port === 'string' ? /^(tcp|udp)\/(\d{1,5})$/.exec(port) : undefined;
      if (!match || Number(match[2]) > 65_535) continue;
      targets.push({ ip, port: Number(match[2]), transport: match[1] as 'tcp' | 'udp', kind: 'closed', count: 1 });
    }
    if (targets.length === 0) return rejected('no ports in a port scan');
    const seconds = numberOf(object, 'portscan.duration') ?? 0;
    const span = seconds > 0 && seconds < 86_400e9 ? Math.round(seconds / 1000) : 0;
    const sourcePort = portOf(object, 'source-port') ?? 0;
    this.#context.probe({ place, key: `portscan/${source}>${ip}`, start: at - span, end: at, source, sourcePort, targets });
    return 'session';
  }
}

function add(draft: SessionDraft, { at, object, category, type }: Line): void {
  draft.touch(at);
  if (category !== '' && !noProtocols.has(category)) draft.protocol ??= category;
  const payload = textOf(object, 'payload-hex');
  const bytes =
    payload === undefined ? Buffer.from(textOf(object, 'payload') ?? '') : (parseHex(payload) ?? Buffer.from(payload));
  draft.chunk(/write|response|reply/.test(type) ? 'out' : 'in', at, bytes);
  const of = (name: string): string | undefined => textOf(object, `${category}.${name}`);
  draft.credential(of('username'), of('password'));
  // With a payload the command is in it.
  const command = of('command') ?? of('exec');
  if (command !== undefined && bytes.length === 0) draft.chunk('in', at, `${command}\n`);
  draft.fact('client', of('client-version') ?? of('version'));
  draft.fact('path', of('url') ?? of('uri'));
  draft.fact('user-agent', of('user-agent') ?? textOf(object, 'http.header.user-agent'));
  draft.fact('hash', of('publickey'));
}

export const honeytrapGoFormat: ImportFormat = {
  name: 'honeytrap-go',
  title: 'honeytrap (Go), JSON events',
  reads: 'lines',
  detect: ({ objects }) => {
    const mine = objects.some(
      (object) =>
        'category' in object && ('source-ip' in object || ('token' in object && 'sensor' in object)) && 'date' in object,
    );
    return mine ? 0.9 : 0;
  },
  open: (context) => new HoneytrapGoParser(context),
};
