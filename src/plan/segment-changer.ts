// Brings the segments and the annexes to a state, from whatever is there: namespaces, links, annexes, then each segment's
// rules, addresses and routes. The same way leads forward, back after a failure, to nothing, and from damage to repair.
// What differs is segment-difference.ts; when, and what is written down before, is controller.ts.

import { asWeirError } from '../base/errors.ts';
import { settleClaims } from '../kernel/claim-link.ts';
import { type CommandRunner, createCommandRunner } from '../kernel/command.ts';
import { applyRoutes, readOwnRoutes } from '../kernel/ip-route.ts';
import { NamespaceHolds } from '../kernel/namespace-holds.ts';
import { deleteNetns, listNetns, netnsExists, netnsPath } from '../kernel/netns.ts';
import { applyTransaction } from '../kernel/nft-apply.ts';
import { deleteSegmentLink } from '../kernel/segment-link.ts';
import { type PresentWire, readWire } from '../kernel/segment-wire.ts';
import type { AddressRange } from '../model/address.ts';
import type { Annex } from './annex.ts';
import { planClaims } from './claims.ts';
import { netnsPrefix } from './desired-segment.ts';
import { type DesiredState, type SegmentState, segmentLink } from './desired-state.ts';
import { compareRoutes, planRoutes } from './difference.ts';
import { describeRepair, type RepairRun } from './repair.ts';
import { emptySegment, planLinks } from './segment-difference.ts';
import { type AppliedSegments, readIdentity, renderFingerprint, SegmentReader } from './segment-reader.ts';
import type { StoredNetwork } from './state-file.ts';
import { applyStep, type Step } from './step.ts';

export interface SegmentChangerOptions {
  /** Path of the machine's own namespace; absent: the one this process is in. */
  readonly netns?: string;
  /** See segmentTag. */
  readonly tag: string;
  readonly annexes: readonly Annex[];
}

export interface SegmentResult {
  readonly networks: Readonly<Record<string, StoredNetwork>>;
  /** In order. */
  readonly done: readonly Step[];
}

/** Segments changed at a time: their rulesets wait for grace periods of the kernel, which overlap. */
const atOnce = 4;

const linkAttempts = 20;
const linkRetryMs = 75;

const noWire: PresentWire = emptySegment.wire;

export class SegmentChanger {
  readonly #options: SegmentChangerOptions;
  readonly #home: CommandRunner;
  readonly #fabricFirst: readonly Annex[];
  readonly #holds = new NamespaceHolds();
  readonly #reader: SegmentReader;

  constructor(options: SegmentChangerOptions) {
    this.#options = options;
    this.#home = createCommandRunner(options.netns);
    this.#reader = new SegmentReader(options.tag);
    this.#fabricFirst = [...options.annexes].sort((a, b) => Number(b.name === 'fabric') - Number(a.name === 'fabric'));
  }

