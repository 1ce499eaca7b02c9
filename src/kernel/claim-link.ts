// Decoys that have something of their own in the kernel instead of a route for all: an address on a link, or a macvlan
// device with MAC and address. Reads, makes and removes those with our mark, by netlink; which ones is plan/claims.ts.
// Sources: rtnetlink(7), include/uapi/linux/{if_link,if_addr}.h, Documentation/networking/ip-sysctl.rst.

import { writeFileSync } from 'node:fs';
import { WeirError } from '../base/errors.ts';
import { type Address, addressBytes, addressFromBytes, renderAddress } from '../model/address.ts';
import { routeProtocol } from './ip-route.ts';
import { insideNetns } from './libc.ts';
import { attribute, joinBytes, longIn, longOf, nested, parseAttributes, textIn, textOf } from './netlink-message.ts';
import { NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, type RouteRequest, type RouteSocket, withRouteSocket } from './route-socket.ts';

/** One decoy with something of its own. Canonical: equal ones have equal `claimKey`. */
export interface OwnClaim {
  readonly way: 'macvlan' | 'address';
  /** The interface whose neighbours meet the decoy. */
  readonly link: string;
  readonly address: Address;
  /** Of a macvlan device. */
  readonly device?: string;
  readonly mac?: string;
}

/** The owner's mark: names of our macvlan devices, `weir-` and eight hexadecimal digits. */
export const isClaimDevice = (name: string): boolean => /^weir-[0-9a-f]{8}$/.test(name);

export const claimKey = ({ way, link, address, device, mac }: OwnClaim): string =>
  `${way} ${renderAddress(address)} ${link} ${device ?? ''} ${mac ?? ''}`;

/** What changes between two lists. */
export function compareClaims(wanted: readonly OwnClaim[], there: readonly OwnClaim[]): { add: OwnClaim[]; remove: OwnClaim[] } {
  const before = new Set(there.map(claimKey));
  const after = new Set(wanted.map(claimKey));
  return {
    add: wanted.filter((claim) => !before.has(claimKey(claim))),
    remove: there.filter((claim) => !after.has(claimKey(claim))),
  };
}

const RTM_NEWLINK = 16;
const RTM_DELLINK = 17;
const RTM_GETLINK = 18;
const RTM_NEWADDR = 20;
const RTM_DELADDR = 21;
const RTM_GETADDR = 22;
const IFLA_ADDRESS = 1;
const IFLA_IFNAME = 3;
const IFLA_LINK = 5;
const IFLA_LINKINFO = 18;
const IFLA_IFALIAS = 20;
const IFLA_LINK_NETNSID = 37;
const IFLA_INFO_KIND = 1;
const IFLA_INFO_DATA = 2;
const IFLA_MACVLAN_MODE = 1;
const MACVLAN_MODE_BRIDGE = 4;
const IFA_ADDRESS = 1;
const IFA_LOCAL = 2;
const IFA_CACHEINFO = 6;
const IFA_FLAGS = 8;
/** Since Linux 5.18: who made the address. */
const IFA_PROTO = 11;
const IFA_F_NODAD = 2;
const IFA_F_NOPREFIXROUTE = 0x200;
const IFF_UP = 1;
const forever = 0xffffffff;

const linkHeader = (index: number, flags = 0, change = 0): Uint8Array =>
  joinBytes([new Uint8Array(4), longOf(index), longOf(flags), longOf(change)]);

interface LinkFacts {
  readonly index: number;
  readonly name: string;
  readonly mac: string;
  readonly up: boolean;
  readonly kind: string;
  /** Index of the device below, in the same namespace. */
  readonly below?: number;
}

function readLinks(socket: RouteSocket): LinkFacts[] {
  const links: LinkFacts[] = [];
  for (const { type, body } of socket.dump(RTM_GETLINK, [linkHeader(0)], 'reading links')) {
    if (type !== RTM_NEWLINK || body.length < 16) continue;
    const view = new DataView(body.buffer, body.byteOffset, body.length);
    const attributes = parseAttributes(body.subarray(16));
    const info = parseAttributes(attributes.get(IFLA_LINKINFO) ?? new Uint8Array(0));
    const here = !attributes.has(IFLA_LINK_NETNSID) && attributes.has(IFLA_LINK);
    links.push({
      index: view.getInt32(4, true),
      name: textIn(attributes.get(IFLA_IFNAME)),
      mac: [...(attributes.get(IFLA_ADDRESS) ?? [])].map((byte) => byte.toString(16).padStart(2, '0')).join(':'),
      up: (view.getUint32(8, true) & IFF_UP) !== 0,
      kind: textIn(info.get(IFLA_INFO_KIND)),
      ...(here ? { below: longIn(attributes.get(IFLA_LINK)) } : {}),
    });
  }
  return links;
}

