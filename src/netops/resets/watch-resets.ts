// RSTs as they pass: packets of a namespace's interfaces, trace events of the kernel, counters and rules, each RST judged once what
// belongs to it had time to arrive. Ends by itself; works with less than root and says what it then cannot see.

import type { Micros } from '../../base/clock.ts';
import { asWeirError } from '../../base/errors.ts';
import { NamespaceHandle } from '../../kernel/namespace-handle.ts';
import type { ResetReceived, ResetSent } from '../../kernel/trace/tcp-events.ts';
import type { CaptureAccount, CaptureLimits } from '../capture/live-capture.ts';
import { LiveCapture } from '../capture/live-capture.ts';
import { viewPacket } from '../capture/packet-view.ts';
import type { Tuple } from './machine-facts.ts';
import { type CounterSnapshot, eventsAtOnce, KernelResetFacts, type ResetFacts } from './reset-facts.ts';
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
/** Questions for events in one turn. */
const asksPerTurn = 10;
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

const growthOf = (from: CounterSnapshot['counters'], to: CounterSnapshot['counters']): Record<string, number> =>
  Object.fromEntries(Object.entries(to).map(([name, value]) => [name, value - (from[name] ?? 0)]));

class Watch {
  readonly #options: WatchOptions;
  readonly #onFinding: (finding: ResetFinding) => void;
  readonly #facts: ResetFacts;
  readonly #sent = new EventTable<ResetSent>();
  readonly #received = new EventTable<ResetReceived>();
  readonly #table = new ResetTable((reset) => this.#wait(reset));
  readonly #notMeasured = new Set<string>();
  #traced = false;
  #tellsAll = false;
  /** Trace events nobody read in time. */
  #eventsLost = 0;
  #lost: () => number = () => 0;
  #turning: Promise<void> | undefined;
  #pending: SeenReset[] = [];
  #resetTimes: Micros[] = [];
  #snapshots: CounterSnapshot[] = [];
  #dropped = 0;
  #judging = Promise.resolve();
  #isJudging = false;
  findings = 0;

