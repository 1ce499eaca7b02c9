// Reads the kernel's ruleset back: our tables as the kernel's own text (to notice drift), and what of other
// people's tables matters to us. Changes nothing.

import type { CommandRunner } from './command.ts';
import { type NftFamily, ownTableFamilies, ownTableName } from './nft-ruleset.ts';

/** The kernel's own words for our tables, steady between two readings; empty when none is there. */
export async function readOwnTables(runner: CommandRunner, withElements: boolean): Promise<string> {
  const present = await readTableNames(runner);
  const parts: string[] = [];
  for (const family of ownTableFamilies) {
    if (!present.some((table) => table.family === family && table.name === ownTableName)) continue;
    const { stdout } = await runner.run('nft', [
      '-s',
      '-n',
      ...(withElements ? [] : ['-t']),
      'list',
      'table',
      family,
      ownTableName,
    ]);
    parts.push(stdout);
  }
  return parts.join('');
}

export async function readTableNames(runner: CommandRunner): Promise<{ family: NftFamily | string; name: string }[]> {
  const { stdout } = await runner.run('nft', ['list', 'tables']);
  return [...stdout.matchAll(/^table (\S+) (\S+)$/gm)].map(([, family, name]) => ({ family, name }));
}

/** Facts about rules that are not ours. */
export interface ForeignRules {
  /** Whether connection tracking or address translation is asked for by anyone. */
  readonly tracking: boolean;
  /** Base chains that drop what reaches this machine unless a rule lets it in, as `family table chain`. */
  readonly closedInputs: readonly string[];
}

export async function readForeignRules(runner: CommandRunner): Promise<ForeignRules> {
  const { stdout } = await runner.run('nft', ['-t', 'list', 'ruleset']);
  let tracking = false;
  const closedInputs: string[] = [];
  let table = '';
  let chain = '';
  for (const line of stdout.split('\n')) {
    const opened = /^table (\S+) (\S+) \{/.exec(line);
    if (opened) table = `${opened[1]} ${opened[2]}`;
    if (table.endsWith(` ${ownTableName}`)) continue;
    chain = /^\tchain (\S+) \{/.exec(line)?.[1] ?? chain;
    if (/\btype nat hook\b|\bct (state|status|direction|mark|original|reply)\b|\bmasquerade\b|conntrack/.test(line))
      tracking = true;
    if (/hook input priority .*policy drop;/.test(line)) closedInputs.push(`${table} ${chain}`);
  }
  const flows = Number((await runner.readProc('/proc/sys/net/netfilter/nf_conntrack_count')) ?? 0);
  return { tracking: tracking || flows > 0, closedInputs };
}

/** Comments of chains in our tables, in order: where the kernel keeps for us what has to be put back. */
export function readOwnComments(listing: string): string[] {
  return [...listing.matchAll(/^\t\tcomment "([^"]*)"$/gm)].map((match) => match[1]);
}
