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
  readonly sequence?: number;
  readonly window?: number;
  /** Bytes of the options in hex, where they were logged. */
  readonly options?: string;
  readonly ttl?: number;
  readonly ipId?: number;
  readonly doNotFragment: boolean;
  /** Of an ICMP echo request. */
  readonly id?: string;
  readonly sourceMac?: string;
}

const tcpFlags = new Set(['SYN', 'ACK', 'FIN', 'RST', 'PSH', 'URG']);

/** Why not, as text. */
export function parseLoggedPacket(text: string): LoggedPacket | string {
  // What the rule's own prefix says comes first, and may hold anything.
  const begin = Math.max(0, text.lastIndexOf('IN=', text.indexOf('SRC=')));
  // An ICMP error quotes the packet it is about in brackets.
  const quote = text.indexOf('[SRC=', begin);
  const words = text.slice(begin, quote < 0 ? begin + 2000 : quote).split(/\s+/, 64);
  const values = new Map<string, string>();
  const flags: string[] = [];
  let doNotFragment = false;
  for (const word of words) {
    const equals = word.indexOf('=');
    if (equals > 0) {
      const name = word.slice(0, equals);
      if (!values.has(name)) values.set(name, word.slice(equals + 1));
    } else if (tcpFlags.has(word)) flags.push(word);
    else if (word === 'DF') doNotFragment = true;
    else if (word === 'OPT') values.set('OPT', /OPT \(([0-9A-Fa-f]{0,80})\)/.exec(text)?.[1] ?? '');
  }
  const address = (name: string): string | undefined => {
    const given = values.get(name) ?? '';
    if (!given.includes(':')) return parseIpv4Number(given) < 0 ? undefined : given;
    return given.length <= 64 ? normalAddressText(given, 6) : undefined;
  };
  const number = (name: string, most: number): number | undefined => {
    const given = values.get(name);
    return given !== undefined && /^\d{1,10}$/.test(given) && Number(given) <= most ? Number(given) : undefined;
  };
  const source = address('SRC');
  const destination = address('DST');
  if (source === undefined || destination === undefined) return 'no valid addresses';
  const protocol = values.get('PROTO')?.toUpperCase();
  const mac = /^(?:[0-9a-f]{2}:){6}((?:[0-9a-f]{2}:){5}[0-9a-f]{2}):[0-9a-f]{2}:[0-9a-f]{2}$/i.exec(values.get('MAC') ?? '');
  const ttl = number('TTL', 255) ?? number('HOPLIMIT', 255);
  const ipId = number('ID', 65_535);
  const common = {
    source,
    destination,
    doNotFragment,
    ...(ttl !== undefined && { ttl }),
    ...(ipId !== undefined && { ipId }),
    ...(mac && { sourceMac: mac[1].toLowerCase() }),
  };
  if (protocol === 'ICMP' || protocol === 'ICMPV6' || protocol === '1' || protocol === '58') {
    const type = number('TYPE', 255);
    if (type === undefined) return 'ICMP without a type';
    if (type !== (source.includes(':') ? 128 : 8)) return `ICMP of type ${type} is no probe`;
    const echo = /TYPE=\d+ CODE=\d+ ID=(\d{1,5}) SEQ=(\d{1,5})/.exec(text);
    return { ...common, transport: 'icmp', sourcePort: 0, port: 0, flags: '', ...(echo && { id: `${echo[1]} ${echo[2]}` }) };
  }
  if (protocol !== 'TCP' && protocol !== 'UDP') return protocol === undefined ? 'no protocol' : 'a protocol that is not recorded';
  const sourcePort = number('SPT', 65_535);
  const port = number('DPT', 65_535);
  if (sourcePort === undefined || port === undefined) return values.has('FRAG') ? 'a fragment without ports' : 'no ports';
  if (protocol === 'UDP') return { ...common, transport: 'udp', sourcePort, port, flags: '' };
  const sequence = number('SEQ', 0xffffffff);
  const window = number('WINDOW', 65_535);
  const options = values.get('OPT');
  return {
    ...common,
    transport: 'tcp',
    sourcePort,
    port,
    flags: flags.sort().join(' '),
    ...(sequence !== undefined && { sequence }),
    ...(window !== undefined && { window }),
    ...(options !== undefined && { options }),
  };
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
