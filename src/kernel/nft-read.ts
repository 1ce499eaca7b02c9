// Reads the kernel's ruleset back: our tables as the kernel's own text (to notice drift), and what of other
// people's tables matters to us. Changes nothing.

import type { CommandRunner } from './command.ts';
import { type NftFamily, ownTableFamilies, ownTableName } from './nft-ruleset.ts';

/** Facts about rules that are not ours. */
export interface ForeignRules {
  /** Whether connection tracking or address translation is in use by anyone. */
  readonly tracking: boolean;
  /** Base chains that drop what reaches this machine unless a rule lets it in, as `family table chain`. */
  readonly closedInputs: readonly string[];
}

export interface ReadRuleset {
  /** The kernel's words for our tables, without elements of sets; steady between readings; empty when none is there. */
  readonly own: string;
  readonly families: readonly NftFamily[];
  readonly foreign: ForeignRules;
}

/**
 * One reading of everything. `list ruleset`, not `list table`: only the former leaves the elements of large sets in
 * the kernel when asked for a terse listing (nft 1.0.6).
 */
export async function readRuleset(runner: CommandRunner): Promise<ReadRuleset> {
  const { stdout } = await runner.run('nft', ['-s', '-n', '-t', 'list', 'ruleset']);
  const flows = Number((await runner.readProc('/proc/sys/net/netfilter/nf_conntrack_count')) ?? 0);
  const parsed = parseListing(stdout);
  return { ...parsed, foreign: { ...parsed.foreign, tracking: parsed.foreign.tracking || flows > 0 } };
}

/** Our tables with all elements of their sets, in the kernel's words; for tables whose sets are small. */
export async function readOwnElements(runner: CommandRunner, families: readonly NftFamily[]): Promise<string> {
  // One program each: of several tables asked for at once nft 1.0.6 finds the last only.
  const listed = families.map((family) => runner.run('nft', ['-s', '-n', 'list', 'table', family, ownTableName]));
  return (await Promise.all(listed)).map(({ stdout }) => stdout).join('');
}

/** Pure part of readRuleset. */
export function parseListing(listing: string): ReadRuleset {
  const own: string[] = [];
  const families: NftFamily[] = [];
  const closedInputs: string[] = [];
  let tracking = false;
  let table = '';
  let isOwn = false;
  let chain = '';
  for (const line of listing.split('\n')) {
    const opened = /^table (\S+) (\S+) \{/.exec(line);
    if (opened) {
      table = `${opened[1]} ${opened[2]}`;
      const family = ownTableFamilies.find((candidate) => candidate === opened[1]);
      isOwn = family !== undefined && opened[2] === ownTableName;
      if (isOwn && family) families.push(family);
    }
    if (isOwn) own.push(line);
    else {
      chain = /^\tchain (\S+) \{/.exec(line)?.[1] ?? chain;
      if (/\btype nat hook\b|\bct (state|status|direction|mark|original|reply)\b|\bmasquerade\b|conntrack/.test(line))
        tracking = true;
      if (/hook input priority .*policy drop;/.test(line)) closedInputs.push(`${table} ${chain}`);
    }
    if (line === '}') isOwn = false;
  }
  return { own: own.length === 0 ? '' : `${own.join('\n')}\n`, families, foreign: { tracking, closedInputs } };
}

/** Comments of chains in our tables, in order: where the kernel keeps for us what has to be put back. */
export function readOwnComments(listing: string): string[] {
  return [...listing.matchAll(/^\t\tcomment "([^"]*)"$/gm)].map((match) => match[1]);
}
