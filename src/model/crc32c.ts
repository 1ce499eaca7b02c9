// CRC-32C (Castagnoli), reflected, as PROXY protocol v2 and SCTP use it. Pure.
// Source: RFC 3720 section B.4; polynomial 0x1EDC6F41, reflected 0x82F63B78.

const table = new Uint32Array(256);
for (let index = 0; index < 256; index += 1) {
  let value = index;
  for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? (value >>> 1) ^ 0x82f63b78 : value >>> 1;
  table[index] = value >>> 0;
}

/** Unsigned 32-bit; `crc` continues an earlier piece of the same data. */
export function crc32c(bytes: Uint8Array, crc = 0): number {
  let value = ~crc;
  for (let index = 0; index < bytes.length; index += 1) value = table[(value ^ bytes[index]) & 255] ^ (value >>> 8);
  return ~value >>> 0;
}
