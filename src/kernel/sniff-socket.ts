// An AF_PACKET socket that watches one interface both ways, TCP of some ports or frames of one MAC, and the frames it holds.
// Opened by whoever may, read by whoever it is handed to.
// Sources: packet(7), bpf(4), include/uapi/linux/if_packet.h.

import { readSocketOption, receive } from './libc.ts';
import { type FilterInstruction, openPacketSocket } from './packet-socket.ts';
import { Readiness } from './readiness.ts';

const LD = 0x20;
const LDH = 0x28;
const LDB = 0x30;
const JEQ = 0x15;
const JSET = 0x45;
const LDX_MSH = 0xb1;
const LDH_X = 0x48;
const RET = 0x06;
const wholeFrame = 0x40000;

const SOL_PACKET = 263;
const PACKET_STATISTICS = 6;

/** Frames taken in one turn of the loop: others have a turn too. */
const framesPerTurn = 256;
/** The longest frame a link with segmentation offload shows. */
const maxFrameBytes = 66_000;
const bufferBytes = 16 << 20;

/** First fragments and whole packets of TCP, from or to one of the ports, over IPv4 and (without extension headers) IPv6. */
export function portsFilter(ports: readonly number[]): FilterInstruction[] {
  // Each test jumps to the end when it holds; both ends are known once the length is.
  const tests = (load: FilterInstruction): FilterInstruction[] => [
    load,
    ...ports.map((port): FilterInstruction => [JEQ, Number.NaN, 0, port]),
  ];
  const four: FilterInstruction[] = [
    [LDB, 0, 0, 23],
    [JEQ, 0, -1, 6],
    [LDH, 0, 0, 20],
    [JSET, -1, 0, 0x1fff],
    [LDX_MSH, 0, 0, 14],
    ...tests([LDH_X, 0, 0, 14]),
    ...tests([LDH_X, 0, 0, 16]),
    [RET, 0, 0, 0],
  ];
  const six: FilterInstruction[] = [[LDB, 0, 0, 20], [JEQ, 0, -1, 6], ...tests([LDH, 0, 0, 54]), ...tests([LDH, 0, 0, 56])];
  const program: FilterInstruction[] = [
    [LDH, 0, 0, 12],
    [JEQ, 0, 1, 0x0800],
    [0x05, 0, 0, 2],
    [JEQ, 0, -1, 0x86dd],
    [0x05, 0, 0, four.length],
    ...four,
    ...six,
    [RET, 0, 0, 0],
    [RET, 0, 0, wholeFrame],
  ];
  const accept = program.length - 1;
  const refuse = accept - 1;
  return program.map(([code, whenTrue, whenFalse, operand], at) => {
    const jump = (to: number): number => (Number.isNaN(to) ? accept - at - 1 : to < 0 ? refuse - at - 1 : to);
    return [code, jump(whenTrue), jump(whenFalse), operand];
  });
}

/** From or to one MAC. */
export function macFilter(mac: string): FilterInstruction[] {
  const bytes = Buffer.from(mac.replaceAll(':', ''), 'hex');
  const high = bytes.readUInt32BE(0);
  const low = bytes.readUInt16BE(4);
  return [
    [LD, 0, 0, 0],
    [JEQ, 0, 2, high],
    [LDH, 0, 0, 4],
    [JEQ, 4, 0, low],
    [LD, 0, 0, 6],
    [JEQ, 0, 3, high],
    [LDH, 0, 0, 10],
    [JEQ, 0, 1, low],
    [RET, 0, 0, wholeFrame],
    [RET, 0, 0, 0],
  ];
}

/** Needs CAP_NET_RAW. The interface is asked for every frame as long as it is open. Throws `not-permitted`, `system-call` (ENODEV). */
export const openSniffSocket = (name: string, filter: readonly FilterInstruction[], netns?: string): number =>
  openPacketSocket({
    interface: name,
    ...(netns === undefined ? {} : { netns }),
    filter,
    bufferBytes,
    receives: { all: true },
    outgoing: true,
  }).fd;

/** Reads a sniff socket; the descriptor stays the caller's, to be closed after this. */
export class SniffReader {
  readonly #fd: number;
  readonly #onFrame: (frame: Uint8Array) => void;
  readonly #readiness: Readiness;
  readonly #buffer = new Uint8Array(maxFrameBytes);
  readonly #statistics = new Uint8Array(12);
  #lost = 0;

  /** `onFrame` gets a view of a buffer that is used again. */
  constructor(fd: number, onFrame: (frame: Uint8Array) => void) {
    this.#fd = fd;
    this.#onFrame = onFrame;
    this.#readiness = new Readiness(fd, { readable: true }, () => this.#read());
  }

  /** Frames the kernel had no room for. The kernel counts from question to question. */
  get lost(): number {
    const { buffer } = this.#statistics;
    if (readSocketOption(this.#fd, SOL_PACKET, PACKET_STATISTICS, this.#statistics) >= 8)
      this.#lost += new DataView(buffer).getUint32(4, true);
    return this.#lost;
  }

  close(): void {
    this.#readiness.close();
  }

  #read(): void {
    for (let count = 0; count < framesPerTurn; count += 1) {
      const length = receive(this.#fd, this.#buffer);
      if (length <= 0) return;
      this.#onFrame(this.#buffer.subarray(0, Math.min(length, maxFrameBytes)));
    }
  }
}
