// Community ID version 1 of a flow, seed 0: the same text from Zeek, Suricata and Wireshark for the same flow.
// Written from the public specification (corelight/community-id-spec). Pure.

import { createHash } from 'node:crypto';
import { addressBytes, parseAddress } from '../../model/address.ts';

const protocolNumbers = { tcp: 6, udp: 17 } as const;

/** `1:<base64>`, or undefined when an address does not parse. IPv4-mapped addresses count as IPv4. */
export function communityId(
  transport: 'tcp' | 'udp',
  source: { readonly ip: string; readonly port: number },
  destination: { readonly ip: string; readonly port: number },
): string | undefined {
  const a = bytesOf(source.ip);
  const b = bytesOf(destination.ip);
  if (!a || !b || a.length !== b.length) return undefined;
  const order = Buffer.compare(a, b) || source.port - destination.port;
  const [first, firstPort, second, secondPort] =
    order <= 0 ? [a, source.port, b, destination.port] : [b, destination.port, a, source.port];
  const ports = Buffer.alloc(4);
  ports.writeUInt16BE(firstPort, 0);
  ports.writeUInt16BE(secondPort, 2);
  const seed = Buffer.alloc(2);
  const hash = createHash('sha1');
  for (const part of [seed, first, second, Buffer.from([protocolNumbers[transport], 0]), ports]) hash.update(part);
  return `1:${hash.digest('base64')}`;
}

function bytesOf(ip: string): Uint8Array | undefined {
  const zone = ip.indexOf('%');
  const address = parseAddress(zone < 0 ? ip : ip.slice(0, zone));
  return address && addressBytes(address);
}
