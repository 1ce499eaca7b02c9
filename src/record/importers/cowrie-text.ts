// Lines of Cowrie's and Kippo's text log (what Twisted writes, and the `textlog` output) as the events their JSON log has. A line
// names the connection it is of by a number of the listener's own; which session that is, only the order of connections tells.
// Source: the messages of Cowrie's and Kippo's `log.msg` calls, 2010 to 2025; twisted.internet.tcp, Port.doRead (`sessionno`).

import type { Micros } from '../../base/clock.ts';
import { RecencyMap } from '../../base/recency-map.ts';
import { Rejection } from './importer.ts';
import { type JsonObject, parseJsonLine, parseLogTime, textOf } from './json-line.ts';
import { longLine, ownText } from './own-text.ts';
import { parsePythonText } from './python-text.ts';

const time = String.raw`\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:Z|[+-]\d\d:?\d\d)?`;
/** A container runtime's or the journal's stamp. */
const stamp = String.raw`(?:[^[]{0,256}?[ \t])?`;
const twisted = new RegExp(String.raw`^${stamp}(${time}) \[([^\]]{0,512})\] (.*)$`, 's');
const plugin = new RegExp(`^(${time}) ([0-9a-f]{8,32}) (.*)$`, 's');
const transport = /([A-Za-z]{0,40}Transport),(\d{1,10}),([0-9a-fA-F:.]{2,64})$/;
const connection = /^New connection: (\S{2,64}):(\d{1,5}) \((\S{2,64}):(\d{1,5})\) \[session: ([0-9A-Za-z-]{1,64})\]/;
/** Every Twisted server has transports; these names only Cowrie and Kippo give theirs. */
const ownTransport = '(?:HoneyPot|Cowrie|StripCr|Frontend)[A-Za-z]{0,40}Transport';
const own = new RegExp(
  String.raw`^${stamp}${time} \[(?:(?:[^\]]{0,400}[^A-Za-z\]])?${ownTransport},\d{1,10},|(?:cowrie|kippo)\.|-\] (?:Cowrie|Kippo) )`,
);
/** A sensor that starts: its numbers begin again. */
const startsAgain = /^(?:(?:Cowrie|Kippo) Version |Log opened)/;
const ownPlugin = new RegExp(`^${time} [0-9a-f]{8,32} New connection: `);

/** The line, where Docker keeps it as a text in JSON; else the line as it is. */
export function cowrieLine(line: string): string {
  if (!line.startsWith('{"log":"')) return line;
  const object = parseJsonLine(line);
  const text = object instanceof Rejection ? undefined : textOf(object, 'log');
  return text === undefined ? line : text.replace(/\r?\n$/, '');
}

/** A line that no other program writes. */
export function isCowrieText(line: string): boolean {
  const text = cowrieLine(line);
  return own.test(text) || ownPlugin.test(text);
}

type Kind = 'ssh' | 'telnet';

interface Connect {
  readonly id: string;
  readonly port: string;
  /** How many connections of its kind the log told of before. */
  readonly index: number;
}

interface Transport {
  readonly id: string;
  closedAt?: Micros;
}

const maxLoginLines = 64;
const maxLogin = 65_536;
const loginEnd = /\] (?:succeeded|failed)/;
/** Longer than what `connection` finds. */
const maxConnection = 512;
const mostTransports = 20_000;
const mostPeers = 5000;
const mostPerPeer = 64;
/** A transport's number is another connection's when it is heard of so long after its end. */
const lateMicros = 60e6;

export class CowrieText {
  /** Of connections that no other line told of yet, by kind and address. */
  #waiting = new RecencyMap<string, Connect[]>();
  #transports = new RecencyMap<string, Transport>();
  /** Which transport a connection was found to be, by identifier and source: known when its line comes again. */
  #found = new RecencyMap<string, string>();
  readonly #counts = { ssh: 0, telnet: 0 };
  /** A transport's number less its connection's index: fixed until the sensor is started again. */
  #offsets: { ssh?: number; telnet?: number } = {};
  readonly #zoneMinutes: number;
  /** Of the last line, where that was a command: it may go on in the next, which then begins with a tab. */
  #command: JsonObject | undefined;
  /** Of an attempt to log in that the last line began: a user name or password may hold line ends. */
  #login: { readonly head: string; readonly lines: number } | undefined;

  constructor(zoneMinutes: number) {
    this.#zoneMinutes = zoneMinutes;
  }

