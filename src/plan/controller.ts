// Owns what Weir changes in the kernel, of the machine's own namespace and of every segment: plan, apply, confirm, roll back,
// give addresses back, put right, take down. One operation at a time; the state file is written before the kernel is touched.
// It decides nothing about rules (desired.ts, ruleset.ts), touches no namespace (home-changer.ts, segment-changer.ts) and
// opens no socket.

import { readFile } from 'node:fs/promises';
import type { Clock, Micros } from '../base/clock.ts';
import { asWeirError, WeirError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { type CommandRunner, createCommandRunner } from '../kernel/command.ts';

import { readMissingFeatures } from '../kernel/features.ts';

import { defaultResolverFiles, type ObservedFacts, observeKernel } from '../kernel/observe.ts';
import { type AddressRange, parseAddress, renderRange, uniteRanges } from '../model/address.ts';
import type { Configuration } from '../model/configuration.ts';
import type { DecoyGroup } from '../model/decoy.ts';
import type { Annex } from './annex.ts';
import { knownLiveHosts, planDesired } from './desired.ts';
import { atPorts, type DesiredState, type GatewayPorts, isEmptyState, type NetworkState } from './desired-state.ts';
import type { SavedValues } from './difference.ts';
import { checkLockOut, parseSshConnection } from './guard.ts';

import { neededFeatures } from './guard-network.ts';
import { HomeChanger } from './home-changer.ts';
import { type LiveHostProbe, probeFreshRanges } from './live-hosts.ts';
import { type NetworkView, viewNetworks } from './network-view.ts';
import { type RepairOutcome, type RepairRequest, RepairRun } from './repair.ts';
import { SegmentChanger } from './segment-changer.ts';

import { StateFile, type StoredState } from './state-file.ts';
import type { Step } from './step.ts';
import { freshWithheld, maxWithheld, renderWithheld } from './withheld.ts';

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
  /** Tells our namespaces and links from those of other Weirs; see segmentTag. */
  readonly tag: string;
  /** Path of a network namespace; without it, the one this process is in. */
  readonly netns?: string;
  readonly resolverFiles?: readonly string[];
  readonly annexes?: readonly Annex[];
  /** Doubts about a plan that need more than this room knows; shown with its warnings. */
  readonly preflight?: (desired: DesiredState, facts: ObservedFacts) => Promise<readonly string[]>;
}

const rollbackRetryMs = 2000;

/** Needs root. Every method rejects with WeirError; the kernel is then as before or, if that failed too, `fault` says so. */
export class DiversionController {
  readonly #options: DiversionControllerOptions;
  readonly #runner: CommandRunner;
  readonly #home: HomeChanger;
  readonly #segments: SegmentChanger;
  readonly #file: StateFile;
  /** Objects that annexes repaired. */
  readonly #repaired = new Map<string, Set<string>>();
  #stored: StoredState | undefined;
  #loaded = false;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;
  #turn: Promise<unknown> = Promise.resolve();

