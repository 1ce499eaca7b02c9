// One frame handed to the kernel as if it had come in by a device: no peer, no cable and no address is needed. By XDP's live frames: a program that
// passes everything is run on it, and what passes goes up the stack. Nothing is attached to the device.
// Source: Documentation/bpf/bpf_prog_run.rst. Kernel 5.18 and later.

import { closeSync } from 'node:fs';
import { WeirError } from '../base/errors.ts';
import { addressBytes } from '../model/address.ts';
import { foldChecksum, sumWords, transportChecksum } from '../model/checksum.ts';
import type { FilterPacket } from '../model/packet-filter.ts';
import { loadBpfProgram } from './bpf.ts';
import { runBpfProgram } from './bpf-run.ts';
import { insideNetns } from './libc.ts';

const BPF_F_TEST_XDP_LIVE_FRAMES = 2;
/** `r0 = XDP_PASS; exit`. */
const passing = Uint8Array.from([0xb7, 0, 0, 0, 2, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0]);

/** Needs CAP_BPF, CAP_NET_ADMIN, and CAP_SYS_ADMIN to enter a namespace. Throws `kernel-missing` on kernels without live frames. */
export function injectFrame(netns: string | undefined, interfaceIndex: number, frame: Uint8Array): void {
  insideNetns(netns, () => {
    const program = loadBpfProgram('xdp', passing);
    try {
      // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
      const context = new Uint8Array(new Uint32Array([0, frame.length, 0, interfaceIndex, 0, 0]).buffer);
      runBpfProgram(program, frame, context, BPF_F_TEST_XDP_LIVE_FRAMES);
    } catch (error) {
      if (error instanceof WeirError && error.details.errno === 'EINVAL')
        throw new WeirError('kernel-missing', 'this kernel cannot take frames from a program (before 5.18)', {}, error);
      throw error;
    } finally {
      closeSync(program);
    }
  });
}

export interface TcpPacketOptions {
  readonly sequence?: number;
  readonly acknowledge?: number;
  /** Default: `tcpFlags` of the packet; a SYN. */
  readonly flags?: number;
}

/** IP and TCP headers of a packet, without data, with right checksums. Pure. */
export function renderTcpPacket(
  packet: FilterPacket,
  { sequence = 0, acknowledge = 0, flags }: TcpPacketOptions = {},
): Uint8Array {
  const four = packet.family === 4;
  const headerBytes = four ? 20 : 40;
  const bytes = new Uint8Array(headerBytes + 24);
  const view = new DataView(bytes.buffer);
  if (four) {
    bytes.set([0x45, 0, 0, bytes.length, 0, 0, 0x40, 0, 64, 6]);
    bytes.set(addressBytes(packet.source), 12);
    bytes.set(addressBytes(packet.destination), 16);
    view.setUint16(10, foldChecksum(sumWords(bytes, 0, 20)));
  } else {
    bytes.set([0x60, 0, 0, 0, 0, 24, 6, 64]);
    bytes.set(addressBytes(packet.source), 8);
    bytes.set(addressBytes(packet.destination), 24);
  }
  view.setUint16(headerBytes, packet.sourcePort);
  view.setUint16(headerBytes + 2, packet.destinationPort);
  view.setUint32(headerBytes + 4, sequence);
  view.setUint32(headerBytes + 8, acknowledge);
  bytes[headerBytes + 12] = 0x60;
  bytes[headerBytes + 13] = flags ?? (packet.tcpFlags === 'syn,ack' ? 0x12 : 0x02);
  view.setUint16(headerBytes + 14, 64_240);
  // Maximum segment size, the smallest every host must take: RFC 9293 section 3.7.1.
  bytes.set([2, 4, 536 >> 8, 536 & 255], headerBytes + 20);
  const [at, length] = four ? [12, 8] : [8, 32];
  view.setUint16(headerBytes + 16, transportChecksum(bytes, at, length, 6, headerBytes, bytes.length));
  return bytes;
}

/** IP and UDP headers of a packet, with two bytes of data and right checksums. Pure. */
export function renderUdpPacket(packet: FilterPacket): Uint8Array {
  const four = packet.family === 4;
  const headerBytes = four ? 20 : 40;
  const bytes = new Uint8Array(headerBytes + 10);
  const view = new DataView(bytes.buffer);
  if (four) {
    bytes.set([0x45, 0, 0, bytes.length, 0, 0, 0x40, 0, 64, 17]);
    bytes.set(addressBytes(packet.source), 12);
    bytes.set(addressBytes(packet.destination), 16);
    view.setUint16(10, foldChecksum(sumWords(bytes, 0, 20)));
  } else {
    bytes.set([0x60, 0, 0, 0, 0, 10, 17, 64]);
    bytes.set(addressBytes(packet.source), 8);
    bytes.set(addressBytes(packet.destination), 24);
  }
  view.setUint16(headerBytes, packet.sourcePort);
  view.setUint16(headerBytes + 2, packet.destinationPort);
  view.setUint16(headerBytes + 4, 10);
  bytes.set([0x0d, 0x0a], headerBytes + 8);
  const [at, length] = four ? [12, 8] : [8, 32];
  // RFC 768: a sum of zero is sent as all ones, zero is none at all.
  view.setUint16(headerBytes + 6, transportChecksum(bytes, at, length, 17, headerBytes, bytes.length) || 0xffff);
  return bytes;
}

/** An Ethernet header in front. */
export function renderEthernet(destinationMac: string, sourceMac: string, packet: Uint8Array): Uint8Array {
  const frame = new Uint8Array(14 + packet.length);
  const octets = (mac: string): number[] => mac.split(':').map((part) => Number.parseInt(part, 16));
  frame.set(octets(destinationMac));
  frame.set(octets(sourceMac), 6);
  frame.set(packet[0] >> 4 === 4 ? [0x08, 0x00] : [0x86, 0xdd], 12);
  frame.set(packet, 14);
  return frame;
}
