// A decoy touched as an attacker would: a whole handshake, by packets handed to the kernel at the device the decoy is behind, from an address that is
// nobody's (RFC 5737, RFC 3849). What the decoy answers leaves for the default gateway, where it ends.

import { randomInt } from 'node:crypto';
import { injectFrame, renderEthernet, renderTcpPacket } from '../../kernel/frame-injection.ts';
import { closeDescriptor } from '../../kernel/libc.ts';
import { holdTable } from '../../kernel/owned-table.ts';
import { openPacketSocket } from '../../kernel/packet-socket.ts';
import { portsFilter, SniffReader } from '../../kernel/sniff-socket.ts';
import { type Address, parseAddress, renderAddress } from '../../model/address.ts';
import type { MachineLink, MachineNamespace } from '../../model/machine.ts';
import type { FilterPacket } from '../../model/packet-filter.ts';
import { answerOf } from './inject-run.ts';
import { decideRoute } from './route-decision.ts';

export interface DecoyTouch {
  readonly result: 'answered' | 'refused' | 'silent';
  readonly source: string;
  readonly sourcePort: number;
  readonly ms: number;
}

const waitMs = 2000;
/** How long a touch stays connected. */
const lastsMs = 250;
const bufferBytes = 1 << 20;
const strangerMac = '02:00:00:00:00:01';
/** TEST-NET-1 and the documentation prefix. */
const nobody = { 4: '192.0.2.', 6: '2001:db8::' } as const;
const ACK = 0x10;
const RST_ACK = 0x14;

/** ICMP about packets to an address: the packet it is about begins 8 bytes behind; RFC 792, RFC 4443. */
const unreachable = (address: Address): string => {
  const value = `0x${address.value.toString(16)}`;
  return address.family === 4
    ? `icmp type destination-unreachable @th,192,32 ${value} drop`
    : `icmpv6 type destination-unreachable @th,256,128 ${value} drop`;
};

/** Why no touch can come from outside by this device: the answer must leave by it, to a gateway. */
export function lacksTouch(namespace: MachineNamespace, link: MachineLink, decoy: Address): string | undefined {
  const source = parseAddress(`${nobody[decoy.family]}77`);
  const back = source && decideRoute(namespace, { to: source, from: decoy });
  if (back?.kind === 'route' && back.device === link.name && back.via) return undefined;
  return `answers to strangers do not leave by ${link.name}: it is not the way of the default route`;
}

/** Needs root. Throws `kernel-missing` (before 5.18), `not-permitted`. */
export async function touchDecoy(
  namespace: MachineNamespace,
  link: MachineLink,
  decoy: Address,
  port: number,
): Promise<DecoyTouch> {
  const source = parseAddress(`${nobody[decoy.family]}${randomInt(2, 90)}`);
  if (!source) throw new Error('no source');
  const sourcePort = randomInt(40_000, 60_000);
  const sequence = randomInt(1, 2 ** 31);
  const packet: FilterPacket = {
    family: decoy.family,
    protocol: 'tcp',
    source,
    sourcePort,
    destination: decoy,
    destinationPort: port,
    mark: 0,
    state: 'new',
    tcpFlags: 'syn',
  };
  const send = (options: Parameters<typeof renderTcpPacket>[1]): void =>
    injectFrame(
      namespace.path,
      link.index,
      renderEthernet(link.mac === '' ? strangerMac : link.mac, strangerMac, renderTcpPacket(packet, options)),
    );
  // A router that knows no such address says so, and the kernel would forget the half-open connection at once.
  const guard = await holdTable(namespace.path, [{ hook: 'prerouting', rules: [unreachable(source)] }]);
  let fd: number | undefined;
  let timer: NodeJS.Timeout | undefined;
  let reader: SniffReader | undefined;
  try {
    const begun = performance.now();
    const socket = openPacketSocket({
      interface: link.name,
      ...(namespace.path !== undefined && { netns: namespace.path }),
      filter: portsFilter([sourcePort]),
      bufferBytes,
      outgoing: true,
      receives: {},
    }).fd;
    fd = socket;
    return await new Promise<DecoyTouch>((resolve, reject) => {
      const end = (result: DecoyTouch['result']): void =>
        resolve({ result, source: renderAddress(source), sourcePort, ms: Math.round(performance.now() - begun) });
      let done = false;
      reader = new SniffReader(socket, (frame) => {
        const answer = answerOf(frame, sourcePort, sequence);
        if (!answer || done) return;
        done = true;
        if (answer.kind === 'refused') return end('refused');
        // The handshake is whole with this; the decoy may take the connection, and a moment later it is over.
        const acknowledge = (answer.sequence + 1) % 2 ** 32;
        send({ sequence: sequence + 1, acknowledge, flags: ACK });
        clearTimeout(timer);
        timer = setTimeout(() => {
          try {
            send({ sequence: sequence + 1, acknowledge, flags: RST_ACK });
            end('answered');
          } catch (error) {
            reject(error);
          }
        }, lastsMs);
      });
      timer = setTimeout(() => end('silent'), waitMs);
      try {
        send({ sequence });
      } catch (error) {
        reject(error);
      }
    });
  } finally {
    clearTimeout(timer);
    reader?.close();
    if (fd !== undefined) closeDescriptor(fd);
    await guard.close();
  }
}
