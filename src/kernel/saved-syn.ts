// The SYN a connection began with, as the kernel kept it for the accepted socket (TCP_SAVE_SYN on the listener).
// Can be read once per connection: the kernel frees it then. Parsing is packet-header.ts.
// Source: net/ipv4/tcp.c do_tcp_getsockopt TCP_SAVED_SYN; absent when SYN cookies answered.

import { readSocketOption } from './libc.ts';
import { layOut, protocolTcp } from './packet-header.ts';

const TCP_SAVED_SYN = 28;
const SOL_TCP = 6;

/** Room for link, IP and TCP headers with all options; IPv6 extension headers beyond it give no SYN. */
export const savedSynBytes = 512;

/** Bytes written into `into` (at least savedSynBytes long), 0 when the kernel has none. No allocation. */
export function readSavedSyn(fd: number, into: Uint8Array): number {
  const length = readSocketOption(fd, SOL_TCP, TCP_SAVED_SYN, into);
  return Math.max(length, 0);
}

/**
 * Where the IP header starts in the `length` saved bytes: 14 behind an Ethernet header, 0 without one, -1 when neither
 * reading accounts for exactly all bytes.
 */
export function savedSynIpAt(bytes: Uint8Array, length: number): number {
  if (length >= 54) {
    const etherType = (bytes[12] << 8) | bytes[13];
    const version = bytes[14] >> 4;
    if (((etherType === 0x0800 && version === 4) || (etherType === 0x86dd && version === 6)) && endsAt(bytes, 14, length))
      return 14;
  }
  return endsAt(bytes, 0, length) ? 0 : -1;
}

function endsAt(bytes: Uint8Array, start: number, length: number): boolean {
  const layout = layOut(bytes, start, length);
  if (!layout || layout.protocol !== protocolTcp || layout.transportAt + 20 > length) return false;
  return layout.transportAt + (bytes[layout.transportAt + 12] >> 4) * 4 === length;
}

/** The sender's MAC of a saved SYN as text, when it came over Ethernet and is not all zero (loopback). */
export function savedSynMac(bytes: Uint8Array, ipAt: number): string | undefined {
  if (ipAt !== 14) return undefined;
  return macText(bytes, 6);
}

const hex = Array.from({ length: 256 }, (_, value) => value.toString(16).padStart(2, '0'));

/** Six bytes as text; undefined for 00:00:00:00:00:00. */
export function macText(bytes: Uint8Array, at: number): string | undefined {
  if ((bytes[at] | bytes[at + 1] | bytes[at + 2] | bytes[at + 3] | bytes[at + 4] | bytes[at + 5]) === 0) return undefined;
  return `${hex[bytes[at]]}:${hex[bytes[at + 1]]}:${hex[bytes[at + 2]]}:${hex[bytes[at + 3]]}:${hex[bytes[at + 4]]}:${hex[bytes[at + 5]]}`;
}
