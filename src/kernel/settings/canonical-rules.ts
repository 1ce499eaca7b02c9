// What the tools for packet filters print, as text that stays the same while the rules do: without counters, lifetimes and elements that come
// and go by themselves, in an order of its own, without Weir's tables. And back: what such a tool is told to make a part so again. Pure.
// Sources: nft(8), iptables-save(8), ipset(8).

import type { SettingsStep } from '../../model/network-settings.ts';

/** By `family name`: the whole block, as nft takes it. */
export type TextBlocks = ReadonlyMap<string, string>;

const isWeirs = (name: string): boolean => /^weir(-|$)/.test(name);

/** What an element says of itself, its comment apart: that it goes by itself, or that a packet put it there with a limit of its own. */
const isPassing = (element: string): boolean =>
  / (?:expires |timeout (?!never|0s\b)|limit rate |ct count )/.test(element.replace(/"[^"]*"/g, '""'));

/** Elements of sets that expire or that packets put there: state, no rules. Those without an end are rules as any other. */
function withoutPassingElements(table: string): string {
  return table.replace(/^\t(?:set|map) [^\n]*\{\n(?:\t\t[^\n]*\n)*?\t\}\n/gm, (block) => {
    if (!/^\t\tflags [^\n]*\b(dynamic|timeout)\b/m.test(block)) return block;
    // Elements that last as long as the set says are printed without it (nft -s).
    const allExpire = /^\t\ttimeout /m.test(block);
    return block.replace(/^\t\telements = \{((?:"[^"]*"|[^"}])*)\}\n/m, (_, list: string) => {
      const elements = [...list.matchAll(/(?:"[^"]*"|[^",])+/g)].map(([element]) => element.trim());
      const lasting = elements.filter((element) => element !== '' && !isPassing(element) && (!allExpire || isEndless(element)));
      return lasting.length === 0 ? '' : `\t\telements = { ${lasting.sort().join(',\n\t\t\t     ')} }\n`;
    });
  });
}

const isEndless = (element: string): boolean => / timeout (?:never|0s)\b/.test(element.replace(/"[^"]*"/g, '""'));

/** `listing` of `nft -s -n list ruleset`; `managed` are tables that iptables answers for, as `family name`. */
export function canonicalNft(listing: string, managed: ReadonlySet<string>): string {
  const blocks: [string, string][] = [];
  for (const [, name, body] of listing.matchAll(/^table (\S+ \S+) \{[^\n]*\n([\s\S]*?)^\}$/gm)) {
    if (managed.has(name) || isWeirs(name.split(' ')[1])) continue;
    blocks.push([name, `table ${name} {\n${withoutPassingElements(body)}}\n`]);
  }
  return blocks
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([, text]) => text)
    .join('');
}

export const nftTables = (text: string): TextBlocks =>
  new Map([...text.matchAll(/^table (\S+ \S+) \{\n[\s\S]*?^\}\n/gm)].map(([block, name]) => [name, block]));

/** In two: what comes can only close, what goes can only open. */
export interface OrderedSteps {
  readonly before: readonly SettingsStep[];
  readonly after: readonly SettingsStep[];
}

/** Each of both in one transaction: tables that are new or differ, then those that were not there. */
export function nftSteps(now: string, wanted: string): OrderedSteps {
  const [current, goal] = [nftTables(now), nftTables(wanted)];
  const transaction = (names: readonly string[]): SettingsStep[] => {
    if (names.length === 0) return [];
    const words = names.map((name) => `${!goal.has(name) ? 'remove' : current.has(name) ? 'replace' : 'add'} table ${name}`);
    const input = names.map((name) => `table ${name}\ndelete table ${name}\n${goal.get(name) ?? ''}`).join('');
    return [{ what: `nft, one transaction: ${words.join(', ')}`, program: 'nft', args: ['-f', '-'], input }];
  };
  const differing = [...new Set([...current.keys(), ...goal.keys()])]
    .sort()
    .filter((name) => current.get(name) !== goal.get(name));
  return {
    before: transaction(differing.filter((name) => goal.has(name))),
    after: transaction(differing.filter((name) => !goal.has(name))),
  };
}

/** Of `iptables-save` without counters, and of those for bridges and ARP. A table with nothing in it is as good as none. */
export function canonicalIptables(saved: string): string {
  const blocks: string[] = [];
  // Those for bridges and ARP end a table with a remark alone, and take one that ends as the others do.
  const ended = /^COMMIT$/m.test(saved) ? saved : saved.replace(/^# Completed.*$/gm, 'COMMIT');
  for (const [, name, body] of ended.matchAll(/^\*(\S+)\n([\s\S]*?)^COMMIT$/gm)) {
    const lines = body
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('#'))
      .map((line) => line.replace(/^(:\S+ \S+) \[\d+:\d+\]$/, '$1').replace(/^\[\d+:\d+\] /, ''));
    if (lines.every((line) => /^:\S+ ACCEPT$/.test(line))) continue;
    const chains = lines.filter((line) => line.startsWith(':')).sort();
    blocks.push(`*${name}\n${[...chains, ...lines.filter((line) => !line.startsWith(':'))].join('\n')}\nCOMMIT\n`);
  }
  return blocks.sort().join('');
}

const iptablesTables = (text: string): TextBlocks =>
  new Map([...text.matchAll(/^\*(\S+)\n[\s\S]*?^COMMIT\n/gm)].map(([block, name]) => [name, block]));

/** Chains of the kernel, for a table that becomes empty. */
const builtIn: Readonly<Record<string, readonly string[]>> = {
  filter: ['INPUT', 'FORWARD', 'OUTPUT'],
  nat: ['PREROUTING', 'INPUT', 'OUTPUT', 'POSTROUTING'],
  mangle: ['PREROUTING', 'INPUT', 'FORWARD', 'OUTPUT', 'POSTROUTING'],
  raw: ['PREROUTING', 'OUTPUT'],
  security: ['INPUT', 'FORWARD', 'OUTPUT'],
  'ebtables nat': ['PREROUTING', 'OUTPUT', 'POSTROUTING'],
  'ebtables broute': ['BROUTING'],
  'arptables filter': ['INPUT', 'OUTPUT'],
};

/** `program` is the one that restores this part. Each table is one transaction. */
export function iptablesSteps(program: string, now: string, wanted: string): OrderedSteps {
  const [current, goal] = [iptablesTables(now), iptablesTables(wanted)];
  const chainsOf = (name: string): readonly string[] => builtIn[`${program.split('-')[0]} ${name}`] ?? builtIn[name] ?? [];
  const restore = (names: readonly string[], verb: string): SettingsStep[] => {
    if (names.length === 0) return [];
    const input = names
      .map(
        (name) =>
          goal.get(name) ??
          `*${name}\n${chainsOf(name)
            .map((chain) => `:${chain} ACCEPT\n`)
            .join('')}COMMIT\n`,
      )
      .join('')
      .replace(/^(:\S+ \S+)$/gm, '$1 [0:0]');
    return [{ what: `${program}: ${verb}table ${names.join(', ')}`, program, args: [], input }];
  };
  const differing = [...new Set([...current.keys(), ...goal.keys()])]
    .filter((name) => current.get(name) !== goal.get(name))
    .sort();
  return {
    before: restore(
      differing.filter((name) => goal.has(name)),
      '',
    ),
    after: restore(
      differing.filter((name) => !goal.has(name)),
      'empty ',
    ),
  };
}
