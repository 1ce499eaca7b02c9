// Lines of the packet filter's LOG target (iptables, nftables), however they were kept: syslog in both forms, the journal's
// export and JSON, dmesg. Each packet is a record; copies sent again and what follows in the same flow are merged into the
// first. Sources: net/netfilter/nf_log_syslog.c, RFC 3164, RFC 5424, journalctl(1) and systemd's Journal Export Formats.

import type { Micros } from '../../base/clock.ts';
import { RecencyMap } from '../../base/recency-map.ts';
import type { ProbeKind } from '../../model/event.ts';
import type { SynDetails } from '../../model/session.ts';
import {
  type ImportContext,
  type ImportedFile,
  type ImportFormat,
  type LineOutcome,
  type LineParser,
  type Place,
  Rejection,
  rejected,
} from './importer.ts';
import { type JsonObject, objectOf, parseJsonLine, parseLogTime, textOf } from './json-line.ts';
import { LogTimes } from './log-times.ts';
import { decodeTcpOptions, type LoggedPacket, parseLoggedPacket } from './logged-packet.ts';

/** A SYN is sent again after 1, 3, 7, 15, 31 and 63 s (Linux, tcp_syn_retries); a flow's next packet comes sooner. */
const sameFlowMicros = 64e6;
/** Without a sequence number a later SYN may be another connection: three copies come within 7 s. */
const sameSynMicros = 8e6;
const mostFlows = 50_000;

interface Flow {
  readonly at: Micros;
  readonly sequence: number | undefined;
}

class NetfilterLogParser implements LineParser {
  readonly #context: ImportContext;
  readonly #times: LogTimes;
  readonly #flows = new RecencyMap<string, Flow>();
  /** Of the journal's export: the time of the entry that a file is in. */
  readonly #entryTimes = new Map<number, Micros>();

  constructor(context: ImportContext) {
    this.#context = context;
    this.#times = new LogTimes(context);
  }

  begin(file: ImportedFile): void {
    this.#times.begin(file);
  }

  take(line: string, place: Place): LineOutcome {
    if (line.startsWith('{')) return this.#json(line, place);
    const field = /^([A-Z_][A-Z0-9_]{0,63})=/.exec(line);
    if (field) return this.#field(field[1], line.slice(field[0].length), place);
    if (!line.includes('SRC=')) return rejected('no packet of a LOG rule');
    const at = this.#times.of(line, place.file);
    return Number.isNaN(at) ? rejected(this.#times.reason) : this.#packet(line, at, place);
  }

  finish(file: ImportedFile): void {
    this.#entryTimes.delete(file.index);
  }

  end(): void {}

  #json(line: string, place: Place): LineOutcome {
    const object = parseJsonLine(line);
    if (object instanceof Rejection) return object;
    const text = loggedText(object);
    if (text === undefined || !text.includes('SRC=')) return rejected('no packet of a LOG rule');
    const at = this.#objectTime(object, text, place);
    return at instanceof Rejection ? at : this.#packet(text, at, place);
  }

  /** The journal's; else the line's own, which is when it was logged; else that of whoever forwarded it, who knows the year. */
  #objectTime(object: JsonObject, text: string, { file }: Place): Micros | Rejection {
    const micros = textOf(object, '_SOURCE_REALTIME_TIMESTAMP') ?? textOf(object, '__REALTIME_TIMESTAMP');
    if (micros !== undefined) return /^\d{1,16}$/.test(micros) ? Number(micros) : rejected('no valid time');
    const said = textOf(object, '@timestamp') ?? textOf(object, 'timestamp') ?? textOf(object, 'time');
    const forwarded = parseLogTime(said ?? '', this.#context.zoneMinutes);
    const own = this.#times.of(text, file, Number.isNaN(forwarded) ? undefined : forwarded);
    if (!Number.isNaN(own)) return own;
    return Number.isNaN(forwarded) ? rejected(this.#times.reason) : forwarded;
  }

  /** One entry of the journal is many lines; the one with the packet counts, the others belong to it. */
  #field(name: string, value: string, place: Place): LineOutcome {
    if (name === '__CURSOR') this.#entryTimes.delete(place.file);
    if (name === '__REALTIME_TIMESTAMP') {
      if (!/^\d{1,16}$/.test(value)) return rejected('no valid time');
      this.#entryTimes.set(place.file, Number(value));
    }
    if (name !== 'MESSAGE') return 'merged';
    if (!value.includes('SRC=')) return rejected('no packet of a LOG rule');
    const at = this.#entryTimes.get(place.file);
    return at === undefined ? rejected('no valid time') : this.#packet(value, at, place);
  }

