// The service behind everything that is bound to nothing else: owns all its sessions, their timers, tables and bounds.
// One connection is tcp-session.ts, datagrams are datagram-table.ts, answers are responders/ and datagrams/.

import type { Clock, Micros } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import { RecencyList } from '../base/recency-list.ts';
import type { Limits } from '../model/configuration.ts';
import type { SessionOutcome, SessionSink, SessionStart } from '../model/session.ts';
import type { CertificateMint } from './certificate-mint.ts';
import { DatagramTable } from './datagram-table.ts';
import { DelayLine } from './delay-line.ts';
import type { Responder } from './responder.ts';
import { responders } from './responders/registry.ts';
import type { SessionHost } from './session-host.ts';
import { TcpSession } from './tcp-session.ts';
import type { Datagram, Visit, VisitStream } from './visit.ts';

/** Totals since the start; `open` and `openUdp` are of now. */
export interface CatchAllCounters {
  visits: number;
  open: number;
  /** Closed to make room: the oldest idle ones. */
  shed: number;
  /** Recorded and closed at once: their source had too many open. */
  refusedBySource: number;
  bytesIn: number;
  bytesOut: number;
  tlsHandshakes: number;
  tlsFailures: number;
  datagrams: number;
  openUdp: number;
  udpSessions: number;
  udpReplies: number;
  /** Answers not given: larger than allowed, or too many. */
  udpWithheld: number;
  /** Of those: names told to hosts on the link, which may be longer than the question. */
  udpOnLink: number;
  udpShed: number;
  /** Defects of responders; each is in the log too. */
  defects: number;
}

export interface CatchAllOptions {
  readonly sink: SessionSink;
  readonly limits: Limits;
  readonly certificates: CertificateMint;
  readonly log: Log;
  readonly clock: Clock;
  /** The registry of all protocols unless given. */
  readonly responders?: ReadonlyMap<string, Responder>;
  /** Bytes that may wait to be understood, over all sessions. */
  readonly pendingBytes?: number;
}

export const serviceName = 'catch-all';

const tickMs = 100;
/** How long a client may keep its side open after we closed ours. */
const lingerMs = 4000;
/** Share of the sessions shed at once when the table is full, so that a flood does not shed one by one. */
const shedShare = 1 / 256;

export class CatchAll {
  readonly #sink: SessionSink;
  readonly #limits: Limits;
  readonly #log: Log;
  readonly #clock: Clock;
  readonly #host: SessionHost<TcpSession>;
  readonly #byActivity = new RecencyList<TcpSession>();
  /** By network and address. */
  readonly #bySource = new Map<string, number>();
  /** Opening order, for the limit on total time. */
  readonly #byAge: DelayLine<TcpSession>;
  readonly #awaiting: DelayLine<TcpSession>;
  readonly #lingering = new DelayLine<TcpSession>(lingerMs);
  readonly #datagrams: DatagramTable;
  readonly #count: CatchAllCounters;
  #nowMs: number;
  #pendingBytes = 0;
  #ticker: NodeJS.Timeout | undefined;
  #closing: Promise<void> | undefined;
  #lastDefectMs = Number.NEGATIVE_INFINITY;

