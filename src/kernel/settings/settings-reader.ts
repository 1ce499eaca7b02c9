// Reads rules, routes and sysctls of a network namespace as canonical text. Changes nothing: the tools of iptables-legacy run only where the
// kernel says that there is a table of theirs.

import { existsSync } from 'node:fs';
import { asWeirError } from '../../base/errors.ts';
import { printable } from '../../base/printable.ts';
import type { NetworkSettings, SettingsPart } from '../../model/network-settings.ts';
import type { CommandRunner } from '../command.ts';
import { insideNetns } from '../libc.ts';
import { readNetworkSysctls } from '../machine/proc-tables.ts';
import { canonicalIpsets } from './canonical-ipsets.ts';
import { canonicalPolicyRules, canonicalRoutes } from './canonical-routes.ts';
import { canonicalIptables, canonicalNft } from './canonical-rules.ts';
import { canonicalSysctls } from './canonical-sysctls.ts';

const families = [
  { prefix: 'iptables', route: '-4', routes: 'routes', rules: 'rules', names: '/proc/net/ip_tables_names', nft: 'ip' },
  { prefix: 'ip6tables', route: '-6', routes: 'routes6', rules: 'rules6', names: '/proc/net/ip6_tables_names', nft: 'ip6' },
] as const;

/** Of the runner's namespace. Rules need CAP_NET_ADMIN; what could not be read is in `missing`, nothing is thrown for it. */
export async function readSettings(runner: CommandRunner): Promise<NetworkSettings> {
  const takenAt = Date.now();
  const parts: Partial<Record<SettingsPart, string>> = {};
  const missing: { part: SettingsPart; why: string }[] = [];
  const attempt = async (part: SettingsPart, body: () => Promise<string>): Promise<void> => {
    try {
      parts[part] = await body();
    } catch (error) {
      const { message } = asWeirError(error);
      missing.push({ part, why: printable(message, 300) });
    }
  };
  const managed = new Set<string>();
  let listing = '';
  await attempt('nft', async () => {
    const { stdout, stderr } = await runner.run('nft', ['-s', '-n', 'list', 'ruleset']);
    for (const [, name] of stderr.matchAll(/table (\S+ \S+) is managed by iptables-nft/g)) managed.add(name);
    listing = stdout;
    return '';
  });
  for (const { prefix, route, routes, rules, names, nft } of families) {
    await attempt(`${prefix}-nft`, () => readIptablesNft(runner, { prefix, family: nft }, listing, managed));
    await attempt(`${prefix}-legacy`, async () => {
      const present = (await runner.readProc(names, { refusalThrows: true }))?.trim() ?? '';
      return present === '' ? '' : canonicalIptables(await save(runner, `${prefix}-legacy-save`));
    });
    await attempt(routes, async () =>
      canonicalRoutes((await runner.run('ip', ['-o', route, 'route', 'show', 'table', 'all'])).stdout),
    );
    await attempt(rules, async () => canonicalPolicyRules((await runner.run('ip', [route, 'rule', 'show'])).stdout));
  }
  for (const [prefix, family] of [
    ['ebtables', 'bridge'],
    ['arptables', 'arp'],
  ] as const)
    await attempt(`${prefix}-nft`, () => readIptablesNft(runner, { prefix, family }, listing, managed));
  if (parts.nft !== undefined) parts.nft = canonicalNft(listing, managed);
  const mentionsSets = (['iptables-nft', 'ip6tables-nft', 'iptables-legacy', 'ip6tables-legacy'] as const).some((part) =>
    parts[part]?.includes('--match-set'),
  );
  await attempt('ipset', () => readIpsets(runner, mentionsSets));
  await attempt('sysctls', async () => canonicalSysctls(insideNetns(runner.netns, readNetworkSysctls).sysctls));
  return { takenAt, parts, missing };
}

/** The tool would load the module: it is asked only where that is there. Without the tool nobody made a set that no rule mentions. */
async function readIpsets(runner: CommandRunner, mentionsSets: boolean): Promise<string> {
  if (!mentionsSets && !existsSync('/sys/module/ip_set')) return '';
  try {
    return canonicalIpsets((await runner.run('ipset', ['save', '-sorted'])).stdout);
  } catch (error) {
    if (!mentionsSets && asWeirError(error).code === 'tool-missing') return '';
    throw error;
  }
}

const save = async (runner: CommandRunner, program: string): Promise<string> => (await runner.run(program, [])).stdout;

/** Names that iptables, ebtables and arptables give to their tables; others may have taken them, and nft answers for those. */
const iptablesNames = /^table (ip6?|bridge|arp) (filter|nat|mangle|raw|security|broute) \{/gm;

/** Puts the tables that iptables answers for into `managed`: nft says so itself only of some. */
async function readIptablesNft(
  runner: CommandRunner,
  { prefix, family }: { readonly prefix: string; readonly family: string },
  listing: string,
  managed: Set<string>,
): Promise<string> {
  if (![...listing.matchAll(iptablesNames)].some(([, of]) => of === family)) return '';
  try {
    const saved = await save(runner, `${prefix}-nft-save`);
    for (const [, name] of saved.matchAll(/^\*(\S+)$/gm)) managed.add(`${family} ${name}`);
    return canonicalIptables(saved);
  } catch (error) {
    // Without iptables here, what looks like its table and has nothing only it understands is as good as nft's own.
    const isOpen = [...managed].some((name) => name.startsWith(`${family} `));
    if (asWeirError(error).code === 'tool-missing' && !isOpen) return '';
    throw error;
  }
}
