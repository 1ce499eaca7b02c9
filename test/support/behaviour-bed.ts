// A tracker with the thresholds that come with Weir, and short ways to say what a source did. Times are seconds after a fixed
// moment; the clock of telling stands still unless a test moves it.

import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { BehaviourTracker } from '../../src/analysis/behaviour/behaviour-tracker.ts';
import { KnownScanners } from '../../src/analysis/behaviour/known-scanners.ts';
import { wholeView } from '../../src/analysis/session-gatherer.ts';
import { defaultAnalysis } from '../../src/config/analysis-schema.ts';
import type { BehaviourThresholds } from '../../src/model/analysis-settings.ts';
import type { ProbeKind, ProbeRecord, WeirEvent } from '../../src/model/event.ts';
import type { Behaviour, Fact, SignatureHit, Verdict } from '../../src/model/insight.ts';
import type { SessionRecord, SynDetails } from '../../src/model/session.ts';
import { sampleChunk, sampleId, sampleSession } from './sample-records.ts';

export const epoch = 1_767_312_000_000_000;
export const attacker = '198.51.100.7';
export const secondsOf = (seconds: number): number => epoch + Math.round(seconds * 1e6);

const rules = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../../rules');
export const knownScanners = KnownScanners.read(path.join(rules, 'scanners.yaml'));

/** The SYN of an ordinary Linux client, and those of scanners without a stack. */
export const syns = {
  linux: {
    ttl: 61,
    ipId: 4711,
    doNotFragment: true,
    window: 64_240,
    sequence: 12_345,
    options: 'mss,sok,ts,nop,ws',
    mss: 1460,
    windowScale: 7,
    system: 'Linux 4.19+',
  },
  zmap: { ttl: 242, ipId: 54_321, doNotFragment: false, window: 65_535, sequence: 99, options: '', system: 'ZMap' },
  masscan: { ttl: 241, ipId: 8123, doNotFragment: false, window: 1024, sequence: 77, options: '', system: 'masscan' },
  nmap: { ttl: 45, ipId: 31_000, doNotFragment: false, window: 1024, sequence: 5, options: 'mss', mss: 1460, system: 'nmap' },
} as const satisfies Record<string, SynDetails>;

let number = 0;

/** A session that said `says`, or nothing. */
export function session(
  seconds: number,
  source: string,
  target: string,
  says = '',
  facts: Partial<SessionRecord> = {},
  answer = '',
): WeirEvent {
  number += 1;
  const at = secondsOf(seconds);
  const colon = target.lastIndexOf(':');
  const chunks = [
    ...(says === '' ? [] : [sampleChunk(at + 1000, 'in', says)]),
    ...(answer === '' ? [] : [sampleChunk(at + 2000, 'out', answer)]),
  ];
  return {
    kind: 'session',
    session: sampleSession(at, number, {
      source: { ip: source, port: 40_000 + (number % 20_000) },
      destination: { ip: target.slice(0, colon), port: Number(target.slice(colon + 1)) },
      chunks,
      ...facts,
    }),
  };
}

/** Packets to `10.0.0.1:22`, `10.0.0.1:53/udp` or, pings, `10.0.0.1`. */
export function probe(
  seconds: number,
  source: string,
  targets: readonly string[],
  facts: Partial<ProbeRecord> & { readonly probeKind?: ProbeKind; readonly count?: number } = {},
): WeirEvent {
  number += 1;
  const { probeKind = 'closed', count = 1, ...rest } = facts;
  const at = secondsOf(seconds);
  return {
    kind: 'probe',
    probe: {
      id: sampleId(at, number),
      start: at,
      end: at + 900_000,
      source,
      sourcePort: 40_404,
      diversion: 'dmz',
      targets: targets.map((target) => {
        const match = /^(.*):(\d+)(\/udp)?$/.exec(target);
        return match
          ? { ip: match[1], port: Number(match[2]), transport: match[3] ? 'udp' : 'tcp', kind: probeKind, count }
          : { ip: target, port: 0, transport: 'icmp', kind: 'echo', count };
      }),
      unlisted: 0,
      ...rest,
    },
  };
}

export class TrackerBed {
  tracker: BehaviourTracker;
  /** Milliseconds of the telling clock. */
  nowMs = 1_000_000;
  readonly thresholds: BehaviourThresholds;
  /** The newest of each identifier, as a store keeps them. */
  readonly verdicts = new Map<string, Verdict>();

  constructor(thresholds: Partial<BehaviourThresholds> = {}) {
    this.thresholds = { ...defaultAnalysis.behaviour, ...thresholds };
    this.tracker = this.#made();
  }

  #made(): BehaviourTracker {
    return new BehaviourTracker({ thresholds: this.thresholds, scanners: knownScanners, clock: () => this.nowMs * 1000 });
  }

  /** The process died and another one begins with what the store has. */
  restart(restore = true): void {
    this.tracker = this.#made();
    if (restore) this.tracker.restore([...this.verdicts.values()]);
  }

  take(event: WeirEvent, hits: readonly SignatureHit[] = [], facts: readonly Fact[] = []): this {
    const view = event.kind === 'session' && event.session.outcome !== 'open' ? wholeView(event.session) : undefined;
    this.tracker.take(event, hits, view, facts);
    return this;
  }

  /** Takes them and keeps what is told after each thousand, as batches would. */
  takeAll(events: Iterable<WeirEvent>): this {
    let count = 0;
    for (const event of events) {
      this.take(event);
      count += 1;
      if (count % 1000 === 0) this.flush();
    }
    return this;
  }

  flush(): readonly Verdict[] {
    this.nowMs += 1000;
    const told = this.tracker.flush();
    for (const verdict of told) this.verdicts.set(verdict.id, verdict);
    return told;
  }

  /** Everything known by now, of one behaviour or of all. */
  found(behaviour?: Behaviour): Verdict[] {
    this.flush();
    return [...this.verdicts.values()].filter((verdict) => behaviour === undefined || verdict.behaviour === behaviour);
  }

  /** Names and counts: `port-scan 1, sweep 2`. */
  summary(): string {
    const counts = new Map<string, number>();
    for (const { behaviour } of this.found()) counts.set(behaviour, (counts.get(behaviour) ?? 0) + 1);
    return [...counts.entries()]
      .sort()
      .map(([behaviour, count]) => `${behaviour} ${count}`)
      .join(', ');
  }
}

/** `count` of something. */
export const times = <T>(count: number, make: (index: number) => T): T[] =>
  Array.from({ length: count }, (_, index) => make(index));
