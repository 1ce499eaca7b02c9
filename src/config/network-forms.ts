// The written forms of single values of networks (VLAN, VNI, AS number, interface addresses, hosts), as forms.ts is
// for the rest: text in, value or a message with its next step out.

import { type Address, parseAddress, parseRange } from '../model/address.ts';
import type { EvpnPeer, InterfaceAddress } from '../model/configuration.ts';
import { subnetOf } from '../model/segment.ts';
import { form, quoted, Wrong, whyUnusable } from './forms.ts';

/** IEEE 802.1Q, 9.6: 12 bits, of which 0 and 4095 are no VLANs. */
export const vlanId = form((value) => {
  const next = 'write a number from 1 to 4094';
  if (value === 0) return new Wrong('VLAN 0 is no VLAN: it marks priority on frames without one', next);
  if (value === 4095) return new Wrong('VLAN 4095 is reserved and never sent', next);
  return isWhole(value, 1, 4094) ? value : new Wrong(`${quoted(value)} is not a VLAN`, next);
});

/** RFC 7348, 5: 24 bits. */
export const vni = form((value) =>
  isWhole(value, 1, 0xffffff)
    ? value
    : new Wrong(`${quoted(value)} is not a VXLAN network identifier`, 'write a number from 1 to 16777215'),
);

/** RFC 6793 and 7300; 23456 stands for "more than 16 bits" on old speakers (RFC 6793, 9). */
const unusableSystems = new Set([23456, 65535, 4294967295]);

export const asn = form((value) => {
  const next = 'write the number of your autonomous system; 64512 to 65534 and 4200000000 to 4294967294 are for private use';
  if (!isWhole(value, 1, 4294967295)) return new Wrong(`${quoted(value)} is not an AS number`, next);
  return unusableSystems.has(value) ? new Wrong(`AS ${value} is reserved`, next) : value;
});

function isWhole(value: unknown, least: number, most: number): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= least && value <= most;
}

/** One address that a host may have; `what` completes "10.0.0.0/8 is not ...". */
export function readHost(value: unknown, what: string): Address | Wrong {
  const address = typeof value === 'string' ? parseAddress(value.trim()) : undefined;
  if (!address) return new Wrong(`${quoted(value)} is not ${what}`, 'write one address, such as 10.0.0.1 or "2001:db8::1"');
  const why = whyUnusable({ family: address.family, first: address.value, last: address.value });
  return why === undefined
    ? address
    : new Wrong(`${quoted(value)} cannot be ${what}: ${why}`, 'write an address that a host may have');
}

export const host = (what: string) => form((value) => readHost(value, what));

/** A gateway may also be a link-local address: usual with IPv6. */
function readGateway(value: unknown): Address | Wrong {
  const address = typeof value === 'string' ? parseAddress(value.trim()) : undefined;
  return address?.family === 6 && address.value >> 118n === 0xfe80n >> 6n ? address : readHost(value, 'a gateway');
}

const listOf = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : [value]);

/** One value or a list of 1 to `most`; the path of a mistake leads to the item. */
export const oneOrMore = <T>(most: number, what: string, read: (value: unknown) => T | Wrong) =>
  form((value): readonly T[] | Wrong => {
    const items = listOf(value);
    if (items.length < 1 || items.length > most)
      return new Wrong(
        items.length === 0 ? `the list of ${what} is empty` : `${items.length} ${what} are too many`,
        `write 1 to ${most}`,
      );
    const found: T[] = [];
    for (const [index, item] of items.entries()) {
      const one = read(item);
      const path = Array.isArray(value) ? [index] : [];
      if (one instanceof Wrong) return new Wrong(one.mistake, one.next, [...path, ...one.path]);
      found.push(one);
    }
    return found;
  });

export const gateways = oneOrMore(16, 'gateways', readGateway);
export const remotes = oneOrMore(1024, 'remotes', (value) => readHost(value, 'the address of a VTEP'));

/** `192.168.110.2/24`: an address a host may have, with the length of its subnet's prefix. */
export function readInterfaceAddress(value: unknown): InterfaceAddress | Wrong {
  const next = 'write an address with the length of its subnet, such as 192.168.110.2/24 or "2001:db8:110::2/64"';
  const [text, lengthText, ...rest] = typeof value === 'string' ? value.trim().split('/') : [];
  const address = parseAddress(text ?? '');
  if (!address || rest.length > 0) return new Wrong(`${quoted(value)} is not an address with a prefix length`, next);
  if (lengthText === undefined) return new Wrong(`${quoted(value)} has no prefix length`, next);
  const range = /^\d{1,3}$/.test(lengthText) ? parseRange(`${text}/${lengthText}`) : undefined;
  if (!range)
    return new Wrong(`${quoted(value)} has no such prefix length`, `write a length from 0 to ${address.family === 4 ? 32 : 128}`);
  const found = { address, prefixLength: Number(lengthText) };
  const why = whyUnusable(subnetOf(found));
  return why === undefined
    ? found
    : new Wrong(
        `${quoted(value)} cannot be a subnet of hosts: ${why}`,
        'write a longer prefix, or addresses that hosts may have',
      );
}

export const interfaceAddress = form(readInterfaceAddress);
export const interfaceAddresses = oneOrMore(64, 'addresses', readInterfaceAddress);

/** Addresses, or `{ address, asn }` for a peer in another autonomous system. */
export const evpnPeers = oneOrMore(64, 'peers', (value): EvpnPeer | Wrong => {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    const address = readHost(value, 'the address of a BGP peer');
    return address instanceof Wrong ? address : { address };
  }
  const stranger = Object.keys(value).find((key) => key !== 'address' && key !== 'asn');
  if (stranger !== undefined) return new Wrong(`unknown key ${quoted(stranger)}`, 'a peer has the keys address, asn', [stranger]);
  const written = value as { readonly address?: unknown; readonly asn?: unknown };
  const address = readHost(written.address ?? null, 'the address of a BGP peer');
  if (address instanceof Wrong) return new Wrong(address.mistake, address.next, ['address']);
  if (written.asn === undefined) return { address };
  const system = asn.safeParse(written.asn);
  if (system.success) return { address, asn: system.data };
  const [issue] = system.error.issues;
  return new Wrong(issue.message, String((issue as { params?: { next?: string } }).params?.next), ['asn']);
});

/** BGP identifier: 32 bits written as an IPv4 address, not zero (RFC 6286). */
export const routerId = form((value) => {
  const address = typeof value === 'string' ? parseAddress(value) : undefined;
  return address?.family === 4 && address.value !== 0n
    ? address
    : new Wrong(`${quoted(value)} is not a router id`, 'write one IPv4 address, such as 10.0.0.1');
});
