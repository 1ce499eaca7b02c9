// How many bytes each flow moves over one device, both ways, counted in the kernel: a BPF program on a packet socket adds up and hands no
// packet over. The truth of the wire for `weir who`; whose flow it is is netops/who. Bounded: what finds no room is counted in one sum.
// Sources: packet(7), bpf-helpers(7), include/uapi/linux/bpf.h (struct __sk_buff).

import { type Address, addressFromBytes } from '../../model/address.ts';
import { type BpfMapShape, createBpfMap, loadBpfProgram, readBpfEntry, takeBpfEntries } from '../bpf.ts';
import { BpfProgram, bpfHelpers } from '../bpf-program.ts';
import {
  AF_PACKET,
  bindSocket,
  closeDescriptor,
  controlDevice,
  insideNetns,
  openSocket,
  SOCK_DGRAM,
  SOL_SOCKET,
  setSocketOption,
} from '../libc.ts';
import { renderLinkAddress } from '../socket-address.ts';

/** One direction of a flow; ports are 0 for protocols without, for fragments after the first, and behind IPv6 extension headers. */
export interface TalliedFlow {
  readonly protocol: number;
  readonly outgoing: boolean;
  readonly source: Address;
  readonly sourcePort: number;
  readonly destination: Address;
  readonly destinationPort: number;
  readonly packets: number;
  /** From the IP header on. */
  readonly bytes: number;
}

export interface Tally {
  readonly flows: readonly TalliedFlow[];
  /** What is no IP, or had no room. */
  readonly other: { readonly packets: number; readonly bytes: number };
}

const SO_ATTACH_BPF = 50;
const SIOCGIFINDEX = 0x8933;
const ETH_P_ALL = 3;
const PACKET_OUTGOING = 4;
const BPF_HDR_START_NET = 1;
const BPF_NOEXIST = 1;
const maxFlows = 65_536;
/** Places in the key: family, protocol, direction, ports, addresses. */
const keyBytes = 40;
const shape: BpfMapShape = { type: 'hash', keyBytes, valueBytes: 16, entries: maxFlows };
const otherShape: BpfMapShape = { type: 'array', keyBytes: 4, valueBytes: 16, entries: 1 };

// Places on the program's stack.
const key = -40;
const header = -80;
const ports = -88;
const fresh = -104;
const zero = -112;

/** Of `length` bytes from `start` (a register holds it, or 0) of the network header, to the stack. */
const loadHeader = (program: BpfProgram, to: number, length: number, start?: 8): BpfProgram => {
  program.copy(1, 6);
  if (start === undefined) program.set(2, 0);
  else program.copy(2, start);
  return program.stack(3, to).set(4, length).set(5, BPF_HDR_START_NET).call(bpfHelpers.loadBytesRelative);
};

/** Counts the packet it is shown and lets none through. */
export function renderTallyProgram(flows: number, other: number): Uint8Array {
  const program = new BpfProgram().copy(6, 1);
  for (let at = key; at < 0; at += 8) program.storeValue(8, 10, at, 0);
  loadHeader(program, header, 20)
    .jumpWhen('unequal', 0, 0, 'other')
    .load(1, 7, 10, header)
    .calculate('shiftRight', 7, 4)
    .jumpWhen('equal', 7, 4, 'four')
    .jumpWhen('equal', 7, 6, 'six')
    .jump('other')
    .label('four')
    .storeValue(1, 10, key, 4)
    .load(1, 9, 10, header + 9)
    .store(1, 10, key + 1, 9)
    .load(4, 1, 10, header + 12)
    .store(4, 10, key + 8, 1)
    .load(4, 1, 10, header + 16)
    .store(4, 10, key + 24, 1)
    // The fragment's offset, as its two bytes are read here.
    .load(2, 1, 10, header + 6)
    .calculate('and', 1, 0xff1f)
    .jumpWhen('unequal', 1, 0, 'direction')
    .load(1, 8, 10, header)
    .calculate('and', 8, 15)
    .calculate('shiftLeft', 8, 2)
    .jump('ports')
    .label('six');
  loadHeader(program, header, 40)
    .jumpWhen('unequal', 0, 0, 'other')
    .storeValue(1, 10, key, 6)
    .load(1, 9, 10, header + 6)
    .store(1, 10, key + 1, 9);
  for (let at = 8; at < 40; at += 8) program.load(8, 1, 10, header + at).store(8, 10, key + at, 1);
  program
    .set(8, 40)
    .label('ports')
    .jumpWhen('equal', 9, 6, 'with ports')
    .jumpWhen('equal', 9, 17, 'with ports')
    .jumpWhen('unequal', 9, 132, 'direction')
    .label('with ports');
  loadHeader(program, ports, 4, 8)
    .jumpWhen('unequal', 0, 0, 'direction')
    .load(4, 1, 10, ports)
    .store(4, 10, key + 4, 1)
    .label('direction')
    .load(4, 1, 6, 4)
    .jumpWhen('unequal', 1, PACKET_OUTGOING, 'look up')
    .storeValue(1, 10, key + 2, 1)
    .label('look up')
    .map(1, flows)
    .stack(2, key)
    .call(bpfHelpers.mapLookup)
    .jumpWhen('unequal', 0, 0, 'count')
    .storeValue(8, 10, fresh, 0)
    .storeValue(8, 10, fresh + 8, 0)
    .map(1, flows)
    .stack(2, key)
    .stack(3, fresh)
    .set(4, BPF_NOEXIST)
    .call(bpfHelpers.mapUpdate)
    .map(1, flows)
    .stack(2, key)
    .call(bpfHelpers.mapLookup)
    .jumpWhen('unequal', 0, 0, 'count')
    .label('other')
    .storeValue(4, 10, zero, 0)
    .map(1, other)
    .stack(2, zero)
    .call(bpfHelpers.mapLookup)
    .jumpWhen('equal', 0, 0, 'end')
    .label('count')
    .set(1, 1)
    .addInMemory(0, 0, 1)
    .load(4, 1, 6, 0)
    .addInMemory(0, 8, 1)
    .label('end')
    .exit(0);
  return program.render();
}

