// A 53-bit keyed hash of a flow's addresses and ports, so that two threads can speak of the same flow without a string.
// Keyed per process: whoever sends the packets cannot aim at collisions. Pure apart from drawing the key.

import { randomFillSync } from 'node:crypto';

/** Two 32-bit seeds; both sides need the same. */
export type TupleSeeds = Uint32Array;

export const createTupleSeeds = (): TupleSeeds => randomFillSync(new Uint32Array(2));

function mix(hash: number, word: number): number {
  let k = Math.imul(word, 0xcc9e2d51);
  k = (k << 15) | (k >>> 17);
  const h = hash ^ Math.imul(k, 0x1b873593);
  return (Math.imul((h << 13) | (h >>> 19), 5) + 0xe6546b64) | 0;
}

function finish(hash: number): number {
  let h = hash ^ (hash >>> 16);
  h = Math.imul(h, 0x85ebca6b);
  h ^= h >>> 13;
  h = Math.imul(h, 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

/** A network's part in its keys: two networks may see the same addresses and ports at the same time. */
export function networkKey(seeds: TupleSeeds, network: string): number {
  let hash = seeds[0] ^ seeds[1];
  for (let index = 0; index < network.length; index += 1) hash = mix(hash, network.charCodeAt(index));
  return finish(hash ^ network.length);
}

/** `network` is networkKey's. The addresses are `addressBytes` (4 or 16) at the given places, in network order. An integer below 2^53. */
export function tupleKey(
  seeds: TupleSeeds,
  network: number,
  addressBytes: number,
  source: Uint8Array,
  sourceAt: number,
  sourcePort: number,
  destination: Uint8Array,
  destinationAt: number,
  destinationPort: number,
): number {
  let a = mix(seeds[0] | 0, network);
  let b = mix(seeds[1] | 0, network);
  for (let index = 0; index < addressBytes; index += 4) {
    const from =
      source[sourceAt + index] |
      (source[sourceAt + index + 1] << 8) |
      (source[sourceAt + index + 2] << 16) |
      (source[sourceAt + index + 3] << 24);
    const to =
      destination[destinationAt + index] |
      (destination[destinationAt + index + 1] << 8) |
      (destination[destinationAt + index + 2] << 16) |
      (destination[destinationAt + index + 3] << 24);
    a = mix(mix(a, from), to);
    b = mix(mix(b, to), from);
  }
  const ports = (sourcePort << 16) | destinationPort;
  return (finish(mix(a, ports)) & 0x1fffff) * 0x1_0000_0000 + finish(mix(b, ports));
}
