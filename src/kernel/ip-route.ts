// Routes of ours: `local` (the machine takes packets to decoys) and `throw` (an address inside is not ours), all in
// table local with one protocol number as the owner's mark. Other routes are read where asked, never changed.
// Why table local: the kernel's source check for ICMP and ARP replies looks only there.

import { type Address, type Family, parseRange, rangeToCidrs, renderAddress } from '../model/address.ts';
import type { CommandRunner } from './command.ts';

/** The owner's mark on every route of Weir; see rtnetlink(7), rtm_protocol. */
export const routeProtocol = 87;

/** `10.64.0.0/12`; canonical, so equal routes are equal text. */
export interface OwnRoute {
  readonly kind: 'local' | 'throw';
  readonly family: Family;
  readonly destination: string;
}

export const routeKey = (route: OwnRoute): string => `${route.kind} ${route.destination}`;

export const renderDestination = (first: Address, prefixLength: number): string => `${renderAddress(first)}/${prefixLength}`;

/** Ours, in both families, in any order. */
export async function readOwnRoutes(runner: CommandRunner): Promise<OwnRoute[]> {
  const routes: OwnRoute[] = [];
  for (const family of [4, 6] as const) {
    const { stdout, code } = await runner.run(
      'ip',
      [`-${family}`, '-N', 'route', 'show', 'table', '255', 'proto', String(routeProtocol)],
      { anyCode: true },
    );
    if (code !== 0) continue;
    for (const line of stdout.split('\n')) {
      // With -N route types stay words, but `local`/`throw` may come as numbers 2 and 9 (rtnetlink.h).
      const found = /^(local|throw|2|9) (\S+)/.exec(line.trim());
      if (!found) continue;
      const range = parseRange(found[2]);
      if (!range) continue;
      const [block] = rangeToCidrs(range);
      const kind = found[1] === 'throw' || found[1] === '9' ? 'throw' : 'local';
      routes.push({ kind, family, destination: renderDestination(block.first, block.prefixLength) });
    }
  }
  return routes;
}

/**
 * Adds and removes in as few runs of `ip` as possible; removals first. Idempotent: a route that is there already or
 * is gone already is not an error. Throws `kernel-refused`; then some may have been done (the caller undoes).
 */
export async function applyRoutes(runner: CommandRunner, add: readonly OwnRoute[], remove: readonly OwnRoute[]): Promise<void> {
  for (const family of [4, 6] as const) {
    const lines = (routes: readonly OwnRoute[], verb: string): string =>
      routes
        .filter((route) => route.family === family)
        .map(({ kind, destination }) => {
          const device = kind === 'local' ? ' dev lo' : '';
          return `route ${verb} ${kind} ${destination}${device} table 255 proto ${routeProtocol}\n`;
        })
        .join('');
    const removals = lines(remove, 'del');
    // -force goes on after "No such process"; what is left over shows in the next reading.
    if (removals)
      await runner.run('ip', [`-${family}`, '-force', '-batch', '-'], { input: removals, anyCode: true, timeoutMs: 60_000 });
    const additions = lines(add, 'replace');
    if (additions) await runner.run('ip', [`-${family}`, '-batch', '-'], { input: additions, timeoutMs: 60_000 });
  }
}

/** Removes every route that carries our mark in table local. */
export async function flushOwnRoutes(runner: CommandRunner): Promise<void> {
  for (const family of [4, 6] as const)
    await runner.run('ip', [`-${family}`, 'route', 'flush', 'table', '255', 'proto', String(routeProtocol)], {
      anyCode: true,
      timeoutMs: 60_000,
    });
}
