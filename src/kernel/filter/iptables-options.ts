// Words of a saved rule as options, each with the match or target it belongs to. iptables-save(8) writes `! --option value` and
// names every match by `-m`. Pure.

export interface RuleOption {
  /** With its dashes: `-s`, `--dport`. */
  readonly name: string;
  readonly negated: boolean;
  readonly values: readonly string[];
}

export interface RuleOptions {
  /** Of the rule itself: addresses, devices, protocol, fragments. */
  readonly basic: readonly RuleOption[];
  /** In their order; the same match may come twice. */
  readonly matches: readonly { readonly name: string; readonly options: readonly RuleOption[] }[];
  /** Absent for a rule without one: it only counts. */
  readonly target?: { readonly name: string; readonly isGoto: boolean; readonly options: readonly RuleOption[] };
}

/** Options whose value is any text, also one that looks like an option. */
const takesText = new Set(['--comment', '--log-prefix', '--nflog-prefix', '--string', '--hex-string', '--name', '--path']);

const basicNames = new Set(['-s', '-d', '-i', '-o', '-p', '-f']);

const isOption = (word: string): boolean => /^(-[a-z]|--[a-z][a-z0-9-]*)$/i.test(word);

export function parseOptions(words: readonly string[]): RuleOptions {
  const basic: RuleOption[] = [];
  const matches: { name: string; options: RuleOption[] }[] = [];
  let target: { name: string; isGoto: boolean; options: RuleOption[] } | undefined;
  let into = basic;
  let negated = false;
  for (let index = 0; index < words.length; ) {
    const word = words[index];
    index += 1;
    if (word === '!') {
      negated = true;
      continue;
    }
    const values: string[] = [];
    if (takesText.has(word)) values.push(words[index++] ?? '');
    else while (index < words.length && words[index] !== '!' && !isOption(words[index])) values.push(words[index++]);
    const [value = ''] = values;
    if (word === '-m') {
      const options: RuleOption[] = [];
      matches.push({ name: value, options });
      into = options;
    } else if (word === '-j' || word === '-g') {
      target = { name: value, isGoto: word === '-g', options: [] };
      into = target.options;
    } else if (basicNames.has(word)) basic.push({ name: word, negated, values });
    else into.push({ name: word, negated, values });
    negated = false;
  }
  return { basic, matches, ...(target ? { target } : {}) };
}
