// One packet as nf_log_syslog.c prints it: `IN=eth0 OUT= MAC=... SRC=... DST=... LEN=60 ... PROTO=TCP SPT=.. DPT=.. SYN URGP=0`.
// Pure; the time in front of it is log-times.ts.

import { normalAddressText, parseIpv4Number } from '../../model/address.ts';
import type { SynDetails } from '../../model/session.ts';

export interface LoggedPacket {
  readonly source: string;
  readonly sourcePort: number;
  readonly destination: string;
  readonly port: number;
  readonly transport: 'tcp' | 'udp' | 'icmp';
  /** `SYN`, `FIN PSH URG`, …: in the order URG ACK PSH RST SYN FIN sorted by name; empty without any, and where it is not TCP. */
  readonly flags: string;
  readonly sequence: number | undefined;
  readonly window: number | undefined;
  /** Bytes of the options in hex, where they were logged. */
  readonly options: string | undefined;
  readonly ttl: number | undefined;
  readonly ipId: number | undefined;
  readonly doNotFragment: boolean;
  /** Of an ICMP echo request. */
  readonly id: string | undefined;
  readonly sourceMac: string | undefined;
}

/** Words of a line that are looked at. */
const mostWords = 64;

/** The first value of each name that matters here. */
interface Words {
  SRC?: string;
  DST?: string;
  PROTO?: string;
  SPT?: string;
  DPT?: string;
  MAC?: string;
  TTL?: string;
  HOPLIMIT?: string;
  ID?: string;
  SEQ?: string;
  WINDOW?: string;
  TYPE?: string;
  flags: string[];
  doNotFragment: boolean;
  hasOptions: boolean;
  /** It has what only whole lines have, not those somebody made shorter: TOS or traffic class. */
  wholeHeader: boolean;
}

/** The text up to `end`, taken apart at blanks. */
function wordsOf(text: string, begin: number, end: number): Words {
  const words: Words = { flags: [], doNotFragment: false, hasOptions: false, wholeHeader: false };
  let seen = 0;
  for (let at = begin; at < end && seen < mostWords; seen += 1) {
    let stop = text.indexOf(' ', at);
    if (stop < 0 || stop > end) stop = end;
    const equals = text.indexOf('=', at);
    if (equals > at && equals < stop) {
      const name = text.slice(at, equals);
      switch (name) {
        case 'SRC':
        case 'DST':
        case 'PROTO':
        case 'SPT':
        case 'DPT':
        case 'MAC':
        case 'TTL':
        case 'HOPLIMIT':
        case 'ID':
        case 'SEQ':
        case 'WINDOW':
        case 'TYPE':
          words[name] ??= text.slice(equals + 1, stop);
          break;
        case 'TOS':
        case 'TC':
          words.wholeHeader = true;
      }
    } else if (stop - at === 3) {
      const word = text.slice(at, stop);
      if (word === 'OPT') words.hasOptions = true;
      else if (word === 'SYN' || word === 'ACK' || word === 'FIN' || word === 'RST' || word === 'PSH' || word === 'URG')
        words.flags.push(word);
    } else if (stop - at === 2 && text.startsWith('DF', at)) words.doNotFragment = true;
    at = stop + 1;
  }
  return words;
}

function addressOf(given = ''): string | undefined {
  if (!given.includes(':')) return parseIpv4Number(given) < 0 ? undefined : given;
  return given.length <= 64 ? normalAddressText(given, 6) : undefined;
}

function numberOf(given: string | undefined, most: number): number | undefined {
  if (given === undefined || given.length === 0 || given.length > 10) return undefined;
  let value = 0;
  for (let at = 0; at < given.length; at += 1) {
    const digit = given.charCodeAt(at) - 48;
    if (digit < 0 || digit > 9) return undefined;
    value = value * 10 + digit;
  }
  return value <= most ? value : undefined;
}

