// Which partition each event of a batch, and what analysis found in it, belongs to: records by their start, those of imports
// by the day they were imported. Writes nothing: duckdb-apply.ts.

import type { Micros } from '../base/clock.ts';
import type { ProbeRecord, WeirEvent } from '../model/event.ts';
import type { Insights, SessionInsight } from '../model/insight.ts';
import type { SessionRecord } from '../model/session.ts';
import type { DuckDbApplier, Work } from './duckdb-apply.ts';
import type { DuckDbDatabase, Partition } from './duckdb-database.ts';
import { importDiversion, importTime } from './import-time.ts';

export interface DivideOptions {
  /** What retention has dropped stays dropped: by start, imports by when they were imported. */
  readonly droppedBefore: Micros;
  readonly importsDroppedBefore: Micros;
  /** An import's partition that has this many bytes is continued in another. */
  readonly partitionBytes: number;
  readonly now: Micros;
}

export class DuckDbDivider {
  readonly #database: DuckDbDatabase;
  readonly #applier: DuckDbApplier;

  constructor(database: DuckDbDatabase, applier: DuckDbApplier) {
    this.#database = database;
    this.#applier = applier;
  }

  /** Oldest partition first; partitions that do not exist yet are made. */
  async divide(events: readonly WeirEvent[], insights: Insights | undefined, options: DivideOptions): Promise<Work[]> {
    const works = new Map<string, Work>();
    const workIn = (partition: Partition): Work => {
      let work = works.get(partition.name);
      if (!work) {
        work = { partition, records: [], probes: [], alerts: [], system: [], insights: [], verdicts: [] };
        works.set(partition.name, work);
      }
      return work;
    };
    let last: { work: Work; from: Micros; end: Micros } | undefined;
    const workFor = async (at: Micros, name?: string): Promise<Work | undefined> => {
      if (last && at >= last.from && at < last.end && (name === undefined || name === last.work.partition.name)) return last.work;
      const known = name === undefined ? undefined : this.#database.partitions.find((partition) => partition.name === name);
      if (!known && at < options.droppedBefore) return undefined;
      const partition = known ?? (await this.#database.partitionFor(at));
      const work = workIn(partition);
      if (partition.kind === 'day') last = { work, from: partition.from, end: this.#database.endOf(partition) };
      return work;
    };
    const placed = new Map<string, Partition>();
    const imported: (SessionRecord | ProbeRecord)[] = [];
    for (const event of events) {
      if (event.kind === 'session') {
        const { session } = event;
        const open = this.#applier.partitionOf(session.id);
        if (session.diversion === importDiversion && open === undefined) {
          imported.push(session);
          continue;
        }
        const work = await workFor(session.start, open);
        work?.records.push(session);
        if (work && insights) placed.set(session.id, work.partition);
      } else if (event.kind === 'probe') {
        if (event.probe.diversion === importDiversion) imported.push(event.probe);
        else (await workFor(event.probe.start))?.probes.push(event.probe);
      } else if (event.kind === 'alert') (await workFor(event.alert.at))?.alerts.push(event.alert);
      else (await workFor(event.system.at))?.system.push(event.system);
    }
    const importWork = await this.#importWork(events, imported, options, workIn);
    for (const { id } of importWork?.records ?? []) if (importWork) placed.set(id, importWork.partition);
    if (insights) {
      const homes = await this.#homes(insights.sessions, placed);
      for (const insight of insights.sessions) {
        const home = homes.get(insight.id);
        if (home) workIn(home).insights.push(insight);
      }
      await this.#placeVerdicts(events, insights, options, workIn, workFor);
    }
    return [...works.values()].sort((a, b) => a.partition.from - b.partition.from);
  }

  /** What is in the store already, imported on whatever day, is left out before a partition is made for it. */
  async #importWork(
    events: readonly WeirEvent[],
    imported: readonly (SessionRecord | ProbeRecord)[],
    options: DivideOptions,
    workIn: (partition: Partition) => Work,
  ): Promise<Work | undefined> {
    if (imported.length === 0) return undefined;
    const at = importTime(events, options.now);
    if (at < options.importsDroppedBefore) return undefined;
    const known = await this.#applier.knownImports(imported);
    const fresh = imported.filter(({ id }) => !known.has(id));
    if (fresh.length === 0) return undefined;
    const work = workIn(await this.#database.importFor(at, options.partitionBytes));
    for (const record of fresh) {
      if ('targets' in record) work.probes.push(record);
      else work.records.push(record);
    }
    return work;
  }

  /** Where each session is; those that the store does not have are left out. */
  async #homes(
    sessions: readonly SessionInsight[],
    placed: ReadonlyMap<string, Partition>,
  ): Promise<ReadonlyMap<string, Partition>> {
    const homes = new Map(placed);
    const missing = sessions.filter(({ id }) => !homes.has(id));
    if (missing.length === 0) return homes;
    const candidates = new Set<Partition>(this.#applier.importsAround(missing));
    for (const { start } of missing) {
      const day = this.#database.dayAt(start);
      if (day) candidates.add(day);
    }
    const ids = missing.map(({ id }) => id);
    for (const partition of candidates)
      for (const id of await this.#applier.known.in(partition, ['sessions', 'open_records'], ids)) homes.set(id, partition);
    return homes;
  }

  async #placeVerdicts(
    events: readonly WeirEvent[],
    { verdicts }: Insights,
    options: DivideOptions,
    workIn: (partition: Partition) => Work,
    workFor: (at: Micros) => Promise<Work | undefined>,
  ): Promise<void> {
    const ofImports = verdicts.filter(({ diversion }) => diversion === importDiversion);
    const homes = new Map<string, Partition>();
    const ids = ofImports.map(({ id }) => id);
    for (const partition of this.#database.imports)
      for (const id of await this.#applier.known.in(partition, ['verdicts'], ids)) homes.set(id, partition);
    const at = importTime(events, options.now);
    for (const verdict of verdicts) {
      if (verdict.diversion !== importDiversion) (await workFor(verdict.start))?.verdicts.push(verdict);
      else {
        const home = homes.get(verdict.id);
        if (!home && at < options.importsDroppedBefore) continue;
        workIn(home ?? (await this.#database.importFor(at, options.partitionBytes))).verdicts.push(verdict);
      }
    }
  }
}