  #packet(text: string, at: Micros, place: Place): LineOutcome {
    const packet = parseLoggedPacket(text);
    if (!packet) return 'merged';
    if (typeof packet === 'string') return rejected(packet);
    const { source, sourcePort, destination, port, transport } = packet;
    const flow = `${transport} ${source} ${sourcePort} ${destination} ${port}${transport === 'icmp' ? ` ${packet.id ?? ''}` : ''}`;
    if (this.#continues(flow, packet, at)) return 'merged';
    const syn = synOf(packet);
    this.#context.probe({
      place,
      key: `${flow} ${packet.sequence ?? packet.ipId ?? ''} ${packet.flags}`,
      start: at,
      end: at,
      source,
      sourcePort,
      targets: [{ ip: destination, port, transport, kind: kindOf(packet), count: 1 }],
      ...(packet.sourceMac !== undefined && { sourceMac: packet.sourceMac }),
      ...(syn && { syn }),
    });
    return 'session';
  }

  #continues(key: string, { flags, sequence }: LoggedPacket, at: Micros): boolean {
    const before = this.#flows.get(key);
    const isSyn = flags === 'SYN';
    const within = isSyn && (sequence === undefined || before?.sequence === undefined) ? sameSynMicros : sameFlowMicros;
    const sameSyn = !isSyn || sequence === undefined || before?.sequence === undefined || before.sequence === sequence;
    if (before && Math.abs(at - before.at) <= within && sameSyn) {
      if (!isSyn) this.#flows.set(key, { at: Math.max(at, before.at), sequence: before.sequence });
      return true;
    }
    this.#flows.set(key, { at, sequence: isSyn ? sequence : undefined });
    for (let oldest = this.#flows.oldest; oldest && this.#flows.size > mostFlows; oldest = this.#flows.oldest)
      this.#flows.delete(oldest[0]);
    return false;
  }
}

/** The line, where the journal, Docker or a forwarder (Filebeat, Fluentd, rsyslog) keeps it. */
const loggedText = (object: JsonObject): string | undefined =>
  textOf(object, 'MESSAGE') ??
  textOf(object, 'message') ??
  textOf(object, 'log') ??
  textOf(objectOf(object, 'event') ?? {}, 'original');

/** As nmap names its scans; what holds a RST or answers something is no question either. */
function kindOf({ transport, flags }: LoggedPacket): ProbeKind {
  if (transport === 'icmp') return 'echo';
  if (transport === 'udp') return 'filtered';
  if (flags === 'SYN') return 'half-open';
  if (flags === '') return 'null';
  if (flags === 'FIN') return 'fin';
  if (flags === 'FIN PSH URG') return 'xmas';
  return 'ack';
}

/** Only what was logged: without the sequence number (--log-tcp-sequence, `log flags tcp sequence`) a SYN tells too little. */
function synOf({ flags, sequence, ttl, ipId, window, options, doNotFragment }: LoggedPacket): SynDetails | undefined {
  if (flags !== 'SYN' || ttl === undefined || window === undefined || sequence === undefined) return undefined;
  return { ttl, ipId: ipId ?? 0, doNotFragment, window, sequence, ...decodeTcpOptions(options) };
}

const looksLogged = (line: string): boolean => line.includes('SRC=') && line.includes('DST=') && line.includes('PROTO=');

export const netfilterLogFormat: ImportFormat = {
  name: 'netfilter-log',
  title: 'iptables and nftables LOG lines: syslog, journal export or JSON, dmesg',
  reads: 'lines',
  joins: 'packets',
  detect({ lines }) {
    const own = lines.filter(looksLogged).length;
    if (own === 0) return 0;
    return own * 5 >= lines.length ? 0.9 : 0.4;
  },
  open: (context) => new NetfilterLogParser(context),
};
