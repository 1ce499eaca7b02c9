// One change to the kernel as data, with its inverse and its line for people; and the one place that carries a step
// out. Which steps there are is difference.ts and segment-difference.ts.

import { applyClaims, type OwnClaim } from '../kernel/claim-link.ts';
import type { CommandRunner } from '../kernel/command.ts';
import { applyRoutes, type OwnRoute } from '../kernel/ip-route.ts';
import { setLinkPromiscuous } from '../kernel/link-message.ts';
import { createNetns, deleteNetns } from '../kernel/netns.ts';
import { applyTransaction, removeTables, renderReplacement } from '../kernel/nft-apply.ts';
import type { NftTable } from '../kernel/nft-ruleset.ts';
import { createSegmentLinks, deleteSegmentLink, type SegmentLink } from '../kernel/segment-link.ts';
import { changeWire, type WireChange } from '../kernel/segment-wire.ts';
import { writeSysctl } from '../kernel/sysctl.ts';
import type { Annex } from './annex.ts';

/** In which network; both absent: this machine's own namespace. */
export interface StepPlace {
  /** The diversion's name. */
  readonly network?: string;
  /** Path of its namespace. */
  readonly netns?: string;
}

/** `was`: how to make it again; unknown for what an earlier run left behind. */
export type LinkRemoval = Pick<SegmentLink, 'netns' | 'name'> & { readonly was?: SegmentLink };

type Change =
  | { readonly kind: 'routes'; readonly add: readonly OwnRoute[]; readonly remove: readonly OwnRoute[] }
  /** Decoys with an address or a device of their own; `broken` are devices of ours that do not work. */
  | {
      readonly kind: 'claims';
      readonly add: readonly OwnClaim[];
      readonly remove: readonly OwnClaim[];
      readonly broken: readonly string[];
    }
  | {
      readonly kind: 'ruleset';
      /** Empty: our tables go. */
      readonly to: readonly NftTable[];
      readonly from: readonly NftTable[];
    }
  | { readonly kind: 'sysctl'; readonly key: string; readonly from: string; readonly to: string }
  | { readonly kind: 'promiscuous'; readonly link: string; readonly on: boolean }
  /** Names of namespaces. */
  | { readonly kind: 'netns'; readonly add: readonly string[]; readonly remove: readonly string[] }
  /** Devices of segments, seen from the machine's own namespace. */
  | { readonly kind: 'links'; readonly add: readonly SegmentLink[]; readonly remove: readonly LinkRemoval[] }
  /** Addresses, default routes, far VTEPs and state of a segment's link. */
  | { readonly kind: 'wire'; readonly link: string; readonly change: WireChange; readonly back: WireChange }
  /** A part of what an annex will do; for people, the annex does it as a whole. */
  | { readonly kind: 'annex'; readonly annex: Annex['name'] };

export type Step = StepPlace & Change & { readonly line: string };

/** The step that takes this one back. */
export function invertStep(step: Step): Step {
  const line = `undo: ${step.line}`;
  switch (step.kind) {
    case 'routes':
      return { ...step, add: step.remove, remove: step.add, line };
    case 'claims':
      return { ...step, add: step.remove, remove: step.add, broken: [], line };
    case 'netns':
      return { ...step, add: step.remove, remove: step.add, line };
    case 'links':
      return {
        ...step,
        add: step.remove.flatMap(({ was }) => was ?? []),
        remove: step.add.map((was) => ({ netns: was.netns, name: was.name, was })),
        line,
      };
    case 'ruleset':
    case 'sysctl':
      return { ...step, from: step.to, to: step.from, line } as Step;
    case 'promiscuous':
      return { ...step, on: !step.on, line };
    case 'wire':
      return { ...step, change: step.back, back: step.change, line };
    case 'annex':
      return { ...step, line };
  }
}

/** `runner` is that of the step's namespace. Throws `kernel-refused`, `tool-missing` or `timeout`. Each kind is idempotent. */
export async function applyStep(runner: CommandRunner, step: Step): Promise<void> {
  switch (step.kind) {
    case 'routes':
      await applyRoutes(runner, step.add, step.remove);
      return;
    case 'claims':
      applyClaims(runner.netns, step.add, step.remove, step.broken);
      return;
    case 'ruleset':
      if (step.to.length === 0) await removeTables(runner);
      else await applyTransaction(runner, renderReplacement(step.to));
      return;
    case 'sysctl':
      await writeSysctl(runner, step.key, step.to);
      return;
    case 'promiscuous':
      setLinkPromiscuous(runner.netns, step.link, step.on);
      return;
    case 'netns':
      await createNetns(step.add);
      await deleteNetns(step.remove);
      return;
    case 'links':
      // What goes first sets its VLAN id or VNI free for what comes.
      for (const { netns, name } of step.remove) deleteSegmentLink(netns, name);
      createSegmentLinks(runner.netns, step.add);
      return;
    case 'wire':
      changeWire(runner.netns ?? '', step.link, step.change);
      return;
    case 'annex':
      return;
  }
}
