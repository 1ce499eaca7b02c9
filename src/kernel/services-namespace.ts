// Reads and changes a namespace that routes between macvlan devices and tunnels: its links, addresses, routes and rules, each by one
// `ip` batch. Which there should be is plan/services-network.ts. Everything in the namespace is ours.

import { type Address, type AddressRange, type Family, parseRange, rangeToCidrs, renderAddress } from '../model/address.ts';
import type { CommandRunner } from './command.ts';
import { routeProtocol } from './ip-route.ts';

export interface MacvlanLink {
  readonly name: string;
  readonly mac: string;
  readonly up: boolean;
  readonly mtu: number;
  /** `a/len`, without link-local ones. */
  readonly addresses: readonly string[];
}

/** Every link but `lo`. */
export async function readMacvlanLinks(runner: CommandRunner): Promise<MacvlanLink[]> {
  interface Json {
    ifname?: string;
    address?: string;
    flags?: string[];
    mtu?: number;
    linkinfo?: { info_kind?: string };
    addr_info?: { local?: string; prefixlen?: number; scope?: string }[];
  }
  const { stdout } = await runner.run('ip', ['-d', '-j', 'addr', 'show']);
  return (JSON.parse(stdout || '[]') as Json[])
    .filter((one) => one.linkinfo?.info_kind === 'macvlan' || one.linkinfo?.info_kind === 'vxlan')
    .map((one) => ({
      name: one.ifname ?? '',
      mac: one.address ?? '',
      up: (one.flags ?? []).includes('UP'),
      mtu: one.mtu ?? 0,
      addresses: (one.addr_info ?? [])
        .filter(({ scope }) => scope !== 'link')
        .map(({ local, prefixlen }) => `${local}/${prefixlen}`),
    }));
}

/** One route as the text that adds it: `10.0.0.0/12 via 10.1.0.9 dev leg1 onlink table 1000`. Equal routes are equal text. */
export interface RouteText {
  readonly family: Family;
  readonly text: string;
}

/** Routes of ours in every table. */
export async function readRouteTexts(runner: CommandRunner): Promise<RouteText[]> {
  interface Json {
    type?: string;
    dst?: string;
    gateway?: string;
    dev?: string;
    table?: string | number;
  }
  const found: RouteText[] = [];
  for (const family of [4, 6] as const) {
    const { stdout, code } = await runner.run(
      'ip',
      ['-N', `-${family}`, '-j', 'route', 'show', 'table', 'all', 'proto', String(routeProtocol)],
      { anyCode: true },
    );
    if (code !== 0 || stdout.trim() === '') continue;
    for (const { type, dst, gateway, dev, table } of JSON.parse(stdout) as Json[]) {
      const destination = dst === 'default' ? (family === 4 ? '0.0.0.0/0' : '::/0') : (dst ?? '');
      const range = parseRange(destination);
      if (!range) continue;
      const [block] = rangeToCidrs(range);
      found.push({
        family,
        text: renderRouteText({
          type: type === '2' || type === 'local' ? 'local' : type === '6' || type === 'blackhole' ? 'blackhole' : 'unicast',
          destination: `${renderAddress(block.first)}/${block.prefixLength}`,
          ...(gateway ? { via: gateway } : {}),
          ...(dev ? { device: dev } : {}),
          table: Number(table ?? 254),
        }),
      });
    }
  }
  return found;
}

export function renderRouteText(route: {
  readonly type: 'unicast' | 'local' | 'blackhole';
  readonly destination: string;
  readonly via?: string;
  readonly device?: string;
  readonly table: number;
}): string {
  const { type, destination, via, device, table } = route;
  const hop = type === 'blackhole' ? '' : `${via ? ` via ${via}` : ''} dev ${device}${via ? ' onlink' : ''}`;
  return `${type === 'unicast' ? '' : `${type} `}${destination}${hop} table ${table}`;
}

/** Additions first. Idempotent: what is there or gone already is not an error. */
export async function applyRouteTexts(
  runner: CommandRunner,
  add: readonly RouteText[],
  remove: readonly RouteText[],
): Promise<void> {
  for (const family of [4, 6] as const) {
    const lines = (routes: readonly RouteText[], verb: string): string =>
      routes
        .filter((route) => route.family === family)
        .map(({ text }) => `route ${verb} ${text} proto ${routeProtocol}\n`)
        .join('');
    const additions = lines(add, 'replace');
    if (additions) await runner.run('ip', [`-${family}`, '-batch', '-'], { input: additions, timeoutMs: 60_000 });
    const removals = lines(remove, 'del');
    if (removals)
      await runner.run('ip', [`-${family}`, '-force', '-batch', '-'], { input: removals, anyCode: true, timeoutMs: 60_000 });
  }
}

