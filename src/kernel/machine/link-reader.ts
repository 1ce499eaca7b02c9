// Links with their addresses, neighbours and queueing disciplines of one network namespace, by rtnetlink. Routes and rules are
// route-reader.ts. Reads only, no privilege needed in the namespace one is in.
// Sources: rtnetlink(7), include/uapi/linux/if_link.h, if_addr.h, neighbour.h, pkt_sched.h, gen_stats.h.

import { addressFromBytes } from '../../model/address.ts';
import type { MachineLink, MachineNeighbour, MachineQdisc } from '../../model/machine.ts';
import { longIn, type NetlinkMessage, parseAttributes, textIn } from '../netlink-message.ts';
import type { RouteSocket } from '../route-socket.ts';

const RTM_NEWLINK = 16;
const RTM_GETLINK = 18;
const RTM_GETADDR = 22;
const RTM_GETNEIGH = 30;
const RTM_GETQDISC = 38;
const IFLA_ADDRESS = 1;
const IFLA_IFNAME = 3;
const IFLA_MTU = 4;
const IFLA_LINK = 5;
const IFLA_QDISC = 6;
const IFLA_MASTER = 10;
const IFLA_OPERSTATE = 16;
const IFLA_LINKINFO = 18;
const IFLA_STATS64 = 23;
const IFLA_LINK_NETNSID = 37;
const IFF_UP = 1;
/** RFC 2863, as IF_OPER_*. */
const operstates = ['unknown', 'notpresent', 'down', 'lowerlayerdown', 'testing', 'dormant', 'up'];
/** Neighbours and qdiscs beyond this are not kept. */
const maxRows = 20_000;

/** Bytes a device counted since it was made. */
export interface LinkCounters {
  readonly index: number;
  readonly name: string;
  readonly receivedBytes: number;
  readonly sentBytes: number;
  readonly receivedPackets: number;
  readonly sentPackets: number;
}

export interface ReadLink extends MachineLink {
  /** Number by which this namespace knows that of the peer; see readPeerNamespaces. */
  readonly peerNamespaceId?: number;
  readonly counters: LinkCounters;
}

const macText = (bytes: Uint8Array | undefined): string =>
  [...(bytes ?? [])].map((b) => b.toString(16).padStart(2, '0')).join(':');

function addressUnder(
  address: ReadAddress['address'],
  label: string | undefined,
  link: string | undefined,
): ReadAddress['address'] {
  if (label === undefined || label === link) return address;
  const { plain, ...labelled } = address;
  return labelled;
}

/** With addresses. */
export function readMachineLinks(socket: RouteSocket): ReadLink[] {
  const addresses = new Map<number, ReadAddress[]>();
  for (const message of socket.dump(RTM_GETADDR, [new Uint8Array(8)], 'reading addresses')) {
    const found = parseAddressMessage(message);
    if (!found) continue;
    const list = addresses.get(found.index);
    if (list) list.push(found);
    else addresses.set(found.index, [found]);
  }
  const links: (ReadLink & { readonly masterIndex: number })[] = [];
  for (const { type, body } of socket.dump(RTM_GETLINK, [new Uint8Array(16)], 'reading links')) {
    if (type !== RTM_NEWLINK || body.length < 16) continue;
    const view = new DataView(body.buffer, body.byteOffset, body.length);
    const index = view.getInt32(4, true);
    const attributes = parseAttributes(body.subarray(16));
    const name = textIn(attributes.get(IFLA_IFNAME));
    const kind = textIn(parseAttributes(attributes.get(IFLA_LINKINFO) ?? new Uint8Array(0)).get(1));
    const below = attributes.get(IFLA_LINK);
    const namespaceId = attributes.get(IFLA_LINK_NETNSID);
    const qdisc = textIn(attributes.get(IFLA_QDISC));
    links.push({
      index,
      name,
      mac: macText(attributes.get(IFLA_ADDRESS)),
      mtu: longIn(attributes.get(IFLA_MTU)),
      ...(kind === '' ? {} : { kind }),
      up: (view.getUint32(8, true) & IFF_UP) !== 0,
      operstate: operstates[attributes.get(IFLA_OPERSTATE)?.[0] ?? 0] ?? 'unknown',
      masterIndex: longIn(attributes.get(IFLA_MASTER)),
      ...(below === undefined || (longIn(below) === index && namespaceId === undefined)
        ? {}
        : { peer: { index: longIn(below) } }),
      ...(namespaceId === undefined ? {} : { peerNamespaceId: longIn(namespaceId) | 0 }),
      addresses: (addresses.get(index) ?? []).map(({ address, label }) => addressUnder(address, label, name)),
      ...(qdisc === '' ? {} : { qdisc }),
      counters: countersOf(index, name, attributes.get(IFLA_STATS64)),
    });
  }
  const names = new Map(links.map(({ index, name }) => [index, name]));
  return links.map(({ masterIndex, ...link }) => {
    const master = names.get(masterIndex);
    return master === undefined ? link : { ...link, master };
  });
}

/** struct rtnl_link_stats64: packets received, packets sent, bytes received, bytes sent. */
function countersOf(index: number, name: string, bytes: Uint8Array | undefined): LinkCounters {
  const view = bytes && bytes.length >= 32 ? new DataView(bytes.buffer, bytes.byteOffset) : undefined;
  const count = (at: number): number => (view ? Number(view.getBigUint64(at, true)) : 0);
  return {
    index,
    name,
    receivedPackets: count(0),
    sentPackets: count(8),
    receivedBytes: count(16),
    sentBytes: count(24),
  };
}

