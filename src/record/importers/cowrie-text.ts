// Lines of Cowrie's and Kippo's text log (what Twisted writes, and the `textlog` output) as the events their JSON log has. A line
// names the connection it is of by a number of the listener's own; which session that is, only the order of connections tells.
// Source: the messages of Cowrie's and Kippo's `log.msg` calls, 2010 to 2025; twisted.internet.tcp, Port.doRead (`sessionno`).

import type { Micros } from '../../base/clock.ts';
import { RecencyMap } from '../../base/recency-map.ts';
import { Rejection } from './importer.ts';
import { type JsonObject, parseJsonLine, parseLogTime, textOf } from './json-line.ts';
import { parsePythonText } from './python-text.ts';

const time = String.raw`\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:Z|[+-]\d\d:?\d\d)?`;
/** A container runtime's or the journal's stamp. */
const stamp = String.raw`(?:[^[]{0,256}?[ \t])?`;
const twisted = new RegExp(String.raw`^${stamp}(${time}) \[([^\]]{0,512})\] (.*)$`, 's');
const plugin = new RegExp(`^(${time}) ([0-9a-f]{8,32}) (.*)$`, 's');
const transport = /([A-Za-z]{0,40}Transport),(\d{1,10}),([0-9a-fA-F:.]{2,64})$/;
const connection = /^New connection: (\S{2,64}):(\d{1,5}) \((\S{2,64}):(\d{1,5})\) \[session: ([0-9A-Za-z-]{1,64})\]/;
const own = new RegExp(
  String.raw`^${stamp}${time} \[(?:[^\]]{0,400}Transport,\d{1,10},|(?:cowrie|kippo)\.|-\] (?:Cowrie|Kippo) )`,
);
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
  /** How many connections of its kind the log told of before. */
  readonly index: number;
}

interface Transport {
  readonly id: string;
  closedAt?: Micros;
}

const mostTransports = 20_000;
const mostPeers = 5000;
const mostPerPeer = 64;
/** A transport's number is another connection's when it is heard of so long after its end. */
const lateMicros = 60e6;

export class CowrieText {
  /** Of connections that no other line told of yet, by kind and address. */
  readonly #waiting = new RecencyMap<string, Connect[]>();
  readonly #transports = new RecencyMap<string, Transport>();
  readonly #counts = { ssh: 0, telnet: 0 };
  /** A transport's number less its connection's index: fixed until the sensor is started again. */
  readonly #offsets: { ssh?: number; telnet?: number } = {};
  readonly #zoneMinutes: number;
  /** Of the last line, where that was a command: it may go on in the next, which then begins with a tab. */
  #command: JsonObject | undefined;

  constructor(zoneMinutes: number) {
    this.#zoneMinutes = zoneMinutes;
  }

  /** The event; `nothing` for a line that tells none; undefined for no line of such a log. */
  read(line: string): JsonObject | 'nothing' | undefined {
    if (line.startsWith('\t')) return this.#command ? { ...this.#command, input: line.slice(1) } : 'nothing';
    this.#command = undefined;
    const bracketed = twisted.exec(line);
    const match = bracketed ?? plugin.exec(line);
    if (!match) return undefined;
    const [, timestamp, system, message] = match;
    const at = parseLogTime(timestamp, this.#zoneMinutes);
    const begun = connection.exec(message);
    if (begun) return { ...this.#connect(begun, /telnet/i.test(system) ? 'telnet' : 'ssh'), timestamp };
    const event = eventOf(message);
    if (!event) return 'nothing';
    const of = bracketed ? this.#session(system, at, event) : { session: system };
    if (!of) return 'nothing';
    const whole = { ...event, ...of, timestamp };
    if (event.eventid === 'cowrie.command.input') this.#command = whole;
    return whole;
  }

  #connect([, ip, port, address, to, id]: RegExpExecArray, kind: Kind): JsonObject {
    const peer = `${kind} ${ip}`;
    const waiting = this.#waiting.get(peer) ?? [];
    waiting.push({ id, index: this.#counts[kind] });
    this.#counts[kind] += 1;
    if (waiting.length > mostPerPeer) waiting.shift();
    this.#waiting.set(peer, waiting);
    bound(this.#waiting, mostPeers);
    const ends = { src_ip: ip, src_port: port, dst_ip: address, dst_port: to };
    return { eventid: 'cowrie.session.connect', session: id, protocol: kind, ...ends };
  }

  /** Which session a line of a transport is of. */
  #session(system: string, at: Micros, { eventid }: JsonObject): JsonObject | undefined {
    const match = transport.exec(system);
    if (!match) return undefined;
    const [name, , number, ip] = match;
    const kind = /telnet/i.test(match[1]) ? 'telnet' : 'ssh';
    const known = this.#transports.get(name);
    const over = known?.closedAt !== undefined;
    const waits = !known || over ? this.#claim(kind, ip, Number(number)) : undefined;
    // One of which the log does not tell the beginning: its end in the log before, or the sensor was started again.
    const unknown = !known || (known.closedAt !== undefined && at - known.closedAt > lateMicros);
    const id = waits ?? (unknown ? `${kind}${number}@${at}` : known.id);
    const now: Transport = known?.id === id ? known : { id };
    if (eventid === 'cowrie.session.closed') now.closedAt ??= at;
    this.#transports.set(name, now);
    bound(this.#transports, mostTransports);
    return { session: id, src_ip: ip };
  }

  /** The connection a transport that was not heard of before is of: by its number, else the latest. */
  #claim(kind: Kind, ip: string, number: number): string | undefined {
    const peer = `${kind} ${ip}`;
    const waiting = this.#waiting.get(peer);
    if (!waiting) return undefined;
    const expected = number - (this.#offsets[kind] ?? 0);
    let place = waiting.findIndex(({ id }) => id === String(number));
    if (place < 0) place = waiting.findIndex(({ index }) => index === expected);
    const [found] = waiting.splice(place, 1);
    this.#offsets[kind] = number - found.index;
    if (waiting.length === 0) this.#waiting.delete(peer);
    return found.id;
  }
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
