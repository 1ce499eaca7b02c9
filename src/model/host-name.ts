// What a decoy is called: its persona's pattern with a number that belongs to the address. Computed both ways, like
// everything about a population: name-book.ts finds the address again. Pure.

import { type Address, parseAddress } from './address.ts';
import type { Persona } from './persona.ts';

/** Numbers are four digits from this on. */
const lowest = 1000;
const numbers = 9000;

/** The domain of a segment's name servers and directories. */
export const localDomain = 'corp.local';
/** What machines without a domain belong to. */
export const workgroup = 'WORKGROUP';
/** RFC 1001 section 5.2: fifteen characters, the sixteenth says what for. */
export const netbiosLength = 15;

/** One round of a Feistel network over 14 bits. */
const scramble = (half: number, round: number): number => (Math.imul(half + 1, 0x9e3779b1 + round * 0x85ebca6a) >>> 11) & 127;

function permute(value: number): number {
  let left = value >> 7;
  let right = value & 127;
  for (let round = 0; round < 4; round += 1) [left, right] = [right, left ^ scramble(right, round)];
  return (left << 7) | right;
}

function unpermute(value: number): number {
  let left = value >> 7;
  let right = value & 127;
  for (let round = 3; round >= 0; round -= 1) [left, right] = [right ^ scramble(left, round), left];
  return (left << 7) | right;
}

/** What addresses with the same number have in common: their value modulo `residues`. */
export const residues = BigInt(numbers);

/** A number 1000..9999 that belongs to the address: 9,000 addresses in a row have 9,000 numbers, in no order one can see. */
export function addressNumber(address: Address | string): number {
  const known = typeof address === 'string' ? parseAddress(address) : address;
  let value = Number((known?.value ?? 0n) % residues);
  do value = permute(value);
  while (value >= numbers);
  return lowest + value;
}

/** The residue of the addresses with this number; undefined when none has it. */
export function residueOf(number: number): bigint | undefined {
  if (!Number.isInteger(number) || number < lowest || number >= lowest + numbers) return undefined;
  let value = number - lowest;
  do value = unpermute(value);
  while (value >= numbers);
  return BigInt(value);
}

/** `WIN-{n}` -> `WIN-4711`. */
export const hostName = (persona: Persona, address: Address | string): string =>
  persona.hostname.replace('{n}', String(addressNumber(address))) || `host-${addressNumber(address)}`;

/** As it is in NetBIOS: upper case, cut after fifteen characters. */
export const netbiosName = (host: string): string => host.slice(0, netbiosLength).toUpperCase();
