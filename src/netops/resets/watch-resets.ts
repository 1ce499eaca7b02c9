// RSTs as they pass: packets of a namespace's interfaces, trace events of the kernel, counters and rules, each RST judged once what
// belongs to it had time to arrive. Ends by itself; works with less than root and says what it then cannot see.

import type { Micros } from '../../base/clock.ts';
import { asWeirError } from '../../base/errors.ts';
import { insideNetns } from '../../kernel/libc.ts';
import { readCounters } from '../../kernel/machine/proc-tables.ts';
import { NamespaceHandle } from '../../kernel/namespace-handle.ts';
import { type ResetReceived, type ResetSent, readTcpTraceEvent } from '../../kernel/trace/tcp-events.ts';
import { TraceSession } from '../../kernel/trace/trace-session.ts';
import type { CaptureAccount, CaptureLimits } from '../capture/live-capture.ts';
import { LiveCapture } from '../capture/live-capture.ts';
import { viewPacket } from '../capture/packet-view.ts';
import { tellsEveryReset } from './judge-reset.ts';
import { MachineFacts, type Tuple } from './machine-facts.ts';
import { findingOfChallenge, findingOfReset, findingOfUnseen, type ResetFinding } from './reset-finding.ts';
import { ResetTable } from './reset-table.ts';
import type { SeenReset } from './tcp-flow.ts';

export interface WatchOptions {
  /** Of which packets; empty: all of TCP. */
  readonly expression: string;
  readonly interfaces: readonly string[];
  readonly netns?: string;
  readonly limits: CaptureLimits;
  readonly signal?: AbortSignal;
}

export interface WatchOutcome {
  readonly account: CaptureAccount;
  readonly findings: number;
  /** In words, each once. */
  readonly notMeasured: readonly string[];
}

/** Headers, whatever options they have. */
const snapBytes = 192;
/** A RST waits so long for the trace event and the counters of it. */
const judgeAfterMs = 300;
const everyMs = 100;
/** The kernel tells of a RST right before it is sent; clocks of packets and events differ by less. */
const sameMicros = 50_000;
/** Between the sending and the sight of it on another interface of this machine. */
const translatedMicros = 10_000;
const keepMicros = 5e6;
/** A tally of SYNs is told when the per-socket limit has passed. */
const quietMicros = 700_000;
const maxPending = 10_000;
const maxEvents = 20_000;
/** Tuples looked through for one of which only an end is known. */
const maxSearched = 1000;

const keyOf = ({ source, sourcePort, destination, destinationPort }: Tuple): string =>
  `${source} ${sourcePort} ${destination} ${destinationPort}`;

const isOf = ({ source, destination }: ResetSent, tuple: Tuple): boolean =>
  source?.ip === tuple.source &&
  source.port === tuple.sourcePort &&
  destination?.ip === tuple.destination &&
  destination.port === tuple.destinationPort;

const tupleText = ({ source, destination }: ResetSent): string =>
  `${source?.ip} port ${source?.port} to ${destination?.ip} port ${destination?.port}`;

/** Events of one kind by tuple, each given out once. */
class EventTable<T extends ResetSent | ResetReceived> {
  readonly #events = new Map<string, { event: T; taken: boolean }[]>();
  #count = 0;
  /** Given up for want of room. */
  lost = 0;

  add(key: string, event: T): void {
    if (this.#count >= maxEvents) {
      this.lost += 1;
      return;
    }
    this.#count += 1;
    const known = this.#events.get(key);
    if (known) known.push({ event, taken: false });
    else this.#events.set(key, [{ event, taken: false }]);
  }

