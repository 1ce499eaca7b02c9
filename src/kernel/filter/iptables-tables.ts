// Tables of iptables-save(8) as chains of the model: those of the legacy backend as they are, those of iptables on nft to tell
// what nft does not show. Pure.

import { printable } from '../../base/printable.ts';
import type { FilterChain, FilterHook, FilterRule, FilterSet, FilterStatement } from '../../model/packet-filter.ts';
import { parseMatches } from './iptables-match.ts';
import { parseOptions } from './iptables-options.ts';
import { parseTarget } from './iptables-target.ts';
import { ruleOwner } from './rule-owner.ts';
import type { SavedChain, SavedRule, SavedTable } from './save-line.ts';

/** linux/netfilter_ipv4.h, enum nf_ip_hook_priorities; those of security come after filter. */
const priorities: Readonly<Record<string, number>> = { raw: -300, mangle: -150, nat: -100, filter: 0, security: 50 };

const hooks: Readonly<Record<string, FilterHook>> = {
  PREROUTING: 'prerouting',
  INPUT: 'input',
  FORWARD: 'forward',
  OUTPUT: 'output',
  POSTROUTING: 'postrouting',
};

export function statementsOf(
  rule: SavedRule,
  family: 'ip' | 'ip6',
  chains: ReadonlySet<string>,
  sets: readonly FilterSet[],
): FilterStatement[] {
  const options = parseOptions(rule.words);
  return [...parseMatches(options, family, sets), { kind: 'counter' }, parseTarget(options, chains)];
}

function baseOf(table: string, chain: SavedChain): FilterChain['base'] {
  const hook = hooks[chain.name];
  if (hook === undefined || chain.policy === undefined || priorities[table] === undefined) return undefined;
  const isSource = hook === 'postrouting' || hook === 'input';
  return {
    hook,
    type: table === 'nat' ? 'nat' : table === 'mangle' && hook === 'output' ? 'route' : 'filter',
    priority: table === 'nat' && isSource ? 100 : priorities[table],
    policy: chain.policy,
    order: 0,
  };
}

/** Chains of the legacy backend; `sets` are ipset's. */
export function legacyChains(tables: readonly SavedTable[], family: 'ip' | 'ip6', sets: readonly FilterSet[]): FilterChain[] {
  return tables.flatMap((table) => {
    const names = new Set(table.chains.keys());
    return [...table.chains.values()].map((chain): FilterChain => {
      const base = baseOf(table.name, chain);
      const rules = chain.rules.map((rule): FilterRule => {
        const text = printable(rule.line, 2000);
        const place = { backend: 'legacy' as const, family, table: table.name, chain: chain.name, handle: rule.position, text };
        const owner = ruleOwner(place);
        return {
          ...place,
          ...(owner === undefined ? {} : { owner }),
          statements: statementsOf(rule, family, names, sets),
          ...(rule.packets === undefined ? {} : { packets: rule.packets }),
        };
      });
      return { backend: 'legacy', family, table: table.name, name: chain.name, ...(base ? { base } : {}), rules };
    });
  });
}

/**
 * Chains of nft with what iptables-nft-save says of the same rules, by their position: the text people know, and the meaning of
 * rules with xtables expressions. A chain of another length changed meanwhile, or is not iptables' alone, and stays as it is.
 */
export function joinSaved(
  chains: readonly FilterChain[],
  tables: readonly SavedTable[],
  family: 'ip' | 'ip6',
  sets: readonly FilterSet[],
  hasXt: (rule: FilterRule) => boolean,
): FilterChain[] {
  const byName = new Map(tables.map((table) => [table.name, table]));
  return chains.map((chain) => {
    if (chain.backend !== 'nft' || chain.family !== family) return chain;
    const table = byName.get(chain.table);
    const saved = table?.chains.get(chain.name);
    if (!table || !saved || saved.rules.length !== chain.rules.length) return chain;
    const names = new Set(table.chains.keys());
    const rules = chain.rules.map((rule, index): FilterRule => {
      const line = saved.rules[index];
      const text = printable(line.line, 2000);
      const owner = ruleOwner({ ...rule, text });
      const { owner: _former, ...rest } = rule;
      return {
        ...rest,
        text,
        ...(owner === undefined ? {} : { owner }),
        ...(hasXt(rule) ? { statements: statementsOf(line, family, names, sets) } : {}),
      };
    });
    return { ...chain, rules };
  });
}
