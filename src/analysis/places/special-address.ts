// Addresses that are nobody's on the Internet: what a public database says of them is an accident of its making. Pure.
// Source: the IANA special-purpose address registries (RFC 6890, RFC 8190), multicast (RFC 5771), 6to4 (RFC 3056), NAT64 (RFC 6052).

import { type Address, parseRange, rangeHolds } from '../../model/address.ts';

const blocks = (texts: readonly string[]): { readonly first: number; readonly last: number }[] =>
  texts.map((text) => {
    const range = parseRange(text);
    return { first: Number(range?.first), last: Number(range?.last) };
  });

const specialIpv4 = blocks([
  '0.0.0.0/8',
  '10.0.0.0/8',
  '100.64.0.0/10',
  '127.0.0.0/8',
  '169.254.0.0/16',
  '172.16.0.0/12',
  '192.0.0.0/24',
  '192.0.2.0/24',
  '192.88.99.0/24',
  '192.168.0.0/16',
  '198.18.0.0/15',
  '198.51.100.0/24',
  '203.0.113.0/24',
  '224.0.0.0-255.255.255.255',
]);

const range = (text: string) => parseRange(text) ?? { family: 6 as const, first: 0n, last: -1n };
/** Only this much of IPv6 was given out to anybody. */
const globalUnicast = range('2000::/3');
const specialIpv6 = ['2001::/23', '2001:db8::/32', '3fff::/20'].map(range);
const sixToFour = range('2002::/16');
const translated = range('64:ff9b::/96');

/** Of an IPv4 address as an unsigned number. */
export function isSpecialIpv4(value: number): boolean {
  for (const { first, last } of specialIpv4) if (value >= first && value <= last) return true;
  return false;
}

export const isSpecialIpv6 = (address: Address): boolean =>
  !rangeHolds(globalUnicast, address) || specialIpv6.some((special) => rangeHolds(special, address));

/** The IPv4 address that an IPv6 one carries by 6to4 or NAT64, as a number. */
export function carriedIpv4(address: Address): number | undefined {
  if (rangeHolds(sixToFour, address)) return Number((address.value >> 80n) & 0xffffffffn);
  if (rangeHolds(translated, address)) return Number(address.value & 0xffffffffn);
  return undefined;
}
