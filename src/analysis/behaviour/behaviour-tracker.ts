// Turns events into verdicts, in the stream: every session when it is first seen and when it ended, every probe. Memory is
// bounded, times are the events' own, and the same events in the same order give the same verdicts. Thresholds and their
// reasons: docs/behaviour.md. Reads and stores nothing; what it remembers over a restart is behaviour-memory.ts.

import { type Clock, type Micros, systemClock } from '../../base/clock.ts';
import type { BehaviourThresholds } from '../../model/analysis-settings.ts';
import type { ProbeRecord, ProbeTarget, WeirEvent } from '../../model/event.ts';
import type { Fact, SignatureHit, Verdict } from '../../model/insight.ts';
import type { Credential, SessionRecord } from '../../model/session.ts';
import type { SessionView } from '../session-view.ts';
import { readAnsweredPaths } from './answered-paths.ts';
import type { RememberedSource } from './behaviour-memory.ts';
import { EpisodeTable } from './episode-table.ts';
import { ExploitDetector } from './exploit-detector.ts';
import { GuessDetector } from './guess-detector.ts';
import { type KnownScanners, synTool } from './known-scanners.ts';
import { portKeyOf } from './port-bits.ts';
import { ScanDetector, touchesKept } from './scan-detector.ts';
import { SeenRecords, seenParts } from './seen-records.ts';
import { SelfNamedDetector } from './self-named-detector.ts';
import { type SourceState, SourceTable } from './source-state.ts';
import { emptyTouch, hostNumber, isAnswer, untracedPort } from './touch.ts';
import { touchFlags } from './touch-list.ts';
import { TwoPhaseDetector } from './two-phase-detector.ts';
import { VisitDetector } from './visit-detector.ts';
import { WalkDetector } from './walk-detector.ts';

export interface BehaviourOptions {
  readonly thresholds: BehaviourThresholds;
  readonly scanners: KnownScanners;
  /** Only for how often verdicts are told again. */
  readonly clock?: Clock;
}

export interface BehaviourCounters {
  readonly sources: number;
  readonly bytes: number;
  /** Sources forgotten to make room. */
  readonly evicted: number;
  /** Behaviours found; and those not told, because their source had too many at once. */
  readonly founded: number;
  readonly refused: number;
  /** Verdicts that wait for their second to pass. */
  readonly pending: number;
}

/** Protocols whose logins show no password. */
const sealedLogins = new Set(['ssh', 'rdp', 'smb', 'vnc', 'mysql', 'mongodb']);
/** A client that shows an SSH version and algorithms has sent more than this. */
const sshLoginBytes = 200;

const noAttempts: readonly Credential[] = [];
const noFacts: readonly Fact[] = [];

/** Whoever begins takes the records of so long again. */
const takenAgainMicros = 30 * 60 * 1e6;

/** What an import says happened elsewhere at another time, which has nothing to do with what the source does here now. */
const importDiversion = 'import';

type Session = Omit<SessionRecord, 'chunks' | 'firstChunk'>;

export class BehaviourTracker {
  readonly #clock: Clock;
  readonly #scanners: KnownScanners;
  readonly #sources: SourceTable;
  readonly #table: EpisodeTable;
  readonly #seen = new SeenRecords();
  readonly #touch = emptyTouch();
  readonly #scans: ScanDetector;
  readonly #visits: VisitDetector;
  readonly #guesses: GuessDetector;
  readonly #walks: WalkDetector;
  readonly #phases: TwoPhaseDetector;
  readonly #exploits: ExploitDetector;
  readonly #selfNamed: SelfNamedDetector;

  constructor({ thresholds, scanners, clock = systemClock }: BehaviourOptions) {
    this.#clock = clock;
    this.#scanners = scanners;
    this.#table = new EpisodeTable(thresholds);
    this.#sources = new SourceTable(thresholds.sources, thresholds.memoryBytes, touchesKept(thresholds));
    this.#scans = new ScanDetector(thresholds, this.#table);
    this.#visits = new VisitDetector(thresholds, this.#table);
    this.#guesses = new GuessDetector(thresholds, this.#table);
    this.#walks = new WalkDetector(thresholds, this.#table);
    this.#phases = new TwoPhaseDetector(thresholds, this.#table);
    this.#exploits = new ExploitDetector(this.#table);
    this.#selfNamed = new SelfNamedDetector(this.#table);
  }