  /** The event; `nothing` for a line that tells none; undefined for no line of such a log. */
  read(line: string): JsonObject | 'nothing' | undefined {
    if (line.startsWith('\t')) return this.#goesOn(line.slice(1));
    this.#command = undefined;
    this.#login = undefined;
    const bracketed = twisted.exec(line);
    const match = bracketed ?? plugin.exec(line);
    if (!match) return undefined;
    const [, timestamp, , message] = match;
    const keep = line.length > longLine ? ownText : asItIs;
    const system = keep(match[2]);
    const at = parseLogTime(timestamp, this.#zoneMinutes);
    if (system === '-' && startsAgain.test(message)) this.#startAgain();
    const begun = connection.exec(message.startsWith('New') ? keep(message.slice(0, maxConnection)) : '');
    if (begun) return { ...this.#connect(begun, /telnet/i.test(system) ? 'telnet' : 'ssh'), timestamp };
    const event = eventOf(message);
    if (!event) {
      if (message.startsWith('login attempt [')) this.#login = { head: line, lines: 0 };
      return 'nothing';
    }
    const of = bracketed ? this.#session(system, at, event) : { session: system };
    if (!of) return 'nothing';
    const whole: JsonObject = line.length > longLine ? { ...ownValues(event), ...of, timestamp } : { ...event, ...of, timestamp };
    if (event.eventid === 'cowrie.command.input') this.#command = whole;
    return whole;
  }

  /** A line end within a message: Twisted puts a tab behind it. */
  #goesOn(text: string): JsonObject | 'nothing' | undefined {
    if (this.#command) return { ...this.#command, input: text };
    const login = this.#login;
    if (!login) return 'nothing';
    const head = `${login.head}\n${text}`;
    const lines = login.lines + 1;
    const whole = loginEnd.test(text);
    const read = whole ? this.read(head) : 'nothing';
    this.#login = !whole && lines < maxLoginLines && head.length < maxLogin ? { head, lines } : undefined;
    return read;
  }

  #startAgain(): void {
    this.#waiting = new RecencyMap();
    this.#transports = new RecencyMap();
    this.#found = new RecencyMap();
    this.#offsets = {};
  }

  #connect([, ip, port, address, to, id]: RegExpExecArray, kind: Kind): JsonObject {
    const name = this.#found.get(connectionKey(id, ip, port));
    if (name === undefined) this.#wait(`${kind} ${ip}`, { id, port, index: this.#counts[kind] }, kind);
    else this.#transports.set(name, { id });
    const ends = { src_ip: ip, src_port: port, dst_ip: address, dst_port: to };
    return { eventid: 'cowrie.session.connect', session: id, protocol: kind, ...ends };
  }

  #wait(peer: string, connect: Connect, kind: Kind): void {
    const waiting = this.#waiting.get(peer) ?? [];
    if (waiting.some(({ id, port }) => id === connect.id && port === connect.port)) return;
    waiting.push(connect);
    this.#counts[kind] += 1;
    if (waiting.length > mostPerPeer) waiting.shift();
    this.#waiting.set(peer, waiting);
    bound(this.#waiting, mostPeers);
  }

  /** Which session a line of a transport is of. */
  #session(system: string, at: Micros, { eventid }: JsonObject): JsonObject | undefined {
    const match = transport.exec(system);
    if (!match) return undefined;
    const [name, , number, ip] = match;
    const kind = /telnet/i.test(match[1]) ? 'telnet' : 'ssh';
    const known = this.#transports.get(name);
    const over = known?.closedAt !== undefined;
    const waits = !known || over ? this.#claim(kind, name, ip, Number(number)) : undefined;
    // One of which the log does not tell the beginning: its end in the log before, or the sensor was started again.
    const unknown = !known || (known.closedAt !== undefined && at - known.closedAt > lateMicros);
    const id = waits ?? (unknown ? `${kind}${number}@${at}` : known.id);
    const now: Transport = known?.id === id ? known : { id };
    if (eventid === 'cowrie.session.closed') now.closedAt ??= at;
    this.#transports.set(name, now);
    bound(this.#transports, mostTransports);
    return { session: id, src_ip: ip };
  }