/** `pref 1000 iif p1 lookup 1`, as `ip rule add` takes it. */
export async function readRuleTexts(runner: CommandRunner): Promise<RouteText[]> {
  interface Json {
    priority?: number;
    iif?: string;
    fwmark?: string;
    table?: string | number;
  }
  const found: RouteText[] = [];
  for (const family of [4, 6] as const) {
    const { stdout } = await runner.run('ip', ['-N', `-${family}`, '-j', 'rule', 'show']);
    for (const { priority, iif, fwmark, table } of JSON.parse(stdout || '[]') as Json[]) {
      const from = iif ? ` iif ${iif}` : fwmark ? ` fwmark ${Number(fwmark)}` : '';
      found.push({ family, text: `pref ${priority}${from} lookup ${table}` });
    }
  }
  return found;
}

/** Additions first. */
export async function applyRuleTexts(
  runner: CommandRunner,
  add: readonly RouteText[],
  remove: readonly RouteText[],
): Promise<void> {
  for (const family of [4, 6] as const) {
    const lines = (rules: readonly RouteText[], verb: string): string =>
      rules
        .filter((rule) => rule.family === family)
        .map(({ text }) => `rule ${verb} ${text}\n`)
        .join('');
    const text = lines(add, 'add') + lines(remove, 'del');
    if (text) await runner.run('ip', [`-${family}`, '-batch', '-'], { input: text });
  }
}

/**
 * MACs of IPv4 neighbours, each on its link. Those unknown are asked for, and looked after by the kernel from then on
 * (`managed`, Linux 5.16; before, they are known once somebody sent them something). Waits at most so long for the last.
 */
export async function resolveNeighbours(
  runner: CommandRunner,
  neighbours: ReadonlyMap<string, string>,
  waitMs: number,
): Promise<Map<string, string>> {
  interface Json {
    dst?: string;
    dev?: string;
    lladdr?: string;
    state?: string[];
  }
  const four = [...neighbours].filter(([ip]) => !ip.includes(':'));
  const until = Date.now() + waitMs;
  for (let round = 0; ; round += 1) {
    const { stdout } = await runner.run('ip', ['-4', '-j', 'neigh', 'show'], { anyCode: true });
    const entries = JSON.parse(stdout || '[]') as Json[];
    const found = new Map<string, string>();
    for (const [ip, link] of four) {
      const entry = entries.find(({ dst, dev }) => dst === ip && dev === link);
      if (entry?.lladdr && !entry.state?.includes('FAILED')) found.set(ip, entry.lladdr);
    }
    const unknown = four.filter(([ip]) => !found.has(ip));
    if (unknown.length === 0) return found;
    if (round === 0)
      await runner.run('ip', ['-force', '-batch', '-'], {
        input: unknown.map(([ip, link]) => `neigh replace ${ip} dev ${link} managed\n`).join(''),
        anyCode: true,
      });
    if (Date.now() >= until) return found;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** What changes between two lists. */
export function compareRouteTexts(
  wanted: readonly RouteText[],
  there: readonly RouteText[],
): { add: RouteText[]; remove: RouteText[] } {
  const key = ({ family, text }: RouteText): string => `${family} ${text}`;
  const before = new Set(there.map(key));
  const after = new Set(wanted.map(key));
  return { add: wanted.filter((one) => !before.has(key(one))), remove: there.filter((one) => !after.has(key(one))) };
}

/** `add route 10.0.0.0/12 via 10.1.0.9 dev leg1 table 1000, remove 2 routes (…)`. */
export function describeRouteTexts(
  what: string,
  { add, remove }: { add: readonly RouteText[]; remove: readonly RouteText[] },
): string {
  const count = (list: readonly RouteText[]): string =>
    list.length === 1 ? `${what} ${list[0].text}` : `${list.length} ${what}s (${list[0].text}, …)`;
  return [...(add.length > 0 ? [`add ${count(add)}`] : []), ...(remove.length > 0 ? [`remove ${count(remove)}`] : [])].join(', ');
}

/**
 * By which next hops of table main a link leads where, at most so many; without one: to the link itself. Link-local
 * destinations are left out.
 */
export async function readWays(
  runner: CommandRunner,
  link: string,
  most: number,
): Promise<{ destination: AddressRange; via?: Address }[]> {
  const found: { destination: AddressRange; via?: Address }[] = [];
  for (const family of [4, 6] as const) {
    const { stdout } = await runner.run('ip', [`-${family}`, '-j', 'route', 'show', 'table', 'main', 'dev', link], {
      anyCode: true,
    });
    for (const { dst, gateway, type } of parseRoutes(stdout)) {
      const destination = parseRange(dst === 'default' ? (family === 4 ? '0.0.0.0/0' : '::/0') : (dst ?? ''));
      const via = gateway === undefined ? undefined : parseRange(gateway);
      if (!destination || (type !== undefined && type !== 'unicast') || found.length >= most) continue;
      if (family === 6 && destination.first >> 118n === 0x3fan) continue;
      found.push({ destination, ...(via ? { via: { family, value: via.first } } : {}) });
    }
  }
  return found;
}

function parseRoutes(text: string): { dst?: string; gateway?: string; type?: string }[] {
  try {
    const value: unknown = JSON.parse(text || '[]');
    return Array.isArray(value) ? value : [];
  } catch {
    return [];
  }
}
