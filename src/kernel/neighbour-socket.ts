// An AF_PACKET socket that sees and sends ARP and IPv6 neighbour discovery of one interface, nothing else: the filter
// runs in the kernel. Frames are neighbour-frame.ts; what to answer is relay/neighbour-keeper.ts.
// Taps see frames before netdev rules do, so a conflict is seen even where ARP for the dead is dropped.

import { type FilterInstruction, openPacketSocket, type PacketSocket } from './packet-socket.ts';

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
const filter: readonly FilterInstruction[] = [
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

/**
 * Needs CAP_NET_RAW. All multicast is received while it is open (solicited-node groups of a range cannot be joined one
 * by one); behind a switch that snoops MLD the port must be a router port. Throws `not-permitted`, `system-call` (ENODEV).
 */
export const openNeighbourSocket = (options: NeighbourSocketOptions): PacketSocket =>
  openPacketSocket({
    ...options,
    filter,
    bufferBytes: options.bufferBytes ?? 4 << 20,
    receives: { allMulticast: true, all: options.promiscuous ?? false },
  });
