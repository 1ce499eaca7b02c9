// An AF_PACKET socket that sees and sends ARP and IPv6 neighbour discovery of one interface, nothing else: the filter
// runs in the kernel. Frames are neighbour-frame.ts; what to answer is relay/neighbour-keeper.ts.
// Taps see frames before netdev rules do, so a conflict is seen even where ARP for the dead is dropped.
// Sources: packet(7), include/uapi/linux/filter.h, netdevice(7).

import {
  AF_PACKET,
  addressOf,
  bindSocket,
  controlDevice,
  insideNetns,
  openSocket,
  SO_ATTACH_FILTER,
  SOCK_RAW,
  SOL_SOCKET,
  setSocketOption,
} from './libc.ts';
import { macText } from './saved-syn.ts';
import { renderLinkAddress } from './socket-address.ts';
import { orClose, setReceiveBuffer } from './tproxy-socket.ts';

const ETH_P_ALL = 3;
const SOL_PACKET = 263;
const PACKET_ADD_MEMBERSHIP = 1;
const PACKET_IGNORE_OUTGOING = 23;
const PACKET_MR_PROMISC = 1;
const PACKET_MR_ALLMULTI = 2;
const SIOCGIFHWADDR = 0x8927;
const SIOCGIFINDEX = 0x8933;

export interface NeighbourSocket {
  readonly fd: number;
  readonly interfaceIndex: number;
  /** The interface's own MAC, or `00:00:00:00:00:00`. */
  readonly mac: string;
}

export interface NeighbourSocketOptions {
  readonly interface: string;
  readonly netns?: string;
  /**
   * Ask the interface for every frame, not only those to its own MAC. Kept by the kernel as long as the socket is open
   * and not shown as a flag of the link, so nothing has to be restored.
   */
  readonly promiscuous?: boolean;
  readonly bufferBytes?: number;
}

/** ARP (0x0806), or IPv6 (0x86dd) with ICMPv6 (58) of type 135 or 136; classic BPF on the Ethernet frame. */
const program: readonly (readonly [number, number, number, number])[] = [
  [0x28, 0, 0, 12],
  [0x15, 6, 0, 0x0806],
  [0x15, 0, 6, 0x86dd],
  [0x30, 0, 0, 20],
  [0x15, 0, 4, 58],
  [0x30, 0, 0, 54],
  [0x15, 1, 0, 135],
  [0x15, 0, 1, 136],
  [0x06, 0, 0, 0x40000],
  [0x06, 0, 0, 0],
];

function attachFilter(fd: number): void {
  const filter = new Uint8Array(program.length * 8);
  const view = new DataView(filter.buffer);
  for (const [index, [code, whenTrue, whenFalse, value]] of program.entries()) {
    view.setUint16(index * 8, code, true);
    filter[index * 8 + 2] = whenTrue;
    filter[index * 8 + 3] = whenFalse;
    view.setUint32(index * 8 + 4, value, true);
  }
  const descriptor = new Uint8Array(16);
  new DataView(descriptor.buffer).setUint16(0, program.length, true);
  new DataView(descriptor.buffer).setBigUint64(8, addressOf(filter), true);
  setSocketOption(fd, SOL_SOCKET, SO_ATTACH_FILTER, descriptor);
}

function interfaceRequest(fd: number, request: number, name: string): DataView {
  const argument = new Uint8Array(40);
  argument.set(Buffer.from(name).subarray(0, 15));
  controlDevice(fd, request, argument);
  return new DataView(argument.buffer);
}

function joinMode(fd: number, interfaceIndex: number, mode: number): void {
  const membership = new Uint8Array(16);
  new DataView(membership.buffer).setInt32(0, interfaceIndex, true);
  new DataView(membership.buffer).setUint16(4, mode, true);
  setSocketOption(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, membership);
}

/**
 * Needs CAP_NET_RAW. All multicast is received while it is open (solicited-node groups of a range cannot be joined one
 * by one); behind a switch that snoops MLD the port must be a router port. Throws `not-permitted`, `system-call` (ENODEV).
 */
export function openNeighbourSocket(options: NeighbourSocketOptions): NeighbourSocket {
  return insideNetns(options.netns, () => {
    // Protocol 0 receives nothing: the filter is in place before the bind turns reception on.
    const fd = openSocket(AF_PACKET, SOCK_RAW, 0);
    return orClose(fd, () => {
      attachFilter(fd);
      const interfaceIndex = interfaceRequest(fd, SIOCGIFINDEX, options.interface).getInt32(16, true);
      const hardware = interfaceRequest(fd, SIOCGIFHWADDR, options.interface);
      const mac = macText(new Uint8Array(hardware.buffer), 18) ?? '00:00:00:00:00:00';
      setSocketOption(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, 1);
      setReceiveBuffer(fd, options.bufferBytes ?? 4 << 20);
      joinMode(fd, interfaceIndex, PACKET_MR_ALLMULTI);
      if (options.promiscuous) joinMode(fd, interfaceIndex, PACKET_MR_PROMISC);
      bindSocket(fd, renderLinkAddress(interfaceIndex, ETH_P_ALL));
      return { fd, interfaceIndex, mac };
    });
  });
}
