// Routes of ours: `local` ones, by which the machine takes packets to decoys (AnyIP), all in table local with one
// protocol number as the owner's mark. Other routes are never read or changed.
// Table local, because the kernel's source check for ICMP and ARP replies looks only there. No `throw` routes for
// holes: without custom rules the kernel keeps local and main in one trie (fib_unmerge), where a throw is final.

import { type Address, type Family, parseRange, rangeToCidrs, renderAddress } from '../model/address.ts';
import type { CommandRunner } from './command.ts';

/** The owner's mark on every route of Weir; see rtnetlink(7), rtm_protocol. */
export const routeProtocol = 87;

/** `10.64.0.0/12`; canonical, so equal routes are equal text. */
export interface OwnRoute {
  readonly family: Family;
  readonly destination: string;
}

export const renderDestination = (first: Address, prefixLength: number): string => `${renderAddress(first)}/${prefixLength}`;

/** Ours, in both families, in any order. */
export async function readOwnRoutes(runner: CommandRunner): Promise<OwnRoute[]> {
  const routes: OwnRoute[] = [];
  for (const family of [4, 6] as const) {
    const { stdout, code } = await runner.run(
      'ip',
      [`-${family}`, 'route', 'show', 'table', '255', 'proto', String(routeProtocol)],
      { anyCode: true },
    );
    if (code !== 0) continue;
    for (const line of stdout.split('\n')) {
      const range = parseRange(/^(?:local )?([0-9a-f.:/]+) /.exec(`${line} `)?.[1] ?? '');
      if (!range) continue;
      const [block] = rangeToCidrs(range);
      routes.push({ family, destination: renderDestination(block.first, block.prefixLength) });
    }
  }
  return routes;
}

/**
 * Additions first, so that a range cut into smaller blocks is ours at every moment. Idempotent: a route that is there
 * already or is gone already is not an error. Throws `kernel-refused`; then some may have been done (the caller undoes).
 */
export async function applyRoutes(runner: CommandRunner, add: readonly OwnRoute[], remove: readonly OwnRoute[]): Promise<void> {
  for (const family of [4, 6] as const) {
    const lines = (routes: readonly OwnRoute[], verb: string): string =>
      routes
        .filter((route) => route.family === family)
        .map(({ destination }) => `route ${verb} local ${destination} dev lo table 255 proto ${routeProtocol}\n`)
        .join('');
    const additions = lines(add, 'replace');
    if (additions) await runner.run('ip', [`-${family}`, '-batch', '-'], { input: additions, timeoutMs: 60_000 });
    const removals = lines(remove, 'del');
    // -force goes on after "No such process"; what is left over shows in the next reading.
    if (removals)
      await runner.run('ip', [`-${family}`, '-force', '-batch', '-'], { input: removals, anyCode: true, timeoutMs: 60_000 });
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
