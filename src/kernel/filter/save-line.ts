// The format of iptables-save(8) and ipset(8) as words: quoting, tables, chains, rules with counters. What options mean is
// iptables-match.ts and iptables-target.ts. Pure.

/** Words of a line; double quotes hold words together, a backslash takes the next character as it is. */
export function splitWords(line: string): string[] {
  const words: string[] = [];
  let word = '';
  let inWord = false;
  let quoted = false;
  for (let index = 0; index < line.length; index += 1) {
    const character = line[index];
    if (character === '\\' && index + 1 < line.length) {
      index += 1;
      word += line[index];
      inWord = true;
    } else if (character === '"') {
      quoted = !quoted;
      inWord = true;
    } else if (character === ' ' && !quoted) {
      if (inWord) words.push(word);
      word = '';
      inWord = false;
    } else {
      word += character;
      inWord = true;
    }
  }
  if (inWord) words.push(word);
  return words;
}

export interface SavedRule {
  /** From 1. */
  readonly position: number;
  /** Without its counters. */
  readonly line: string;
  /** What follows `-A CHAIN`. */
  readonly words: readonly string[];
  readonly packets?: number;
}

export interface SavedChain {
  readonly name: string;
  /** Of a built-in chain. */
  readonly policy?: 'accept' | 'drop';
  readonly rules: SavedRule[];
}

export interface SavedTable {
  readonly name: string;
  readonly chains: ReadonlyMap<string, SavedChain>;
}

/** What is past `maxRules` is left out, and `truncated` says so. */
export function parseSave(text: string, maxRules = 50_000): { readonly tables: SavedTable[]; readonly truncated: boolean } {
  const tables: SavedTable[] = [];
  let chains = new Map<string, SavedChain>();
  let count = 0;
  for (const line of text.split('\n')) {
    if (line.startsWith('*')) {
      chains = new Map();
      tables.push({ name: line.slice(1).trim(), chains });
      continue;
    }
    const declared = /^:(\S+) (\S+)/.exec(line);
    if (declared) {
      const policy = declared[2] === 'DROP' ? 'drop' : declared[2] === 'ACCEPT' ? 'accept' : undefined;
      chains.set(declared[1], { name: declared[1], ...(policy ? { policy } : {}), rules: [] });
      continue;
    }
    const rule = /^(?:\[(\d+):\d+\] )?(-A (\S+)(.*))$/.exec(line);
    if (!rule) continue;
    count += 1;
    if (count > maxRules) continue;
    const chain = chains.get(rule[3]);
    chain?.rules.push({
      position: chain.rules.length + 1,
      line: rule[2],
      words: splitWords(rule[4]),
      ...(rule[1] === undefined ? {} : { packets: Number(rule[1]) }),
    });
  }
  return { tables, truncated: count > maxRules };
}