  constructor(options: DiversionControllerOptions) {
    this.#options = options;
    this.#runner = createCommandRunner(options.netns);
    this.#home = new HomeChanger(this.#runner, options.log);
    this.#segments = new SegmentChanger({
      ...(options.netns === undefined ? {} : { netns: options.netns }),
      tag: options.tag,
      annexes: options.annexes ?? [],
    });
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
    checkLockOut(configuration, facts, operator, stored?.current?.relay);
    const live = uniteRanges([
      ...knownLiveHosts(configuration, facts),
      ...(await probeFreshRanges(configuration, options.probeLiveHosts, stored?.current)),
    ]);
    const { desired, notes, warnings } = planDesired({
      configuration,
      facts,
      ports: this.#options.ports,
      tag: this.#options.tag,
      ...(operator ? { operator } : {}),
      // Live hosts that an earlier plan found are not forgotten while that plan stands.
      live: uniteRanges([...live, ...(stored?.current?.live ?? [])]),
      ...(stored?.current ? { current: stored.current } : {}),
      savedSysctls: stored?.saved.sysctls ?? {},
    });
    const steps = [...(await this.#segments.plan(desired, stored)), ...(await this.#home.difference(desired, stored)).steps];
    const strange =
      stored === undefined && facts.ownTables !== ''
        ? [
            `nft tables named weir are here, but ${this.#file.path} is not: another Weir runs in this network namespace, or its state was lost`,
          ]
        : [];
    const doubts = (await this.#options.preflight?.(desired, facts)) ?? [];
    return { changes: steps, desired, notes, warnings: [...warnings, ...doubts, ...strange] };
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
    await this.#change(desired, stored, { previous, deadline, retreat: previous });
    if (deadline !== undefined && confirmWithinMs !== undefined) this.#startTimer(deadline);
    const groups = [desired, ...desired.segments.map(({ inside }) => inside)].reduce((sum, one) => sum + one.groups.length, 0);
    this.#emit('applied', `${groups} groups of decoys are up`, {
      groups,
      segments: desired.segments.length,
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
    else {
      const before = atPorts(stored.previous as DesiredState, this.#options.ports);
      await this.#goBack(before, stored);
    }
    this.#emit('rolled-back', `back to the state before: ${reason}`, { reason });
  }

  /** A segment that cannot be had back (its trunk is gone) keeps nobody locked out: it is left to repair, the rest goes back. */
  async #goBack(before: DesiredState, stored: StoredState): Promise<void> {
    const goal = { previous: undefined, deadline: undefined, retreat: before };
    try {
      await this.#change(before, stored, goal);
    } catch (error) {
      if (before.segments.length === 0) throw error;
      this.#options.log.error('rolling back to the segments of before failed; they are left to repair', {
        error: asWeirError(error).message,
      });
      await this.#change({ ...before, segments: [], services: [], bindings: [] }, stored, goal);
      if (this.#stored) await this.#save({ ...this.#stored, current: before, networks: stored.networks });
    }
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
      this.#segments.hold(stored?.current?.segments ?? []);
      // Annexes own processes that may have outlived the last netd: they take them up again.
      if (stored?.current && stored.phase !== 'applying')
        for (const annex of this.#options.annexes ?? [])
          await annex
            .apply(stored.current)
            .catch((error) =>
              this.#options.log.error(`resuming the ${annex.name} failed`, { error: asWeirError(error).message }),
            );
      if (stored?.phase !== 'applying') await this.#followPorts(stored);
      if (stored?.phase === 'applying') await this.#rollback('the process ended while it was applying');
      else if (stored?.phase === 'pending' && stored.deadline !== undefined) {
        if (this.#options.clock() >= stored.deadline) await this.#rollback('it was not confirmed in time');
        else this.#startTimer(stored.deadline);
      }
    });
  }

  /** The gateway's sockets of before may be lost, and their ports taken: what is applied leads to the present ones then. */
  async #followPorts(stored: StoredState | undefined): Promise<void> {
    if (!stored?.current) return;
    const { current, previous, deadline } = stored;
    const moved = atPorts(current, this.#options.ports);
    const retreat = stored.phase === 'applied' ? moved : previous;
    if (moved !== current) await this.#change(moved, stored, { previous, deadline, retreat });
  }

  /**
   * A live host of a network (empty: the machine's own) has these addresses: they are diverted no more, from the next
   * packet on. Unknown text throws `bad-request`.
   */
  withhold(network: string, addresses: readonly string[], reason: string): Promise<void> {
    return this.#inTurn(async () => {
      const stored = await this.#load();
      const segment = stored?.current?.segments.find(({ name }) => name === network);
      const state: NetworkState | undefined = network === '' ? stored?.current : segment?.inside;
      if (!stored || !state) return;
      const already = (network === '' ? stored.withheld : stored.networks[network]?.withheld) ?? [];
      const fresh = freshWithheld(state, addresses.map(singleAddress), already);
      if (fresh.length === 0) return;
      if (already.length + fresh.length > maxWithheld)
        throw new WeirError('bad-request', `more than ${maxWithheld} addresses given back: the ranges of decoys are not free`);
      const withheld = [...already, ...fresh];
      const text = renderWithheld(state, fresh);
      if (segment) {
        const old = stored.networks[network] ?? { withheld: [], textHash: '', fingerprint: '', digest: '' };
        const noted = { ...stored, networks: { ...stored.networks, [network]: { ...old, withheld } } };
        await this.#save(noted);
        const renewed = await this.#segments.withhold(segment, old, withheld, text);
        await this.#save({ ...noted, networks: { ...noted.networks, [network]: renewed } });
      } else {
        await this.#save({ ...stored, withheld });
        await this.#save({ ...stored, ...(await this.#home.withhold(state, stored, withheld, text)) });
      }
      const shown = fresh.slice(0, 20).map(renderRange);
      const where = network === '' ? '' : ` of ${network}`;
      const details = { ...(network === '' ? {} : { network }), addresses: shown, count: fresh.length, reason };
      this.#emit('withheld', `given back to live hosts${where}: ${shown.join(', ')}`, details);
    });
  }

  /** What in the kernel is not as applied, in words; empty when all is well. */
  verify(): Promise<string[]> {
    return this.#inTurn(async () => {
      const stored = await this.#load();
      if (!stored?.current) return [];
      const home = await this.#home.drift(stored.current, stored);
      const steps = await this.#segments.plan(stored.current, stored);
      return [...home, ...steps.map(({ network, line }) => (network === undefined ? line : `${network}: ${line}`))];
    });
  }

  /**
   * Puts back what of the applied state is missing or changed, in the networks asked for and in the annexes. Nothing to do
   * while nothing is applied, or while an apply cut short waits for its rollback.
   */
  repair(request: RepairRequest = { isHeld: () => false }): Promise<RepairOutcome> {
    return this.#inTurn(async () => {
      const stored = await this.#load();
      const run = new RepairRun(request);
      if (!stored?.current || stored.phase === 'applying') return run;
      const annexes = async (): Promise<void> => {
        for (const annex of this.#options.annexes ?? [])
          await run.include(annex.name, this.#knownOf(annex), () => annex.repair());
      };
      const { current } = stored;
      const [networks = {}] = await Promise.all([
        run.guard('segments', () => this.#segments.repair(current.segments, stored, run, annexes)),
        run.guard('machine', async () => {
          if (run.concerns('')) await this.#home.repair(current, stored, run);
        }),
      ]);
      if (Object.keys(networks).length > 0) await this.#save({ ...stored, networks: { ...stored.networks, ...networks } });
      return run;
    });
  }

  #knownOf({ name }: Annex): Set<string> {
    const known = this.#repaired.get(name) ?? new Set<string>();
    this.#repaired.set(name, known);
    return known;
  }

  /**
   * Leaves the machine as it was found. Without a state file it goes by the marks in the kernel: the names of namespaces
   * and tables, the routes' protocol, and the notes kept in the tables.
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
    let failed: unknown;
    for (const part of [
      () => this.#segments.apply(undefined, stored),
      () => this.#segments.sweep([]),
      () => this.#home.clear(stored),
    ])
      try {
        await part();
      } catch (error) {
        failed ??= error;
        this.#options.log.error('a part of taking down failed', { error: asWeirError(error).message });
      }
    if (failed !== undefined) throw asWeirError(failed);
    this.#stored = undefined;
    await this.#file.remove();
  }

  /** Groups of the machine's own namespace as applied; without the withheld ones taken out. */
  groups(): readonly DecoyGroup[] {
    return this.#stored?.current?.groups ?? [];
  }

  /** Of the machine's own namespace. */
  withheld(): readonly AddressRange[] {
    return this.#stored?.withheld ?? [];
  }

  /** Every network as applied, the machine's own first; empty while nothing is. */
  networks(): readonly NetworkView[] {
    return viewNetworks(this.#stored, this.#options.netns);
  }

  /** Stops the confirmation timer; the kernel stays as it is. */
  close(): void {
    this.#closed = true;
    this.#stopTimer();
    this.#segments.close();
  }

  async #change(
    desired: DesiredState,
    stored: StoredState | undefined,
    goal: {
      readonly previous: DesiredState | undefined;
      readonly deadline: Micros | undefined;
      /** Where a start after a crash halfway leads; undefined: to a machine without Weir. */
      readonly retreat: DesiredState | undefined;
    },
  ): Promise<void> {
    const { steps, saved, withheld, textHash, detailed } = await this.#home.difference(desired, stored);
    const base = {
      version: 2 as const,
      current: desired,
      ...(goal.previous ? { previous: goal.previous } : {}),
      ...(goal.deadline === undefined ? {} : { deadline: goal.deadline }),
      withheld,
      textHash,
      detailed,
    };
    // Values to restore are united with the old ones until the change is through.
    const union: SavedValues = {
      sysctls: { ...saved.sysctls, ...stored?.saved.sysctls },
      promiscuous: { ...saved.promiscuous, ...stored?.saved.promiscuous },
    };
    const before = { networks: stored?.networks ?? {}, listing: stored?.listing ?? '' };
    const { previous: _previous, ...halfway } = base;
    const retreat = goal.retreat ? { previous: goal.retreat } : {};
    // Which text made the rules that are there is not known until the change is through.
    await this.#save({ ...halfway, ...retreat, ...before, phase: 'applying', saved: union, textHash: '' });
    const done: Step[] = [];
    try {
      const { networks } = await this.#segments.apply(desired, stored);
      await this.#home.apply(steps, done);
      await this.#segments.sweep(desired.segments);
      const listing = await this.#home.listing(detailed);
      const phase = goal.deadline === undefined ? 'applied' : 'pending';
      await this.#save({ ...base, phase, saved, listing, networks });
    } catch (error) {
      await this.#undo(done, stored, desired, union);
      throw asWeirError(error);
    }
  }

  async #undo(done: readonly Step[], stored: StoredState | undefined, failed: DesiredState, union: SavedValues): Promise<void> {
    let clean = await this.#home.undo(done);
    let networks = stored?.networks ?? {};
    try {
      // Links are compared with what was tried, which is what may be there now.
      const tried = { current: failed, networks };
      networks = (await this.#segments.apply(stored?.current, tried)).networks;
      await this.#segments.sweep(stored?.current?.segments ?? []);
    } catch (error) {
      clean = false;
      this.#options.log.error('undoing the change of segments failed', { error: asWeirError(error).message });
    }
    if (stored) {
      const after = clean ? { listing: await this.#home.listing(stored.detailed) } : { saved: union };
      await this.#save({ ...stored, networks, ...after });
    } else if (clean) {
      this.#stored = undefined;
      await this.#file.remove();
    }
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
      this.rollback('it was not confirmed in time').catch((error) => {
        this.#options.log.error('rolling back failed, trying again', { error: asWeirError(error).message });
        // Somebody may be locked out for as long as it does not work.
        if (this.pending() && !this.#closed) this.#startTimer(this.#options.clock() + rollbackRetryMs * 1000);
      });
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

function singleAddress(text: string): AddressRange {
  const address = parseAddress(text);
  if (!address) throw new WeirError('bad-request', `not an address: ${text}`);
  return { family: address.family, first: address.value, last: address.value };
}