  /** What apply and sweep would do. Reads only. */
  async plan(desired: DesiredState | undefined, applied: AppliedSegments | undefined): Promise<Step[]> {
    const segments = desired?.segments ?? [];
    const steps: Step[] = [...this.#planNetns(segments)];
    const { remove, add } = this.#planLinks(segments, applied);
    const replaced = new Set(remove.map(({ netns }) => netns));
    if (remove.length > 0) steps.push(linksStep([], remove));
    if (add.length > 0) steps.push(linksStep(add, []));
    for (const annex of this.#fabricFirst)
      for (const line of await annex.difference(desired)) steps.push({ kind: 'annex', annex: annex.name, line });
    for (const segment of segments) {
      await breathe();
      const path = netnsPath(segment.netns);
      const exists = netnsExists(segment.netns);
      const read = exists ? await this.#reader.read(segment, applied) : undefined;
      const present = !read ? emptySegment : replaced.has(path) ? { ...read, wire: noWire } : read;
      steps.push(...this.#reader.difference(segment, applied, present).steps);
    }
    return [...steps, ...this.#planSweep(segments)];
  }

  /**
   * Makes everything so except that namespaces nobody needs any more keep their name (sweep). Rejects with WeirError;
   * then a part may be done, and applying the state before takes it back. `networks` of the result are to be stored.
   */
  async apply(desired: DesiredState | undefined, applied: AppliedSegments | undefined): Promise<SegmentResult> {
    const segments = desired?.segments ?? [];
    const done: Step[] = [];
    const act = async (runner: CommandRunner, step: Step): Promise<void> => {
      await applyStep(runner, step);
      done.push(step);
    };
    for (const path of segments.map(({ netns }) => netnsPath(netns))) if (this.#holds.isLost(path)) this.#holds.restore(path);
    for (const step of this.#planNetns(segments)) await act(this.#home, step);
    this.hold(segments);
    const { remove } = this.#planLinks(segments, applied);
    if (remove.length > 0) await act(this.#home, linksStep([], remove));
    // The fabric may hold a VNI that a link needs now; services lead into segments whose links are there.
    for (const annex of this.#fabricFirst) if (annex.name === 'fabric') await annex.apply(desired);
    await this.#addLinks(segments, applied, act);
    for (const annex of this.#fabricFirst) if (annex.name !== 'fabric') await annex.apply(desired);
    const networks: Record<string, StoredNetwork> = {};
    await each(segments, atOnce, async (segment) => {
      const runner = createCommandRunner(netnsPath(segment.netns));
      const present = await this.#reader.read(segment, applied);
      const { steps, withheld, textHash } = this.#reader.difference(segment, applied, present);
      for (const step of steps) await act(runner, step);
      // Foretold, not read: a change by somebody else in between must not count as ours.
      const rulesets = steps.filter(({ kind }) => kind === 'ruleset').length;
      const fingerprint = renderFingerprint(present.identity, rulesets);
      const digest = rulesets > 0 ? this.#reader.digest(segment, fingerprint) : (applied?.networks[segment.name]?.digest ?? '');
      networks[segment.name] = { withheld, textHash, fingerprint, digest };
    });
    return { networks, done };
  }

  /** The kernel takes its time to clear a namespace away that somebody removed: until then a VLAN id or VNI is taken. */
  async #addLinks(
    segments: readonly SegmentState[],
    applied: AppliedSegments | undefined,
    act: (runner: CommandRunner, step: Step) => Promise<void>,
  ): Promise<void> {
    for (let attempt = 1; ; attempt += 1) {
      const { add } = this.#planLinks(segments, applied);
      if (add.length === 0) return;
      try {
        await act(this.#home, linksStep(add, []));
        return;
      } catch (error) {
        if (asWeirError(error).details.errno !== 'EEXIST' || attempt === linkAttempts) throw error;
      }
      await new Promise((resolve) => setTimeout(resolve, linkRetryMs));
    }
  }

  /** Keeps exactly these alive, as far as they are there, should somebody remove their names. */
  hold(segments: readonly SegmentState[]): void {
    this.#holds.keep(segments.map(({ netns }) => netnsPath(netns)));
  }

  /** Lets go of all of them. */
  close(): void {
    this.#holds.close();
  }

  /**
   * Mends what of the applied segments is not as it should be, each object by itself. `annexes` is called when namespaces
   * and links are there, before what is inside. Returns what is to be stored of networks where that changed.
   */
  async repair(
    segments: readonly SegmentState[],
    applied: AppliedSegments,
    run: RepairRun,
    annexes: () => Promise<void>,
  ): Promise<Readonly<Record<string, StoredNetwork>>> {
    const wanted = segments.filter(({ name }) => run.concerns(name));
    for (const segment of wanted) await this.#repairNetns(segment, run);
    this.hold(segments);
    const there = wanted.filter(({ netns }) => netnsExists(netns));
    const fresh = await this.#repairLinks(there, applied, run);
    // The fabric makes the links of some.
    for (const { name, netns } of there) if (!readWire(netnsPath(netns), segmentLink).link) fresh.add(name);
    await annexes();
    const networks: Record<string, StoredNetwork> = {};
    await each(there, atOnce, async (segment) => {
      try {
        const stored = await this.#repairInside(segment, applied, run, fresh.has(segment.name));
        if (stored) networks[segment.name] = stored;
      } catch (error) {
        const message = `${segment.name} cannot be read: ${asWeirError(error).message}`;
        run.failures.push({ network: segment.name, object: 'netns', subject: 'reading', message });
      }
    });
    return networks;
  }

  async #repairNetns(segment: SegmentState, run: RepairRun): Promise<void> {
    const { name: network, netns } = segment;
    const path = netnsPath(netns);
    if (this.#holds.isLost(path)) {
      const message = `${network}: the name of network namespace ${netns} was removed: put back`;
      await run.attempt({ network, object: 'netns', subject: netns, message }, () => this.#holds.restore(path));
    }
    for (const step of this.#planNetns([segment]))
      await run.attempt(describeRepair({ ...step, network }), () => {
        this.#holds.release(path);
        return applyStep(this.#home, step);
      });
  }

  /** Names of the segments whose link was made again: all that hung on it is to be made again as well. */
  async #repairLinks(segments: readonly SegmentState[], applied: AppliedSegments, run: RepairRun): Promise<Set<string>> {
    const fresh = new Set<string>();
    for (const segment of segments) {
      const { remove, add } = this.#planLinks([segment], applied, [segment.netns]);
      for (const step of [...remove.map((link) => linksStep([], [link])), ...add.map((link) => linksStep([link], []))]) {
        const mended = await run.attempt(describeRepair({ ...step, network: segment.name }), () => applyStep(this.#home, step));
        if (mended && step.add.length > 0) fresh.add(segment.name);
      }
    }
    return fresh;
  }

  async #repairInside(
    segment: SegmentState,
    applied: AppliedSegments,
    run: RepairRun,
    fresh: boolean,
  ): Promise<StoredNetwork | undefined> {
    const present = await this.#reader.read(segment, applied);
    // Without its link there is nothing to mend inside; it failed just now, or an annex makes it.
    if (!present.wire.link) return undefined;
    const runner = createCommandRunner(netnsPath(segment.netns));
    const { steps, withheld, textHash } = this.#reader.difference(segment, applied, present);
    let rulesets = 0;
    for (const step of steps) {
      const mend = (): Promise<void> => applyStep(runner, step);
      const mended = await (fresh ? run.follow(describeRepair(step), mend) : run.attempt(describeRepair(step), mend));
      if (mended && step.kind === 'ruleset') rulesets += 1;
      // No address is to be ours without its rules.
      if (!mended && (step.kind === 'ruleset' || step.kind === 'wire')) break;
    }
    const fingerprint = renderFingerprint(present.identity, rulesets);
    const before = applied.networks[segment.name];
    // Others have tables of their own in there, such as an annex, and changed those.
    const moved = present.network.ruleset === 'as-applied' && before?.fingerprint !== fingerprint;
    if (rulesets === 0 && !moved) return undefined;
    const digest = rulesets > 0 ? this.#reader.digest(segment, fingerprint) : (before?.digest ?? '');
    return { withheld, textHash, fingerprint, digest };
  }

  /** Removes the namespaces of ours that no segment has. */
  async sweep(segments: readonly SegmentState[]): Promise<readonly Step[]> {
    const steps = this.#planSweep(segments);
    for (const step of steps) {
      if (step.kind !== 'netns') continue;
      // Whoever still has a socket in there keeps the namespace alive, and its link with it.
      for (const name of step.remove) {
        this.#holds.release(netnsPath(name));
        if (netnsExists(name)) deleteSegmentLink(netnsPath(name), segmentLink);
        await breathe();
      }
      await deleteNetns(step.remove);
    }
    return steps;
  }

  /** Gives addresses back in one transaction; they leave the routes too. Returns what is to be stored. */
  async withhold(
    segment: SegmentState,
    stored: StoredNetwork,
    withheld: readonly AddressRange[],
    text: string,
  ): Promise<StoredNetwork> {
    const runner = createCommandRunner(netnsPath(segment.netns));
    const before = readIdentity(segment.netns);
    await applyTransaction(runner, text);
    const { add, remove } = compareRoutes(planRoutes(segment.inside, withheld), await readOwnRoutes(runner));
    await applyRoutes(runner, add, remove);
    settleClaims(runner.netns, planClaims(segment.inside, withheld));
    const untouched = renderFingerprint(before, 0) === stored.fingerprint;
    const fingerprint = untouched ? renderFingerprint(before, 1) : '';
    const { textHash } = this.#reader.tables(segment, withheld);
    return { withheld, textHash, fingerprint, digest: this.#reader.digest(segment, fingerprint) };
  }

  #planNetns(segments: readonly SegmentState[]): Step[] {
    const add = segments.map(({ netns }) => netns).filter((name) => !netnsExists(name));
    if (add.length === 0) return [];
    return [{ kind: 'netns', add, remove: [], line: `create ${describeNames('network namespace', add)}` }];
  }

  #planSweep(segments: readonly SegmentState[]): Step[] {
    const wanted = new Set(segments.map(({ netns }) => netns));
    const remove = listNetns(netnsPrefix(this.#options.tag)).filter((name) => !wanted.has(name));
    if (remove.length === 0) return [];
    return [{ kind: 'netns', add: [], remove, line: `remove ${describeNames('network namespace', remove)}` }];
  }

  /** `among`: namespaces to look into; absent: all of ours, also those nobody needs any more. */
  #planLinks(
    segments: readonly SegmentState[],
    applied: AppliedSegments | undefined,
    among?: readonly string[],
  ): ReturnType<typeof planLinks> {
    const { tag } = this.#options;
    const wires = new Map<string, PresentWire>();
    for (const name of among ?? listNetns(netnsPrefix(tag)))
      if (netnsExists(name)) wires.set(name, readWire(netnsPath(name), segmentLink));
    const were = new Map((applied?.current?.segments ?? []).map((segment) => [segment.netns, segment]));
    return planLinks(segments, wires, were, tag);
  }
}

const describeNames = (what: string, names: readonly string[]): string =>
  names.length === 1 ? `${what} ${names[0]}` : `${names.length} ${what}s (${names[0]}, …)`;

type LinksStep = Extract<Step, { kind: 'links' }>;

function linksStep(add: LinksStep['add'], remove: LinksStep['remove']): LinksStep {
  const names = add.length > 0 ? add.map(({ alias }) => alias) : remove.map(({ netns, was }) => was?.alias ?? netns);
  return { kind: 'links', add, remove, line: `${add.length > 0 ? 'create' : 'remove'} ${describeNames('link', names)}` };
}

/** Netlink answers before it returns: between segments others of this process get their turn. */
const breathe = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** Like Promise.all over a few at a time; waits for those under way before it rejects with the first failure. */
async function each<T>(items: readonly T[], width: number, work: (item: T) => Promise<void>): Promise<void> {
  let next = 0;
  let failed: { readonly error: unknown } | undefined;
  const lane = async (): Promise<void> => {
    while (next < items.length && !failed) {
      const item = items[next];
      next += 1;
      try {
        await breathe();
        await work(item);
      } catch (error) {
        failed ??= { error };
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(width, items.length) }, lane));
  if (failed) throw failed.error;
}
