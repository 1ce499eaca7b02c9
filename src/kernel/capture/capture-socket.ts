// Live frames of one interface with their times, lengths, directions and VLAN tags, filtered by a classic BPF program, in batches; what
// the kernel had no room for is counted. What becomes of the frames is netops/capture.
// Sources: packet(7), include/uapi/linux/if_packet.h, include/uapi/linux/if_arp.h, net/core/filter.c.

import type { Micros } from '../../base/clock.ts';
import { WeirError } from '../../base/errors.ts';
import {
  closeDescriptor,
  EAGAIN,
  EINTR,
  errnoName,
  readSocketName,
  readSocketOption,
  receiveMessages,
  SOL_SOCKET,
  setSocketOption,
  trySocketOption,
} from '../libc.ts';
import { IFLA_IFNAME, linkHeader, RTM_GETLINK, RTM_NEWLINK } from '../link-message.ts';
import { findControl, MessageBatch } from '../message-header.ts';
import { parseAttributes, textIn } from '../netlink-message.ts';
import { type FilterInstruction, openPacketSocket } from '../packet-socket.ts';
import { Readiness } from '../readiness.ts';
import { withRouteSocket } from '../route-socket.ts';
import { type FilterProgram, wholeFrame } from './filter-program.ts';
import { runFilter } from './run-filter.ts';

const SOL_PACKET = 263;
const PACKET_STATISTICS = 6;
const PACKET_AUXDATA = 8;
const SO_TIMESTAMPNS = 35;
const PACKET_OUTGOING = 4;
const TP_STATUS_VLAN_VALID = 1 << 4;
const TP_STATUS_VLAN_TPID_VALID = 1 << 6;
const [ARPHRD_ETHER, ARPHRD_LOOPBACK, ARPHRD_TUNNEL, ARPHRD_TUNNEL6, ARPHRD_PPP, ARPHRD_NONE] = [1, 772, 768, 769, 512, 65_534];

/** Frames taken at once, and in one turn of the loop: others have a turn too. */
const batchFrames = 32;
const batchesPerTurn = 16;
/** A frame with segmentation offload is up to 64 KiB, with BIG TCP more: the rest is cut, which the length on the wire tells. */
const longestFrame = 66_000;
const bufferBytes = 32 << 20;
const tagBytes = 4;

export interface LiveFrame {
  /** Valid during the call only. */
  readonly bytes: Buffer;
  readonly start: number;
  readonly end: number;
  /** Length on the wire, tags included. */
  readonly wireLength: number;
  readonly at: Micros;
  readonly outgoing: boolean;
}

export interface CaptureSocketOptions {
  readonly interface: string;
  /** Path of a network namespace. */
  readonly netns?: string;
  /** Of this interface's link type; see `linkTypeOfHardware`. */
  readonly program: FilterProgram;
  /** Also frames for other hosts. */
  readonly promiscuous: boolean;
  readonly snap?: number;
}

/** LINKTYPE of an interface's frames by its ARPHRD number; undefined for those that are not read. */
export function linkTypeOfHardware(hardwareType: number): number | undefined {
  if (hardwareType === ARPHRD_ETHER || hardwareType === ARPHRD_LOOPBACK) return 1;
  return [ARPHRD_NONE, ARPHRD_TUNNEL, ARPHRD_TUNNEL6, ARPHRD_PPP].includes(hardwareType) ? 101 : undefined;
}

/** Interfaces of a namespace and their ARPHRD numbers, in the kernel's order. Needs no privilege in this one. */
export const readHardwareTypes = (netns: string | undefined): Map<string, number> =>
  withRouteSocket(netns, (socket) => {
    const found = new Map<string, number>();
    for (const { type, body } of socket.dump(RTM_GETLINK, [linkHeader(0)], 'reading links'))
      if (type === RTM_NEWLINK && body.length >= 16)
        found.set(textIn(parseAttributes(body.subarray(16)).get(IFLA_IFNAME)), body[2] | (body[3] << 8));
    return found;
  });

