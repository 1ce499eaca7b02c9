// Leads arrivals to services that are somewhere else, each on record like any other session: takes it over, dials, pumps. The
// table of all its flows with their bounds and times is here; one flow is relayed-flow.ts, datagrams are relayed-datagrams.ts.

import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import { RecencyList } from '../base/recency-list.ts';
import { resetConnection } from '../kernel/libc.ts';
import type { SocketPoller } from '../kernel/socket-poller.ts';
import type { Limits } from '../model/configuration.ts';
import type { RelayedService } from '../model/relayed-service.ts';
import type { SessionHandle, SessionSink } from '../model/session.ts';
import type { Arrival, ArrivedDatagram } from './arrival.ts';
import type { Dialer, DialerCounters } from './dialer.ts';
import type { FlowEnd } from './pump.ts';
import { type DatagramRelayCounters, RelayedDatagrams } from './relayed-datagrams.ts';
import { type FlowHost, RelayedFlow } from './relayed-flow.ts';
import { SessionTap } from './session-tap.ts';

/** Totals since the start; `open`, `dialling` and `udpOpen` are of now. */
export interface RelayCounters extends DatagramRelayCounters {
  visits: number;
  open: number;
  dialling: number;
  /** Of the visits: those the hop before records, relayed only. */
  inner: number;
  /** Closed to make room: the oldest idle ones. */
  shed: number;
  /** Recorded and closed at once: their source had too many open. */
  refusedBySource: number;
  /** The service did not answer; the client was reset. */
  unreachable: number;
  bytesIn: number;
  bytesOut: number;
  readonly dials: DialerCounters;
}

export interface RelayOptions {
  readonly sink: SessionSink;
  readonly limits: Pick<Limits, 'sessions' | 'sessionsPerSource' | 'sessionBytes' | 'idleTimeoutMs' | 'totalTimeoutMs'>;
  readonly dialer: Dialer;
  /** The dialer's. */
  readonly poller: SocketPoller;
  readonly log: Log;
  readonly clock: Clock;
  /** How long the rest of a half-closed connection may go on without a byte; default 60 s, and never beyond the idle limit. */
  readonly lingerMs?: number;
}

/** Share of the flows shed at once when the table is full, so that a flood does not shed one by one. */
const shedShare = 1 / 256;
/** Ticks between words to sessions about bytes beyond their cap. */
const settleTicks = 4;

export class Relay {
  readonly #options: RelayOptions;
  readonly #host: FlowHost;
  readonly #flows = new Set<RelayedFlow>();
  /** Least recently active first; the two have limits of their own. */
  readonly #active = new RecencyList<RelayedFlow>();
  readonly #halfClosed = new RecencyList<RelayedFlow>();
  readonly #bySource = new Map<string, number>();
  readonly #datagrams: RelayedDatagrams;
  readonly #lingerMs: number;
  readonly #tickMs: number;
  readonly #count = { visits: 0, inner: 0, shed: 0, refusedBySource: 0, unreachable: 0, bytesIn: 0, bytesOut: 0 };
  #ticker: NodeJS.Timeout | undefined;
  #ticks = 0;
  #nowMs: number;
  #closing = false;