  /** The nearest in time. */
  take(key: string, at: Micros): T | undefined {
    const near = (this.#events.get(key) ?? []).filter(({ event }) => Math.abs(event.at - at) < sameMicros);
    near.sort((a, b) => Math.abs(a.event.at - at) - Math.abs(b.event.at - at));
    // The same one for a RST that is seen twice, before and after translation.
    const best = near.find(({ taken }) => !taken) ?? near[0];
    if (!best) return undefined;
    best.taken = true;
    return best.event;
  }

  /** The only one of that moment with the same end at either side. */
  takeByEnd({ source, sourcePort, destination, destinationPort }: Tuple, at: Micros): T | undefined {
    if (this.#events.size > maxSearched) return undefined;
    const [from, to] = [`${source} ${sourcePort} `, ` ${destination} ${destinationPort}`];
    const found: { event: T; taken: boolean }[] = [];
    for (const [key, all] of this.#events)
      if (key.startsWith(from) || key.endsWith(to))
        found.push(...all.filter(({ event, taken }) => !taken && Math.abs(event.at - at) < translatedMicros));
    if (found.length !== 1) return undefined;
    found[0].taken = true;
    return found[0].event;
  }

  /** Forgets what is older; what nobody took is given to `onLeft`. */
  expire(before: Micros, onLeft?: (event: T) => void): void {
    for (const [key, all] of this.#events) {
      const kept = all.filter(({ event }) => event.at >= before);
      this.#count -= all.length - kept.length;
      if (onLeft) for (const { event, taken } of all) if (event.at < before && !taken) onLeft(event);
      if (kept.length === 0) this.#events.delete(key);
      else if (kept.length < all.length) this.#events.set(key, kept);
    }
  }
}

interface Snapshot {
  readonly at: Micros;
  readonly counters: Record<string, number>;
}

const growthOf = (from: Record<string, number>, to: Record<string, number>): Record<string, number> =>
  Object.fromEntries(Object.entries(to).map(([name, value]) => [name, value - (from[name] ?? 0)]));

class Watch {
  readonly #options: WatchOptions;
  readonly #onFinding: (finding: ResetFinding) => void;
  readonly #facts: MachineFacts;
  readonly #sent = new EventTable<ResetSent>();
  readonly #received = new EventTable<ResetReceived>();
  readonly #table = new ResetTable((reset) => this.#wait(reset));
  readonly #notMeasured = new Set<string>();
  #trace: TraceSession | undefined;
  #lost: () => number = () => 0;
  /** That there is no event of a RST means that the kernel sent none. */
  #tellsAll = false;
  #pending: SeenReset[] = [];
  #resetTimes: Micros[] = [];
  #snapshots: Snapshot[] = [];
  #dropped = 0;
  #judging = Promise.resolve();
  findings = 0;

  constructor(options: WatchOptions, onFinding: (finding: ResetFinding) => void) {
    this.#options = options;
    this.#onFinding = onFinding;
    this.#facts = new MachineFacts(options.netns);
  }

  async run(onListening: (interfaces: readonly string[]) => void): Promise<WatchOutcome> {
    const { expression } = this.#options;
    const tcp = expression.trim() === '' ? 'tcp' : `tcp and (${expression})`;
    const capture = await LiveCapture.open({
      ...this.#options,
      expression: `(${tcp}) or (vlan and (${tcp}))`,
      promiscuous: false,
      snap: snapBytes,
    });
    this.#lost = () => capture.dropped;
    try {
      try {
        this.#trace = new TraceSession([{ event: 'tcp:tcp_send_reset' }, { event: 'tcp:tcp_receive_reset', optional: true }]);
        this.#tellsAll = tellsEveryReset(this.#trace.fieldsOf('tcp:tcp_send_reset'));
        if (!this.#tellsAll)
          this.#notMeasured.add('which RSTs the kernel sent for no socket: before 6.10 it tells only of those of a socket');
      } catch (error) {
        const { code, message } = asWeirError(error);
        const why = code === 'not-permitted' ? 'needs root and tracefs' : message;
        this.#notMeasured.add(`which RSTs the kernel sent, and by whom (${why})`);
      }
      this.#snapshot();
      const on = capture.interfaces;
      const timer = setInterval(() => this.#turn(), everyMs);
      try {
        onListening(on.map(({ interface: name }) => name));
        const account = await capture.run(({ bytes, start, end, at, outgoing }, number) => {
          const { linkType, interface: name } = on[number];
          this.#table.packet(viewPacket(bytes, start, end, linkType), at, { outgoing, interface: name });
        });
        await new Promise((resolve) => setTimeout(resolve, this.#pending.length > 0 ? judgeAfterMs : everyMs));
        this.#turn(true);
        await this.#judging;
        return { account, findings: this.findings, notMeasured: this.#limits(account) };
      } finally {
        clearInterval(timer);
      }
    } finally {
      capture.close();
      this.#trace?.close();
    }
  }

  #limits(account: CaptureAccount): readonly string[] {
    const dropped = account.interfaces.reduce((sum, one) => sum + one.dropped, 0);
    if (dropped > 0) this.#notMeasured.add(`${dropped} packets the kernel had no room for: RSTs may be among them`);
    if (this.#dropped > 0) this.#notMeasured.add(`${this.#dropped} RSTs: more came than are judged at once`);
    if (this.#trace && this.#trace.lost > 0)
      this.#notMeasured.add(`${this.#trace.lost} trace events: what has none may have had one`);
    for (const what of this.#facts.unseen) this.#notMeasured.add(what);
    for (const { interface: name, why } of account.left) this.#notMeasured.add(`interface ${name}: ${why}`);
    return [...this.#notMeasured];
  }

  #wait(reset: SeenReset): void {
    if (this.#pending.length >= maxPending) {
      this.#dropped += 1;
      return;
    }
    this.#pending.push(reset);
    this.#resetTimes.push(reset.at);
  }

  #snapshot(): void {
    const now = Date.now() * 1000;
    const { netns } = this.#options;
    this.#snapshots.push({ at: now, counters: insideNetns(netns, readCounters) });
    this.#snapshots = this.#snapshots.filter(({ at }) => at > now - keepMicros);
    this.#resetTimes = this.#resetTimes.filter((at) => at > now - keepMicros);
  }

  #turn(last = false): void {
    const now = Date.now() * 1000;
    for (const raw of this.#trace?.read() ?? []) {
      const event = readTcpTraceEvent(raw);
      if (event?.kind === 'reset-sent' && event.source && event.destination)
        this.#sent.add(`${event.source.ip} ${event.source.port} ${event.destination.ip} ${event.destination.port}`, event);
      // Its own end first: the RST came from the other one.
      if (event?.kind === 'reset-received')
        this.#received.add(`${event.destination.ip} ${event.destination.port} ${event.source.ip} ${event.source.port}`, event);
    }
    if (this.#table.packets > 0 || this.#snapshots.length < 2) this.#snapshot();
    const due = this.#pending.filter(({ at }) => last || at < now - judgeAfterMs * 1000);
    if (due.length > 0) {
      this.#pending = this.#pending.filter((reset) => !due.includes(reset));
      this.#judging = this.#judging
        .then(() => this.#judgeAll(due))
        .catch((error) => void this.#notMeasured.add(asWeirError(error).message));
    }
    this.#judging = this.#judging.then(() => this.#tidy(now, last));
  }

  #tidy(now: Micros, last: boolean): void {
    for (const seen of this.#table.takeChallenges(last ? now + 1 : now - quietMicros)) {
      const growth = this.#growth(seen.tally.firstAt, seen.tally.lastAt);
      this.#tell(findingOfChallenge(seen, growth, this.#facts.isOwn(seen.tally.from.ip)));
    }
    const before = last ? now + 1 : now - 2e6;
    this.#sent.expire(before, (event) => {
      // Events are of all namespaces, which may have the same addresses: what it answered must have been seen here.
      if (!event.source || !event.destination || !this.#facts.isOwn(event.source.ip)) return;
      if (!this.#table.knows(event.source, event.destination)) return;
      const finding = findingOfUnseen(event, this.#lost());
      if (finding) this.#tell(finding);
    });
    this.#received.expire(before);
  }

  #tell(finding: ResetFinding): void {
    this.findings += 1;
    this.#onFinding(finding);
  }

  async #judgeAll(due: readonly SeenReset[]): Promise<void> {
    for (const reset of due) {
      const { source, destination, sourcePort, destinationPort } = reset.view;
      const tuple = { source, sourcePort, destination, destinationPort };
      const senderHere = this.#facts.senderAt(source, reset);
      const find = <T extends ResetSent | ResetReceived>(events: EventTable<T>): T | undefined => {
        const exact = events.take(keyOf(tuple), reset.at);
        if (exact || !this.#trace) return exact;
        for (const other of this.#facts.translations(tuple)) {
          const found = events.take(keyOf(other), reset.at);
          if (found) return found;
        }
        // Connection tracking forgets at once what a RST refused: one end of it is the same on both sides.
        return reset.before.answersSyn ? events.takeByEnd(tuple, reset.at) : undefined;
      };
      const sent = find(this.#sent);
      const received = find(this.#received);
      const traced = this.#tellsAll && this.#trace?.lost === 0 && this.#sent.lost === 0 && this.#facts.tuplesComplete;
      const rejectRules = sent || !senderHere || !traced ? undefined : await this.#facts.rejectRules(source, reset.at);
      const growth = this.#growth(reset.at, reset.at);
      const resets = this.#resetTimes.filter((at) => Math.abs(at - reset.at) < 2 * everyMs * 1000).length;
      this.#tell(
        findingOfReset(reset, {
          ...(sent ? { sent } : {}),
          ...(sent && !isOf(sent, tuple) ? { translated: tupleText(sent) } : {}),
          ...(received ? { received } : {}),
          traced,
          ...(growth ? { counters: { growth, resets } } : {}),
          ...(senderHere === undefined ? {} : { senderHere }),
          ...(rejectRules ? { rejectRules } : {}),
        }),
      );
    }
  }

  /** From the last look before to the first one after. */
  #growth(from: Micros, to: Micros): Record<string, number> | undefined {
    const before = this.#snapshots.findLast(({ at }) => at <= from) ?? this.#snapshots[0];
    const after = this.#snapshots.find(({ at }) => at > to + 20_000) ?? this.#snapshots.at(-1);
    return before && after && after.at > before.at ? growthOf(before.counters, after.counters) : undefined;
  }
}

/**
 * Needs CAP_NET_RAW; root for trace events and rules. Throws as LiveCapture.open does. `onFinding` in the order they are judged.
 */
export async function watchResets(
  options: WatchOptions,
  onFinding: (finding: ResetFinding) => void,
  onListening: (interfaces: readonly string[]) => void = () => {},
): Promise<WatchOutcome> {
  // Its name may be taken away meanwhile.
  const held = options.netns === undefined ? undefined : new NamespaceHandle(options.netns);
  try {
    return await new Watch(held ? { ...options, netns: held.path } : options, onFinding).run(onListening);
  } finally {
    held?.close();
  }
}
