// "Test from that source" with nobody there: a SYN with its address is handed to the kernel at the device it would come in by, and what leaves in
// answer is watched on every device. The source itself, if there is one, sees at most an answer it did not ask for, and resets it.

import { randomInt } from 'node:crypto';
import type { ConnectOutcome } from '../../kernel/connect-probe.ts';
import { injectFrame, renderEthernet, renderTcpPacket } from '../../kernel/frame-injection.ts';
import { closeDescriptor } from '../../kernel/libc.ts';
import { layOut, protocolTcp } from '../../kernel/packet-header.ts';
import { type FilterInstruction, openPacketSocket } from '../../kernel/packet-socket.ts';
import { portsFilter, SniffReader } from '../../kernel/sniff-socket.ts';
import type { MachineLink, MachineNamespace } from '../../model/machine.ts';
import type { FilterPacket } from '../../model/packet-filter.ts';
import { choosePorts, measured, type ProbeRun, type ProbeWish } from './probe-run.ts';

const waitMs = 1300;
const bufferBytes = 1 << 20;
/** Devices that are watched. */
const mostDevices = 64;
/** No host has it: locally administered. */
const strangerMac = '02:00:00:00:00:01';

/** What comes back from behind this namespace has not left it yet: linux/filter.h (SKF_AD_PKTTYPE), if_packet.h (PACKET_OUTGOING). */
const leavingOnly: readonly FilterInstruction[] = [
  [0x30, 0, 0, 0xfffff004],
  [0x15, 1, 0, 4],
  [0x06, 0, 0, 0],
];

export interface InjectWish extends ProbeWish {
  readonly iif: MachineLink;
}

/** Needs root. Throws `kernel-missing` (before 5.18), `not-permitted`. */
export async function runInject(wish: InjectWish): Promise<ProbeRun> {
  let answeredBy: string | undefined;
  const ports = choosePorts();
  const run = await measured({ ...wish, transport: 'tcp', ports }, async () => {
    const { outcome, device } = await injectOnce(wish, ports.first, waitMs);
    answeredBy = device;
    return [outcome];
  });
  const { name, master } = wish.iif;
  let used = 0;
  return {
    ...run,
    injected: { by: name, ...(master !== undefined && { master }), ...(answeredBy !== undefined && { answeredBy }) },
    again: async (forMs) => {
      used += 1;
      return (await injectOnce(wish, Math.min(ports.first + used, ports.last), forMs)).outcome;
    },
  };
}

async function injectOnce(
  { namespace, iif, source, destination, port }: InjectWish,
  sourcePort: number,
  forMs: number,
): Promise<{ outcome: ConnectOutcome; device?: string }> {
  const sequence = randomInt(1, 2 ** 31);
  const syn: FilterPacket = {
    family: source.family,
    protocol: 'tcp',
    source,
    sourcePort,
    destination,
    destinationPort: port,
    mark: 0,
    state: 'new',
    tcpFlags: 'syn',
  };
  const fds: number[] = [];
  const readers: SniffReader[] = [];
  const begun = performance.now();
  const base = { sourcePort, receivedBytes: 0 };
  let timer: NodeJS.Timeout | undefined;
  try {
    return await new Promise((resolve, reject) => {
      const end = (result: ConnectOutcome['result'], device?: string): void =>
        resolve({
          outcome: { ...base, result, ms: Math.round(performance.now() - begun) },
          ...(device !== undefined && { device }),
        });
      try {
        for (const link of watched(namespace)) {
          const { fd } = openPacketSocket({
            interface: link.name,
            ...(namespace.path !== undefined && { netns: namespace.path }),
            filter: [...leavingOnly, ...portsFilter([sourcePort])],
            bufferBytes,
            outgoing: true,
            receives: {},
          });
          fds.push(fd);
          readers.push(
            new SniffReader(fd, (frame) => {
              const answer = answerIn(frame, sourcePort, sequence);
              if (answer) end(answer, link.name);
            }),
          );
        }
        const mac = iif.mac === '' ? strangerMac : iif.mac;
        injectFrame(namespace.path, iif.index, renderEthernet(mac, strangerMac, renderTcpPacket(syn, { sequence })));
        timer = setTimeout(() => end('timeout'), forMs);
      } catch (error) {
        reject(error);
      }
    });
  } finally {
    clearTimeout(timer);
    for (const reader of readers) reader.close();
    for (const fd of fds) closeDescriptor(fd);
  }
}

/** Ports of a bridge show the same once more: the bridge itself is enough. */
const watched = ({ links }: MachineNamespace): MachineLink[] =>
  links
    .filter(({ name, up, master, kind }) => up && name !== 'lo' && (master === undefined || kind === 'bridge'))
    .slice(0, mostDevices);

/** Of what leaves for our port: a SYN-ACK or a RST that acknowledges our SYN. */
export const answerIn = (frame: Uint8Array, port: number, sequence: number): 'connected' | 'refused' | undefined =>
  answerOf(frame, port, sequence)?.kind;

/** As answerIn, with the sequence number of who answers. */
export function answerOf(
  frame: Uint8Array,
  port: number,
  sequence: number,
): { readonly kind: 'connected' | 'refused'; readonly sequence: number } | undefined {
  const layout = layOut(frame, 14);
  if (!layout || layout.protocol !== protocolTcp || layout.laterFragment) return undefined;
  const at = layout.transportAt;
  if (at + 14 > frame.length) return undefined;
  const view = new DataView(frame.buffer, frame.byteOffset, frame.length);
  const flags = frame[at + 13];
  if (view.getUint16(at + 2) !== port || view.getUint32(at + 8) !== (sequence + 1) % 2 ** 32) return undefined;
  const kind = (flags & 0x12) === 0x12 ? 'connected' : (flags & 0x04) !== 0 ? 'refused' : undefined;
  return kind && { kind, sequence: view.getUint32(at + 4) };
}