  constructor(options: WatchOptions, onFinding: (finding: ResetFinding) => void, facts: ResetFacts) {
    this.#options = options;
    this.#onFinding = onFinding;
    this.#facts = facts;
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
      const { traced, tellsAll, notMeasured } = await this.#facts.begin();
      this.#traced = traced;
      this.#tellsAll = tellsAll;
      for (const what of notMeasured) this.#notMeasured.add(what);
      await this.#look(true);
      const on = capture.interfaces;
      const timer = setInterval(() => this.#turn(), everyMs);
      try {
        onListening(on.map(({ interface: name }) => name));
        const account = await capture.run(({ bytes, start, end, at, outgoing }, number) => {
          const { linkType, interface: name } = on[number];
          this.#table.packet(viewPacket(bytes, start, end, linkType), at, { outgoing, interface: name });
        });
        await new Promise((resolve) => setTimeout(resolve, this.#pending.length > 0 ? judgeAfterMs : everyMs));
        clearInterval(timer);
        await this.#turning;
        await this.#turn(true);
        await this.#judging;
        await this.#try(async () => {
          for (const what of await this.#facts.unseen()) this.#notMeasured.add(what);
        });
        return { account, findings: this.findings, notMeasured: this.#limits(account) };
      } finally {
        clearInterval(timer);
      }
    } finally {
      capture.close();
    }
  }

  #limits(account: CaptureAccount): readonly string[] {
    const dropped = account.interfaces.reduce((sum, one) => sum + one.dropped, 0);
    if (dropped > 0) this.#notMeasured.add(`${dropped} packets the kernel had no room for: RSTs may be among them`);
    if (this.#dropped > 0) this.#notMeasured.add(`${this.#dropped} RSTs: more came than are judged at once`);
    if (this.#eventsLost > 0) this.#notMeasured.add(`${this.#eventsLost} trace events: what has none may have had one`);
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

  /** A fault is told, and what it would have shown is no evidence of anything any more. */
  async #try(ask: () => Promise<void>): Promise<void> {
    try {
      await ask();
    } catch (error) {
      this.#tellsAll = false;
      this.#notMeasured.add(asWeirError(error).message);
    }
  }

  /** Trace events and counters of this moment. */
  #look(count: boolean): Promise<void> {
    return this.#try(async () => {
      for (let asked = 0; asked < asksPerTurn; asked += 1) {
        const { events, lost, snapshot } = await this.#facts.moment(count && asked === 0);
        this.#eventsLost = lost;
        if (snapshot) this.#keep(snapshot);
        for (const event of events) {
          if (event.kind === 'reset-sent' && event.source && event.destination)
            this.#sent.add(`${event.source.ip} ${event.source.port} ${event.destination.ip} ${event.destination.port}`, event);
          // Its own end first: the RST came from the other one.
          if (event.kind === 'reset-received')
            this.#received.add(
              `${event.destination.ip} ${event.destination.port} ${event.source.ip} ${event.source.port}`,
              event,
            );
        }
        if (events.length < eventsAtOnce / 2) return;
      }
    });
  }

  #keep(snapshot: CounterSnapshot): void {
    const before = snapshot.at - keepMicros;
    this.#snapshots = [...this.#snapshots.filter(({ at }) => at > before), snapshot];
    this.#resetTimes = this.#resetTimes.filter((at) => at > before);
  }

  /** One at a time: the answer to the last one may take longer than the next tick. */
  #turn(last = false): Promise<void> {
    this.#turning ??= this.#step(last).finally(() => {
      this.#turning = undefined;
    });
    return this.#turning;
  }

  async #step(last: boolean): Promise<void> {
    const now = Date.now() * 1000;
    await this.#look(this.#table.packets > 0 || this.#snapshots.length < 2);
    // What comes while some are judged waits, bounded.
    if (this.#isJudging && !last) return;
    const due = this.#pending.filter(({ at }) => last || at < now - judgeAfterMs * 1000);
    const taken = new Set(due);
    this.#pending = this.#pending.filter((reset) => !taken.has(reset));
    this.#isJudging = true;
    this.#judging = this.#judging
      .then(() => this.#judgeAll(due))
      .then(() => this.#tidy(now, last))
      .finally(() => {
        this.#isJudging = false;
      });
  }

  async #tidy(now: Micros, last: boolean): Promise<void> {
    for (const seen of this.#table.takeChallenges(last ? now + 1 : now - quietMicros)) {
      const growth = this.#growth(seen.tally.firstAt, seen.tally.lastAt);
      await this.#try(async () => this.#tell(findingOfChallenge(seen, growth, await this.#facts.isOwn(seen.tally.from.ip))));
    }
    // What is not judged yet needs its events.
    const oldest = this.#pending.reduce((least, { at }) => Math.min(least, at - 1e6), now - 2e6);
    const before = last ? now + 1 : oldest;
    const left: ResetSent[] = [];
    this.#sent.expire(before, (event) => left.push(event));
    this.#received.expire(before);
    for (const event of left) {
      // Events are of all namespaces, which may have the same addresses: what it answered must have been seen here.
      const { source, destination } = event;
      if (!source || !destination || !this.#table.knows(source, destination)) continue;
      await this.#try(async () => {
        const finding = (await this.#facts.isOwn(source.ip)) ? findingOfUnseen(event, this.#lost()) : undefined;
        if (finding) this.#tell(finding);
      });
    }
  }

  #tell(finding: ResetFinding): void {
    this.findings += 1;
    this.#onFinding(finding);
  }

  async #judgeAll(due: readonly SeenReset[]): Promise<void> {
    for (const reset of due) {
      try {
        this.#tell(await this.#judge(reset));
      } catch (error) {
        this.#notMeasured.add(asWeirError(error).message);
        // By its bytes alone.
        this.#tell(findingOfReset(reset, { traced: false }));
      }
    }
  }

  async #judge(reset: SeenReset): Promise<ResetFinding> {
    const { source, destination, sourcePort, destinationPort } = reset.view;
    const tuple = { source, sourcePort, destination, destinationPort };
    const { outgoing, interface: name } = reset;
    const senderHere = await this.#facts.senderAt(source, {
      ...(outgoing === undefined ? {} : { outgoing }),
      ...(name === undefined ? {} : { interface: name }),
    });
    let known: Awaited<ReturnType<ResetFacts['translations']>> | undefined;
    const find = async <T extends ResetSent | ResetReceived>(events: EventTable<T>): Promise<T | undefined> => {
      const exact = events.take(keyOf(tuple), reset.at);
      if (exact || !this.#traced) return exact;
      known ??= await this.#facts.translations(tuple);
      for (const other of known.tuples) {
        const found = events.take(keyOf(other), reset.at);
        if (found) return found;
      }
      // Connection tracking forgets at once what a RST refused: one end of it is the same on both sides.
      return reset.before.answersSyn ? events.takeByEnd(tuple, reset.at) : undefined;
    };
    const sent = await find(this.#sent);
    const received = await find(this.#received);
    const traced = this.#tellsAll && this.#eventsLost === 0 && this.#sent.lost === 0 && known?.complete !== false;
    const rejectRules = sent || !senderHere || !traced ? undefined : await this.#facts.rejectRules(source, reset.at);
    const growth = this.#growth(reset.at, reset.at);
    const resets = this.#resetTimes.filter((at) => Math.abs(at - reset.at) < 2 * everyMs * 1000).length;
    return findingOfReset(reset, {
      ...(sent ? { sent } : {}),
      ...(sent && !isOf(sent, tuple) ? { translated: tupleText(sent) } : {}),
      ...(received ? { received } : {}),
      traced,
      ...(growth ? { counters: { growth, resets } } : {}),
      ...(senderHere === undefined ? {} : { senderHere }),
      ...(rejectRules ? { rejectRules } : {}),
    });
  }

  /** From the last look before to the first one after. */
  #growth(from: Micros, to: Micros): Record<string, number> | undefined {
    const before = this.#snapshots.findLast(({ at }) => at <= from) ?? this.#snapshots[0];
    const after = this.#snapshots.find(({ at }) => at > to + 20_000) ?? this.#snapshots.at(-1);
    return before && after && after.at > before.at ? growthOf(before.counters, after.counters) : undefined;
  }
}

/**
 * Needs CAP_NET_RAW; root for trace events and rules, unless `facts`, which it closes, come from a process that has it. Throws as
 * LiveCapture.open does. `onFinding` in the order they are judged.
 */
export async function watchResets(
  options: WatchOptions,
  onFinding: (finding: ResetFinding) => void,
  onListening: (interfaces: readonly string[]) => void = () => {},
  facts?: ResetFacts,
): Promise<WatchOutcome> {
  // Its name may be taken away meanwhile.
  let asked = facts;
  let held: NamespaceHandle | undefined;
  try {
    if (options.netns !== undefined) held = new NamespaceHandle(options.netns);
    asked ??= new KernelResetFacts(held?.path);
    return await new Watch(held ? { ...options, netns: held.path } : options, onFinding, asked).run(onListening);
  } finally {
    await asked?.close();
    held?.close();
  }
}
