// OpenCanary's log: numbered events, an object a line. Those of one connection are put together by its addresses and ports; its
// port scan module's lines are probes. Requests it names in parts are written out again as a client sends them, and tagged so.
// Source: OpenCanary's logger (numbers of `logtype`). Its times are UTC in `utc_time`, and in `local_time` too.

import type { Micros } from '../../base/clock.ts';
import type { ProbeKind } from '../../model/event.ts';
import type { Transport } from '../../model/session.ts';
import { renderRequest } from './http-request.ts';
import type { ImportContext, ImportFormat, LineOutcome, LineParser, Place } from './importer.ts';
import { Rejection, rejected } from './importer.ts';
import { type JsonObject, numberOf, objectOf, parseJsonLine, parseLogTime, portOf, textOf } from './json-line.ts';
import { SessionDraft } from './session-draft.ts';
import { SessionTable } from './session-table.ts';

/** Protocol by the thousands of a number. */
const services: Readonly<Record<number, readonly [protocol: string, transport: Transport]>> = {
  2: ['ftp', 'tcp'],
  3: ['http', 'tcp'],
  4: ['ssh', 'tcp'],
  5: ['smb', 'tcp'],
  6: ['telnet', 'tcp'],
  7: ['http', 'tcp'],
  8: ['mysql', 'tcp'],
  9: ['mssql', 'tcp'],
  10: ['tftp', 'udp'],
  11: ['ntp', 'udp'],
  12: ['vnc', 'tcp'],
  13: ['snmp', 'udp'],
  14: ['rdp', 'tcp'],
  15: ['sip', 'udp'],
  16: ['git', 'tcp'],
  17: ['redis', 'tcp'],
  19: ['llmnr', 'udp'],
};

const probeKinds: Readonly<Record<number, ProbeKind>> = {
  5001: 'half-open',
  5002: 'half-open',
  5003: 'null',
  5004: 'xmas',
  5005: 'fin',
};

/** Below are its own messages: it starts, it stores its configuration. */
const firstOfTraffic = 2000;
const idleMicros = 600e6;
const unknownPassword = '<Password was not in the common list>';

interface Line {
  readonly at: Micros;
  readonly type: number;
  readonly data: JsonObject;
}

class OpenCanaryParser implements LineParser {
  readonly #context: ImportContext;
  readonly #sessions: SessionTable;

  constructor(context: ImportContext) {
    this.#context = context;
    this.#sessions = new SessionTable(context, { idleMicros });
  }

  take(text: string, place: Place): LineOutcome {
    const object = parseJsonLine(text);
    if (object instanceof Rejection) return object;
    const type = numberOf(object, 'logtype');
    if (type === undefined || !Number.isInteger(type)) return rejected('no logtype');
    if (type < firstOfTraffic) return 'merged';
    const at = parseLogTime(textOf(object, 'utc_time') ?? textOf(object, 'local_time') ?? '', 0);
    if (Number.isNaN(at)) return rejected('no time');
    const ip = textOf(object, 'src_host');
    if (!ip) return rejected('no source address');
    const port = portOf(object, 'src_port') ?? 0;
    const destination = { ip: textOf(object, 'dst_host') || '0.0.0.0', port: portOf(object, 'dst_port') ?? 0 };
    const line = { at, type, data: objectOf(object, 'logdata') ?? {} };
    const node = textOf(object, 'node_id')?.slice(0, 128);
    const kind = probeKinds[type];
    if (kind !== undefined) {
      const target = { ...destination, transport: transportOf(line.data), kind, count: 1 };
      const key = `${type}/${ip}:${port}>${destination.ip}:${destination.port}/${target.transport}`;
      this.#context.probe({ place, key, start: at, end: at, source: ip, sourcePort: port, targets: [target] });
      return 'session';
    }
    const [protocol, transport] = services[Math.floor(type / 1000)] ?? [undefined, 'tcp'];
    const key = `${node ?? ''}/${transport}/${ip}:${port}>${destination.ip}:${destination.port}`;
    const known = this.#sessions.get(key, at);
    if (known) {
      add(known, line);
      this.#sessions.grew(key, at);
      return 'merged';
    }
    const draft = new SessionDraft(place, key, at, { ip, port }, destination);
    draft.transport = transport;
    if (protocol !== undefined) draft.protocol = protocol;
    if (node) draft.agent = node;
    add(draft, line);
    // Without a source port nothing tells which lines are of one connection.
    if (port === 0) this.#context.session(draft.done(this.#context));
    else this.#sessions.add(key, draft, at);
    return 'session';
  }

  end(): void {
    this.#sessions.end();
  }
}

function transportOf(data: JsonObject): 'tcp' | 'udp' | 'icmp' {
  const name = textOf(data, 'PROTO')?.toLowerCase();
  return name === 'udp' || name === 'icmp' ? name : 'tcp';
}

function add(draft: SessionDraft, { at, type, data }: Line): void {
  draft.touch(at);
  const guessed = textOf(data, 'VNC Password');
  // VNC sends a password's hash; the sensor knows a few common ones by it.
  const unknown = guessed === unknownPassword;
  draft.credential(textOf(data, 'USERNAME'), textOf(data, 'PASSWORD') ?? (unknown ? undefined : guessed));
  if (unknown) draft.tag('login-attempt');
  const version = textOf(data, 'REMOTEVERSION');
  if (version && type === 4001) draft.chunk('in', at, `${version}\r\n`);
  draft.fact('client', version);
  draft.fact('user-agent', textOf(data, 'USERAGENT'));
  const path = textOf(data, 'PATH');
  if (path && (type === 3000 || type === 3001)) {
    draft.fact('path', path);
    const host = textOf(data, 'HOSTNAME');
    const agent = textOf(data, 'USERAGENT');
    draft.chunk('in', at, renderRequest({ method: type === 3000 ? 'GET' : 'POST', target: path, host, agent }));
    draft.tag('reconstructed');
  }
  const command = textOf(data, 'CMD');
  if (command) draft.chunk('in', at, `${command} ${textOf(data, 'ARGS') ?? ''}`.trimEnd().concat('\r\n'));
  const bytes = textOf(data, 'DATA') ?? textOf(data, 'BANNER_DATA');
  if (bytes && type >= 18_000 && type < 19_000) draft.chunk('in', at, bytes);
  draft.fact('file', textOf(data, 'FILENAME'));
  draft.fact('url', type === 7001 || type === 16_001 ? (textOf(data, 'URL') ?? textOf(data, 'REPO')) : undefined);
  const community = textOf(data, 'COMMUNITY_STRING');
  if (community !== undefined) {
    draft.credential(undefined, community);
    draft.tag('snmp-community');
  }
}

export const openCanaryFormat: ImportFormat = {
  name: 'opencanary',
  title: 'OpenCanary, JSON log',
  reads: 'lines',
  detect: ({ objects }) => {
    const mine = objects.some((object) => 'logtype' in object && ('logdata' in object || 'node_id' in object));
    return mine ? 0.97 : 0;
  },
  open: (context) => new OpenCanaryParser(context),
};
