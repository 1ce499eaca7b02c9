// Which way the kernel would send one packet, asked of the kernel itself (RTM_GETROUTE); that there is none is an answer too. All routes are
// route-reader.ts.
// Sources: rtnetlink(7); net/ipv4/route.c (inet_rtm_getroute), ip-route(8) `route get`.

import { WeirError } from '../../base/errors.ts';
import { type Address, addressBytes, bitsOf } from '../../model/address.ts';
import type { MachineRoute } from '../../model/machine.ts';
import { IFLA_IFNAME, linkHeader, RTM_GETLINK } from '../link-message.ts';
import { attribute, longIn, longOf, parseAttributes, textIn, textOf } from '../netlink-message.ts';
import { type RouteSocket, withRouteSocket } from '../route-socket.ts';
import { parseMachineRoute } from './route-reader.ts';

export interface RouteQuestion {
  readonly to: Address;
  readonly from?: Address;
  /** As if the packet had come in here: then reverse-path filtering and forwarding are judged too. */
  readonly iif?: string;
  readonly oif?: string;
  readonly mark?: number;
  readonly uid?: number;
}

/**
 * `none` with the kernel's error: ENETUNREACH (no route), EINVAL (blackhole, or rp_filter refuses the source as it comes in), EACCES
 * (prohibit), EHOSTUNREACH (unreachable), ENODEV (no such device).
 */
export type RouteAnswer =
  | {
      readonly kind: 'route';
      readonly route: MachineRoute;
      readonly device?: string;
      readonly via?: Address;
      readonly source?: Address;
    }
  | { readonly kind: 'none'; readonly errno: string };

const RTM_GETROUTE = 26;
const RTM_F_LOOKUP_TABLE = 0x1000;
const RTA_DST = 1;
const RTA_SRC = 2;
const RTA_IIF = 3;
const RTA_OIF = 4;
const RTA_MARK = 16;
const RTA_UID = 25;

const indexOf = (socket: RouteSocket, name: string): number => {
  const message = socket.get(RTM_GETLINK, [linkHeader(0), attribute(IFLA_IFNAME, textOf(name))], `reading link ${name}`);
  return message ? longIn(message.body.subarray(4)) : 0;
};

const nameOf = (socket: RouteSocket, index: number): string | undefined => {
  const message = socket.get(RTM_GETLINK, [linkHeader(index)], `reading link ${index}`);
  return message && textIn(parseAttributes(message.body.subarray(16)).get(IFLA_IFNAME));
};

/** Of one namespace (a path; undefined: this one). Needs no privilege there. Throws `not-found` (no such namespace), `not-permitted`. */
export const routeGet = (netns: string | undefined, question: RouteQuestion): RouteAnswer =>
  withRouteSocket(netns, (socket) => askRoute(socket, question));

/** As routeGet, on a socket that is open already: for many questions. */
export function askRoute(socket: RouteSocket, { to, from, iif, oif, mark, uid }: RouteQuestion): RouteAnswer {
  const iifIndex = iif === undefined ? 0 : indexOf(socket, iif);
  const oifIndex = oif === undefined ? 0 : indexOf(socket, oif);
  if ((iif !== undefined && iifIndex === 0) || (oif !== undefined && oifIndex === 0)) return { kind: 'none', errno: 'ENODEV' };
  const header = new Uint8Array(12);
  header[0] = to.family === 4 ? 2 : 10;
  header[1] = bitsOf(to.family);
  header[2] = from ? bitsOf(from.family) : 0;
  new DataView(header.buffer).setUint32(8, to.family === 4 ? RTM_F_LOOKUP_TABLE : 0, true);
  const body = [
    header,
    attribute(RTA_DST, addressBytes(to)),
    ...(from ? [attribute(RTA_SRC, addressBytes(from))] : []),
    ...(iifIndex ? [attribute(RTA_IIF, longOf(iifIndex))] : []),
    ...(oifIndex ? [attribute(RTA_OIF, longOf(oifIndex))] : []),
    ...(mark ? [attribute(RTA_MARK, longOf(mark))] : []),
    ...(uid === undefined ? [] : [attribute(RTA_UID, longOf(uid))]),
  ];
  try {
    const message = socket.get(RTM_GETROUTE, body, 'asking for a route');
    if (!message) return { kind: 'none', errno: 'ENOENT' };
    const names = { get: (index: number) => nameOf(socket, index) };
    const route = parseMachineRoute(message, names, true);
    if (!route) return { kind: 'none', errno: 'ENOENT' };
    const error = errnoOfType[route.type];
    if (error !== undefined) return { kind: 'none', errno: error };
    const [hop] = route.hops;
    return {
      kind: 'route',
      route,
      ...(hop?.device === undefined ? {} : { device: hop.device }),
      ...(hop?.via === undefined ? {} : { via: hop.via }),
      ...(route.source === undefined ? {} : { source: route.source }),
    };
  } catch (error) {
    if (error instanceof WeirError && error.code === 'kernel-refused' && typeof error.details.errno === 'string')
      return { kind: 'none', errno: error.details.errno };
    throw error;
  }
}

/** IPv6 gives such a route as an answer where IPv4 gives an error. */
const errnoOfType: Readonly<Record<string, string>> = { blackhole: 'EINVAL', prohibit: 'EACCES', unreachable: 'EHOSTUNREACH' };
