// Routes of ours: `local` ones, by which the machine takes packets to decoys (AnyIP), all in table local with one
// protocol number as the owner's mark. Other routes are never read or changed.
// Table local, because the kernel's source check for ICMP and ARP replies looks only there. No `throw` routes for
// holes: without custom rules the kernel keeps local and main in one trie (fib_unmerge), where a throw is final.

import { type Address, addressBytes, addressFromBytes, type Family, parseRange, renderAddress } from '../model/address.ts';
import type { CommandRunner } from './command.ts';
import { attribute, longOf, type NetlinkMessage, type NetlinkParts, parseAttributes } from './netlink-message.ts';
import { NLM_F_CREATE, NLM_F_REPLACE, type RouteRequest, withRouteSocket } from './route-socket.ts';

/** The owner's mark on every route of Weir; see rtnetlink(7), rtm_protocol. */
export const routeProtocol = 87;

/** `10.64.0.0/12`; canonical, so equal routes are equal text. */
export interface OwnRoute {
  readonly family: Family;
  readonly destination: string;
}

export const renderDestination = (first: Address, prefixLength: number): string => `${renderAddress(first)}/${prefixLength}`;

// include/uapi/linux/rtnetlink.h
export const RTM_NEWROUTE = 24;
export const RTM_DELROUTE = 25;
export const RTM_GETROUTE = 26;
export const RTA_DST = 1;
export const RTA_OIF = 4;
export const RTA_GATEWAY = 5;
export const RTN_UNICAST = 1;
const RTN_LOCAL = 2;
export const RT_TABLE_MAIN = 254;
const RT_TABLE_LOCAL = 255;
const RT_SCOPE_HOST = 254;
/** The loopback device is the first of every namespace. */
export const loopbackIndex = 1;

/** struct rtmsg. */
export const routeHeader = (
  family: Family,
  prefixLength: number,
  table: number,
  type: number,
  scope: number,
  protocol = routeProtocol,
): Uint8Array => Uint8Array.of(family === 4 ? 2 : 10, prefixLength, 0, 0, table, protocol, scope, type, 0, 0, 0, 0);

/** Header and attributes of a route with our mark in one table; undefined for anybody else's. */
export function parseOwnRoute(
  message: NetlinkMessage,
  table: number,
  type: number,
): { family: Family; prefixLength: number; attributes: Map<number, Uint8Array> } | undefined {
  const { body } = message;
  if (message.type !== RTM_NEWROUTE || body.length < 12) return undefined;
  if (body[4] !== table || body[5] !== routeProtocol || body[7] !== type) return undefined;
  return { family: body[0] === 2 ? 4 : 6, prefixLength: body[1], attributes: parseAttributes(body.subarray(12)) };
}

/** Ours, in both families, in any order. */
export async function readOwnRoutes(runner: Pick<CommandRunner, 'netns'>): Promise<OwnRoute[]> {
  return withRouteSocket(runner.netns, (socket) => {
    const routes: OwnRoute[] = [];
    for (const family of [4, 6] as const)
      for (const message of socket.dump(
        RTM_GETROUTE,
        [routeHeader(family, 0, RT_TABLE_LOCAL, RTN_LOCAL, 0)],
        'reading local routes',
      )) {
        const route = parseOwnRoute(message, RT_TABLE_LOCAL, RTN_LOCAL);
        if (!route || route.family !== family) continue;
        const bytes = route.attributes.get(RTA_DST) ?? new Uint8Array(family === 4 ? 4 : 16);
        routes.push({ family, destination: renderDestination(addressFromBytes(bytes), route.prefixLength) });
      }
    return routes;
  });
}

/**
 * Additions first, so that a range cut into smaller blocks is ours at every moment. Idempotent: a route that is there
 * already or is gone already is not an error. Throws `kernel-refused`; then some may have been done (the caller undoes).
 */
export async function applyRoutes(
  runner: Pick<CommandRunner, 'netns'>,
  add: readonly OwnRoute[],
  remove: readonly OwnRoute[],
): Promise<void> {
  withRouteSocket(runner.netns, (socket) => {
    socket.change(add.map((route) => localRoute(route, RTM_NEWROUTE)));
    socket.change(remove.map((route) => localRoute(route, RTM_DELROUTE)));
  });
}

function localRoute({ family, destination }: OwnRoute, type: number): RouteRequest {
  const range = parseRange(destination);
  const prefixLength = Number(destination.slice(destination.indexOf('/') + 1));
  const body: NetlinkParts = [
    routeHeader(family, prefixLength, RT_TABLE_LOCAL, RTN_LOCAL, family === 4 ? RT_SCOPE_HOST : 0),
    attribute(RTA_DST, addressBytes({ family, value: range?.first ?? 0n })),
    attribute(RTA_OIF, longOf(loopbackIndex)),
  ];
  const what = `route local ${destination}`;
  return type === RTM_DELROUTE
    ? { type, body, what, ignore: ['ESRCH'] }
    : { type, flags: NLM_F_CREATE | NLM_F_REPLACE, body, what };
}

/** Removes every route that carries our mark in table local. */
export async function flushOwnRoutes(runner: Pick<CommandRunner, 'netns'>): Promise<void> {
  await applyRoutes(runner, [], await readOwnRoutes(runner));
}
