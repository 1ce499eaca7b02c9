// An AF_PACKET socket on one interface that shows what a classic BPF program lets through, and sends whole frames. What the
// programs choose is neighbour-socket.ts and name-socket.ts.
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
const PACKET_MR_MULTICAST = 0;
const PACKET_MR_PROMISC = 1;
const PACKET_MR_ALLMULTI = 2;
const SIOCGIFHWADDR = 0x8927;
const SIOCGIFINDEX = 0x8933;

/** Code, jump when true, jump when false, operand; jumps are counted from the next instruction. */
export type FilterInstruction = readonly [code: number, whenTrue: number, whenFalse: number, operand: number];

export interface PacketSocket {
  readonly fd: number;
  readonly interfaceIndex: number;
  /** The interface's own MAC, or `00:00:00:00:00:00`. */
  readonly mac: string;
  /** ARPHRD_*: what kind of frames it has. */
  readonly hardwareType: number;
}

export interface PacketSocketOptions {
  readonly interface: string;
  readonly netns?: string;
  readonly filter: readonly FilterInstruction[];
  readonly bufferBytes: number;
  /** Shows also what this machine sends. */
  readonly outgoing?: boolean;
  /** Options to set before the first frame can come. */
  readonly prepare?: (fd: number) => void;
  /** What the interface is asked to receive beside frames for its own MAC, as long as the socket is open. */
  readonly receives: { readonly all?: boolean; readonly allMulticast?: boolean; readonly groups?: readonly string[] };
}

/** Of any socket, in the kernel (SO_ATTACH_FILTER, socket(7)). */
export function attachFilter(fd: number, program: readonly FilterInstruction[]): void {
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

function join(fd: number, interfaceIndex: number, mode: number, mac?: string): void {
  const membership = new Uint8Array(16);
  const view = new DataView(membership.buffer);
  view.setInt32(0, interfaceIndex, true);
  view.setUint16(4, mode, true);
  if (mac) {
    view.setUint16(6, 6, true);
    membership.set(
      mac.split(':').map((part) => Number.parseInt(part, 16)),
      8,
    );
  }
  setSocketOption(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, membership);
}

/** Needs CAP_NET_RAW. Frames we send are not shown unless asked for. Throws `not-permitted`, `system-call` (ENODEV). */
export function openPacketSocket(options: PacketSocketOptions): PacketSocket {
  return insideNetns(options.netns, () => {
    // Protocol 0 receives nothing: the filter is in place before the bind turns reception on.
    const fd = openSocket(AF_PACKET, SOCK_RAW, 0);
    return orClose(fd, () => {
      attachFilter(fd, options.filter);
      const interfaceIndex = interfaceRequest(fd, SIOCGIFINDEX, options.interface).getInt32(16, true);
      const hardware = interfaceRequest(fd, SIOCGIFHWADDR, options.interface);
      const hardwareType = hardware.getUint16(16, true);
      const mac = macText(new Uint8Array(hardware.buffer), 18) ?? '00:00:00:00:00:00';
      if (!options.outgoing) setSocketOption(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, 1);
      setReceiveBuffer(fd, options.bufferBytes);
      options.prepare?.(fd);
      const { all, allMulticast, groups = [] } = options.receives;
      for (const group of groups) join(fd, interfaceIndex, PACKET_MR_MULTICAST, group);
      if (allMulticast) join(fd, interfaceIndex, PACKET_MR_ALLMULTI);
      if (all) join(fd, interfaceIndex, PACKET_MR_PROMISC);
      bindSocket(fd, renderLinkAddress(interfaceIndex, ETH_P_ALL));
      return { fd, interfaceIndex, mac, hardwareType };
    });
  });
}