  constructor(options: CatchAllOptions) {
    this.#sink = options.sink;
    this.#limits = options.limits;
    this.#log = options.log;
    this.#clock = options.clock;
    this.#nowMs = options.clock() / 1000;
    this.#byAge = new DelayLine(options.limits.totalTimeoutMs);
    this.#awaiting = new DelayLine(options.limits.bannerDelayMs);
    this.#count = {
      visits: 0,
      open: 0,
      shed: 0,
      refusedBySource: 0,
      bytesIn: 0,
      bytesOut: 0,
      tlsHandshakes: 0,
      tlsFailures: 0,
      datagrams: 0,
      openUdp: 0,
      udpSessions: 0,
      udpReplies: 0,
      udpWithheld: 0,
      udpOnLink: 0,
      udpShed: 0,
      defects: 0,
    };
    this.#datagrams = new DatagramTable(options.sink, options.limits, this.#count, (error) => this.#defect('datagram', error));
    const table = options.responders ?? responders;
    const pendingLimit = options.pendingBytes ?? 64 * 1024 * 1024;
    this.#host = {
      certificates: options.certificates,
      sessionBytes: options.limits.sessionBytes,
      now: () => this.#now(),
      responder: (protocol) => table.get(protocol),
      touched: (session) => {
        session.activeMs = this.#nowMs;
        this.#byActivity.touch(session);
      },
      awaiting: (session) => this.#awaiting.add(session, this.#nowMs),
      lingering: (session) => this.#lingering.add(session, this.#nowMs),
      hold: (change) => {
        if (change > 0 && this.#pendingBytes + change > pendingLimit) return false;
        this.#pendingBytes += change;
        return true;
      },
      ended: (session, outcome) => this.#ended(session, outcome),
      counted: (what, count) => {
        this.#count[what] += count;
      },
      defect: (session, error) => this.#defect(session.protocol ?? 'unknown', error),
    };
  }

  /** TCP sessions open now. */
  get sessionsOpen(): number {
    return this.#byActivity.size;
  }

  counters(): CatchAllCounters {
    return { ...this.#count, open: this.#byActivity.size, openUdp: this.#datagrams.size };
  }

  /** Bytes received that wait for the rest of their message, over all sessions. */
  get pendingBytes(): number {
    return this.#pendingBytes;
  }

  /** Takes over an accepted connection; every one becomes a session on record. Never throws. */
  visit(visit: Visit): void {
    this.#count.visits += 1;
    this.#now();
    const { socket, source } = visit;
    const start: SessionStart = {
      start: visit.acceptedAt,
      transport: 'tcp',
      source,
      destination: visit.destination,
      sourceReliable: true,
      diversion: visit.diversion,
      service: serviceName,
      persona: visit.persona.name,
      ...(visit.sourceMac === undefined ? {} : { sourceMac: visit.sourceMac }),
      ...(visit.syn === undefined ? {} : { syn: visit.syn }),
      ...(visit.agent === undefined ? {} : { agent: visit.agent }),
    };
    const handle = this.#sink.open(start, visit.claim);
    const sourceKey = `${visit.network} ${source.ip}`;
    const ofSource = this.#bySource.get(sourceKey) ?? 0;
    if (socket.destroyed) {
      handle.close('client-reset');
      return;
    }
    if (this.#closing) {
      handle.close('shutdown');
      drop(socket);
      return;
    }
    if (ofSource >= this.#limits.sessionsPerSource) {
      this.#count.refusedBySource += 1;
      handle.close('shed');
      drop(socket);
      return;
    }
    if (this.#byActivity.size >= this.#limits.sessions) this.shedOldestIdle(Math.ceil(this.#limits.sessions * shedShare));
    this.#bySource.set(sourceKey, ofSource + 1);
    const session = new TcpSession(this.#host, handle, visit);
    session.sourceKey = sourceKey;
    session.activeMs = this.#nowMs;
    this.#byActivity.touch(session);
    this.#byAge.add(session, this.#nowMs);
    this.#ticking();
  }

  /** Records a datagram under its five-tuple and answers where an honest answer is no larger. Never throws. */
  datagram(datagram: Datagram): void {
    if (this.#closing) return;
    this.#now();
    this.#datagrams.receive(datagram, this.#nowMs);
    this.#ticking();
  }

  /** Ends up to `count` sessions, least recently active first, as `shed`; gives how many. Also for descriptors running out. */
  shedOldestIdle(count: number): number {
    let done = 0;
    while (done < count) {
      const oldest = this.#byActivity.oldest;
      if (!oldest) break;
      oldest.finish('shed');
      done += 1;
    }
    this.#count.shed += done;
    return done;
  }

  /** Closes every session as `shutdown`; all are on record when it resolves. Later visits are recorded and closed. */
  close(): Promise<void> {
    this.#closing ??= this.#drain();
    return this.#closing;
  }

  async #drain(): Promise<void> {
    clearInterval(this.#ticker);
    this.#ticker = undefined;
    this.#datagrams.close();
    for (const session of this.#byActivity) session.finish('shutdown');
  }

  #now(): Micros {
    const now = this.#clock();
    this.#nowMs = now / 1000;
    return now;
  }

  #ticking(): void {
    this.#ticker ??= setInterval(() => this.#tick(), tickMs).unref();
  }

  /** One timer for everything: greetings, idle ends, time limits, lingering closes. */
  #tick(): void {
    this.#now();
    const now = this.#nowMs;
    this.#awaiting.due(now, (session) => session.waited());
    this.#lingering.due(now, (session) => session.lingered());
    this.#byAge.due(now, (session) => session.finish('time-limit'));
    const idleSince = now - this.#limits.idleTimeoutMs;
    for (let oldest = this.#byActivity.oldest; oldest && oldest.activeMs <= idleSince; oldest = this.#byActivity.oldest)
      oldest.finish('idle');
    this.#datagrams.tick(now);
    if (this.#byActivity.size === 0 && this.#datagrams.size === 0) {
      clearInterval(this.#ticker);
      this.#ticker = undefined;
    }
  }

  #ended(session: TcpSession, _outcome: SessionOutcome): void {
    this.#byActivity.remove(session);
    this.#byAge.remove(session);
    this.#awaiting.remove(session);
    this.#lingering.remove(session);
    const { sourceKey } = session;
    const left = (this.#bySource.get(sourceKey) ?? 1) - 1;
    if (left > 0) this.#bySource.set(sourceKey, left);
    else this.#bySource.delete(sourceKey);
  }

  #defect(where: string, error: unknown): void {
    this.#count.defects += 1;
    if (this.#nowMs - this.#lastDefectMs < 1000) return;
    this.#lastDefectMs = this.#nowMs;
    this.#log.error('a responder failed; the session goes on unanswered', {
      protocol: where,
      error: error instanceof Error ? (error.stack ?? error.message) : String(error),
      defects: this.#count.defects,
    });
  }
}

/** Resets a connection that is on record already. */
function drop(socket: VisitStream): void {
  socket.on('error', () => {});
  socket.resetAndDestroy();
}