function readMarkedAddresses(socket: RouteSocket): { index: number; address: Address }[] {
  const found: { index: number; address: Address }[] = [];
  for (const { type, body } of socket.dump(RTM_GETADDR, [new Uint8Array(8)], 'reading addresses')) {
    if (type !== RTM_NEWADDR || body.length < 8) continue;
    const attributes = parseAttributes(body.subarray(8));
    const bytes = attributes.get(IFA_LOCAL) ?? attributes.get(IFA_ADDRESS);
    if (attributes.get(IFA_PROTO)?.[0] !== routeProtocol || !bytes) continue;
    if (body[1] === bytes.length * 8) found.push({ index: longIn(body.subarray(4)), address: addressFromBytes(bytes) });
  }
  return found;
}

export interface PresentClaims {
  /** Those that work as they should, in any order. */
  readonly claims: readonly OwnClaim[];
  /** Devices with our mark that do not (down, without address): to be removed, and made anew where wanted. */
  readonly broken: readonly string[];
}

export function readOwnClaims(netns: string | undefined): PresentClaims {
  return withRouteSocket(netns, (socket) => {
    const links = new Map(readLinks(socket).map((link) => [link.index, link]));
    const claims: OwnClaim[] = [];
    const whole = new Set<string>();
    for (const { index, address } of readMarkedAddresses(socket)) {
      const link = links.get(index);
      if (!link) continue;
      if (!isClaimDevice(link.name)) claims.push({ way: 'address', link: link.name, address });
      else if (link.kind === 'macvlan' && link.up) {
        const below = link.below === undefined ? undefined : links.get(link.below);
        claims.push({ way: 'macvlan', link: below?.name ?? '', address, device: link.name, mac: link.mac });
        whole.add(link.name);
      }
    }
    const ours = [...links.values()].filter(({ name, kind }) => isClaimDevice(name) && kind === 'macvlan');
    const broken = ours.map(({ name }) => name).filter((name) => !whole.has(name));
    return { claims, broken };
  });
}

/** Makes it so. Throws as applyClaims does. */
export function settleClaims(netns: string | undefined, wanted: readonly OwnClaim[]): void {
  const { claims, broken } = readOwnClaims(netns);
  const { add, remove } = compareClaims(wanted, claims);
  applyClaims(netns, add, remove, broken);
}

/**
 * Removes, then adds. Idempotent. `broken` are devices with our mark to be removed as well. Throws `kernel-refused` with
 * the kernel's words; some may have been done then. Needs CAP_NET_ADMIN.
 */
export function applyClaims(
  netns: string | undefined,
  add: readonly OwnClaim[],
  remove: readonly OwnClaim[],
  broken: readonly string[] = [],
): void {
  if (add.length + remove.length + broken.length === 0) return;
  withRouteSocket(netns, (socket) => {
    const links = readLinks(socket);
    const indexes = new Map(links.map(({ name, index }) => [name, index]));
    // What is made anew goes first. A device of another kind is somebody else's, whatever its name.
    const unwanted = new Set([...broken, ...[...remove, ...add].flatMap(({ device }) => device ?? [])]);
    const devices = links.filter(({ name, kind }) => unwanted.has(name) && kind === 'macvlan' && isClaimDevice(name));
    socket.change(
      devices.map(({ name, index }) => ({
        type: RTM_DELLINK,
        body: [linkHeader(index)],
        what: `link ${name}`,
        ignore: ['ENODEV'],
      })),
    );
    socket.change(remove.filter(({ way }) => way === 'address').flatMap((claim) => removeAddress(claim, indexes)));
    addMacvlans(
      netns,
      socket,
      add.filter(({ way }) => way === 'macvlan'),
      indexes,
    );
    socket.change(
      add
        .filter(({ way }) => way === 'address')
        .map(({ link, address }) => addressRequest(RTM_NEWADDR, address, indexOf(link, indexes), link)),
    );
  });
}

function removeAddress({ link, address }: OwnClaim, indexes: Map<string, number>): RouteRequest[] {
  const index = indexes.get(link);
  return index === undefined ? [] : [addressRequest(RTM_DELADDR, address, index, link)];
}

