// Puts frames and TCP segments of a test's own making onto a link of a namespace. Used by tests only.

import { closeDescriptor, sendTo } from '../../src/kernel/libc.ts';
import { openPacketSocket } from '../../src/kernel/packet-socket.ts';
import { foldChecksum, sumWords, transportChecksum } from '../../src/model/checksum.ts';
import { type TcpParts, tcpPacket } from './capture-file.ts';
import type { TestNamespace } from './namespace.ts';

/** As it is; Ethernet. */
export function sendFrame(namespace: TestNamespace, link: string, frame: Uint8Array): void {
  const { fd } = openPacketSocket({
    interface: link,
    netns: namespace.path,
    filter: [[6, 0, 0, 0]],
    bufferBytes: 4096,
    receives: {},
  });
  try {
    const sent = sendTo(fd, frame, null);
    if (sent !== frame.length) throw new Error(`sending a frame: ${sent}`);
  } finally {
    closeDescriptor(fd);
  }
}

export interface SegmentParts extends TcpParts {
  readonly ttl?: number;
  readonly id?: number;
  readonly window?: number;
}

/** A TCP segment over IPv4 with right checksums. */
export function segmentFrame(fromMac: string, toMac: string, parts: SegmentParts): Buffer {
  const packet = tcpPacket(parts);
  if (parts.window !== undefined) packet.writeUInt16BE(parts.window, 34);
  packet.writeUInt16BE(foldChecksum(sumWords(packet, 0, 20)), 10);
  packet.writeUInt16BE(transportChecksum(packet, 12, 8, 6, 20, packet.length), 36);
  const mac = (text: string): Buffer => Buffer.from(text.replaceAll(':', ''), 'hex');
  return Buffer.concat([mac(toMac), mac(fromMac), Buffer.from([8, 0]), packet]);
}
