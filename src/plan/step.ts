// One change to the kernel as data, with its inverse and its line for people; and the one place that carries a step
// out. Which steps there are is difference.ts.

import type { CommandRunner } from '../kernel/command.ts';
import { applyRoutes, type OwnRoute } from '../kernel/ip-route.ts';
import { setPromiscuous } from '../kernel/link-state.ts';
import { applyTransaction, removeTables, renderReplacement } from '../kernel/nft-apply.ts';
import type { NftTable } from '../kernel/nft-ruleset.ts';
import { writeSysctl } from '../kernel/sysctl.ts';

export type Step =
  | { readonly kind: 'routes'; readonly add: readonly OwnRoute[]; readonly remove: readonly OwnRoute[]; readonly line: string }
  | {
      readonly kind: 'ruleset';
      /** Empty: our tables go. */
      readonly to: readonly NftTable[];
      readonly from: readonly NftTable[];
      readonly line: string;
    }
  | { readonly kind: 'sysctl'; readonly key: string; readonly from: string; readonly to: string; readonly line: string }
  | { readonly kind: 'promiscuous'; readonly link: string; readonly on: boolean; readonly line: string };

/** The step that takes this one back. */
export function invertStep(step: Step): Step {
  const line = `undo: ${step.line}`;
  switch (step.kind) {
    case 'routes':
      return { ...step, add: step.remove, remove: step.add, line };
    case 'ruleset':
    case 'sysctl':
      return { ...step, from: step.to, to: step.from, line } as Step;
    case 'promiscuous':
      return { ...step, on: !step.on, line };
  }
}

/** Throws `kernel-refused`, `tool-missing` or `timeout`. Each kind is idempotent. */
export async function applyStep(runner: CommandRunner, step: Step): Promise<void> {
  switch (step.kind) {
    case 'routes':
      await applyRoutes(runner, step.add, step.remove);
      return;
    case 'ruleset':
      if (step.to.length === 0) await removeTables(runner);
      else await applyTransaction(runner, renderReplacement(step.to));
      return;
    case 'sysctl':
      await writeSysctl(runner, step.key, step.to);
      return;
    case 'promiscuous':
      await setPromiscuous(runner, step.link, step.on);
      return;
  }
}