  /** Never throws for what an attacker made. `hits`, `view` and `facts` are of a session that ended. */
  take(event: WeirEvent, hits: readonly SignatureHit[] = [], view?: SessionView, facts: readonly Fact[] = noFacts): void {
    if (event.kind === 'session') this.#session(event.session, hits, view, facts);
    else if (event.kind === 'probe') this.#probe(event.probe);
  }

  /**
   * Verdicts that are new or grew, each at most once a second unless `all`. What has to wait is given by a later call, so a
   * stream that falls silent is followed by one while `counters().pending` is not 0.
   */
  flush(all = false): Verdict[] {
    return this.#table.flush(this.#clock() / 1000, all);
  }

  /** Verdicts of a former process, before the first event: what goes on keeps its identifier, its start and its counts. */
  restore(verdicts: readonly Verdict[]): void {
    this.#table.restore(verdicts);
  }

  /** Those that touched most first: for a file that a later process recalls. */
  *remembered(): Generator<RememberedSource> {
    for (const { key, ip, touches } of this.#sources)
      if (touches.size > 0) yield { key, ip, touches: Array.from({ length: touches.size }, (_, index) => touches.entry(index)) };
  }

  /**
   * What a former process remembered, before the first event. Of the newest half hour only that there were touches: the
   * store's records of that time are taken again, and count then.
   */
  recall(sources: Iterable<RememberedSource>): void {
    const all = [...sources];
    const newest = all.reduce((most, { touches }) => touches.reduce((at, touch) => Math.max(at, touch.at), most), 0);
    // The first are the weightiest: told last, they stay longest.
    for (const { key, ip, touches } of all.reverse()) {
      const state = this.#sources.get(key, ip);
      for (const touch of touches) {
        if (state.touches.find(touch.host, touch.port) >= 0) continue;
        const index = state.touches.add(touch.host, touch.port, touch.name);
        const hits = touch.at < newest - takenAgainMicros ? touch.hits : 0;
        state.touches.note(index, touch.at, hits, touch.flags, touch.record);
        this.#sources.touched(state);
      }
    }
  }

  counters(): BehaviourCounters {
    return {
      sources: this.#sources.size,
      bytes: this.#sources.bytes,
      evicted: this.#sources.evicted,
      founded: this.#table.founded,
      refused: this.#table.refused,
      pending: this.#table.pending,
    };
  }

  #stateOf(ip: string, diversion: string): SourceState {
    return diversion === importDiversion ? this.#sources.get(`${ip} ${importDiversion}`, ip) : this.#sources.of(ip);
  }

  #session(session: SessionRecord, hits: readonly SignatureHit[], view: SessionView | undefined, facts: readonly Fact[]): void {
    const ended = session.outcome !== 'open';
    const fresh = this.#seen.add(session.id, ended ? seenParts.begin | seenParts.end : seenParts.begin);
    if (fresh === 0) return;
    const { transport, destination, start, diversion } = session;
    const state = this.#stateOf(session.source.ip, diversion);
    const tool = session.syn && synTool(session.syn.system);
    if (tool !== undefined) state.tool = tool;
    const touch = this.#touch;
    touch.at = start;
    touch.host = hostNumber(destination.ip);
    touch.hostName = destination.ip;
    touch.port = portKeyOf(this.#scannedPort(state, destination.port, transport, start), transport);
    touch.hits = 1;
    touch.flags =
      transport === 'tcp' || session.sourceReliable
        ? touchFlags.proven
        : isAnswer(session.source.port, destination.port)
          ? touchFlags.stray
          : touchFlags.forgeable;
    touch.record = session.id;
    touch.diversion = diversion;
    touch.index = (fresh & seenParts.begin) !== 0 ? this.#scans.touch(state, touch) : state.touches.find(touch.host, touch.port);
    if ((fresh & seenParts.end) !== 0) this.#ended(state, session, hits, view, facts);
    this.#touched(state, start);
  }

  /** In a scan every port counts; outside of one a trace of the route is none. */
  #scannedPort({ scan }: SourceState, port: number, transport: ProbeTarget['transport'], at: Micros): number {
    return transport === 'udp' && (scan === undefined || !this.#table.lasts(scan, at)) ? untracedPort(port) : port;
  }