const IFA_ADDRESS = 1;
const IFA_LOCAL = 2;
const IFA_LABEL = 3;
const IFA_BROADCAST = 4;
const IFA_FLAGS = 8;
const IFA_RT_PRIORITY = 9;
const IFA_F_DADFAILED = 0x08;
const IFA_F_TENTATIVE = 0x40;
const IFA_F_PERMANENT = 0x80;

/** Of IPv4, without what only an option of `ip addr add` makes; whether its label is more than the link's name is seen where that is known. */
function isPlain(body: Uint8Array, attributes: ReturnType<typeof parseAttributes>, flags: number): boolean {
  const [local, peer] = [attributes.get(IFA_LOCAL), attributes.get(IFA_ADDRESS)];
  return (
    body[0] === 2 &&
    body[3] === 0 &&
    flags === IFA_F_PERMANENT &&
    !attributes.has(IFA_BROADCAST) &&
    !attributes.has(IFA_RT_PRIORITY) &&
    local !== undefined &&
    (peer === undefined || Buffer.compare(local, peer) === 0)
  );
}

interface ReadAddress {
  readonly index: number;
  readonly address: MachineLink['addresses'][number];
  readonly label?: string;
}

function parseAddressMessage({ body }: NetlinkMessage): ReadAddress | undefined {
  if (body.length < 8) return undefined;
  const attributes = parseAttributes(body.subarray(8));
  const bytes = attributes.get(IFA_LOCAL) ?? attributes.get(IFA_ADDRESS);
  if (!bytes || bytes.length !== (body[0] === 2 ? 4 : 16)) return undefined;
  const flags = attributes.has(IFA_FLAGS) ? longIn(attributes.get(IFA_FLAGS)) : body[2];
  const label = textIn(attributes.get(IFA_LABEL));
  return {
    index: longIn(body.subarray(4)),
    ...(label && { label }),
    address: {
      address: addressFromBytes(bytes),
      prefixLength: body[1],
      usable: (flags & (IFA_F_TENTATIVE | IFA_F_DADFAILED)) === 0,
      ...(isPlain(body, attributes, flags) && { plain: true as const }),
    },
  };
}

/** NUD_* by bit. */
const neighbourStates = ['INCOMPLETE', 'REACHABLE', 'STALE', 'DELAY', 'PROBE', 'FAILED', 'NOARP', 'PERMANENT'];

/** Without those of NOARP, which are no neighbours. `names` are links by index. */
export function readMachineNeighbours(
  socket: RouteSocket,
  names: ReadonlyMap<number, string>,
): { neighbours: MachineNeighbour[]; complete: boolean } {
  const neighbours: MachineNeighbour[] = [];
  const answer = socket.each(RTM_GETNEIGH, [new Uint8Array(12)], 'reading neighbours', ({ body }) => {
    if (body.length < 12 || (body[0] !== 2 && body[0] !== 10)) return true;
    if (neighbours.length >= maxRows) return false;
    const view = new DataView(body.buffer, body.byteOffset, body.length);
    const bits = view.getUint16(8, true);
    const state = bits === 0 ? 'NONE' : neighbourStates.filter((_, bit) => (bits & (1 << bit)) !== 0).join(',');
    const attributes = parseAttributes(body.subarray(12));
    const address = attributes.get(1);
    if (state === 'NOARP' || address?.length !== (body[0] === 2 ? 4 : 16)) return true;
    const mac = attributes.get(2);
    neighbours.push({
      address: addressFromBytes(address),
      device: names.get(view.getInt32(4, true)) ?? '',
      ...(mac === undefined ? {} : { mac: macText(mac) }),
      state,
    });
    return true;
  });
  return { neighbours, complete: answer.complete };
}

const TC_H_ROOT = 0xffff_ffff;
const TCA_KIND = 1;
const TCA_STATS2 = 7;
const TCA_STATS_QUEUE = 3;

const handleText = (handle: number): string => {
  const minor = handle & 0xffff;
  return `${(handle >>> 16).toString(16)}:${minor === 0 ? '' : minor.toString(16)}`;
};

/** Of all devices, with what each dropped since it was made. */
export function readMachineQdiscs(socket: RouteSocket, names: ReadonlyMap<number, string>): MachineQdisc[] {
  const qdiscs: MachineQdisc[] = [];
  for (const { body } of socket.dump(RTM_GETQDISC, [new Uint8Array(20)], 'reading queueing disciplines')) {
    if (body.length < 20 || qdiscs.length >= maxRows) continue;
    const view = new DataView(body.buffer, body.byteOffset, body.length);
    const attributes = parseAttributes(body.subarray(20));
    const kind = textIn(attributes.get(TCA_KIND));
    const queue = parseAttributes(attributes.get(TCA_STATS2) ?? new Uint8Array(0)).get(TCA_STATS_QUEUE);
    const device = names.get(view.getInt32(4, true)) ?? '';
    const drops = longIn(queue?.subarray(8));
    const overlimits = longIn(queue?.subarray(16));
    const parent = view.getUint32(12, true);
    const place = parent === TC_H_ROOT ? 'root' : `parent ${handleText(parent)}`;
    qdiscs.push({
      device,
      kind,
      drops,
      overlimits,
      text: `qdisc ${kind} ${handleText(view.getUint32(8, true))} dev ${device} ${place}: dropped ${drops}, overlimits ${overlimits}`,
    });
  }
  return qdiscs;
}
