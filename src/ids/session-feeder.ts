// Makes frames of sessions as their records come: a flow for each, its handshake when the first record does, its end when the
// last does. Tells the index which session each flow is. Bounded in open flows: the oldest is ended and counted.

import type { Clock } from '../base/clock.ts';
import { RecencyMap } from '../base/recency-map.ts';
import { endingOf, frameEnd } from '../model/flow-frames.ts';
import { type Direction, type SessionRecord, startsOver, takenBackSequence } from '../model/session.ts';
import { AlertTally } from './alert-tally.ts';
import type { MacOf } from './decoy-faces.ts';
import type { FlowIndex, IndexedFlow, SessionSight } from './flow-index.ts';
import { ShownMoments } from './shown-moments.ts';
import { ShownTalk } from './shown-talk.ts';

export interface SessionFeederOptions {
  readonly index: FlowIndex;
  readonly write: (frame: Uint8Array) => void;
  /** The one packets carry for Suricata. */
  readonly clock: Clock;
  /** How Suricata sees a session, and the tag of its network. Undefined: not at all. */
  readonly sightOf: (
    session: Pick<SessionRecord, 'diversion' | 'service'>,
  ) => { readonly sight: SessionSight; readonly vlan?: number } | undefined;
  /** The decoy's MAC where it is known. */
  readonly macOf?: MacOf;
  /** The flow is in the index now. */
  readonly onFlow: (flow: IndexedFlow) => void;
  readonly maxFlows?: number;
}

export interface SessionFeederCounters {
  readonly sessions: number;
  readonly open: number;
  /** Flows ended before their session to make room; what comes after is a flow of its own. */
  readonly forgotten: number;
  /** Sessions whose beginning was not seen: what was said before is not shown. */
  readonly joinedLate: number;
  /** Sessions whose addresses make no frames. */
  readonly unshown: number;
  /** Chunks of sessions that are on no record, in the middle of what is shown. */
  readonly missingChunks: number;
}

interface Open {
  /** Absent: its packets are shown, not frames of ours. */
  readonly talk: ShownTalk | undefined;
  readonly flow: IndexedFlow;
  readonly writer: string | undefined;
  nextChunk: number;
  sequence: number;
}

/** Sessions an agent took back that are over, of which the gateway's records may still come. */
const maxTakenBack = 4096;

export class SessionFeeder {
  readonly #options: SessionFeederOptions;
  readonly #maxFlows: number;
  readonly #open = new RecencyMap<string, Open>();
  /** The number of their last record. */
  readonly #takenBack = new RecencyMap<string, number>();
  #sessions = 0;
  #forgotten = 0;
  #joinedLate = 0;
  #unshown = 0;
  #missingChunks = 0;
  #round = 0;

  constructor(options: SessionFeederOptions) {
    this.#options = options;
    this.#maxFlows = options.maxFlows ?? 32_768;
  }

