// Reads and changes the machine's own namespace: what differs from a state, steps one after the other with all of them
// taken back when one fails, and what is no longer as applied. Decides nothing about when: that is controller.ts.

import { createHash } from 'node:crypto';
import { asWeirError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { compareClaims, readOwnClaims, settleClaims } from '../kernel/claim-link.ts';
import type { CommandRunner } from '../kernel/command.ts';
import { applyRoutes, flushOwnRoutes, readOwnRoutes } from '../kernel/ip-route.ts';
import { type PresentLink, readPresentLinks } from '../kernel/link-message.ts';
import { readLinks } from '../kernel/link-state.ts';
import { applyTransaction, removeTables, renderReplacement } from '../kernel/nft-apply.ts';
import { readNftGeneration, readOwnDigest } from '../kernel/nft-digest.ts';
import { readElementsFingerprint } from '../kernel/nft-elements.ts';
import { readOwnComments, readOwnElements, readRuleset } from '../kernel/nft-read.ts';
import type { NftTable } from '../kernel/nft-ruleset.ts';
import { readSysctls } from '../kernel/sysctl.ts';
import type { AddressRange } from '../model/address.ts';
import { planClaims } from './claims.ts';
import type { NetworkState } from './desired-state.ts';
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
import { describeDrift, describeRules } from './drift.ts';
import { describeRepair, type RepairRun } from './repair.ts';
import { planRuleset } from './ruleset.ts';
import type { StoredState } from './state-file.ts';
import { applyStep, invertStep, type Step } from './step.ts';
import { keepWithheld } from './withheld.ts';

/** Sets with more elements than this in all are not listed when looking for drift. */
const maxDetailed = 4096;

/** What leads to a state, and what of it is to be stored. */
export interface HomeDifference {
  readonly steps: readonly Step[];
  readonly saved: SavedValues;
  readonly withheld: readonly AddressRange[];
  readonly textHash: string;
  readonly detailed: boolean;
}

export class HomeChanger {
  readonly #runner: CommandRunner;
  readonly #log: Log;
  /** The last reading of the rules that was as applied. */
  #verified: { readonly listing: string; readonly generation: string; readonly digest: string } | undefined;

  constructor(runner: CommandRunner, log: Log) {
    this.#runner = runner;
    this.#log = log;
  }

  async difference(desired: NetworkState | undefined, stored: StoredState | undefined): Promise<HomeDifference> {
    const routes = await readOwnRoutes(this.#runner);
    const links = readPresentLinks(this.#runner.netns);
    const { ruleset, listing } = await this.#readRules(stored, links);
    const saved = stored?.saved ?? parseNotes(readOwnComments(listing));
    const sysctls = await readSysctls(
      this.#runner,
      new Set([...(desired?.sysctls ?? []).map((item) => item.key), ...Object.keys(saved.sysctls)]),
    );
    const withheld = desired === undefined ? [] : keepWithheld(desired, stored?.withheld ?? []);
    const present: PresentState = {
      routes,
      claims: readOwnClaims(this.#runner.netns),
      tables:
        ruleset !== 'absent' && stored?.current ? planRuleset(stored.current, stored.withheld, renderNotes(stored.saved)) : [],
      ruleset,
      promiscuous: links.filter((link) => link.promiscuous).map((link) => link.name),
      links: links.map((link) => link.name),
      sysctls,
      saved,
    };
    const next = saveBefore(planSettings(desired, present), saved, desired);
    const tables = desired === undefined ? [] : planRuleset(desired, withheld, renderNotes(next));
    const textHash = hashOf(tables);
    const steps = planDifference(
      desired,
      tables,
      textHash === stored?.textHash,
      planRoutes(desired, withheld),
      planClaims(desired, withheld),
      present,
    );
    const elements = tables.reduce((sum, { sets }) => sum + sets.reduce((all, set) => all + set.elements.length, 0), 0);
    return { steps, saved: next, withheld, textHash, detailed: elements <= maxDetailed };
  }

  /** One after the other; each is noted in `done` before it is tried, so that undo(done) takes everything back. */
  async apply(steps: readonly Step[], done: Step[]): Promise<void> {
    for (const step of steps) {
      done.push(step);
      await applyStep(this.#runner, step);
    }
  }

  /** Mends what is not as applied, each object by itself. What is stored stays true: the same text gives the same rules. */
  async repair(current: NetworkState, stored: StoredState, run: RepairRun): Promise<void> {
    const { steps } = await this.difference(current, stored);
    const changed = steps.some(({ kind }) => kind === 'ruleset');
    const drift = changed ? describeRules(stored.listing, await this.listing(stored.detailed)) : [];
    for (const step of steps) await run.attempt(describeRepair(step, drift), () => applyStep(this.#runner, step));
  }

  /** Takes steps back, the last first. False when something could not be; it is logged. */
  async undo(done: readonly Step[]): Promise<boolean> {
    let clean = true;
    for (const [index, step] of [...done].reverse().entries())
      try {
        await applyStep(this.#runner, invertStep(step));
      } catch (error) {
        // The last step is the one that failed: what it never did cannot be taken back.
        if (index > 0) clean = false;
        this.#log.error('undoing a step failed', { line: step.line, error: asWeirError(error).message });
      }
    return clean;
  }

  /** Everything of ours goes, by what is stored and by the marks in the kernel; the first failure is thrown at the end. */
  async clear(stored: StoredState | undefined): Promise<void> {
    const { steps } = await this.difference(undefined, stored);
    let failed: unknown;
    for (const step of steps)
      try {
        await applyStep(this.#runner, step);
      } catch (error) {
        failed ??= error;
        this.#log.error('a step of taking down failed', { line: step.line, error: asWeirError(error).message });
      }
    await flushOwnRoutes(this.#runner);
    settleClaims(this.#runner.netns, []);
    await removeTables(this.#runner, (await readRuleset(this.#runner)).families);
    if (failed !== undefined) throw asWeirError(failed);
  }

  /** Gives addresses back in one transaction; they leave the routes too. Returns what is to be stored. */
  async withhold(
    current: NetworkState,
    stored: StoredState,
    withheld: readonly AddressRange[],
    text: string,
  ): Promise<Pick<StoredState, 'withheld' | 'textHash' | 'listing'>> {
    await applyTransaction(this.#runner, text);
    const { add, remove } = compareRoutes(planRoutes(current, withheld), await readOwnRoutes(this.#runner));
    await applyRoutes(this.#runner, add, remove);
    settleClaims(this.#runner.netns, planClaims(current, withheld));
    const textHash = hashOf(planRuleset(current, withheld, renderNotes(stored.saved)));
    return { withheld, textHash, listing: await this.listing(stored.detailed) };
  }

  /** What is not as applied, in words. */
  async drift(current: NetworkState, stored: StoredState): Promise<string[]> {
    const [listing, routes, links, sysctls] = await Promise.all([
      this.listing(stored.detailed),
      readOwnRoutes(this.#runner),
      readLinks(this.#runner),
      readSysctls(
        this.#runner,
        current.sysctls.map(({ key }) => key),
      ),
    ]);
    return describeDrift({
      desired: current,
      expectedListing: stored.listing,
      listing,
      expectedRoutes: planRoutes(current, stored.withheld),
      routes,
      claims: compareClaims(planClaims(current, stored.withheld), readOwnClaims(this.#runner.netns).claims),
      links,
      sysctls,
    });
  }

  /**
   * Whether the rules are as applied. Once that was read in the kernel's words it is known without a program as long as
   * nobody touches them.
   */
  async #readRules(
    stored: StoredState | undefined,
    links: readonly PresentLink[],
  ): Promise<{ ruleset: PresentState['ruleset']; listing: string }> {
    const { netns } = this.#runner;
    const { generation: number, ownTables } = readNftGeneration(netns);
    // Chains of a device die with it, silently; one of the same name is another device.
    const generation = [number, ...links.map(({ index }) => index).sort()].join();
    if (ownTables === 0) return { ruleset: 'absent', listing: '' };
    const verified = this.#verified?.listing === stored?.listing ? this.#verified : undefined;
    if (verified && verified.generation === generation) return { ruleset: 'as-applied', listing: verified.listing };
    const digest = readDigest(netns);
    if (verified && verified.digest === digest) {
      this.#verified = { ...verified, generation };
      return { ruleset: 'as-applied', listing: verified.listing };
    }
    const listing = await this.listing(stored?.detailed ?? false);
    if (listing !== stored?.listing) return { ruleset: 'changed', listing };
    // Nobody changed them while they were read: the words are about these.
    if (readDigest(netns) === digest) this.#verified = { listing, generation, digest };
    return { ruleset: 'as-applied', listing };
  }

  /** The kernel's words for our tables; `detailed`: with the elements of their sets, otherwise with a fingerprint of them. */
  async listing(detailed: boolean): Promise<string> {
    const { families } = readNftGeneration(this.#runner.netns);
    if (detailed || families.length === 0) return readOwnElements(this.#runner, families);
    const { own } = await readRuleset(this.#runner);
    return own === '' ? '' : `${own}elements ${readElementsFingerprint(this.#runner.netns)}\n`;
  }
}

const readDigest = (netns: string | undefined): string => `${readOwnDigest(netns)} ${readElementsFingerprint(netns)}`;

const hashOf = (tables: readonly NftTable[]): string => createHash('sha256').update(renderReplacement(tables)).digest('hex');