/**
 * The kernel takes VLAN tags out of frames before filters see them, so `port 80` would match inside a VLAN here and not in a
 * file. Tagged frames are let through to be judged with their tag in place: everywhere the same answer.
 */
export const withTagged = (program: readonly FilterInstruction[]): FilterInstruction[] => [
  [0x20, 0, 0, 0xfffff000 + 48],
  [0x15, 1, 0, 0],
  [0x06, 0, 0, wholeFrame],
  ...program,
];

export class CaptureSocket {
  readonly interface: string;
  readonly linkType: number;
  readonly #fd: number;
  readonly #loopback: boolean;
  readonly #program: FilterProgram;
  readonly #batch: MessageBatch;
  readonly #data: Buffer;
  readonly #tagged: Buffer;
  readonly #control: DataView;
  readonly #statistics = new Uint8Array(12);
  #readiness: Readiness | undefined;
  #dropped = 0;
  #received = 0;
  #open = true;
  #failed: number | undefined;
  #down: number | undefined;

  /** Needs CAP_NET_RAW (CAP_SYS_ADMIN for another namespace). Throws `not-permitted`, `system-call` (ENODEV), `kernel-missing` (its link type). */
  constructor(options: CaptureSocketOptions) {
    const snap = Math.min(options.snap ?? longestFrame, longestFrame);
    const { fd, hardwareType } = openPacketSocket({
      interface: options.interface,
      ...(options.netns === undefined ? {} : { netns: options.netns }),
      filter: withTagged(options.program.instructions),
      bufferBytes,
      outgoing: true,
      receives: { all: options.promiscuous },
      prepare: (descriptor) => {
        setSocketOption(descriptor, SOL_PACKET, PACKET_AUXDATA, 1);
        trySocketOption(descriptor, SOL_SOCKET, SO_TIMESTAMPNS, 1);
      },
    });
    const linkType = linkTypeOfHardware(hardwareType);
    if (linkType !== options.program.linkType) {
      closeDescriptor(fd);
      throw new WeirError('kernel-missing', `frames of ${options.interface} (hardware type ${hardwareType}) are not read`);
    }
    this.#fd = fd;
    this.interface = options.interface;
    this.linkType = linkType;
    this.#program = options.program;
    this.#loopback = hardwareType === ARPHRD_LOOPBACK;
    this.#batch = new MessageBatch({ count: batchFrames, nameBytes: 20, dataBytes: snap, controlBytes: 128 });
    this.#data = Buffer.from(this.#batch.data.buffer);
    this.#tagged = Buffer.alloc(snap + tagBytes);
    this.#control = new DataView(this.#batch.control.buffer);
  }

  /** Calls back for every matching frame, from the next turn of the loop, until `close`. */
  follow(onFrame: (frame: LiveFrame) => void): void {
    this.#readiness ??= new Readiness(this.#fd, { readable: true }, () => this.read(onFrame));
  }

