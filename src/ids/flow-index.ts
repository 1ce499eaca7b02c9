// Which session a flow seen by Suricata is: by its five-tuple, its network, and time, since ports come round again. Holds the
// sessions of the last minutes, within a bound; the oldest go first.

import type { Micros } from '../base/clock.ts';
import { RecencyMap } from '../base/recency-map.ts';
import type { Endpoint } from '../model/session.ts';
import type { AlertTally } from './alert-tally.ts';
import type { EveAlert } from './eve-alert.ts';
import type { ShownMoments } from './shown-moments.ts';

/** How Suricata gets to see a session: as frames we made, as the packets themselves, or as those behind a proxy's header. */
export type SessionSight = 'synthesised' | 'native' | 'stripped';

export interface IndexedFlow {
  readonly id: string;
  readonly sight: SessionSight;
  /** The tag its frames carry; native ones carry none. */
  readonly vlan?: number;
  readonly transport: string;
  readonly source: Endpoint;
  readonly destination: Endpoint;
  readonly diversion: string;
  readonly service: string;
  readonly agent?: string;
  readonly sourceReliable: boolean;
  /** Of the session. */
  readonly start: Micros;
  /** By the clock that packets carry for Suricata: of synthesised frames when they were made. */
  readonly from: Micros;
  to?: Micros;
  readonly alerts: AlertTally;
  /** Of frames that are made: when what they show had happened. */
  readonly moments?: ShownMoments;
  /** After how many restarts of Suricata it was shown. */
  readonly round: number;
}

const maxSameTuple = 32;
/** Between a session's own times and those of its packets. */
const slackMicros = 2_000_000;

export class FlowIndex {
  readonly #maxFlows: number;
  readonly #liveDelayMicros: () => Micros;
  readonly #flows = new RecencyMap<string, IndexedFlow>();
  readonly #byTuple = new Map<string, IndexedFlow[]>();

  /** `liveDelayMicros`: how long packets waited of late before Suricata, and so its clock, saw them. */
  constructor(maxFlows = 100_000, liveDelayMicros: () => Micros = () => 0) {
    this.#maxFlows = maxFlows;
    this.#liveDelayMicros = liveDelayMicros;
  }

  get size(): number {
    return this.#flows.size;
  }

  get(id: string): IndexedFlow | undefined {
    return this.#flows.get(id);
  }

  add(flow: IndexedFlow): void {
    this.#forget(this.#flows.get(flow.id));
    while (this.#flows.size >= this.#maxFlows) this.#forget(this.#flows.oldest?.[1]);
    this.#flows.set(flow.id, flow);
    const key = tupleKey(flow);
    const before = this.#byTuple.get(key);
    if (before && before.length >= maxSameTuple) this.#forget(before[0]);
    const same = this.#byTuple.get(key);
    if (same) same.push(flow);
    else this.#byTuple.set(key, [flow]);
  }

  /** It goes on: however many came since, it is among the latest again. */
  keep(flow: IndexedFlow): void {
    if (this.#flows.get(flow.id) === flow) this.#flows.set(flow.id, flow);
    else this.add(flow);
  }

  /** It is over; alerts about it may still come. */
  end(id: string, at: Micros): void {
    const flow = this.#flows.get(id);
    if (!flow) return;
    // The clock may have stepped back meanwhile.
    flow.to ??= Math.max(at, flow.from);
    this.#flows.set(id, flow);
  }

  /** The one that was under way when the flow began, or the nearest to it. */
  find(alert: Pick<EveAlert, 'transport' | 'source' | 'destination' | 'vlan' | 'flowStart' | 'at'>): IndexedFlow | undefined {
    const turned = { transport: alert.transport, source: alert.destination, destination: alert.source };
    const moment = alert.flowStart ?? alert.at;
    let best: IndexedFlow | undefined;
    let bestDistance = Number.POSITIVE_INFINITY;
    const liveDelay = this.#liveDelayMicros();
    for (const key of [tupleKey(alert), tupleKey(turned)])
      for (const flow of this.#byTuple.get(key) ?? []) {
        if (flow.vlan !== alert.vlan) continue;
        const to = flow.to ?? Number.POSITIVE_INFINITY;
        const distance = moment < flow.from ? flow.from - moment : Math.max(0, moment - to);
        // Packets may have waited: they are younger for Suricata than their session.
        const late = flow.sight === 'synthesised' || moment < flow.from ? 0 : liveDelay;
        if (distance > slackMicros + late) continue;
        // Of two that fit as well the later one: ends overlap by what was still on its way.
        if (distance < bestDistance || (distance === bestDistance && best && flow.from > best.from)) {
          best = flow;
          bestDistance = distance;
        }
      }
    return best;
  }

  #forget(flow: IndexedFlow | undefined): void {
    if (!flow) return;
    this.#flows.delete(flow.id);
    const key = tupleKey(flow);
    const same = this.#byTuple.get(key)?.filter((one) => one !== flow) ?? [];
    if (same.length === 0) this.#byTuple.delete(key);
    else this.#byTuple.set(key, same);
  }
}

/** Also what waits for a session of this tuple is kept by it. */
export const tupleKey = (flow: {
  readonly transport: string;
  readonly source: Endpoint;
  readonly destination: Endpoint;
}): string => `${flow.transport} ${flow.source.ip} ${flow.source.port} ${flow.destination.ip} ${flow.destination.port}`;
