// What agents recorded while they were alone, taken into the journal: each record is checked against what the agent may hand
// in, gets an identifier that no other agent and no process here can have, and is durable before it is acknowledged.

import { createHmac, randomBytes } from 'node:crypto';
import { join } from 'node:path';
import type { Clock } from '../base/clock.ts';
import { readWhole, writeDurably } from '../base/durable-file.ts';
import { WeirError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { parseAddress } from '../model/address.ts';
import type { AlertRecord, ProbeRecord, WeirEvent } from '../model/event.ts';
import { identifierTime } from '../model/identifier.ts';
import { type SessionRecord, takenBackSequence } from '../model/session.ts';
import type { JournalCounters } from '../record/journal-writer.ts';
import { decodeSpoolBatch } from '../record/spool-batch.ts';
import { AgentAlerts, alertOfAgent } from './agent-alerts.ts';
import type { AgentPlaces } from './agent-places.ts';

/** What of JournalWriter is used here. */
export interface SpoolJournal {
  append(event: WeirEvent): boolean;
  flush(): Promise<boolean>;
  counters(): Pick<JournalCounters, 'pendingBytes' | 'strippedRecords'>;
}

export interface SpoolIntakeOptions {
  readonly journal: SpoolJournal;
  /** 32 bytes nobody else knows; see openSpoolKey. */
  readonly key: Uint8Array;
  /** As applied now. */
  readonly places: () => AgentPlaces;
  /** The agent answered this flow itself after it handed it over; `id` is its own. */
  readonly onTakenBack?: (agent: string, id: string) => void;
  readonly clock: Clock;
  readonly log: Log;
}

export interface SpoolIntakeCounters {
  batches: number;
  sessions: number;
  probes: number;
  alerts: number;
  /** Of an agent that had handed in more than its share. */
  alertsShed: number;
  /** Of those taken: not of what its diversions are now, kept under the agent's own name. */
  displaced: number;
  /** Of a diversion that is another's. */
  foreign: number;
  /** Of a kind that agents do not hand in, or against the form. */
  malformed: number;
}

const alphabet = '0123456789abcdefghjkmnpqrstvwxyz';
const day = 86_400e6;
/** Records older than this were made by a clock that stood. */
const oldest = 3650 * day;
/** A batch that waits for the disk in vain keeps the next from being taken. */
const maxPendingBytes = 1 << 20;

/** The key of identifiers, kept over restarts so that a batch sent twice is recognised. */
export async function openSpoolKey(directory: string): Promise<Uint8Array> {
  const path = join(directory, 'spool.key');
  const text = await readWhole(path);
  if (text !== undefined && /^[0-9a-f]{64}\s*$/.test(text)) return Buffer.from(text.trim(), 'hex');
  const key = randomBytes(32);
  await writeDurably(path, `${key.toString('hex')}\n`);
  return key;
}

/** Keeps the time of an identifier; the rest is this agent's alone: without the key nobody can aim at a record of others. */
export function remapIdentifier(key: Uint8Array, agent: string, kind: 'session' | 'probe' | 'alert', id: string): string {
  const digest = createHmac('sha256', key).update(`${kind}\0${agent}\0${id}`).digest();
  let text = id.slice(0, 11);
  for (let index = 0; index < 8; index += 1) text += alphabet[digest[index] & 31];
  return text;
}

/**
 * Where records go that an agent made by rules it no longer has: no diversion can have this name. They happened, and the agent
 * deletes what is acknowledged.
 */
export const displacedDiversion = (agent: string): string => `agent ${agent}`;

export class SpoolIntake {
  readonly counters: SpoolIntakeCounters = {
    batches: 0,
    sessions: 0,
    probes: 0,
    alerts: 0,
    alertsShed: 0,
    displaced: 0,
    foreign: 0,
    malformed: 0,
  };
  readonly #alerts: AgentAlerts;
  readonly #options: SpoolIntakeOptions;
  #turn: Promise<unknown> = Promise.resolve();
  #complaintAt = Number.NEGATIVE_INFINITY;

  constructor(options: SpoolIntakeOptions) {
    this.#options = options;
    this.#alerts = new AgentAlerts(options.clock);
  }

  /** Resolves when what could be taken is durable; one batch at a time. Throws `bad-request` for what is no batch, `disk-full`. */
  take(agent: string, batch: Uint8Array): Promise<void> {
    const turn = this.#turn.then(() => this.#take(agent, batch));
    this.#turn = turn.catch(() => {});
    return turn;
  }

  async #take(agent: string, batch: Uint8Array): Promise<void> {
    const { journal } = this.#options;
    const full = (): WeirError => new WeirError('disk-full', 'the journal cannot be written: the agent keeps its records');
    if (journal.counters().pendingBytes > maxPendingBytes && !(await journal.flush())) throw full();
    const records = decodeSpoolBatch(batch);
    if (!records) throw new WeirError('bad-request', 'these bytes are not a batch of records');
    const { strippedRecords } = journal.counters();
    let refused = 0;
    for (const { event } of records) {
      // What an agent's journal notes of itself (that it began) is for the agent's machine: no record, and none lost.
      if (event.kind === 'system' && event.system.program === 'agent') continue;
      const taken = this.#checked(agent, event);
      if (!taken) refused += 1;
      else if (!journal.append(taken)) throw full();
      else if (taken.kind === 'session') {
        this.counters.sessions += 1;
        if (event.kind === 'session' && event.session.sequence >= takenBackSequence)
          this.#options.onTakenBack?.(agent, event.session.id);
      } else if (taken.kind === 'probe') this.counters.probes += 1;
      else this.counters.alerts += 1;
    }
    if (!(await journal.flush()) || journal.counters().strippedRecords > strippedRecords) throw full();
    this.counters.batches += 1;
    if (refused > 0) this.#complain(agent, refused);
  }

  #checked(agent: string, event: WeirEvent): WeirEvent | undefined {
    if (event.kind === 'session') return this.#session(agent, event.session);
    if (event.kind === 'probe') return this.#probe(agent, event.probe);
    if (event.kind === 'alert') return this.#alert(agent, event.alert);
    this.counters.malformed += 1;
    return undefined;
  }

  #session(agent: string, session: SessionRecord): WeirEvent | undefined {
    const { id, source, destination, transport, diversion } = session;
    if (!this.#isOwnTime(id) || !parseAddress(source.ip) || !parseAddress(destination.ip)) {
      this.counters.malformed += 1;
      return undefined;
    }
    const places = this.#options.places();
    const place = places.placeIn(agent, diversion, transport, destination);
    if (!place && places.isOfAnother(agent, diversion)) {
      this.counters.foreign += 1;
      return undefined;
    }
    if (!place) this.counters.displaced += 1;
    const { writer: _writer, recordedAt: _recordedAt, persona: _persona, ...said } = session;
    return {
      kind: 'session',
      session: {
        ...said,
        id: remapIdentifier(this.#options.key, agent, 'session', id),
        agent,
        // Alone it has nobody else to ask.
        service: 'catch-all',
        ...(place ? { persona: place.persona.name } : { diversion: displacedDiversion(agent) }),
      },
    };
  }

  #probe(agent: string, probe: ProbeRecord): WeirEvent | undefined {
    if (!this.#isOwnTime(probe.id) || !parseAddress(probe.source)) {
      this.counters.malformed += 1;
      return undefined;
    }
    const places = this.#options.places();
    if (probe.targets.length === 0 || !probe.targets.every(({ ip }) => parseAddress(ip))) {
      this.counters.malformed += 1;
      return undefined;
    }
    const held = probe.targets.every(({ ip }) => places.holds(agent, probe.diversion, ip));
    if (!held && places.isOfAnother(agent, probe.diversion)) {
      this.counters.foreign += 1;
      return undefined;
    }
    if (!held) this.counters.displaced += 1;
    const diversion = held ? probe.diversion : displacedDiversion(agent);
    return { kind: 'probe', probe: { ...probe, diversion, id: remapIdentifier(this.#options.key, agent, 'probe', probe.id) } };
  }

  #alert(agent: string, alert: AlertRecord): WeirEvent | undefined {
    const id = remapIdentifier(this.#options.key, agent, 'alert', alert.id);
    const taken = this.#isOwnTime(alert.id) && this.#isNow(alert.at) ? alertOfAgent(agent, id, alert) : undefined;
    if (!taken) {
      this.counters.malformed += 1;
      return undefined;
    }
    if (this.#alerts.take(agent)) return { kind: 'alert', alert: taken };
    this.counters.alertsShed += 1;
    return undefined;
  }

  #isOwnTime(id: string): boolean {
    return this.#isNow(identifierTime(id));
  }

  #isNow(at: number): boolean {
    const now = this.#options.clock();
    return at > now - oldest && at < now + day;
  }

  #complain(agent: string, refused: number): void {
    const now = this.#options.clock();
    if (now - this.#complaintAt < 1e6) return;
    this.#complaintAt = now;
    this.#options.log.warn('records of an agent were not taken: they are not of its diversions', {
      agent,
      refused,
      foreign: this.counters.foreign,
      malformed: this.counters.malformed,
    });
  }
}
