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

/** One transaction: tables that differ are replaced, those that were not there removed. */
export function nftSteps(now: string, wanted: string): SettingsStep[] {
  const [current, goal] = [nftTables(now), nftTables(wanted)];
  const lines: string[] = [];
  const names: string[] = [];
  for (const name of [...new Set([...current.keys(), ...goal.keys()])].sort()) {
    const text = goal.get(name);
    if (current.get(name) === text) continue;
    names.push(`${text === undefined ? 'remove' : current.has(name) ? 'replace' : 'add'} table ${name}`);
    lines.push(`table ${name}\ndelete table ${name}\n`, text ?? '');
  }
  if (names.length === 0) return [];
  return [{ what: `nft, one transaction: ${names.join(', ')}`, program: 'nft', args: ['-f', '-'], input: lines.join('') }];
}

/** Of `iptables-save` without counters. A table with nothing in it is as good as none. */
export function canonicalIptables(saved: string): string {
  const blocks: string[] = [];
  for (const [, name, body] of saved.matchAll(/^\*(\S+)\n([\s\S]*?)^COMMIT$/gm)) {
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
};

/** `program` is the one that restores this part. Each table is one transaction. */
export function iptablesSteps(program: string, now: string, wanted: string): SettingsStep[] {
  const [current, goal] = [iptablesTables(now), iptablesTables(wanted)];
  const differing = [...new Set([...current.keys(), ...goal.keys()])]
    .filter((name) => current.get(name) !== goal.get(name))
    .sort();
  if (differing.length === 0) return [];
  const input = differing
    .map((name) => goal.get(name) ?? `*${name}\n${(builtIn[name] ?? []).map((chain) => `:${chain} ACCEPT\n`).join('')}COMMIT\n`)
    .join('')
    .replace(/^(:\S+ \S+)$/gm, '$1 [0:0]');
  return [{ what: `${program}: table ${differing.join(', ')}`, program, args: [], input }];
}

/** Of `ipset save -sorted`. Elements of sets that let them expire are left out, as are sizes that grow by themselves. */
export function canonicalIpsets(saved: string): string {
  const blocks = new Map<string, { head: string; expires: boolean; elements: string[] }>();
  for (const line of saved.split('\n')) {
    const [verb, name] = line.split(' ', 2);
    if (verb === 'create')
      blocks.set(name, {
        head: line.replace(/ (?:initval|hashsize|bucketsize) \S+/g, '').trim(),
        expires: / timeout \d+/.test(line),
        elements: [],
      });
    else if (verb === 'add') {
      const block = blocks.get(name);
      if (block && !block.expires) block.elements.push(line.replace(/ (?:packets|bytes) \d+/g, '').trim());
    }
  }
  return [...blocks.values()]
    .sort((a, b) => (a.head < b.head ? -1 : 1))
    .map(({ head, elements }) => `${[head, ...elements.sort()].join('\n')}\n`)
    .join('');
}

const ipsets = (text: string): TextBlocks =>
  new Map([...text.matchAll(/^create (\S+) [^\n]*\n(?:add [^\n]*\n)*/gm)].map(([block, name]) => [name, block]));

/** In two: sets must be there before rules that name them, and may go only after those. */
export function ipsetSteps(now: string, wanted: string): { readonly before: SettingsStep[]; readonly after: SettingsStep[] } {
  const [current, goal] = [ipsets(now), ipsets(wanted)];
  const made: string[] = [];
  const names: string[] = [];
  for (const [name, block] of goal) {
    if (current.get(name) === block) continue;
    const [head, ...elements] = block.split('\n');
    names.push(name);
    made.push(`${head} -exist\n${/ timeout \d+/.test(head) ? '' : `flush ${name}\n`}${elements.join('\n')}`);
  }
  const gone = [...current.keys()].filter((name) => !goal.has(name));
  const step = (what: string, input: string): SettingsStep => ({ what, program: 'ipset', args: ['restore'], input });
  return {
    before: names.length === 0 ? [] : [step(`ipset: ${names.join(', ')}`, made.join(''))],
    after: gone.length === 0 ? [] : [step(`ipset: remove ${gone.join(', ')}`, gone.map((name) => `destroy ${name}\n`).join(''))],
  };
}
