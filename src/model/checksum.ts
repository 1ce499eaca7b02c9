// The Internet checksum over a buffer and over a pseudo-header. Pure. Source: RFC 1071, RFC 768, RFC 8200 section 8.1.

/** Ones' complement sum, not yet folded or inverted; start the next part with it when this one had even length. */
export function sumWords(bytes: Uint8Array, start: number, end: number, initial = 0): number {
  let sum = initial;
  let at = start;
  for (; at + 1 < end; at += 2) sum += (bytes[at] << 8) | bytes[at + 1];
  if (at < end) sum += bytes[at] << 8;
  return sum;
}

/** The checksum to store. Sums of up to 64 KiB stay far below 2^53. */
export function foldChecksum(sum: number): number {
  let rest = sum;
  while (rest > 0xffff) rest = (rest % 0x10000) + Math.floor(rest / 0x10000);
  return ~rest & 0xffff;
}

/**
 * Checksum of a transport segment at `segmentAt`..`end`, its own checksum field zero; `addresses` are source and
 * destination side by side (8 or 32 bytes) at `addressesAt` of the same buffer.
 */
export function transportChecksum(
  bytes: Uint8Array,
  addressesAt: number,
  addressesBytes: number,
  protocol: number,
  segmentAt: number,
  end: number,
): number {
  const pseudo = sumWords(bytes, addressesAt, addressesAt + addressesBytes, protocol + (end - segmentAt));
  return foldChecksum(sumWords(bytes, segmentAt, end, pseudo));
}