export class FlowTally {
  readonly device: string;
  readonly #socket: number;
  readonly #flows: number;
  readonly #other: number;
  #otherPackets = 0;
  #otherBytes = 0;

  /**
   * Counts from now on, until it is closed. Needs CAP_NET_RAW in the namespace, CAP_BPF in the first one. Throws `not-permitted`,
   * `kernel-missing`, `system-call` (ENODEV: no such device), `not-found` (no such namespace).
   */
  constructor(netns: string | undefined, device: string) {
    this.device = device;
    const opened: number[] = [];
    const keep = (fd: number): number => {
      opened.push(fd);
      return fd;
    };
    try {
      // Protocol 0 receives nothing: the program is there before the bind turns reception on.
      this.#socket = keep(insideNetns(netns, () => openSocket(AF_PACKET, SOCK_DGRAM, 0)));
      const request = new Uint8Array(40);
      request.set(Buffer.from(device).subarray(0, 15));
      controlDevice(this.#socket, SIOCGIFINDEX, request);
      this.#flows = keep(createBpfMap(shape));
      this.#other = keep(createBpfMap(otherShape));
      const program = loadBpfProgram('socketFilter', renderTallyProgram(this.#flows, this.#other));
      try {
        setSocketOption(this.#socket, SOL_SOCKET, SO_ATTACH_BPF, program);
      } finally {
        closeDescriptor(program);
      }
      bindSocket(this.#socket, renderLinkAddress(new DataView(request.buffer).getInt32(16, true), ETH_P_ALL));
    } catch (error) {
      for (const fd of opened) closeDescriptor(fd);
      throw error;
    }
  }

  /** What was counted since the last time. */
  take(): Tally {
    const flows: TalliedFlow[] = [];
    takeBpfEntries(this.#flows, shape, (keys, at, values, valueAt) => {
      const size = keys.getUint8(at) === 4 ? 4 : 16;
      const address = (place: number): Address => addressFromBytes(new Uint8Array(keys.buffer, at + place, size));
      flows.push({
        protocol: keys.getUint8(at + 1),
        outgoing: keys.getUint8(at + 2) === 1,
        sourcePort: keys.getUint16(at + 4),
        destinationPort: keys.getUint16(at + 6),
        source: address(8),
        destination: address(24),
        packets: Number(values.getBigUint64(valueAt, true)),
        bytes: Number(values.getBigUint64(valueAt + 8, true)),
      });
    });
    const sums = new Uint8Array(16);
    readBpfEntry(this.#other, new Uint8Array(4), sums);
    const view = new DataView(sums.buffer);
    const packets = Number(view.getBigUint64(0, true));
    const bytes = Number(view.getBigUint64(8, true));
    const other = { packets: packets - this.#otherPackets, bytes: bytes - this.#otherBytes };
    this.#otherPackets = packets;
    this.#otherBytes = bytes;
    return { flows, other };
  }

  /** Once. */
  close(): void {
    for (const fd of [this.#socket, this.#flows, this.#other]) closeDescriptor(fd);
  }
}
