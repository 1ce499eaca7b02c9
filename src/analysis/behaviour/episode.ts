// One behaviour of one source while it lasts: what is counted of it, and the verdict it reads as. Who decides that there is
// one are the detectors; which of them are kept and told is episode-table.ts.

import type { Micros } from '../../base/clock.ts';
import { printable } from '../../base/printable.ts';
import type { Severity } from '../../model/event.ts';
import type { Behaviour, Confidence, Verdict } from '../../model/insight.ts';
import { NumberSet } from './number-set.ts';
import { PortBits, portOf, portText, transportOf } from './port-bits.ts';
import { touchFlags } from './touch-list.ts';

const maxRecords = 16;
const maxEvidence = 8;
const maxEvidenceLength = 500;
const maxNamed = 32;

/** Which decoy and port it is about, as the words of its identity and for the verdict. */
export interface About {
  /** What tells it from the same behaviour of the same source elsewhere: `10.66.3.4`, `22/tcp`, empty. */
  readonly key: string;
  readonly destination?: string;
  readonly port?: number;
}

/** The sentences of one kind of behaviour, most telling first. */
export type Describe = (episode: Episode) => string[];

const order: readonly Severity[] = ['info', 'low', 'medium', 'high'];
export const worse = (a: Severity, b: Severity): Severity => (order.indexOf(a) < order.indexOf(b) ? b : a);

export class Episode {
  // What every event of it needs comes first: it lies together in memory, and waiting for memory is most of what an event costs.
  readonly behaviour: Behaviour;
  readonly about: About;
  start: Micros;
  end: Micros;
  hits = 0;
  readonly hosts = new NumberSet();
  readonly ports = new PortBits();
  readonly records: string[] = [];
  /** Events up to here were counted before: by a process that is no more. */
  countedUntil: Micros = Number.NEGATIVE_INFINITY;
  /** As touchFlags, united. */
  flags = 0;
  /** In the table's list of those to be told. */
  dirty = false;
  /** The only decoy so far, while there is one. */
  onlyHost: string | undefined;
  diversion: string | undefined;
  tool: string | undefined;
  readonly source: string;
  readonly describe: Describe;
  id = '';
  credentials: NumberSet | undefined;
  /** Of a web server; told in words alone. */
  paths: NumberSet | undefined;
  severity: Severity = 'low';
  /** Set where it is an inference whatever the flags say. */
  confidence: Confidence | undefined;
  readonly techniques: string[] = [];
  readonly cves: string[] = [];
  /** Sentences about what became of it, after those of `describe`. */
  readonly remarks: string[] = [];
  /** What a former process told of it: its figures never fall below that, and its sentences stay. */
  floor: Verdict | undefined;
  /** Packets whose targets no record lists. */
  unlisted = 0;
  toldAt = Number.NEGATIVE_INFINITY;

  constructor(behaviour: Behaviour, source: string, about: About, start: Micros, describe: Describe) {
    this.behaviour = behaviour;
    this.source = source;
    this.about = about;
    this.start = start;
    this.end = start;
    this.describe = describe;
  }

  get byteLength(): number {
    return (
      700 + this.ports.byteLength + this.hosts.byteLength + (this.credentials?.byteLength ?? 0) + (this.paths?.byteLength ?? 0)
    );
  }

  /** So many sessions or packets at a time. */
  count(at: Micros, hits: number): void {
    if (at > this.end) this.end = at;
    if (at < this.start) this.start = at;
    if (at > this.countedUntil) this.hits += hits;
  }

  target(host: number, name: string, portKey: number): void {
    this.hosts.add(host);
    this.onlyHost = this.hosts.size === 1 ? name : undefined;
    this.ports.add(portKey);
  }

  rest(record: string): void {
    const { records } = this;
    if (records.length >= maxRecords || records[records.length - 1] === record || record === '') return;
    if (!records.includes(record)) records.push(record);
  }

  learn(techniques: readonly string[], cves: readonly string[] = []): void {
    unite(this.techniques, techniques);
    unite(this.cves, cves);
  }

  get hostCount(): number {
    return Math.max(this.hosts.size, this.floor?.hosts ?? 0);
  }

  get portCount(): number {
    return Math.max(this.ports.size, this.floor?.ports ?? 0);
  }

  get credentialCount(): number {
    return Math.max(this.credentials?.size ?? 0, this.floor?.credentials ?? 0);
  }

  /** `3 decoys`, `the decoy 10.66.3.4`; `about 5,000` where the count is an estimate. */
  get hostText(): string {
    if (this.hostCount === 1) return this.onlyHost === undefined ? 'one decoy' : `the decoy ${this.onlyHost}`;
    return `${this.hosts.exact ? '' : 'about '}${this.hostCount} decoys`;
  }

  get portWords(): string {
    const first = this.ports.first;
    return this.portCount === 1 && first !== undefined ? `port ${portText(first)}` : `${this.portCount} ports`;
  }

  /** Whether it says more than what a former process told. */
  grew(): boolean {
    const { floor } = this;
    if (!floor) return true;
    const more = this.portCount > floor.ports || this.hostCount > floor.hosts || this.credentialCount > floor.credentials;
    return more || this.hits > floor.hits || this.severity !== floor.severity || this.remarks.length > 0;
  }

  verdict(): Verdict {
    const { about, flags } = this;
    const onePort = this.portCount === 1 ? this.ports.first : undefined;
    const port = about.port ?? onePort;
    const destination = about.destination ?? (this.hostCount === 1 ? this.onlyHost : undefined);
    const inferred: Confidence =
      (flags & touchFlags.proven) !== 0 ? 'certain' : (flags & touchFlags.forgeable) !== 0 ? 'likely' : 'possible';
    const words = [...this.describe(this), ...this.remarks, ...toolWords(this), ...doubts(this)].map((sentence) =>
      printable(sentence, maxEvidenceLength),
    );
    // The first sentence tells the figures; those of before are in it.
    const former = (this.floor?.evidence ?? []).slice(1).filter((sentence) => !words.includes(sentence));
    const evidence = [...words, ...former].slice(0, maxEvidence);
    return {
      id: this.id,
      behaviour: this.behaviour,
      source: this.source,
      start: this.start,
      end: this.end,
      severity: this.severity,
      confidence: this.confidence ?? inferred,
      ...(destination !== undefined && { destination }),
      ...(port !== undefined && { port: portOf(port), transport: transportOf(port) }),
      ...(this.diversion !== undefined && { diversion: this.diversion }),
      hits: this.hits,
      ports: this.portCount,
      hosts: this.hostCount,
      credentials: this.credentialCount,
      ...(this.tool !== undefined && { tool: this.tool }),
      techniques: [...this.techniques],
      cves: [...this.cves],
      evidence,
      records: [...this.records],
    };
  }
}

const toolWords = ({ tool }: Episode): string[] => (tool === undefined ? [] : [`What it sends bears the marks of ${tool}.`]);

/** What a reader has to know before blaming the source. */
function doubts({ flags }: Episode): string[] {
  if ((flags & touchFlags.proven) !== 0) return [];
  if (flags === touchFlags.stray)
    return ['Only packets of connections that never were: answers to somebody who forged our addresses look the same.'];
  return (flags & touchFlags.forgeable) !== 0 ? ['No handshake was completed: the source can be forged.'] : [];
}

function unite(into: string[], values: readonly string[]): void {
  for (const value of values) if (into.length < maxNamed && !into.includes(value)) into.push(value);
}
