// One flow of an EVE log while its events come: who began it, and what became of it. Pure.
// Source: Suricata user guide, "Eve JSON Format"; TCP flags as in RFC 9293, section 3.1.

import type { Micros } from '../../base/clock.ts';
import type { ProbeKind } from '../../model/event.ts';
import type { Endpoint, SessionOutcome, Transport } from '../../model/session.ts';
import { type ImportedProbe, type Place, type Rejection, rejected } from './importer.ts';
import { type JsonObject, member, numberOf, objectOf, portOf, textOf } from './json-line.ts';
import { SessionDraft } from './session-draft.ts';

const [fin, syn, rst, push, ack, urgent] = [1, 2, 4, 8, 16, 32];
/** A frame with a TCP header without options; a SYN of a system has some. */
const bareBytes = 60;
/** Requests written out from their parts, per flow. */
const maxRequests = 64;
/** Events whose addresses are the packet's or the file's, not the flow's. */
const turned = new Set(['alert', 'drop', 'anomaly', 'fileinfo', 'pkthdr', 'packet']);
const echoTypes = new Set([8, 128]);

/** TCP as a flow record has it; flags united over each direction's packets. */
export interface FlowEnd {
  readonly state: string | undefined;
  readonly reason: string | undefined;
  readonly packetsIn: number;
  readonly packetsOut: number;
  readonly flagsIn: number | undefined;
  readonly flagsOut: number | undefined;
}

/** The flow an event is of. */
export interface FlowFacts {
  readonly key: string;
  readonly transport: Transport;
  readonly icmp: boolean;
  readonly ends: readonly [source: Endpoint, destination: Endpoint];
  /** The source is known to be who began. */
  readonly oriented: boolean;
}

export class FlowDraft extends SessionDraft {
  readonly icmp: boolean;
  /** The source is known to be who began. */
  oriented: boolean;
  flowEnd: FlowEnd | undefined;
  alerted = false;
  #told = false;
  readonly #requests: { at: Micros; content: Uint8Array | string }[] = [];
  #stream: { at: Micros; bytes: Uint8Array } | undefined;

  constructor(place: Place, facts: FlowFacts, start: Micros) {
    super(place, facts.key, start, facts.ends[0], facts.ends[1]);
    this.transport = facts.transport;
    this.icmp = facts.icmp;
    this.oriented = facts.oriented;
  }