  constructor(options: RelayOptions) {
    this.#options = options;
    const { limits, clock } = options;
    this.#lingerMs = Math.min(options.lingerMs ?? 60_000, limits.idleTimeoutMs);
    this.#tickMs = Math.max(10, Math.min(250, this.#lingerMs / 4, limits.totalTimeoutMs / 4));
    this.#nowMs = clock() / 1000;
    this.#host = {
      poller: options.poller,
      dialer: options.dialer,
      clock,
      touched: (flow) => this.#touched(flow),
      ended: (flow, outcome) => this.#ended(flow, outcome),
    };
    this.#datagrams = new RelayedDatagrams(options);
  }

  /** Takes over a connection that this service is to answer; every one becomes a session on record, but an inner hop's. Never throws. */
  visit(arrival: Arrival, service: RelayedService): void {
    this.#count.visits += 1;
    this.#nowMs = this.#options.clock() / 1000;
    const inner = arrival.service !== undefined;
    if (inner) this.#count.inner += 1;
    const handle = inner ? undefined : this.#open(arrival, service);
    const sourceKey = `${arrival.network} ${arrival.source.ip}`;
    const ofSource = this.#bySource.get(sourceKey) ?? 0;
    const { limits } = this.#options;
    if (this.#closing) {
      refuse(arrival, handle, 'shutdown');
      return;
    }
    if (ofSource >= limits.sessionsPerSource) {
      this.#count.refusedBySource += 1;
      refuse(arrival, handle, 'shed');
      return;
    }
    if (this.#flows.size >= limits.sessions) this.shedOldestIdle(Math.ceil(limits.sessions * shedShare));
    const tap = new SessionTap(handle, limits.sessionBytes);
    try {
      const flow = new RelayedFlow(this.#host, tap, arrival, service, sourceKey, this.#nowMs);
      if (flow.over) return;
      this.#bySource.set(sourceKey, ofSource + 1);
      this.#flows.add(flow);
      this.#touched(flow);
      this.#ticking();
    } catch (error) {
      tap.close('shed');
      this.#options.log.error('a connection could not be relayed', { error: String(error) });
    }
  }

  /** Leads a datagram to the service, on record under its five-tuple; answers are never larger than what came in. Never throws. */
  datagram(arrived: ArrivedDatagram, service: RelayedService): void {
    if (this.#closing) return;
    this.#datagrams.receive(arrived, service);
    this.#ticking();
  }

  /** Connections relayed now. */
  get sessionsOpen(): number {
    return this.#flows.size;
  }

  counters(): RelayCounters {
    return {
      ...this.#count,
      ...this.#datagrams.counters(),
      open: this.#flows.size,
      dialling: this.#options.dialer.pending,
      dials: { ...this.#options.dialer.counters },
    };
  }

  /** Ends up to `count` flows, half-closed ones and the least recently active first, as `shed`; gives how many. */
  shedOldestIdle(count: number): number {
    let done = 0;
    while (done < count) {
      const oldest = this.#halfClosed.oldest ?? this.#active.oldest;
      if (!oldest) break;
      oldest.finish('shed');
      done += 1;
    }
    this.#count.shed += done;
    return done;
  }

  /** Ends every flow as `shutdown`; all are on record afterwards. Later ones are recorded and reset. The dialer and poller stay. */
  close(): void {
    this.#closing = true;
    clearInterval(this.#ticker);
    this.#ticker = undefined;
    for (const flow of [...this.#flows]) flow.finish('shutdown');
    this.#datagrams.close();
  }

  #open(arrival: Arrival, service: RelayedService): SessionHandle {
    const { agent, sourceMac, syn, uniqueId } = arrival;
    const handle = this.#options.sink.open(
      {
        start: arrival.acceptedAt,
        transport: 'tcp',
        source: arrival.source,
        destination: arrival.destination,
        sourceReliable: true,
        diversion: arrival.diversion,
        service: service.name,
        persona: arrival.persona.name,
        ...(sourceMac === undefined ? {} : { sourceMac }),
        ...(syn === undefined ? {} : { syn }),
        ...(agent === undefined ? {} : { agent }),
      },
      arrival.claim,
    );
    if (uniqueId !== undefined) handle.find({ tags: [`hop-id:${uniqueId}`] });
    return handle;
  }

  #touched(flow: RelayedFlow): void {
    if (flow.over) return;
    flow.activeMs = this.#options.clock() / 1000;
    if (!flow.isHalfClosed) this.#active.touch(flow);
    else {
      if (flow.listed && !flow.lingering) this.#active.remove(flow);
      flow.lingering = true;
      this.#halfClosed.touch(flow);
    }
  }

  #ended(flow: RelayedFlow, outcome: FlowEnd): void {
    const { bytes } = flow.tap;
    this.#count.bytesIn += bytes.in;
    this.#count.bytesOut += bytes.out;
    if (outcome === 'service-unreachable') this.#count.unreachable += 1;
    if (flow.lingering) this.#halfClosed.remove(flow);
    else this.#active.remove(flow);
    if (!this.#flows.delete(flow)) return;
    const left = (this.#bySource.get(flow.sourceKey) ?? 1) - 1;
    if (left > 0) this.#bySource.set(flow.sourceKey, left);
    else this.#bySource.delete(flow.sourceKey);
  }

  #ticking(): void {
    this.#ticker ??= setInterval(() => this.#tick(), this.#tickMs).unref();
  }

  /** One timer for everything. */
  #tick(): void {
    const now = this.#options.clock() / 1000;
    const { idleTimeoutMs, totalTimeoutMs } = this.#options.limits;
    // In the order they came.
    for (const flow of this.#flows) {
      if (flow.openedMs > now - totalTimeoutMs) break;
      flow.finish('time-limit');
    }
    endIdle(this.#active, now - idleTimeoutMs);
    endIdle(this.#halfClosed, now - this.#lingerMs);
    this.#ticks += 1;
    if (this.#ticks % settleTicks === 0) for (const flow of this.#flows) flow.tap.settle();
    this.#datagrams.tick();
    if (this.#flows.size === 0 && this.#datagrams.size === 0) {
      clearInterval(this.#ticker);
      this.#ticker = undefined;
    }
  }
}

function endIdle(list: RecencyList<RelayedFlow>, since: number): void {
  for (let oldest = list.oldest; oldest && oldest.activeMs <= since; oldest = list.oldest) oldest.finish('idle');
}

function refuse(arrival: Arrival, handle: SessionHandle | undefined, outcome: FlowEnd): void {
  handle?.close(outcome);
  const fd = arrival.takeDescriptor?.();
  if (fd !== undefined) resetConnection(fd);
  else arrival.socket.on('error', () => {}).resetAndDestroy();
}
