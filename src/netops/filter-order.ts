// In which order base chains of a hook see a packet: by priority, then the one registered last first (net/netfilter/core.c,
// nf_hook_entries_grow); address translation is one hook of its own with chains inside (nf_nat_core.c). Pure.

import type {
  FilterAction,
  FilterChain,
  FilterPacket,
  FilterStatement,
  PacketFilter,
  WalkContext,
} from '../model/packet-filter.ts';

/** A place in the path: one chain, or all that translate addresses there. */
export interface HookEntry {
  readonly priority: number;
  /** In their order; more than one for address translation only. */
  readonly chains: readonly FilterChain[];
}

/** Entries whose order matters and cannot be told come as all orders there may be, the likely one first. */
export type HookOrders = readonly (readonly HookEntry[])[];

const natPriority: Readonly<Record<string, number>> = { prerouting: -100, output: -100, postrouting: 100, input: 100 };

/** Chains that see this packet in this hook, unsorted. */
function chainsAt(filter: PacketFilter, packet: FilterPacket, { hook, bridged }: WalkContext): FilterChain[] {
  const ofIp = new Set([packet.family === 4 ? 'ip' : 'ip6', 'inet']);
  return filter.chains.filter(({ base, family }) => {
    if (base?.hook !== hook) return false;
    if (hook === 'ingress' || hook === 'egress') {
      const device = hook === 'ingress' ? packet.inputDevice : packet.outputDevice;
      return device !== undefined && (base.devices?.includes(device) ?? false);
    }
    if (family === 'bridge') return bridged !== undefined;
    return ofIp.has(family) && bridged !== 'bridge-only';
  });
}

/** Registered last comes first, as far as handles tell. */
const lastFirst = (a: FilterChain, b: FilterChain): number => (b.base?.order ?? 0) - (a.base?.order ?? 0);

const priorityOf = (chain: FilterChain): number => chain.base?.priority ?? 0;

/** Orders of what has one priority: sure within one table of nft, otherwise all that are possible, up to 24. */
function ordersOf<T>(items: readonly T[], tableOf: (item: T) => string | undefined): (readonly T[])[] {
  const tables = new Set(items.map(tableOf));
  if (items.length < 2 || (tables.size === 1 && !tables.has(undefined))) return [items];
  if (items.length > 4) return [items, [...items].reverse()];
  const all: T[][] = [];
  const place = (done: readonly T[], left: readonly T[]): void => {
    if (left.length === 0) all.push([...done]);
    for (const [index, item] of left.entries()) {
      // Chains of one table keep their order.
      const table = tableOf(item);
      if (table !== undefined && left.slice(0, index).some((other) => tableOf(other) === table)) continue;
      place(
        [...done, item],
        left.filter((_, other) => other !== index),
      );
    }
  };
  place([], items);
  return all;
}

const tableKey = (chain: FilterChain): string | undefined =>
  chain.backend === 'nft' ? `${chain.family} ${chain.table}` : undefined;

function groupsByPriority<T>(items: readonly T[], priority: (item: T) => number): T[][] {
  const groups = new Map<number, T[]>();
  for (const item of items) groups.set(priority(item), [...(groups.get(priority(item)) ?? []), item]);
  return [...groups.entries()].sort(([a], [b]) => a - b).map(([, group]) => group);
}

/** Every way to take one of each, the first of each first; at most `bound`. */
function combine<T>(choices: readonly (readonly (readonly T[])[])[], bound: number): (readonly T[])[] {
  let all: (readonly T[])[] = [[]];
  for (const options of choices) {
    const next = all.flatMap((head) => options.map((tail) => [...head, ...tail]));
    all = next.length > bound ? next.slice(0, bound) : next;
  }
  return all;
}

const rewriting = new Set<FilterStatement['kind']>([
  'write',
  'dnat',
  'snat',
  'masquerade',
  'redirect',
  'tproxy',
  'notrack',
  'queue',
  'unknown',
]);

/** Whether a chain, or one it leads to, may change the packet: only then its place among equals means anything. */
function rewrites(filter: PacketFilter, chain: FilterChain, seen: Set<FilterChain>): boolean {
  if (seen.has(chain)) return false;
  seen.add(chain);
  const leadsTo = (action: FilterStatement | FilterAction): boolean => {
    if (action.kind !== 'jump' && action.kind !== 'goto') return rewriting.has(action.kind);
    const target = findChain(filter, chain, action.chain);
    return target !== undefined && rewrites(filter, target, seen);
  };
  return chain.rules.some(({ statements }) => statements.some((one) => one.kind === 'vmap' || leadsTo(one)));
}

const chainIndexes = new WeakMap<PacketFilter, ReadonlyMap<string, FilterChain>>();
const chainName = ({ backend, family, table }: FilterChain, name: string): string => `${backend} ${family} ${table} ${name}`;

/** The chain of that name in the same table. */
export function findChain(filter: PacketFilter, from: FilterChain, name: string): FilterChain | undefined {
  let index = chainIndexes.get(filter);
  if (!index) {
    index = new Map(filter.chains.map((chain) => [chainName(chain, chain.name), chain]));
    chainIndexes.set(filter, index);
  }
  return index.get(chainName(from, name));
}

/** All orders in which the chains of this hook may see the packet; one, where it is known or makes no difference. */
export function planOrders(filter: PacketFilter, packet: FilterPacket, context: WalkContext): HookOrders {
  const chains = chainsAt(filter, packet, context);
  const nat = chains.filter(({ base }) => base?.type === 'nat').sort(lastFirst);
  const plain = chains.filter(({ base }) => base?.type !== 'nat').sort(lastFirst);
  const natOrders = combine(
    groupsByPriority(nat, priorityOf).map((group) => ordersOf(group, tableKey)),
    24,
  );
  const priority = natPriority[context.hook] ?? 0;
  const orders: HookEntry[][] = [];
  for (const inside of natOrders) {
    const natEntry: HookEntry[] = inside.length === 0 ? [] : [{ priority, chains: inside }];
    const entries = [...plain.map((chain): HookEntry => ({ priority: priorityOf(chain), chains: [chain] })), ...natEntry];
    const groups = groupsByPriority(entries, (entry) => entry.priority).map((group) => {
      const matters = group.length > 1 && group.some((entry) => entry.chains.some((chain) => rewrites(filter, chain, new Set())));
      return matters
        ? ordersOf(group, (entry) => (entry.chains[0]?.base?.type === 'nat' ? undefined : tableKey(entry.chains[0])))
        : [group];
    });
    orders.push(...combine(groups, 24).map((order) => [...order]));
  }
  if (context.bridged === 'with-ip')
    // Frames pass the bridge's own rules first, as br_netfilter hooks in at their default priority.
    return orders.map((order) => [...order].sort((a, b) => isBridge(b) - isBridge(a)));
  return orders;
}

const isBridge = ({ chains: [chain] }: HookEntry): number => (chain.family === 'bridge' ? 1 : 0);
