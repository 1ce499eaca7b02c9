// Turns Suricata's alerts into alert records that name their session. Packets may be faster than the session's own record:
// an alert nobody fits waits a little, then is recorded without one and counted. Nothing is thrown away but repetitions.

import type { Clock, Micros } from '../base/clock.ts';
import { printable } from '../base/printable.ts';
import type { AlertRecord, EventSink } from '../model/event.ts';
import { createIdentifier, derivedIdentifier } from '../model/identifier.ts';
import type { AlertTally } from './alert-tally.ts';
import type { EveAlert } from './eve-alert.ts';
import { type FlowIndex, type IndexedFlow, tupleKey } from './flow-index.ts';

export interface AlertJoinerOptions {
  readonly index: FlowIndex;
  readonly sink: EventSink;
  /** Of the wait: one that never steps. */
  readonly clock: Clock;
  /** The diversion a tag stands for, where it stands for one. */
  readonly diversionOf: (vlan: number) => string | undefined;
  /** How long an alert waits for its session; default 10 s, more than a journal's group and the recorder of a busy machine take. */
  readonly waitMs?: number;
}

export interface AlertJoinerCounters {
  readonly alerts: number;
  readonly joined: number;
  /** Recorded without a session: none fitted in time. */
  readonly unmatched: number;
  /** Of those, alerts that could not wait: too many did. */
  readonly hurried: number;
  /** More of the same signature in the same session than are recorded. */
  readonly repeated: number;
  readonly waiting: number;
}

/** Records of one signature in one session. */
const maxRepeats = 16;
const maxWaiting = 8192;
const sweepMs = 250;

interface Waiting {
  readonly alert: EveAlert;
  readonly until: Micros;
}

export class AlertJoiner {
  readonly #options: AlertJoinerOptions;
  readonly #waitMicros: number;
  /** In order of arrival, and so of their ends. */
  readonly #waiting = new Map<string, Waiting[]>();
  #waitingCount = 0;
  /** Of sessions that may be shown again; as many at most as have frames in the feed's window. */
  readonly #unsettled = new Set<AlertTally>();
  #timer: NodeJS.Timeout | undefined;
  #alerts = 0;
  #joined = 0;
  #unmatched = 0;
  #hurried = 0;
  #repeated = 0;

  constructor(options: AlertJoinerOptions) {
    this.#options = options;
    this.#waitMicros = (options.waitMs ?? 10_000) * 1000;
  }

  take(alert: EveAlert): void {
    this.#alerts += 1;
    const flow = this.#options.index.find(alert);
    if (flow) this.#record(alert, flow);
    else if (this.#waitingCount >= maxWaiting) {
      this.#hurried += 1;
      this.#record(alert, undefined);
    } else this.#wait(alert);
  }

  /** A session is in the index now: alerts that waited for its five-tuple may be its. */
  arrived(flow: IndexedFlow): void {
    if (this.#waitingCount === 0) return;
    for (const key of [tupleKey(flow), tupleKey({ ...flow, source: flow.destination, destination: flow.source })]) {
      const waiting = this.#waiting.get(key);
      if (!waiting) continue;
      this.#waiting.delete(key);
      this.#waitingCount -= waiting.length;
      for (const one of waiting) {
        const found = this.#options.index.find(one.alert);
        if (found) this.#record(one.alert, found);
        else this.#keep(key, one);
      }
    }
  }

  /** What was shown is answered for up to here: its alerts so far do not come again. */
  settle(): void {
    for (const tally of this.#unsettled) tally.settle();
    this.#unsettled.clear();
  }

  counters(): AlertJoinerCounters {
    return {
      alerts: this.#alerts,
      joined: this.#joined,
      unmatched: this.#unmatched,
      hurried: this.#hurried,
      repeated: this.#repeated,
      waiting: this.#waitingCount,
    };
  }

  /** What still waits is recorded as it is. Idempotent. */
  close(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
    for (const waiting of this.#waiting.values()) for (const { alert } of waiting) this.#record(alert, undefined);
    this.#waiting.clear();
    this.#waitingCount = 0;
  }

  #wait(alert: EveAlert): void {
    this.#keep(tupleKey(alert), { alert, until: this.#options.clock() + this.#waitMicros });
    this.#timer ??= setInterval(() => this.#sweep(), sweepMs);
  }

  #keep(key: string, one: Waiting): void {
    const same = this.#waiting.get(key);
    if (same) same.push(one);
    else this.#waiting.set(key, [one]);
    this.#waitingCount += 1;
  }

  #sweep(): void {
    const now = this.#options.clock();
    for (const [key, waiting] of this.#waiting) {
      const left = waiting.filter(({ until }) => until > now);
      if (left.length === waiting.length) continue;
      for (const { alert, until } of waiting) if (until <= now) this.#record(alert, undefined);
      this.#waitingCount -= waiting.length - left.length;
      if (left.length === 0) this.#waiting.delete(key);
      else this.#waiting.set(key, left);
    }
    if (this.#waitingCount > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #record(alert: EveAlert, flow: IndexedFlow | undefined): void {
    let ordinal = 0;
    if (flow) {
      this.#joined += 1;
      ordinal = flow.alerts.next(alert.signature.id);
      if (flow.sight === 'synthesised') this.#unsettled.add(flow.alerts);
      if (ordinal >= maxRepeats) {
        this.#repeated += 1;
        return;
      }
    } else this.#unmatched += 1;
    this.#options.sink.append({ kind: 'alert', alert: this.#render(alert, flow, ordinal) });
  }

  #render(alert: EveAlert, flow: IndexedFlow | undefined, ordinal: number): AlertRecord {
    const { signature, protocol, cves, techniques, facts } = alert;
    const { source, destination } = flow ?? alert;
    const diversion = flow?.diversion ?? (alert.vlan === undefined ? undefined : this.#options.diversionOf(alert.vlan));
    // What is shown to Suricata again after a restart is the same alert again; packets never are.
    const again = flow?.sight === 'synthesised' ? `${flow.alerts.since} ${signature.generator}:${signature.id} ${ordinal}` : '';
    const at = flow?.moments?.happened(alert.at) ?? alert.at;
    return {
      id: flow && again ? derivedIdentifier(flow.start, `suricata ${flow.id} ${again}`) : createIdentifier(at),
      at,
      name: 'suricata',
      severity: signature.severity,
      message: `${printable(signature.text, 256)}: ${source.ip} to ${destination.ip} port ${destination.port}`,
      details: {
        ...(flow ? { session: flow.id, service: flow.service, sourceReliable: flow.sourceReliable, seen: flow.sight } : {}),
        ...(flow?.agent === undefined ? {} : { agent: flow.agent }),
        ...(diversion === undefined ? {} : { diversion }),
        source,
        destination,
        transport: alert.transport,
        signature: {
          id: signature.id,
          generator: signature.generator,
          revision: signature.revision,
          text: signature.text,
          category: signature.category,
        },
        ...(protocol === undefined ? {} : { protocol }),
        ...(cves.length > 0 ? { cves } : {}),
        ...(techniques.length > 0 ? { techniques } : {}),
        ...(Object.keys(facts).length > 0 ? { facts } : {}),
      },
    };
  }
}
