// Reads all rules of a network namespace, whoever made them: nft, iptables on nft, iptables-legacy, ipset. Changes nothing: the
// tools of iptables-legacy make a table by looking at it, so they run only where the kernel says there is one.

import { asWeirError, WeirError } from '../../base/errors.ts';
import { printable } from '../../base/printable.ts';
import type { FilterChain, FilterRule, FilterSet, PacketFilter } from '../../model/packet-filter.ts';
import { type CommandRunner, firstLines } from '../command.ts';
import { parseIpsetSave } from './ipset-save.ts';
import { joinSaved, legacyChains } from './iptables-tables.ts';
import { chainKey, type NftListing, parseNftListing, parseNftTexts } from './nft-listing.ts';
import { parseSave, type SavedTable } from './save-line.ts';

interface Family {
  readonly family: 'ip' | 'ip6';
  /** Of the kernel: tables the legacy backend has here. Readable for root alone. */
  readonly names: string;
  readonly program: string;
}

const families: readonly Family[] = [
  { family: 'ip', names: '/proc/net/ip_tables_names', program: 'iptables' },
  { family: 'ip6', names: '/proc/net/ip6_tables_names', program: 'ip6tables' },
];

const noListing: NftListing = { chains: [], sets: [], unreadable: [], xtChains: new Set() };

/**
 * Everything that decides about packets in the runner's namespace. Needs CAP_NET_ADMIN there; what cannot be read is told in
 * `unreadable` and never thrown, so that the rest is still of use.
 */
export async function readPacketFilter(runner: CommandRunner): Promise<PacketFilter> {
  const unreadable: string[] = [];
  const { listing, iptablesTables } = await readNft(runner, unreadable);
  const saved = await Promise.all(families.map((family) => readSaved(runner, family, iptablesTables, unreadable)));
  const mentionsSets = saved.some(({ nft, legacy }) => hasSets(nft) || hasSets(legacy));
  const ipsets = mentionsSets ? await readIpsets(runner, unreadable) : [];
  let chains: FilterChain[] = [...listing.chains];
  for (const { family, nft, legacy } of saved) {
    if (nft.length > 0) chains = joinSaved(chains, nft, family, ipsets, hasOpenXt);
    chains.push(...legacyChains(legacy, family, ipsets));
  }
  for (const chain of chains)
    if (listing.xtChains.has(chainKey(chain.family, chain.table, chain.name)) && chain.rules.some(hasOpenXt))
      unreadable.push(`chain ${chain.family} ${chain.table} ${chain.name}: some rules have parts that only iptables understands`);
  return { chains, sets: [...listing.sets, ...ipsets], unreadable };
}

const hasOpenXt = ({ statements }: FilterRule): boolean =>
  statements.some((one) => one.kind === 'unknown' && one.text.includes('"xt"'));

const hasSets = (tables: readonly SavedTable[]): boolean =>
  tables.some(({ chains }) => [...chains.values()].some(({ rules }) => rules.some(({ words }) => words.includes('--match-set'))));

async function readNft(
  runner: CommandRunner,
  unreadable: string[],
): Promise<{ readonly listing: NftListing; readonly iptablesTables: ReadonlySet<string> }> {
  const iptablesTables = new Set<string>();
  try {
    const json = await runner.run('nft', ['-n', '-j', 'list', 'ruleset']);
    const plain = await runner.run('nft', ['-n', '-a', '-t', 'list', 'ruleset']);
    for (const [, family] of plain.stderr.matchAll(/table (ip6?) \S+ is managed by iptables-nft/g)) iptablesTables.add(family);
    const listing = parseNftListing(json.stdout, parseNftTexts(plain.stdout));
    unreadable.push(...listing.unreadable);
    for (const key of listing.xtChains) iptablesTables.add(key.split(' ')[0]);
    return { listing, iptablesTables };
  } catch (error) {
    unreadable.push(`rules of nft: ${reason(error)}`);
    return { listing: noListing, iptablesTables };
  }
}

const reason = (error: unknown): string =>
  error instanceof SyntaxError ? 'its listing is not JSON' : printable(asWeirError(error).message, 300);

async function readSaved(
  runner: CommandRunner,
  { family, names, program }: Family,
  iptablesTables: ReadonlySet<string>,
  unreadable: string[],
): Promise<{ family: 'ip' | 'ip6'; nft: SavedTable[]; legacy: SavedTable[] }> {
  const nft = iptablesTables.has(family) ? await readSave(runner, [`${program}-nft-save`], `${program} on nft`, unreadable) : [];
  const present = await readTableNames(runner, names, program, unreadable);
  if (present.length === 0) return { family, nft, legacy: [] };
  const programs = [`${program}-legacy-save`, ...((await isLegacy(runner, program)) ? [`${program}-save`] : [])];
  const legacy = await readSave(runner, programs, `legacy tables ${present.join(', ')} of ${program}`, unreadable);
  return { family, nft, legacy };
}

/** The kernel's own list: without the file there is no table, without permission that is not known. */
async function readTableNames(
  runner: CommandRunner,
  names: string,
  program: string,
  unreadable: string[],
): Promise<readonly string[]> {
  try {
    const text = (await runner.readProc(names, { refusalThrows: true })) ?? '';
    return text.split('\n').filter((name) => name !== '');
  } catch (error) {
    unreadable.push(`legacy tables of ${program}, if there are any: ${reason(error)}`);
    return [];
  }
}

/** Whether the plain name is the legacy backend's: so on machines that have but one. */
async function isLegacy(runner: CommandRunner, program: string): Promise<boolean> {
  try {
    const { stdout } = await runner.run(program, ['--version'], { anyCode: true });
    return stdout !== '' && !stdout.includes('nf_tables');
  } catch {
    return false;
  }
}

async function readSave(
  runner: CommandRunner,
  programs: readonly string[],
  what: string,
  unreadable: string[],
): Promise<SavedTable[]> {
  let why = '';
  for (const program of programs)
    try {
      const { stdout, stderr, code } = await runner.run(program, ['-c'], { anyCode: true });
      if (code !== 0) throw new WeirError('kernel-refused', firstLines(stderr || stdout));
      const { tables, truncated } = parseSave(stdout);
      if (truncated) unreadable.push(`${what}: too many rules, not all were read`);
      return tables;
    } catch (error) {
      if (why === '') why = reason(error);
    }
  unreadable.push(`${what}: ${why}`);
  return [];
}

async function readIpsets(runner: CommandRunner, unreadable: string[]): Promise<FilterSet[]> {
  try {
    const { stdout } = await runner.run('ipset', ['save']);
    return parseIpsetSave(stdout);
  } catch (error) {
    unreadable.push(`sets of ipset: ${reason(error)}`);
    return [];
  }
}
