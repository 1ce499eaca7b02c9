// The addresses of the machine this runs on, on any system, and how the ends of its sockets are written down.

import { networkInterfaces } from 'node:os';
import { parseAddress, renderAddress } from '../model/address.ts';
import type { Endpoint } from '../model/session.ts';

export interface OwnAddress {
  /** As in records: no zone. */
  readonly ip: string;
  /** What a socket binds to: link-local addresses need their interface (`fe80::1%eth0`). */
  readonly bind: string;
  readonly family: 4 | 6;
}

/** All but loopback, in the system's order, each once; `::1` and 127.0.0.0/8 are reached from the machine itself only. */
export function readOwnAddresses(): OwnAddress[] {
  const own = new Map<string, OwnAddress>();
  for (const [name, entries] of Object.entries(networkInterfaces()))
    for (const { address, family, internal } of entries ?? []) {
      if (internal) continue;
      const [text] = address.split('%');
      const parsed = parseAddress(text);
      if (!parsed) continue;
      const ip = renderAddress(parsed);
      const zoned = parsed.family === 6 && parsed.value >> 118n === 0xfe80n >> 6n;
      own.set(ip, { ip, bind: zoned ? `${ip}%${name}` : ip, family: String(family).endsWith('6') ? 6 : 4 });
    }
  return [...own.values()];
}

/** IPv4-mapped addresses as IPv4, without zone; undefined when a socket had none any more. */
export function endpointOf(address: string | undefined, port: number | undefined): Endpoint | undefined {
  if (address === undefined || port === undefined) return undefined;
  const parsed = parseAddress(address.split('%', 1)[0]);
  return parsed && { ip: renderAddress(parsed), port };
}

/** `192.0.2.1:80`, `[2001:db8::1]:80`. */
export const renderEndpoint = ({ ip, port }: Endpoint): string => (ip.includes(':') ? `[${ip}]:${port}` : `${ip}:${port}`);
