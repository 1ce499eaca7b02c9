// What is in the namespace of a segment, and whether its rules are as we left them; from that, what differs from a state.
// Reads only, and starts no program for it. Changing is segment-changer.ts.

import { createHash } from 'node:crypto';
import { readOwnClaims } from '../kernel/claim-link.ts';
import { createCommandRunner } from '../kernel/command.ts';
import { readOwnRoutes } from '../kernel/ip-route.ts';
import { readNamespaceIdentity } from '../kernel/namespace-handle.ts';
import { netnsPath } from '../kernel/netns.ts';
import { renderReplacement } from '../kernel/nft-apply.ts';
import { type NftGeneration, readNftGeneration, readOwnDigest } from '../kernel/nft-digest.ts';
import { readElementsFingerprint } from '../kernel/nft-elements.ts';
import type { NftTable } from '../kernel/nft-ruleset.ts';
import { readWire } from '../kernel/segment-wire.ts';
import { readSysctls } from '../kernel/sysctl.ts';
import { type AddressRange, renderAddress } from '../model/address.ts';
import { type SegmentState, segmentLink } from './desired-state.ts';
import { nothingSaved } from './difference.ts';
import { planRuleset } from './ruleset.ts';
import { type PresentSegment, planSegmentDifference } from './segment-difference.ts';
import type { StoredNetwork, StoredState } from './state-file.ts';
import type { Step } from './step.ts';
import { keepWithheld } from './withheld.ts';

/** What was applied last, as the state file has it. */
export type AppliedSegments = Pick<StoredState, 'current' | 'networks'>;

export class SegmentReader {
  readonly #tag: string;
  readonly #rendered = new WeakMap<object, { key: string; tables: readonly NftTable[]; textHash: string }>();

  constructor(tag: string) {
    this.#tag = tag;
  }

  /** What is in the namespace now. Starts no program. Throws `not-found` when it is gone. */
  async read(
    segment: SegmentState,
    applied: AppliedSegments | undefined,
  ): Promise<PresentSegment & { readonly identity: Identity }> {
    const path = netnsPath(segment.netns);
    const runner = createCommandRunner(path);
    const stored = applied?.networks[segment.name];
    const was = applied?.current?.segments.find(({ name }) => name === segment.name);
    const wire = readWire(path, segmentLink);
    const identity = readIdentity(segment.netns, wire);
    const untouched =
      stored !== undefined &&
      (stored.fingerprint === renderFingerprint(identity, 0) ||
        // Others may have tables of their own there: an annex has.
        (stored.digest !== '' && stored.digest === this.#readDigest(segment)));
    return {
      identity,
      wire,
      network: {
        routes: await readOwnRoutes(runner),
        claims: readOwnClaims(path),
        tables: was && stored && identity.ownTables > 0 ? this.#tablesBefore(segment, was, stored) : [],
        ruleset: identity.ownTables === 0 ? 'absent' : untouched ? 'as-applied' : 'changed',
        promiscuous: wire.link?.promiscuous ? [segmentLink] : [],
        links: wire.link ? ['lo', segmentLink] : ['lo'],
        sysctls: await readSysctls(
          runner,
          segment.inside.sysctls.map(({ key }) => key),
        ),
        saved: nothingSaved,
      },
    };
  }

  /** Steps inside a segment, and what is to be stored with them. */
  difference(
    segment: SegmentState,
    applied: AppliedSegments | undefined,
    present: PresentSegment,
  ): { steps: Step[]; withheld: readonly AddressRange[]; textHash: string } {
    const stored = applied?.networks[segment.name];
    const withheld = keepWithheld(segment.inside, stored?.withheld ?? []);
    const { tables, textHash } = this.tables(segment, withheld);
    const same = textHash === stored?.textHash;
    const steps = planSegmentDifference(segment, tables, same, withheld, present, this.#tag);
    return { steps, withheld, textHash };
  }

  /** Empty when somebody else changed rules since: then they may be in it. */
  digest(segment: SegmentState, fingerprint: string): string {
    const digest = this.#readDigest(segment);
    return renderFingerprint(readIdentity(segment.netns), 0) === fingerprint ? digest : '';
  }

  #readDigest({ netns }: SegmentState): string {
    return `${readOwnDigest(netnsPath(netns))} ${readElementsFingerprint(netnsPath(netns))}`;
  }

  /** Those applied last: most often the wanted ones, which are at hand. */
  #tablesBefore(segment: SegmentState, was: SegmentState, stored: StoredNetwork): readonly NftTable[] {
    const wanted = this.tables(segment, keepWithheld(segment.inside, stored.withheld));
    return wanted.textHash === stored.textHash ? wanted.tables : this.tables(was, stored.withheld).tables;
  }

  /** Tables of a state, kept as long as the state is: they are asked for again and again. */
  tables(segment: SegmentState, withheld: readonly AddressRange[]): { tables: readonly NftTable[]; textHash: string } {
    const key = withheld.map(({ family, first }) => renderAddress({ family, value: first })).join();
    const kept = this.#rendered.get(segment.inside);
    if (kept?.key === key) return kept;
    const tables = planRuleset(segment.inside, withheld, []);
    const textHash = createHash('sha256').update(renderReplacement(tables)).digest('hex');
    this.#rendered.set(segment.inside, { key, tables, textHash });
    return { tables, textHash };
  }
}

/** Of the rules in a namespace on a link. */
export interface Identity extends NftGeneration {
  readonly namespace: string;
  readonly link: number;
}

export function readIdentity(netns: string, wire = readWire(netnsPath(netns), segmentLink)): Identity {
  const path = netnsPath(netns);
  return { ...readNftGeneration(path), namespace: String(readNamespaceIdentity(path)), link: wire.link?.index ?? 0 };
}

/** After so many transactions more. */
export const renderFingerprint = ({ namespace, link, generation }: Identity, transactions: number): string =>
  `${namespace}:${link}:${generation + transactions}`;