  /** What is there now, up to a bound; frames seen, matching or not. */
  read(onFrame: (frame: LiveFrame) => void): number {
    let seen = 0;
    for (let turn = 0; this.#open && turn < batchesPerTurn; turn += 1) {
      this.#batch.reset(batchFrames);
      const got = receiveMessages(this.#fd, this.#batch.headers, batchFrames);
      if (got <= 0) {
        // An error is told once, then the socket is silent. ENETDOWN is also that of a link that is only down, and may come up again.
        if (got < 0 && -got !== EAGAIN && -got !== EINTR) {
          if (errnoName(-got) === 'ENETDOWN') this.#down = -got;
          else this.#failed ??= -got;
        }
        break;
      }
      for (let index = 0; index < got && this.#open; index += 1) this.#show(index, onFrame);
      seen += got;
      if (got < batchFrames) break;
    }
    return seen;
  }

  /** The errno of what went wrong on the way: ENETDOWN for an interface that went away. */
  get failed(): number | undefined {
    if (this.#failed === undefined && this.#down !== undefined && this.#open && !this.#isBound()) this.#failed = this.#down;
    return this.#failed;
  }

  /** The link was down at some time: nothing passes it then, and what passes later is seen. */
  get wasDown(): boolean {
    return this.#down !== undefined;
  }

  /** The kernel takes the number of an interface that went away out of the socket's address. */
  #isBound(): boolean {
    const name = new Uint8Array(20);
    return readSocketName(this.#fd, name) >= 8 && new DataView(name.buffer).getInt32(4, true) > 0;
  }

  /** Since the beginning: frames that passed the filter in the kernel, and those of them there was no room for. */
  get statistics(): { readonly received: number; readonly dropped: number } {
    // The kernel counts from question to question.
    if (this.#open && readSocketOption(this.#fd, SOL_PACKET, PACKET_STATISTICS, this.#statistics) >= 8) {
      const view = new DataView(this.#statistics.buffer);
      this.#received += view.getUint32(0, true);
      this.#dropped += view.getUint32(4, true);
    }
    return { received: this.#received, dropped: this.#dropped };
  }

  /** Idempotent. `statistics` stay. */
  close(): void {
    if (!this.#open) return;
    void this.statistics;
    void this.failed;
    this.#open = false;
    this.#readiness?.close();
    closeDescriptor(this.#fd);
  }

  /** 64 bits of a time: a double holds it, and costs no allocation. */
  #whole(at: number): number {
    return this.#control.getUint32(at, true) + this.#control.getInt32(at + 4, true) * 2 ** 32;
  }

  #show(index: number, onFrame: (frame: LiveFrame) => void): void {
    const { nameBytes, dataBytes, controlBytes } = this.#batch.shape;
    const outgoing = this.#batch.names[index * nameBytes + 10] === PACKET_OUTGOING;
    // Loopback shows each frame twice.
    if (outgoing && this.#loopback) return;
    const controlLength = this.#batch.controlLength(index);
    const from = index * controlBytes;
    const stamp = findControl(this.#batch.control, from, controlLength, SOL_SOCKET, SO_TIMESTAMPNS);
    const at = stamp < 0 ? Date.now() * 1000 : this.#whole(stamp) * 1e6 + Math.floor(this.#whole(stamp + 8) / 1000);
    const auxiliary = findControl(this.#batch.control, from, controlLength, SOL_PACKET, PACKET_AUXDATA);
    const length = Math.min(this.#batch.length(index), dataBytes);
    const start = index * dataBytes;
    if (auxiliary < 0) {
      onFrame({ bytes: this.#data, start, end: start + length, wireLength: length, at, outgoing });
      return;
    }
    const status = this.#control.getUint32(auxiliary, true);
    const wireLength = this.#control.getUint32(auxiliary + 4, true);
    if (!(status & TP_STATUS_VLAN_VALID) || length < 12) {
      onFrame({ bytes: this.#data, start, end: start + length, wireLength, at, outgoing });
      return;
    }
    const protocol = status & TP_STATUS_VLAN_TPID_VALID ? this.#control.getUint16(auxiliary + 18, true) : 0x8100;
    const bytes = this.#tagged;
    this.#data.copy(bytes, 0, start, start + 12);
    bytes.writeUInt16BE(protocol, 12);
    bytes.writeUInt16BE(this.#control.getUint16(auxiliary + 16, true), 14);
    this.#data.copy(bytes, 16, start + 12, start + length);
    const end = length + tagBytes;
    if (runFilter(this.#program.instructions, bytes, 0, end, wireLength + tagBytes, outgoing) > 0)
      onFrame({ bytes, start: 0, end, wireLength: wireLength + tagBytes, at, outgoing });
  }
}