  #touched(state: SourceState, at: Micros): void {
    if (at > state.latest) state.latest = at;
    if ((state.touchCount & 31) === 31) this.#table.settle(state);
    this.#sources.touched(state);
  }

  #ended(
    state: SourceState,
    session: Session,
    hits: readonly SignatureHit[],
    view: SessionView | undefined,
    facts: readonly Fact[],
  ): void {
    const touch = this.#touch;
    const attempts = attemptsOf(session, facts);
    // Logs of other honeypots tell of logins without the bytes they came in.
    if (session.bytesIn === 0 && attempts === undefined) {
      this.#visits.session(state, touch, 'silent');
      return;
    }
    const found = this.#scanners.identify(session, view);
    if (found) {
      if (found.kind === 'tool') state.tool = found.name;
      else this.#selfNamed.session(state, touch, found);
    }
    const exploited = this.#exploits.session(state, touch, hits);
    const second = this.#phases.session(state, touch, session);
    const guessed = attempts !== undefined && this.#guesses.session(state, touch, attempts);
    const requests = view && readAnsweredPaths(view.input, view.output);
    const walked = requests !== undefined && this.#walks.session(state, touch, requests);
    if (guessed) this.#visits.forget(state, touch);
    const unread = attempts?.length === 0;
    if (exploited || second || guessed || unread || walked || found?.kind === 'research') return;
    this.#visits.session(state, touch, session.transport === 'udp' ? 'datagrams' : 'spoke');
  }

  #probe(probe: ProbeRecord): void {
    if (this.#seen.add(probe.id, seenParts.end) === 0) return;
    const state = this.#stateOf(probe.source, probe.diversion);
    const { syn } = probe;
    const tool = syn && synTool(syn.system);
    if (tool !== undefined) state.tool = tool;
    const firstPhase = syn !== undefined && this.#phases.probe(state, probe, syn);
    const touch = this.#touch;
    touch.at = probe.start;
    touch.record = probe.id;
    touch.diversion = probe.diversion;
    for (const target of probe.targets) {
      touch.host = hostNumber(target.ip);
      touch.hostName = target.ip;
      touch.port = portKeyOf(this.#scannedPort(state, target.port, target.transport, probe.start), target.transport);
      touch.hits = target.count;
      const stray = target.kind === 'ack' || (target.transport === 'udp' && isAnswer(probe.sourcePort, target.port));
      touch.flags = stray ? touchFlags.stray : touchFlags.forgeable;
      if (firstPhase && target.transport === 'tcp') this.#phases.target(state, touch);
      touch.index = this.#scans.touch(state, touch);
      if (touch.index >= 0) this.#visits.packets(state, touch, target.count);
    }
    if (probe.unlisted > 0) this.#scans.more(state, probe.start, probe.unlisted);
    this.#touched(state, probe.start);
  }
}

/** What a session tried to log in with: empty where that cannot be read, undefined where it did not try. */
function attemptsOf(session: Session, facts: readonly Fact[]): readonly Credential[] | undefined {
  const { credentials = noAttempts, userName, password, protocol, tags } = session;
  const sealed = protocol !== undefined && sealedLogins.has(protocol);
  if (credentials.length > 0 && (!sealed || credentials.some((one) => one.password !== undefined))) return credentials;
  if (password !== undefined) return [{ ...(userName !== undefined && { userName }), password }];
  const told = credentialsOf(facts);
  if (told.length > 0) return told;
  if (tags?.includes('login-attempt')) return noAttempts;
  const named = userName !== undefined || credentials.length > 0;
  return sealed && (named || (protocol === 'ssh' && session.bytesIn > sshLoginBytes)) ? noAttempts : undefined;
}

/** Those that stand in the bytes, of services that no responder of ours answered. Names without a password say who, not what was tried. */
function credentialsOf(facts: readonly Fact[]): readonly Credential[] {
  let found: Credential[] | undefined;
  for (const { kind, value } of facts) {
    if (kind !== 'credential') continue;
    const colon = value.indexOf(':');
    if (colon < 0 || colon === value.length - 1) continue;
    found ??= [];
    found.push({ userName: value.slice(0, colon), password: value.slice(colon + 1) });
  }
  return found ?? noAttempts;
}
