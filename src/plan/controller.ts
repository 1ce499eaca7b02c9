// Owns what Weir changes in the kernel of one network namespace: plan, apply, confirm, roll back, give addresses
// back, take down. One operation at a time; the state file is written before the kernel is touched. It decides
// nothing about rules (desired.ts, ruleset.ts) and opens no socket.

import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type { Clock, Micros } from '../base/clock.ts';
import { asWeirError, WeirError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { type CommandRunner, createCommandRunner } from '../kernel/command.ts';
import { readMissingFeatures } from '../kernel/features.ts';
import { applyRoutes, flushOwnRoutes, readOwnRoutes } from '../kernel/ip-route.ts';
import { readLinks } from '../kernel/link-state.ts';
import { applyTransaction, removeTables, renderAddition, renderReplacement } from '../kernel/nft-apply.ts';
import { readOwnComments, readOwnElements, readRuleset } from '../kernel/nft-read.ts';
import type { NftTable } from '../kernel/nft-ruleset.ts';
import { defaultResolverFiles, type ObservedFacts, observeKernel } from '../kernel/observe.ts';
import { readSysctl } from '../kernel/sysctl.ts';
import {
  type AddressRange,
  overlapRanges,
  parseAddress,
  renderAddress,
  renderRange,
  subtractRanges,
  uniteRanges,
} from '../model/address.ts';
import { type Configuration, hostDiversions } from '../model/configuration.ts';
import type { DecoyGroup } from '../model/decoy.ts';
import { knownLiveHosts, planDesired } from './desired.ts';
import { type DesiredState, type GatewayPorts, isEmptyState } from './desired-state.ts';
import {
  compareRoutes,
  type PresentState,
  parseNotes,
  planDifference,
  planRoutes,
  planSettings,
  renderNotes,
  type SavedValues,
  saveBefore,
} from './difference.ts';
import { describeDrift } from './drift.ts';
import { checkLockOut, parseSshConnection } from './guard.ts';
import { neededFeatures } from './guard-network.ts';
import { planRuleset } from './ruleset.ts';
import { StateFile, type StoredState } from './state-file.ts';
import { applyStep, invertStep, type Step } from './step.ts';

/** Finds addresses of these ranges that answer on a link. Called only for ranges not yet claimed. */
export type LiveHostProbe = (link: string, ranges: readonly AddressRange[]) => Promise<readonly AddressRange[]>;

export interface PlanOptions {
  /** SSH_CONNECTION of the operator; see ssh(1). */
  readonly sshConnection?: string;
  readonly probeLiveHosts?: LiveHostProbe;
}

/** What would change, and why; made by `plan`, carried out by `apply`. */
export interface Plan {
  /** Empty: nothing to do. */
  readonly changes: readonly Step[];
  readonly desired: DesiredState;
  readonly notes: readonly string[];
  readonly warnings: readonly string[];
}

/** What happened to the diversions, for the journal: `applied`, `confirmed`, `rolled-back`, `withheld`, `taken-down`. */
export interface DiversionEvent {
  readonly name: 'applied' | 'confirmed' | 'rolled-back' | 'withheld' | 'taken-down';
  readonly message: string;
  readonly details: Readonly<Record<string, unknown>>;
}

export interface DiversionControllerOptions {
  /** Root only; made when it is not there. */
  readonly stateDirectory: string;
  readonly ports: GatewayPorts;
  readonly log: Log;
  readonly clock: Clock;
  readonly onEvent?: (event: DiversionEvent) => void;
  /** Path of a network namespace; without it, the one this process is in. */
  readonly netns?: string;
  readonly resolverFiles?: readonly string[];
}

/** Addresses given back at run time beyond this are refused: something else is wrong then. */
const maxWithheld = 65_536;

/** Sets with more elements than this in all are not compared one by one when looking for drift. */
const maxDetailed = 4096;

/** Needs root. Every method rejects with WeirError; the kernel is then as before or, if that failed too, `fault` says so. */
export class DiversionController {
  readonly #options: DiversionControllerOptions;
  readonly #runner: CommandRunner;
  readonly #file: StateFile;
  #stored: StoredState | undefined;
  #loaded = false;
  #timer: NodeJS.Timeout | undefined;
  #turn: Promise<unknown> = Promise.resolve();

  constructor(options: DiversionControllerOptions) {
    this.#options = options;
    this.#runner = createCommandRunner(options.netns);
    this.#file = new StateFile(options.stateDirectory);
  }

  observe(): Promise<ObservedFacts> {
    const readText = (path: string): Promise<string | undefined> => readFile(path, 'utf8').catch(() => undefined);
    return observeKernel(this.#runner, readText, this.#options.resolverFiles ?? defaultResolverFiles);
  }

  /** Changes nothing. Throws `lock-out` or `config-invalid` with every mistake and its line (details.mistakes). */
  plan(configuration: Configuration, options: PlanOptions = {}): Promise<Plan> {
    return this.#inTurn(() => this.#plan(configuration, options));
  }

  async #plan(configuration: Configuration, options: PlanOptions): Promise<Plan> {
    const stored = await this.#load();
    const missingFeatures = await readMissingFeatures(this.#runner, neededFeatures(configuration));
    const facts = { ...(await this.observe()), missingFeatures };
    const operator = parseSshConnection(options.sshConnection);
    checkLockOut(configuration, facts, operator);
    const live = uniteRanges([
      ...knownLiveHosts(configuration, facts),
      ...(await this.#probe(configuration, options, stored?.current)),
    ]);
    const { desired, notes, warnings } = planDesired({
      configuration,
      facts,
      ports: this.#options.ports,
      ...(operator ? { operator } : {}),
      // Live hosts that an earlier plan found are not forgotten while that plan stands.
      live: uniteRanges([...live, ...(stored?.current?.live ?? [])]),
      ...(stored?.current ? { current: stored.current } : {}),
      savedSysctls: stored?.saved.sysctls ?? {},
    });
    const { steps } = await this.#difference(desired, stored);
    const strange =
      stored === undefined && facts.ownTables !== ''
        ? [
            `nft tables named weir are here, but ${this.#file.path} is not: another Weir runs in this network namespace, or its state was lost`,
          ]
        : [];
    return { changes: steps, desired, notes, warnings: [...warnings, ...strange] };
  }

  async #probe(
    configuration: Configuration,
    { probeLiveHosts }: PlanOptions,
    current: DesiredState | undefined,
  ): Promise<AddressRange[]> {
    if (!probeLiveHosts) return [];
    const held = (current?.groups ?? []).filter(({ kind }) => kind === 'claimed').flatMap(({ ranges }) => ranges);
    const byLink = new Map<string, AddressRange[]>();
    for (const diversion of hostDiversions(configuration.diversions))
      for (const group of diversion.groups) {
        if (group.kind !== 'claimed' || diversion.interface === undefined) continue;
        const ranges = byLink.get(diversion.interface) ?? [];
        ranges.push(...group.ranges);
        byLink.set(diversion.interface, ranges);
      }
    const found: AddressRange[] = [];
    for (const [link, ranges] of byLink) {
      const fresh = subtractRanges(ranges, held);
      if (fresh.length > 0) found.push(...(await probeLiveHosts(link, fresh)));
    }
    return found;
  }

  /**
   * Carries the plan out. With `confirmWithinMs` it rolls itself back unless `confirm` comes in time, across a crash
   * too (`resume`). Throws `kernel-refused`; then everything done so far was undone.
   */
  apply(plan: Plan, options: { readonly confirmWithinMs?: number } = {}): Promise<void> {
    return this.#inTurn(() => this.#apply(plan.desired, options.confirmWithinMs));
  }

  async #apply(desired: DesiredState, confirmWithinMs: number | undefined): Promise<void> {
    const stored = await this.#load();
    this.#stopTimer();
    const deadline = confirmWithinMs === undefined ? undefined : this.#options.clock() + confirmWithinMs * 1000;
    // A second apply before the first was confirmed still goes back to the last confirmed state.
    const previous = stored?.phase === 'applied' ? stored.current : stored?.previous;
    await this.#change(desired, stored, { previous, deadline });
    if (deadline !== undefined && confirmWithinMs !== undefined) this.#startTimer(deadline);
    this.#emit('applied', `${desired.groups.length} groups of decoys are up`, {
      groups: desired.groups.length,
      ...(deadline === undefined ? {} : { confirmBy: deadline }),
    });
  }

  /** Keeps an applied plan. Nothing to confirm is not an error. */
  confirm(): Promise<void> {
    return this.#inTurn(async () => {
      const stored = await this.#load();
      if (stored?.phase !== 'pending') return;
      this.#stopTimer();
      const { deadline: _deadline, previous: _previous, ...rest } = stored;
      await this.#save({ ...rest, phase: 'applied' });
      this.#emit('confirmed', 'the applied plan stays', {});
    });
  }

  /** Back to the last confirmed state, or to a machine without Weir. */
  rollback(reason: string): Promise<void> {
    return this.#inTurn(() => this.#rollback(reason));
  }

  async #rollback(reason: string): Promise<void> {
    const stored = await this.#load();
    this.#stopTimer();
    if (stored === undefined || stored.phase === 'applied') return;
    if (isEmptyState(stored.previous)) await this.#down();
    else await this.#change(stored.previous as DesiredState, stored, { previous: undefined, deadline: undefined });
    this.#emit('rolled-back', `back to the state before: ${reason}`, { reason });
  }

  /** Until when an applied plan waits for `confirm`; undefined when none does. Microseconds of the clock. */
  pending(): { readonly deadline: Micros } | undefined {
    return this.#stored?.phase === 'pending' && this.#stored.deadline !== undefined
      ? { deadline: this.#stored.deadline }
      : undefined;
  }

  /** After a start: an apply cut short, or not confirmed in time, is rolled back; one still in time goes on waiting. */
  resume(): Promise<void> {
    return this.#inTurn(async () => {
      const stored = await this.#load();
      if (stored?.phase === 'applying') await this.#rollback('the process ended while it was applying');
      else if (stored?.phase === 'pending' && stored.deadline !== undefined) {
        if (this.#options.clock() >= stored.deadline) await this.#rollback('it was not confirmed in time');
        else this.#startTimer(stored.deadline);
      }
    });
  }

  /** A live host has these addresses: they are diverted no more, from the next packet on. Unknown text throws `bad-request`. */
  withhold(addresses: readonly string[], reason: string): Promise<void> {
    return this.#inTurn(async () => {
      const stored = await this.#load();
      if (!stored?.current) return;
      const claimed = stored.current.groups.filter(({ kind }) => kind === 'claimed').flatMap(({ ranges }) => ranges);
      const asked = addresses.map((text) => {
        const address = parseAddress(text);
        if (!address) throw new WeirError('bad-request', `not an address: ${text}`);
        return { family: address.family, first: address.value, last: address.value };
      });
      const fresh = subtractRanges(overlapRanges(claimed, asked), stored.withheld).flatMap(expand);
      if (fresh.length === 0) return;
      if (stored.withheld.length + fresh.length > maxWithheld)
        throw new WeirError('bad-request', `more than ${maxWithheld} addresses given back: the ranges of decoys are not free`);
      const withheld = [...stored.withheld, ...fresh];
      await this.#save({ ...stored, withheld });
      const families = stored.current.macLinks.length > 0 ? (['inet', 'netdev'] as const) : (['inet'] as const);
      const text = families
        .flatMap((table) => ([4, 6] as const).map((family) => renderAddition(table, `withheld${family}`, textOf(fresh, family))))
        .join('');
      await applyTransaction(this.#runner, text);
      const { add, remove } = compareRoutes(planRoutes(stored.current, withheld), await readOwnRoutes(this.#runner));
      await applyRoutes(this.#runner, add, remove);
      const tables = planRuleset(stored.current, withheld, renderNotes(stored.saved));
      await this.#save({
        ...stored,
        withheld,
        textHash: hashOf(renderReplacement(tables)),
        listing: await this.#listing(stored.detailed),
      });
      const shown = fresh.slice(0, 20).map(renderRange);
      this.#emit('withheld', `given back to live hosts: ${shown.join(', ')}`, { addresses: shown, count: fresh.length, reason });
    });
  }

  withheld(): readonly AddressRange[] {
    return this.#stored?.withheld ?? [];
  }

  /** What in the kernel is not as applied, in words; empty when all is well. */
  verify(): Promise<string[]> {
    return this.#inTurn(async () => {
      const stored = await this.#load();
      if (!stored?.current) return [];
      const [listing, routes, links] = await Promise.all([
        this.#listing(stored.detailed),
        readOwnRoutes(this.#runner),
        readLinks(this.#runner),
      ]);
      const sysctls: Record<string, string | undefined> = {};
      for (const { key } of stored.current.sysctls) sysctls[key] = await readSysctl(this.#runner, key);
      return describeDrift({
        desired: stored.current,
        expectedListing: stored.listing,
        listing,
        expectedRoutes: planRoutes(stored.current, stored.withheld),
        routes,
        links,
        sysctls,
      });
    });
  }

  /**
   * Leaves the machine as it was found. Without a state file it goes by the marks in the kernel: the tables' name, the
   * routes' protocol, and the notes kept in the tables.
   */
  down(): Promise<void> {
    return this.#inTurn(async () => {
      this.#stopTimer();
      await this.#down();
      this.#emit('taken-down', 'nothing of Weir is left in the kernel', {});
    });
  }

  async #down(): Promise<void> {
    const stored = await this.#load();
    const { steps } = await this.#difference(undefined, stored);
    let failed: unknown;
    for (const step of steps)
      try {
        await applyStep(this.#runner, step);
      } catch (error) {
        failed ??= error;
        this.#options.log.error('a step of taking down failed', { line: step.line, error: asWeirError(error).message });
      }
    await flushOwnRoutes(this.#runner);
    await removeTables(this.#runner, (await readRuleset(this.#runner)).families);
    if (failed !== undefined) throw asWeirError(failed);
    this.#stored = undefined;
    await this.#file.remove();
  }

  /** Groups as applied, for whoever answers in user space; without the withheld ones taken out. */
  groups(): readonly DecoyGroup[] {
    return this.#stored?.current?.groups ?? [];
  }

  /** Stops the confirmation timer; the kernel stays as it is. */
  close(): void {
    this.#stopTimer();
  }

  async #change(
    desired: DesiredState,
    stored: StoredState | undefined,
    goal: { readonly previous: DesiredState | undefined; readonly deadline: Micros | undefined },
  ): Promise<void> {
    const { steps, saved, tables, withheld } = await this.#difference(desired, stored);
    const base = {
      version: 1 as const,
      current: desired,
      ...(goal.previous ? { previous: goal.previous } : {}),
      ...(goal.deadline === undefined ? {} : { deadline: goal.deadline }),
      withheld,
      textHash: hashOf(renderReplacement(tables)),
      detailed:
        tables.reduce((sum, { sets }) => sum + sets.reduce((all, { elements }) => all + elements.length, 0), 0) <= maxDetailed,
    };
    // Values to restore are united with the old ones until the change is through.
    const union: SavedValues = {
      sysctls: { ...saved.sysctls, ...stored?.saved.sysctls },
      promiscuous: { ...saved.promiscuous, ...stored?.saved.promiscuous },
    };
    await this.#save({ ...base, phase: 'applying', saved: union, listing: stored?.listing ?? '' });
    const done: Step[] = [];
    try {
      for (const step of steps) {
        done.push(step);
        await applyStep(this.#runner, step);
      }
      const listing = await this.#listing(base.detailed);
      await this.#save({ ...base, phase: goal.deadline === undefined ? 'applied' : 'pending', saved, listing });
    } catch (error) {
      await this.#undo(done, stored, union);
      throw asWeirError(error);
    }
  }

  async #undo(done: readonly Step[], stored: StoredState | undefined, union: SavedValues): Promise<void> {
    let clean = true;
    for (const [index, step] of [...done].reverse().entries())
      try {
        await applyStep(this.#runner, invertStep(step));
      } catch (error) {
        // The last step is the one that failed: what it never did cannot be taken back.
        if (index > 0) clean = false;
        this.#options.log.error('undoing a step failed', { line: step.line, error: asWeirError(error).message });
      }
    if (stored)
      await this.#save({ ...stored, ...(clean ? { listing: await this.#listing(stored.detailed) } : { saved: union }) });
    else if (clean) {
      this.#stored = undefined;
      await this.#file.remove();
    }
  }

  async #difference(
    desired: DesiredState | undefined,
    stored: StoredState | undefined,
  ): Promise<{ steps: Step[]; saved: SavedValues; tables: readonly NftTable[]; withheld: readonly AddressRange[] }> {
    const [routes, links, listing] = await Promise.all([
      readOwnRoutes(this.#runner),
      readLinks(this.#runner),
      this.#listing(stored?.detailed ?? false),
    ]);
    const saved = stored?.saved ?? parseNotes(readOwnComments(listing));
    const sysctls: Record<string, string> = {};
    for (const key of new Set([...(desired?.sysctls ?? []).map((item) => item.key), ...Object.keys(saved.sysctls)])) {
      const value = await readSysctl(this.#runner, key);
      if (value !== undefined) sysctls[key] = value;
    }
    const withheld = desired === undefined ? [] : keepWithheld(desired, stored?.withheld ?? []);
    const present: PresentState = {
      routes,
      tables: listing !== '' && stored?.current ? planRuleset(stored.current, stored.withheld, renderNotes(stored.saved)) : [],
      ruleset: listing === '' ? 'absent' : listing === stored?.listing ? 'as-applied' : 'changed',
      promiscuous: links.filter((link) => link.promiscuous).map((link) => link.name),
      links: links.map((link) => link.name),
      sysctls,
      saved,
    };
    const next = saveBefore(planSettings(desired, present), saved, desired);
    const tables = desired === undefined ? [] : planRuleset(desired, withheld, renderNotes(next));
    const same = stored !== undefined && hashOf(renderReplacement(tables)) === stored.textHash;
    const steps = planDifference(desired, tables, same, planRoutes(desired, withheld), present);
    return { steps, saved: next, tables, withheld };
  }

  async #listing(detailed: boolean): Promise<string> {
    const { own, families } = await readRuleset(this.#runner);
    return detailed ? readOwnElements(this.#runner, families) : own;
  }

  async #load(): Promise<StoredState | undefined> {
    if (this.#loaded) return this.#stored;
    this.#stored = await this.#file.read((reason) =>
      this.#options.log.warn('the state file is lost; going by the marks in the kernel', { path: this.#file.path, reason }),
    );
    this.#loaded = true;
    return this.#stored;
  }

  async #save(state: StoredState): Promise<void> {
    await this.#file.write(state);
    this.#stored = state;
  }

  #startTimer(deadline: Micros): void {
    const waitMs = Math.max(0, Math.ceil((deadline - this.#options.clock()) / 1000));
    this.#timer = setTimeout(() => {
      this.rollback('it was not confirmed in time').catch((error) =>
        this.#options.log.error('rolling back failed', { error: asWeirError(error).message }),
      );
    }, waitMs);
  }

  #stopTimer(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #emit(name: DiversionEvent['name'], message: string, details: Record<string, unknown>): void {
    this.#options.log.info(message, { event: name });
    this.#options.onEvent?.({ name, message, details });
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(work, work);
    this.#turn = result.catch(() => {});
    return result;
  }
}

const hashOf = (text: string): string => createHash('sha256').update(text).digest('hex');

const textOf = (ranges: readonly AddressRange[], family: 4 | 6): string[] =>
  ranges.filter((range) => range.family === family).map((range) => renderAddress({ family, value: range.first }));

function expand(range: AddressRange): AddressRange[] {
  const singles: AddressRange[] = [];
  for (let value = range.first; value <= range.last && singles.length <= maxWithheld; value += 1n)
    singles.push({ family: range.family, first: value, last: value });
  return singles;
}

/** Addresses given back stay so as long as some decoys hold them. */
function keepWithheld(desired: DesiredState, withheld: readonly AddressRange[]): readonly AddressRange[] {
  if (withheld.length === 0) return withheld;
  const claimed = desired.groups.filter(({ kind }) => kind === 'claimed').flatMap(({ ranges }) => ranges);
  return overlapRanges(claimed, withheld).flatMap(expand);
}
