// struct sockaddr_in, sockaddr_in6, sockaddr_un and sockaddr_ll as bytes, both ways. Pure; no sockets here.
// Sources: ip(7), ipv6(7), unix(7), packet(7).

import { WeirError } from '../base/errors.ts';
import { type Address, addressBytes, type Family } from '../model/address.ts';
import { AF_INET, AF_INET6, AF_PACKET, AF_UNIX } from './libc.ts';

/** sockaddr_in (16 bytes) or sockaddr_in6 (28 bytes). */
export const renderSocketAddress = (address: Address, port: number): Uint8Array =>
  fillSocketAddress(new Uint8Array(address.family === 4 ? 16 : 28), address, port);

/** As renderSocketAddress, into an array of that length, which is given back; for the path of every connection. */
export function fillSocketAddress(into: Uint8Array, address: Address, port: number): Uint8Array {
  into[2] = port >> 8;
  into[3] = port;
  if (address.family === 4) {
    const value = Number(address.value);
    into[0] = AF_INET;
    into[4] = value >>> 24;
    into[5] = value >>> 16;
    into[6] = value >>> 8;
    into[7] = value;
  } else {
    into[0] = AF_INET6;
    into.set(addressBytes(address), 8);
  }
  return into;
}

/** 127.0.0.1 or ::1. */
export const loopbackOf = (family: Family): Address => ({ family, value: family === 4 ? 0x7f000001n : 1n });

/** sockaddr_un of a path; `bad-request` when longer than the 107 bytes the kernel takes. */
export function renderUnixAddress(path: string): Uint8Array {
  const text = Buffer.from(path);
  if (text.length > 107) throw new WeirError('bad-request', 'a socket path may have 107 bytes at most', { path });
  const bytes = new Uint8Array(3 + text.length);
  bytes[0] = AF_UNIX;
  bytes.set(text, 2);
  return bytes;
}

/** sockaddr_ll (20 bytes). `protocol` in host order. */
export function renderLinkAddress(interfaceIndex: number, protocol: number, mac?: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(20);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, AF_PACKET, true);
  view.setUint16(2, protocol);
  view.setInt32(4, interfaceIndex, true);
  if (mac) {
    bytes[11] = mac.length;
    bytes.set(mac, 12);
  }
  return bytes;
}

/** The port of a sockaddr_in or sockaddr_in6. */
export const socketPort = (bytes: Uint8Array): number => (bytes[2] << 8) | bytes[3];

/**
 * The address of a sockaddr_in or sockaddr_in6 as text, IPv4-mapped ones as IPv4; '' for any other family.
 * On the path of every connection: builds nothing but the text.
 */
export function socketAddressText(bytes: Uint8Array): string {
  const family = bytes[0] | (bytes[1] << 8);
  if (family === AF_INET) return ipv4Text(bytes, 4);
  if (family === AF_INET6) return ipv6Text(bytes, 8);
  return '';
}

/** Dotted quad of the four bytes at `at`. */
export const ipv4Text = (bytes: Uint8Array, at: number): string =>
  `${bytes[at]}.${bytes[at + 1]}.${bytes[at + 2]}.${bytes[at + 3]}`;

/** RFC 5952 text of the sixteen bytes at `at`; IPv4-mapped as a dotted quad. */
export function ipv6Text(bytes: Uint8Array, at: number): string {
  let bestStart = -1;
  let bestLength = 1;
  let start = -1;
  for (let group = 0; group < 8; group += 1) {
    if ((bytes[at + group * 2] | bytes[at + group * 2 + 1]) === 0) {
      if (start < 0) start = group;
      if (group - start + 1 > bestLength) {
        bestStart = start;
        bestLength = group - start + 1;
      }
    } else start = -1;
  }
  if (bestStart === 0 && bestLength === 5 && bytes[at + 10] === 0xff && bytes[at + 11] === 0xff) return ipv4Text(bytes, at + 12);
  let text = '';
  for (let group = 0; group < 8; group += 1) {
    if (group === bestStart) {
      text += '::';
      group += bestLength - 1;
      continue;
    }
    if (text !== '' && !text.endsWith(':')) text += ':';
    text += ((bytes[at + group * 2] << 8) | bytes[at + group * 2 + 1]).toString(16);
  }
  return text;
}