function addMacvlans(
  netns: string | undefined,
  socket: RouteSocket,
  claims: readonly OwnClaim[],
  indexes: Map<string, number>,
): void {
  if (claims.length === 0) return;
  socket.change(claims.map((claim) => createMacvlan(claim, indexes)));
  const made = new Map(readLinks(socket).map(({ name, index }) => [name, index]));
  // Before the device is up and has its address: at no moment does it speak for itself.
  insideNetns(netns, () => {
    for (const { device, address } of claims) writeSettings(device ?? '', address);
  });
  socket.change(
    claims.flatMap(({ device = '', address }) => {
      const index = indexOf(device, made);
      const what = `link ${device}`;
      return [
        {
          type: RTM_NEWLINK,
          body: [linkHeader(index), attribute(IFLA_IFALIAS, textOf(`weir decoy ${renderAddress(address)}`))],
          what,
        },
        { type: RTM_NEWLINK, body: [linkHeader(index, IFF_UP, IFF_UP)], what },
        addressRequest(RTM_NEWADDR, address, index, device),
      ];
    }),
  );
}

function createMacvlan({ link, device = '', mac = '' }: OwnClaim, indexes: Map<string, number>): RouteRequest {
  if (!isClaimDevice(device)) throw new WeirError('fault', `not a name for a macvlan device: ${device}`);
  const data = nested(IFLA_INFO_DATA, [attribute(IFLA_MACVLAN_MODE, longOf(MACVLAN_MODE_BRIDGE))]);
  return {
    type: RTM_NEWLINK,
    flags: NLM_F_CREATE | NLM_F_EXCL,
    what: `macvlan ${device} on ${link}`,
    body: [
      linkHeader(0),
      attribute(IFLA_IFNAME, textOf(device)),
      attribute(IFLA_LINK, longOf(indexOf(link, indexes))),
      attribute(
        IFLA_ADDRESS,
        Uint8Array.from(mac.split(':', 6), (byte) => Number.parseInt(byte, 16)),
      ),
      nested(IFLA_LINKINFO, [attribute(IFLA_INFO_KIND, textOf('macvlan')), data]),
    ],
  };
}

/** A device that answers for its own address alone, takes what comes from anywhere, and configures nothing by itself. */
function writeSettings(device: string, { family }: Address): void {
  const settings: [string, string][] = [
    [`ipv4/conf/${device}/arp_ignore`, '1'],
    [`ipv4/conf/${device}/arp_announce`, '2'],
    [`ipv4/conf/${device}/rp_filter`, '2'],
    ...(family === 4
      ? ([[`ipv6/conf/${device}/disable_ipv6`, '1']] as [string, string][])
      : ([
          [`ipv6/conf/${device}/addr_gen_mode`, '1'],
          [`ipv6/conf/${device}/accept_ra`, '0'],
          [`ipv6/conf/${device}/autoconf`, '0'],
        ] as [string, string][])),
  ];
  for (const [key, value] of settings)
    try {
      writeFileSync(`/proc/sys/net/${key}`, value);
    } catch (error) {
      // Without IPv6 in the kernel there is nothing to switch off.
      if (key.startsWith('ipv6/') && family === 4) continue;
      throw new WeirError('kernel-refused', `cannot write /proc/sys/net/${key}`, { key }, error);
    }
}

/** Scope global: an address of a narrower scope would come before the machine's own in the kernel's list. */
function addressRequest(type: number, address: Address, index: number, link: string): RouteRequest {
  const { family } = address;
  const bytes = addressBytes(address);
  const header = joinBytes([Uint8Array.of(family === 4 ? 2 : 10, bytes.length * 8, 0, 0), longOf(index)]);
  const flags = family === 4 ? IFA_F_NOPREFIXROUTE : IFA_F_NOPREFIXROUTE | IFA_F_NODAD;
  const body = [header, attribute(IFA_LOCAL, bytes), attribute(IFA_ADDRESS, bytes)];
  const what = `address ${renderAddress(address)} on ${link}`;
  if (type === RTM_DELADDR) return { type, body, what, ignore: ['EADDRNOTAVAIL'] };
  body.push(attribute(IFA_FLAGS, longOf(flags)), attribute(IFA_PROTO, Uint8Array.of(routeProtocol)));
  // Deprecated from the start (RFC 4862, 5.5.4): answers, but is no source for what the machine begins itself.
  if (family === 6) body.push(attribute(IFA_CACHEINFO, joinBytes([longOf(0), longOf(forever), longOf(0), longOf(0)])));
  return { type, flags: NLM_F_CREATE | NLM_F_REPLACE, body, what };
}

function indexOf(name: string, indexes: ReadonlyMap<string, number>): number {
  const index = indexes.get(name);
  if (index === undefined) throw new WeirError('kernel-refused', `there is no interface ${name}`, { link: name });
  return index;
}