  /** Records of one session in order; those already seen change nothing. */
  take(record: SessionRecord): void {
    const { index, clock } = this.#options;
    let open = this.#open.get(record.id);
    if (record.sequence < (open?.sequence ?? this.#takenBack.get(record.id) ?? 0)) return;
    const again = open !== undefined && startsOver(record, open.sequence);
    if (open && again) {
      // The attacker had this conversation; what the gateway recorded is another one.
      this.#end(record.id, open, 'server-rst');
      index.end(record.id, clock());
      open = undefined;
    }
    if (open) index.keep(open.flow);
    else {
      const begun = this.#begin(record, again);
      if (!begun) return;
      open = begun;
    }
    open.sequence = record.sequence;
    let last: Direction | undefined;
    for (const [number, chunk] of record.chunks.entries()) {
      const at = record.firstChunk + number;
      if (at < open.nextChunk) continue;
      if (open.talk) this.#missingChunks += at - open.nextChunk;
      open.nextChunk = at + 1;
      open.flow.moments?.note(clock(), chunk.at);
      open.talk?.chunk(chunk.direction, chunk.bytes);
      last = chunk.direction;
    }
    if (record.outcome === 'open') {
      if (last) open.talk?.pause(last);
      this.#open.set(record.id, open);
      return;
    }
    open.flow.moments?.note(clock(), record.end ?? record.start);
    this.#end(record.id, open, endingOf(record.outcome) === 'none' ? 'server-rst' : endingOf(record.outcome));
    this.#over(record);
    index.end(record.id, open.talk ? clock() : Math.min(record.end ?? clock(), clock()));
  }

  /** A writer began anew: sessions of its earlier runs get no more records. */
  endRuns(writer: string, epoch: number): void {
    for (const [id, open] of this.#open) {
      const [, name, run] = /^(.*)#(\d+)$/.exec(open.writer ?? '') ?? [];
      if (name !== writer || Number(run) >= epoch) continue;
      this.#end(id, open, 'server-rst');
      this.#options.index.end(id, this.#options.clock());
    }
  }

  /** Forgets what is open without a word: Suricata, to whom it was told, is gone. It is shown again from what it answered for. */
  reset(): void {
    this.#round += 1;
    for (const [id] of this.#open) this.#open.delete(id);
    for (const [id] of this.#takenBack) this.#takenBack.delete(id);
  }

  counters(): SessionFeederCounters {
    return {
      sessions: this.#sessions,
      open: this.#open.size,
      forgotten: this.#forgotten,
      joinedLate: this.#joinedLate,
      unshown: this.#unshown,
      missingChunks: this.#missingChunks,
    };
  }

  /** `again`: the ends have talked already, as something else. */
  #begin(record: SessionRecord, again: boolean): Open | undefined {
    const { index, clock, sightOf, onFlow, macOf, write } = this.#options;
    const seen = sightOf(record);
    if (!seen) return undefined;
    const { source, destination, transport, syn } = record;
    const client = frameEnd(source.ip, source.port, record.sourceMac, syn?.ttl ?? 64, 1);
    const server = frameEnd(
      destination.ip,
      destination.port,
      macOf?.({ diversion: record.diversion, ip: destination.ip, persona: record.persona }),
      64,
      2,
    );
    if (!client || !server || client.address.family !== server.address.family) {
      this.#unshown += 1;
      return undefined;
    }
    while (this.#open.size >= this.#maxFlows) {
      const oldest = this.#open.oldest;
      if (!oldest) break;
      this.#forgotten += 1;
      this.#end(oldest[0], oldest[1], 'server-rst');
    }
    this.#sessions += 1;
    const { vlan } = seen;
    const moments = seen.sight === 'synthesised' ? new ShownMoments() : undefined;
    moments?.note(clock(), record.start);
    const flow: IndexedFlow = {
      id: record.id,
      sight: seen.sight,
      ...(vlan === undefined ? {} : { vlan }),
      transport,
      source,
      destination,
      diversion: record.diversion,
      service: record.service,
      ...(record.agent === undefined ? {} : { agent: record.agent }),
      sourceReliable: record.sourceReliable,
      start: record.start,
      from: seen.sight === 'synthesised' ? clock() : Math.min(record.start, clock()),
      alerts: this.#tallyOf(record, seen.sight),
      ...(moments ? { moments } : {}),
      round: this.#round,
    };
    index.add(flow);
    let talk: ShownTalk | undefined;
    if (seen.sight === 'synthesised') {
      if (record.firstChunk > 0) this.#joinedLate += 1;
      const tag = vlan === undefined ? {} : { vlan };
      const parts = { transport, client, server, ...tag, ...(syn ? { syn } : {}) };
      // A SYN with the number of the one before would be the same connection to whoever follows it.
      talk = again
        ? new ShownTalk(`${record.id} again`, parts, undefined, write)
        : new ShownTalk(record.id, parts, syn?.sequence, write);
    }
    const open: Open = { talk, flow, writer: record.writer, nextChunk: record.firstChunk, sequence: record.sequence };
    this.#open.set(record.id, open);
    onFlow(flow);
    return open;
  }

  #tallyOf({ id, firstChunk }: SessionRecord, sight: SessionSight): AlertTally {
    const known = this.#options.index.get(id);
    if (!known) return new AlertTally(firstChunk);
    // Packets are not shown again, and a flow that made room goes on.
    return sight === 'synthesised' && known.round !== this.#round ? known.alerts.again() : known.alerts;
  }

  #over({ id, sequence }: SessionRecord): void {
    if (sequence < takenBackSequence) return;
    this.#takenBack.set(id, sequence);
    const oldest = this.#takenBack.oldest;
    if (oldest && this.#takenBack.size > maxTakenBack) this.#takenBack.delete(oldest[0]);
  }

  #end(id: string, open: Open, ending: ReturnType<typeof endingOf>): void {
    open.talk?.end(ending);
    this.#open.delete(id);
  }
}
