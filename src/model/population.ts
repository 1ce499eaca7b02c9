// Who lives at an address of a range, computed from the address and a seed by the arithmetic the kernel uses,
// so that a million decoys need no table. Pure; kernel/ renders the same arithmetic as nft rules.
// Source: include/linux/jhash.h, net/netfilter/nft_hash.c, reciprocal_scale() in include/linux/kernel.h.

import { type Address, addressBytes } from './address.ts';

/** The hash space every population divides: shares are in units of 1/10,000. */
export const populationModulus = 10_000;

const rotate = (word: number, shift: number): number => ((word << shift) | (word >>> (32 - shift))) >>> 0;

/** jhash(key, length, initval) as the kernel computes it on a little-endian machine; an unsigned 32-bit number. */
export function jhash(key: Uint8Array, initval: number): number {
  let length = key.length;
  let a = (0xdeadbeef + length + initval) >>> 0;
  let b = a;
  let c = a;
  let offset = 0;
  const word = (at: number): number => (key[at] | (key[at + 1] << 8) | (key[at + 2] << 16) | (key[at + 3] << 24)) >>> 0;
  while (length > 12) {
    a = (a + word(offset)) >>> 0;
    b = (b + word(offset + 4)) >>> 0;
    c = (c + word(offset + 8)) >>> 0;
    a = ((a - c) >>> 0) ^ rotate(c, 4);
    c = (c + b) >>> 0;
    b = ((b - a) >>> 0) ^ rotate(a, 6);
    a = (a + c) >>> 0;
    c = ((c - b) >>> 0) ^ rotate(b, 8);
    b = (b + a) >>> 0;
    a = ((a - c) >>> 0) ^ rotate(c, 16);
    c = (c + b) >>> 0;
    b = ((b - a) >>> 0) ^ rotate(a, 19);
    a = (a + c) >>> 0;
    c = ((c - b) >>> 0) ^ rotate(b, 4);
    b = (b + a) >>> 0;
    a >>>= 0;
    b >>>= 0;
    c >>>= 0;
    length -= 12;
    offset += 12;
  }
  const byte = (at: number): number => (at < length ? key[offset + at] : 0);
  if (length > 0) {
    c = (c + (byte(8) | (byte(9) << 8) | (byte(10) << 16) | (byte(11) << 24))) >>> 0;
    b = (b + (byte(4) | (byte(5) << 8) | (byte(6) << 16) | (byte(7) << 24))) >>> 0;
    a = (a + (byte(0) | (byte(1) << 8) | (byte(2) << 16) | (byte(3) << 24))) >>> 0;
    c = ((c ^ b) - rotate(b, 14)) >>> 0;
    a = ((a ^ c) - rotate(c, 11)) >>> 0;
    b = ((b ^ a) - rotate(a, 25)) >>> 0;
    c = ((c ^ b) - rotate(b, 16)) >>> 0;
    a = ((a ^ c) - rotate(c, 4)) >>> 0;
    b = ((b ^ a) - rotate(a, 14)) >>> 0;
    c = ((c ^ b) - rotate(b, 24)) >>> 0;
  }
  return c >>> 0;
}

/** The kernel's reciprocal_scale: maps a 32-bit hash onto 0..modulus-1. */
export const reciprocalScale = (hash: number, modulus: number): number => Number((BigInt(hash) * BigInt(modulus)) >> 32n);

/** What nft's `jhash <address> mod <modulus> seed <seed>` yields for this address. */
export const addressHash = (address: Address, modulus: number, seed: number): number =>
  reciprocalScale(jhash(addressBytes(address), seed), modulus);

/** Part of a population: `share` in units of 1/10,000 of all addresses of the range. */
export interface PersonaShare {
  readonly persona: string;
  readonly share: number;
}

/** Shares sum to at most 10,000; what is left over is dead: no ARP, no NDP, no answer. */
export interface Population {
  readonly seed: number;
  readonly shares: readonly PersonaShare[];
}

/** Index into `population.shares`, or -1 for a dead address. A population of one full share needs no hash. */
export function resident(population: Population, address: Address): number {
  const [only] = population.shares;
  if (population.shares.length === 1 && only.share === populationModulus) return 0;
  let at = addressHash(address, populationModulus, population.seed);
  for (let index = 0; index < population.shares.length; index += 1) {
    at -= population.shares[index].share;
    if (at < 0) return index;
  }
  return -1;
}

/** 24-bit value XORed onto the low 24 bits of the address to give the MAC's device part. */
export const macKeyOf = (seed: number): number => jhash(new Uint8Array([0x77, 0x65, 0x69, 0x72]), seed) & 0xffffff;

/** Seed of the second hash, which chooses among a persona's several vendor prefixes. */
export const prefixSeedOf = (seed: number): number => (seed ^ 0x4d4143) >>> 0;

/**
 * The MAC of a living decoy as six bytes. `prefixes` are the persona's vendor prefixes (three bytes each);
 * with several, a second hash of the address chooses.
 */
export function decoyMac(address: Address, prefixes: readonly string[], seed: number): Uint8Array {
  const chosen = prefixes.length === 1 ? prefixes[0] : prefixes[addressHash(address, prefixes.length, prefixSeedOf(seed))];
  const vendor = chosen.split(':').map((part) => Number.parseInt(part, 16));
  const low = (Number(address.value & 0xffffffn) ^ macKeyOf(seed)) >>> 0;
  return new Uint8Array([vendor[0], vendor[1], vendor[2], (low >>> 16) & 255, (low >>> 8) & 255, low & 255]);
}

/** Six bytes as `00:0c:29:1a:3c:14`. */
export const renderMac = (mac: Uint8Array): string => Array.from(mac, (byte) => byte.toString(16).padStart(2, '0')).join(':');
