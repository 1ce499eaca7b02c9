// What `weir rst` asks of the kernel beside packets: trace events, counters, whose an address is, rules and translations. Needs root for most
// of it, and gets tuples, never packets: the half that reads those may ask it from another process.

import type { Micros } from '../../base/clock.ts';
import { asWeirError } from '../../base/errors.ts';
import { insideNetns } from '../../kernel/libc.ts';
import { readCounters } from '../../kernel/machine/proc-tables.ts';
import { readTcpTraceEvent, type TcpTraceEvent } from '../../kernel/trace/tcp-events.ts';
import { TraceSession } from '../../kernel/trace/trace-session.ts';
import { type RejectRule, tellsEveryReset } from './judge-reset.ts';
import { MachineFacts, type SenderPlace, type Tuple } from './machine-facts.ts';

export interface TraceStart {
  /** Trace events are on. */
  readonly traced: boolean;
  /** That there is no event of a RST means that the kernel sent none. */
  readonly tellsAll: boolean;
  /** In words. */
  readonly notMeasured: readonly string[];
}

export interface CounterSnapshot {
  readonly at: Micros;
  readonly counters: Readonly<Record<string, number>>;
}

export interface KernelMoment {
  /** Oldest first, at most `eventsAtOnce`. */
  readonly events: readonly TcpTraceEvent[];
  /** Events nobody read in time, so far. */
  readonly lost: number;
  readonly snapshot?: CounterSnapshot;
}

export interface ResetFacts {
  begin(): Promise<TraceStart>;
  /** What came since the last time; `count`: with counters. */
  moment(count: boolean): Promise<KernelMoment>;
  /** See `isSenderHere`. */
  senderAt(ip: string, place: SenderPlace): Promise<boolean | undefined>;
  /** Whether the namespace that is looked in has this address. */
  isOwn(ip: string): Promise<boolean>;
  /** See MachineFacts; the likely ones first, at most `rulesAtOnce`. */
  rejectRules(ip: string, at: Micros): Promise<readonly RejectRule[]>;
  /** `complete`: that there is none means that nothing is translated. */
  translations(tuple: Tuple): Promise<{ readonly tuples: readonly Tuple[]; readonly complete: boolean }>;
  /** What could not be read, each once. */
  unseen(): Promise<readonly string[]>;
  /** Idempotent. */
  close(): Promise<void>;
}

export const eventsAtOnce = 400;
const rulesAtOnce = 64;
const translationsAtOnce = 64;
const maxUnseen = 300;

/** Of this machine, by this process. */
export class KernelResetFacts implements ResetFacts {
  readonly #netns: string | undefined;
  readonly #machine: MachineFacts;
  #trace: TraceSession | undefined;

  /** `netns`: a path, or undefined for this one. */
  constructor(netns: string | undefined) {
    this.#netns = netns;
    this.#machine = new MachineFacts(netns);
  }

  async begin(): Promise<TraceStart> {
    try {
      this.#trace = new TraceSession([{ event: 'tcp:tcp_send_reset' }, { event: 'tcp:tcp_receive_reset', optional: true }]);
      const tellsAll = tellsEveryReset(this.#trace.fieldsOf('tcp:tcp_send_reset'));
      const lacks = 'which RSTs the kernel sent for no socket: before 6.10 it tells only of those of a socket';
      return { traced: true, tellsAll, notMeasured: tellsAll ? [] : [lacks] };
    } catch (error) {
      const { code, message } = asWeirError(error);
      const why = code === 'not-permitted' ? 'needs root and tracefs' : message;
      return { traced: false, tellsAll: false, notMeasured: [`which RSTs the kernel sent, and by whom (${why})`] };
    }
  }

  async moment(count: boolean): Promise<KernelMoment> {
    const events: TcpTraceEvent[] = [];
    for (const raw of this.#trace?.read(eventsAtOnce) ?? []) {
      const event = readTcpTraceEvent(raw);
      if (event) events.push(event);
    }
    const lost = this.#trace?.lost ?? 0;
    if (!count) return { events, lost };
    return { events, lost, snapshot: { at: Date.now() * 1000, counters: insideNetns(this.#netns, readCounters) } };
  }

  async senderAt(ip: string, place: SenderPlace): Promise<boolean | undefined> {
    return this.#machine.senderAt(ip, place);
  }

  async isOwn(ip: string): Promise<boolean> {
    return this.#machine.isOwn(ip);
  }

  async rejectRules(ip: string, at: Micros): Promise<readonly RejectRule[]> {
    const rules = [...(await this.#machine.rejectRules(ip, at))].sort((a, b) => Number(b.near) - Number(a.near));
    return rules.slice(0, rulesAtOnce);
  }

  async translations(tuple: Tuple): Promise<{ readonly tuples: readonly Tuple[]; readonly complete: boolean }> {
    const tuples = this.#machine.translations(tuple).slice(0, translationsAtOnce);
    return { tuples, complete: this.#machine.tuplesComplete };
  }

  async unseen(): Promise<readonly string[]> {
    return [...this.#machine.unseen].slice(0, maxUnseen);
  }

  async close(): Promise<void> {
    this.#trace?.close();
  }
}