  /** When the flow began, as an event says; without one that does, it began with its first event. */
  begin(told: Micros | undefined, at: Micros): void {
    if (told !== undefined) this.start = told;
    else if (!this.#told) this.start = Math.min(this.start, at);
    this.#told ||= told !== undefined;
  }

  /** Another event of the flow, which may know better who began. */
  orient({ oriented, ends }: FlowFacts): void {
    if (this.oriented || !oriented) return;
    this.oriented = true;
    [this.source, this.destination] = ends;
  }

  request(at: Micros, content: Uint8Array | string): void {
    if (this.#requests.length >= maxRequests) {
      this.truncated = true;
      return;
    }
    this.#requests.push({ at, content });
    this.sizeBytes += 100 + content.length;
  }

  /** What an alert shows of the stream; each shows it from its beginning, so the longest has them all. */
  stream(at: Micros, bytes: Uint8Array): void {
    if (bytes.length <= (this.#stream?.bytes.length ?? 0)) return;
    this.sizeBytes += bytes.length - (this.#stream?.bytes.length ?? 0);
    this.#stream = { at: this.#stream?.at ?? at, bytes };
  }

  get hasContent(): boolean {
    return this.#requests.length > 0 || this.#stream !== undefined || this.hasInput;
  }

  /** Nothing comes any more: what is shown of the stream, else the requests in parts. */
  settle(): void {
    if (this.#stream) this.chunk('in', this.#stream.at, this.#stream.bytes);
    else if (this.#requests.length > 0) {
      for (const { at, content } of this.#requests) this.chunk('in', at, content);
      this.tag('reconstructed');
    }
    if ((this.bytesIn ?? 0) > 0) this.truncated = true;
  }
}

/** Undefined when it is of none that is recorded. */
export function eveFlow(object: JsonObject, type: string, start: Micros): FlowFacts | Rejection | undefined {
  const from = textOf(object, 'src_ip');
  const to = textOf(object, 'dest_ip');
  if (!from || !to) return rejected('no addresses');
  const name = textOf(object, 'proto')?.toUpperCase() ?? '';
  const icmp = name === 'ICMP' || name === 'IPV6-ICMP';
  if (name !== 'TCP' && name !== 'UDP' && !icmp) return rejected('neither TCP, UDP nor ICMP');
  const icmpType = icmp ? numberOf(object, 'icmp_type') : undefined;
  if (icmpType !== undefined && !echoTypes.has(icmpType)) return undefined;
  const source = { ip: from, port: icmp ? 0 : (portOf(object, 'src_port') ?? 0) };
  const destination = { ip: to, port: icmp ? 0 : (portOf(object, 'dest_port') ?? 0) };
  const [ends, oriented] = orientation(object, type, source, destination);
  const number = member(object, 'flow_id');
  const id = typeof number === 'number' || typeof number === 'string' ? String(number).slice(0, 32) : `${type}/${start}`;
  const [one, other] = [`${source.ip}:${source.port}`, `${destination.ip}:${destination.port}`];
  const key = `${id}/${name}/${one < other ? one : other}/${one < other ? other : one}`;
  return { key, transport: name === 'UDP' ? 'udp' : 'tcp', icmp, ends, oriented };
}

function orientation(
  object: JsonObject,
  type: string,
  source: Endpoint,
  destination: Endpoint,
): readonly [readonly [Endpoint, Endpoint], boolean] {
  const flow = objectOf(object, 'flow');
  const began = flow && textOf(flow, 'src_ip');
  if (began !== undefined && source.ip !== destination.ip)
    return [began === destination.ip ? [destination, source] : [source, destination], true];
  const direction = textOf(object, 'direction');
  if (direction === 'to_client') return [[destination, source], true];
  return [[source, destination], direction === 'to_server' || !turned.has(type)];
}

/** A flow in which the client never acknowledged anything is a probe, unless something more is known of it. */
export function flowProbe(draft: FlowDraft, key: string): ImportedProbe | undefined {
  const { place, start, source, destination, flowEnd } = draft;
  const packets = Math.max(1, Math.min(flowEnd?.packetsIn ?? 1, 0xffffffff));
  const probe = (transport: 'tcp' | 'icmp', kind: ProbeKind): ImportedProbe => ({
    place,
    key,
    start,
    end: Math.max(start, draft.end ?? start),
    source: source.ip,
    sourcePort: source.port,
    targets: [{ ...destination, transport, kind, count: packets }],
  });
  if (draft.icmp) return probe('icmp', 'echo');
  if (draft.transport !== 'tcp' || draft.alerted || draft.hasContent || !flowEnd) return undefined;
  const kind = probeKind(flowEnd, draft.bytesIn ?? 0);
  return kind && probe('tcp', kind);
}

function probeKind({ state, packetsIn, packetsOut, flagsIn, flagsOut = 0 }: FlowEnd, bytesIn: number): ProbeKind | undefined {
  // No flags where the stream engine followed nothing: packets that open no connection, or checksums left to the card.
  if (flagsIn === undefined || (flagsIn === 0 && flagsOut === 0)) {
    if (state !== 'new' || (packetsIn >= 3 && packetsOut >= 2)) return undefined;
    if (flagsIn === 0 && bytesIn <= bareBytes * packetsIn) return 'ack';
    return packetsOut > 0 ? 'half-open' : 'filtered';
  }
  if (flagsIn & ack) return flagsIn & syn || packetsOut > 0 ? undefined : 'ack';
  if (!(flagsIn & syn)) {
    if (flagsIn === 0) return state === 'new' ? 'null' : undefined;
    return flagsIn === fin ? 'fin' : flagsIn === (fin | push | urgent) ? 'xmas' : 'ack';
  }
  if (packetsOut === 0) return 'filtered';
  return flagsOut & syn ? 'half-open' : 'closed';
}

export function flowOutcome({ flowEnd, transport }: FlowDraft): Exclude<SessionOutcome, 'open'> {
  if (!flowEnd) return 'unknown';
  if (transport === 'udp') return 'idle';
  const { flagsIn = 0, flagsOut = 0, reason, state } = flowEnd;
  if (flagsIn & rst && !(flagsIn & fin)) return 'client-reset';
  if (flagsOut & rst) return 'server-closed';
  if (flagsIn & fin && !(flagsOut & fin)) return 'client-closed';
  if (flagsOut & fin && !(flagsIn & fin)) return 'server-closed';
  return state === 'established' && reason === 'timeout' ? 'idle' : 'unknown';
}
