// How alike two sets of features are, from 64 numbers each: one-permutation MinHash. A feature is a 32-bit hash; of each of 64
// groups of hashes the smallest stays. The share of groups that agree is close to the share of features in common. Pure.

/** Groups; the error of a similarity near one half is about one sixteenth. */
export const sketchGroups = 64;
const nobody = 0xffffffff;
const headerNumbers = 2;

/** FNV-1a over the low bytes of characters, mixed once more, as an unsigned number. */
export function hashText(text: string, seed = 0x811c9dc5): number {
  let hash = seed;
  for (let index = 0; index < text.length; index += 1) hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
  return mix(hash);
}

/** Every bit of the result hangs on every bit of `value` (the finalizer of MurmurHash3, which is in the public domain). */
export function mix(value: number): number {
  let hash = value;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

/** A set of features while it grows; one that counts more is there several times. */
export class SketchBuilder {
  readonly groups = new Uint32Array(sketchGroups).fill(nobody);

  /** `weight` is a small whole number. */
  add(feature: number, weight = 1): void {
    for (let copy = 0; copy < weight; copy += 1) {
      const hash = copy === 0 ? feature : mix(feature + Math.imul(copy, 0x9e3779b1));
      const group = hash & (sketchGroups - 1);
      // Never `nobody` itself.
      const rest = hash >>> 6;
      if (rest < this.groups[group]) this.groups[group] = rest;
    }
  }

  /** Each token, and each with the one before it. */
  addTokens(tokens: readonly string[], weight = 1): void {
    let before = 0;
    for (const token of tokens) {
      const feature = hashText(token);
      this.add(feature, weight);
      if (before !== 0) this.add(mix(Math.imul(before, 31) + feature), weight);
      before = feature;
    }
  }
}

/** From 0 to 1; two empty sets are the same. */
export function similarity(a: Uint32Array, b: Uint32Array): number {
  let shared = 0;
  let either = 0;
  for (let group = 0; group < sketchGroups; group += 1) {
    const left = a[group];
    const right = b[group];
    if (left === nobody && right === nobody) continue;
    either += 1;
    if (left === right) shared += 1;
  }
  return either === 0 ? 1 : shared / either;
}

/** With the class of its payload in front: what a store keeps of a family. */
export function renderSketch(classHash: number, groups: Uint32Array): Uint8Array {
  const bytes = Buffer.alloc(4 * (headerNumbers + sketchGroups));
  bytes.writeUInt32LE(sketchVersion, 0);
  bytes.writeUInt32LE(classHash, 4);
  for (const [index, value] of groups.entries()) bytes.writeUInt32LE(value, 4 * (headerNumbers + index));
  return bytes;
}

/** Raised when features change their meaning: older sketches are not compared with then. */
const sketchVersion = 1;

/** Undefined for what another version wrote. */
export function parseSketch(bytes: Uint8Array): { readonly classHash: number; readonly groups: Uint32Array } | undefined {
  if (bytes.length !== 4 * (headerNumbers + sketchGroups)) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (view.getUint32(0, true) !== sketchVersion) return undefined;
  const groups = new Uint32Array(sketchGroups);
  for (let index = 0; index < sketchGroups; index += 1) groups[index] = view.getUint32(4 * (headerNumbers + index), true);
  return { classHash: view.getUint32(4, true), groups };
}