/** Why not, as text; undefined for ICMP that asks for nothing: answers and errors. */
export function parseLoggedPacket(line: string): LoggedPacket | string | undefined {
  const text = line.includes('\t') ? line.replaceAll('\t', ' ') : line;
  // What the rule's own prefix says comes first, and may hold anything.
  const begin = Math.max(0, text.lastIndexOf('IN=', text.indexOf('SRC=')));
  // An ICMP error quotes the packet it is about in brackets.
  const quote = text.indexOf('[SRC=', begin);
  const words = wordsOf(text, begin, quote < 0 ? Math.min(text.length, begin + 2000) : quote);
  const source = addressOf(words.SRC);
  const destination = addressOf(words.DST);
  if (source === undefined || destination === undefined) return 'no valid addresses';
  const protocol = words.PROTO?.toUpperCase();
  const packet: Writable<LoggedPacket> = {
    source,
    sourcePort: 0,
    destination,
    port: 0,
    transport: 'icmp',
    flags: '',
    doNotFragment: words.doNotFragment,
    sequence: undefined,
    window: undefined,
    options: undefined,
    ttl: numberOf(words.TTL ?? words.HOPLIMIT, 255),
    ipId: numberOf(words.ID, 65_535),
    id: undefined,
    sourceMac: macOf(words.MAC),
  };
  if (protocol === 'ICMP' || protocol === 'ICMPV6' || protocol === '1' || protocol === '58') {
    const type = numberOf(words.TYPE, 255);
    if (type === undefined) return 'ICMP without a type';
    if (type !== (source.includes(':') ? 128 : 8)) return undefined;
    const echo = /TYPE=\d+ CODE=\d+ ID=(\d{1,5}) SEQ=(\d{1,5})/.exec(text);
    if (echo) packet.id = `${echo[1]} ${echo[2]}`;
    return packet;
  }
  if (protocol !== 'TCP' && protocol !== 'UDP') return protocol === undefined ? 'no protocol' : 'a protocol that is not recorded';
  const sourcePort = numberOf(words.SPT, 65_535);
  const port = numberOf(words.DPT, 65_535);
  if (sourcePort === undefined || port === undefined) return text.includes(' FRAG:') ? 'a fragment without ports' : 'no ports';
  // The kernel says more behind the ports: a line that ends there may have lost digits of the last.
  if (words.wholeHeader && /DPT=\d{1,5}$/.test(text)) return 'it ends within its ports';
  packet.sourcePort = sourcePort;
  packet.port = port;
  packet.transport = protocol === 'TCP' ? 'tcp' : 'udp';
  if (protocol === 'UDP') return packet;
  packet.flags = words.flags.sort().join(' ');
  packet.sequence = numberOf(words.SEQ, 0xffffffff);
  packet.window = numberOf(words.WINDOW, 65_535);
  if (words.hasOptions) packet.options = /OPT \(([0-9A-Fa-f]{0,80})\)/.exec(text)?.[1] ?? '';
  return packet;
}

type Writable<T> = { -readonly [K in keyof T]: T[K] };

/** Destination 6 bytes, source 6, type 2: what an Ethernet frame begins with. */
function macOf(given = ''): string | undefined {
  if (given.length !== 41 || !/^[0-9a-f]{2}(?::[0-9a-f]{2}){13}$/i.test(given)) return undefined;
  return given.slice(18, 35).toLowerCase();
}

const optionNames: Readonly<Record<number, string>> = { 0: 'eol', 1: 'nop', 2: 'mss', 3: 'ws', 4: 'sok', 5: 'sack', 8: 'ts' };

/** Options in hex as SynDetails has them; what does not add up ends the list. RFC 9293, 3.1. */
export function decodeTcpOptions(hex = ''): Pick<SynDetails, 'options' | 'mss' | 'windowScale'> {
  const bytes = Buffer.from(hex, 'hex');
  const names: string[] = [];
  let mss: number | undefined;
  let windowScale: number | undefined;
  for (let at = 0; at < bytes.length; ) {
    const kind = bytes[at];
    const length = kind < 2 ? 1 : (bytes[at + 1] ?? 0);
    if (length === 0 || (kind >= 2 && length < 2) || at + length > bytes.length) break;
    names.push(optionNames[kind] ?? `?${kind}`);
    if (kind === 2 && length === 4) mss = bytes.readUInt16BE(at + 2);
    if (kind === 3 && length === 3) windowScale = bytes[at + 2];
    if (kind === 0) break;
    at += length;
  }
  return { options: names.join(','), ...(mss !== undefined && { mss }), ...(windowScale !== undefined && { windowScale }) };
}
