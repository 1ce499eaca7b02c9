// Dionaea's log_json: one line for each connection when it is over, with the attempts to log in and FTP commands of it. It says
// when a connection began, not when it ended, and holds no bytes. What it refused (SYN answered by RST) is a probe.
// Rows of its SQLite database say the same without the attempts.
// Source: Dionaea's log_json and log_sqlite handlers; with `flat_data` lists of objects are objects of lists. Times are UTC.

import type { Micros } from '../../base/clock.ts';
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

/** Its names for protocols, as we call them; '' is none. */
const protocols: Readonly<Record<string, string>> = {
  httpd: 'http',
  smbd: 'smb',
  mssqld: 'mssql',
  mysqld: 'mysql',
  ftpd: 'ftp',
  mongod: 'mongodb',
  mqttd: 'mqtt',
  pptpd: 'pptp',
  upnpd: 'upnp',
  memcache: 'memcached',
  epmapper: 'dcerpc',
  SipSession: 'sip',
  SipCall: 'sip',
  TftpServerHandler: 'tftp',
  ftpdata: 'ftp-data',
  Blackhole: '',
  pcap: '',
};

/** Objects of a list, or of an object of lists side by side. */
function rows(value: unknown, names: readonly [string, string]): JsonObject[] {
  if (Array.isArray(value)) return value.filter(isObject);
  if (!isObject(value)) return [];
  const columns = names.map((name) => listOf(value, name));
  return Array.from({ length: Math.max(...columns.map(({ length }) => length)) }, (_, index) =>
    Object.fromEntries(names.map((name, column) => [name, columns[column][index]])),
  );
}

class DionaeaParser implements LineParser {
  readonly #context: ImportContext;

  constructor(context: ImportContext) {
    this.#context = context;
  }

  take(text: string, place: Place): LineOutcome {
    const object = parseJsonLine(text);
    if (object instanceof Rejection) return object;
    if (!('connection_transport' in object))
      return this.#connection(object, parseLogTime(textOf(object, 'timestamp') ?? '', 0), place);
    const seconds = numberOf(object, 'connection_timestamp') ?? Number.NaN;
    return this.#connection(ofRow(object), Math.round(seconds * 1e6), place);
  }

  end(): void {}

  #connection(object: JsonObject, at: Micros, place: Place): LineOutcome {
    const connection = objectOf(object, 'connection');
    if (!connection) return rejected('no connection');
    const type = textOf(connection, 'type');
    if (type === 'listen') return 'merged';
    if (Number.isNaN(at)) return rejected('no timestamp');
    const ip = textOf(object, 'src_ip');
    const port = portOf(object, 'src_port');
    // T-Pot forwards it under another name.
    const destinationPort = portOf(object, 'dst_port') ?? portOf(object, 'dest_port');
    if (!ip || port === undefined) return rejected('no source address');
    if (destinationPort === undefined) return rejected('no destination port');
    const destination = { ip: textOf(object, 'dst_ip') || textOf(object, 'dest_ip') || '0.0.0.0', port: destinationPort };
    const kind = textOf(connection, 'transport');
    const transport = kind === 'udp' ? 'udp' : 'tcp';
    const key = `${transport}/${ip}:${port}>${destination.ip}:${destination.port}`;
    if (type === 'reject' && transport === 'tcp') {
      const target = { ...destination, transport, kind: 'closed', count: 1 } as const;
      this.#context.probe({ place, key, start: at, end: at, source: ip, sourcePort: port, targets: [target] });
      return 'session';
    }
    const draft = new SessionDraft(place, key, at, { ip, port }, destination);
    draft.transport = transport;
    if (kind === 'tls') draft.tag('tls');
    // Of datagrams "connect" is how it names a peer it answers.
    if (type === 'connect' && transport === 'tcp') draft.tag('outbound');
    const named = textOf(connection, 'protocol') ?? '';
    const protocol = Object.hasOwn(protocols, named) ? protocols[named] : named.toLowerCase().slice(0, 32);
    if (protocol !== '') draft.protocol = protocol;
    for (const row of rows(member(object, 'credentials'), ['username', 'password']))
      draft.credential(textOf(row, 'username'), textOf(row, 'password'));
    // T-Pot's forwarder puts the attempts there.
    draft.credential(textOf(object, 'username'), textOf(object, 'password'));
    const commands = member(objectOf(object, 'ftp') ?? {}, 'commands');
    for (const row of rows(commands, ['command', 'arguments'])) {
      const given = member(row, 'arguments');
      const words = [textOf(row, 'command'), ...(Array.isArray(given) ? given : [given])].filter(
        (word) => typeof word === 'string' && word !== '',
      );
      draft.chunk('in', at, `${words.join(' ')}\r\n`);
    }
    this.#context.session(draft.done(this.#context));
    return 'session';
  }
}

/** A row of table `connections` of its SQLite database (`sqlite3 -json`), as log_json has it. */
const ofRow = (row: JsonObject): JsonObject => ({
  connection: {
    type: member(row, 'connection_type'),
    transport: member(row, 'connection_transport'),
    protocol: member(row, 'connection_protocol'),
  },
  src_ip: member(row, 'remote_host'),
  src_port: member(row, 'remote_port'),
  dst_ip: member(row, 'local_host'),
  dst_port: member(row, 'local_port'),
});

export const dionaeaFormat: ImportFormat = {
  name: 'dionaea',
  title: 'Dionaea, log_json or rows of its SQLite database as JSON',
  reads: 'lines',
  detect: ({ objects }) => {
    const mine = objects.some((object) => {
      if ('connection_transport' in object && 'remote_host' in object) return true;
      const connection = objectOf(object, 'connection');
      return (
        connection &&
        'transport' in connection &&
        'type' in connection &&
        'src_ip' in object &&
        ('dst_port' in object || 'dest_port' in object)
      );
    });
    return mine ? 0.95 : 0;
  },
  open: (context) => new DionaeaParser(context),
};