  /** The connection a transport that was not heard of before is of: by its number, else the one that waits longest. */
  #claim(kind: Kind, name: string, ip: string, number: number): string | undefined {
    const peer = `${kind} ${ip}`;
    const waiting = this.#waiting.get(peer);
    if (!waiting) return undefined;
    const offset = this.#offsets[kind];
    let place = waiting.findIndex(({ id }) => id === String(number));
    if (place < 0 && offset !== undefined) place = waiting.findIndex(({ index }) => index === number - offset);
    // Among several the guess may be wrong: later ones are not told apart by it.
    if (place >= 0 || waiting.length === 1) this.#offsets[kind] = number - waiting[Math.max(place, 0)].index;
    const [found] = waiting.splice(Math.max(place, 0), 1);
    if (waiting.length === 0) this.#waiting.delete(peer);
    this.#found.set(connectionKey(found.id, ip, found.port), name);
    bound(this.#found, mostTransports);
    return found.id;
  }
}

const connectionKey = (id: string, ip: string, port: string): string => `${id} ${ip} ${port}`;

const asItIs = (text: string): string => text;

/** What an event of a long line tells, without the line. */
function ownValues(event: JsonObject): JsonObject {
  return Object.fromEntries(
    Object.entries(event).map(([name, value]) => [name, typeof value === 'string' ? ownText(value) : value]),
  );
}

function bound<T>(map: RecencyMap<string, T>, most: number): void {
  for (let oldest = map.oldest; oldest && map.size > most; oldest = map.oldest) map.delete(oldest[0]);
}

/** What a message tells, without whose it is. */
function eventOf(message: string): { readonly eventid: string; readonly [name: string]: unknown } | undefined {
  for (const [pattern, event] of messages) {
    const match = pattern.exec(message);
    if (match) return event(match);
  }
  return undefined;
}

type EventOf = (match: RegExpExecArray) => { readonly eventid: string; readonly [name: string]: unknown };

const messages: readonly (readonly [RegExp, EventOf])[] = [
  [
    /^login attempt \[(.*)\] (succeeded|failed)/s,
    ([, both, how]) => {
      const [username, password] = credentials(both);
      return { eventid: how === 'failed' ? 'cowrie.login.failed' : 'cowrie.login.success', username, password };
    },
  ],
  [/^CMD: (.*)/s, ([, input]) => ({ eventid: 'cowrie.command.input', input })],
  [/^Remote SSH version: (.*)/s, ([, version]) => ({ eventid: 'cowrie.client.version', version })],
  [/^SSH client hassh fingerprint: ([0-9a-f]{32})/, ([, hassh]) => ({ eventid: 'cowrie.client.kex', hassh })],
  [
    /^connection lost(?: after ([\d.]{1,20}) seconds)?/i,
    ([, duration]) => ({ eventid: 'cowrie.session.closed', ...(duration !== undefined && { duration }) }),
  ],
  [
    /^Downloaded URL \((.{1,4096})\) with SHA-256 ([0-9a-f]{64})/s,
    ([, url, shasum]) => ({ eventid: 'cowrie.session.file_download', url: parsePythonText(url), shasum }),
  ],
  [
    /^SFTP Uploaded file "(.{0,4096})" to \S*?([0-9a-f]{64})?$/s,
    ([, filename, shasum]) => ({ eventid: 'cowrie.session.file_upload', filename, shasum }),
  ],
  [
    /^public key attempt for user (.{1,256}) of type (?:\S+) with fingerprint (\S+)/s,
    ([, user, fingerprint]) => ({ eventid: 'cowrie.client.fingerprint', username: parsePythonText(user), fingerprint }),
  ],
  [
    /^(?:discarded )?direct-tcp connection request to (\S{1,255}):(\d{1,5}) from /,
    ([, host, port]) => ({ eventid: 'cowrie.direct-tcpip.request', dst_ip: host, dst_port: port }),
  ],
];

/** `root/admin`, in Python 3 at first `b'root'/b'admin'`. A name with a slash in it is told apart from its password by quotes only. */
function credentials(both: string): [string, string] {
  for (const middle of [`'/b'`, `'/b"`, `"/b'`, `"/b"`]) {
    const at = /^b['"]/.test(both) ? both.indexOf(middle) : -1;
    if (at >= 0) return [parsePythonText(both.slice(0, at + 1)), parsePythonText(both.slice(at + 2))];
  }
  const slash = both.indexOf('/');
  return slash < 0 ? [both, ''] : [both.slice(0, slash), both.slice(slash + 1)];
}
