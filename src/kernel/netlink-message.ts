// Netlink messages as bytes, both ways: headers, attributes, nesting. Pure; sockets are route-socket.ts.
// Sources: netlink(7), rtnetlink(7), include/uapi/linux/netlink.h.

/** Parts of a message body in order; attributes pad themselves to four bytes. */
export type NetlinkParts = readonly Uint8Array[];

const headerBytes = 16;
const align = (length: number): number => (length + 3) & ~3;

export function joinBytes(parts: NetlinkParts): Uint8Array {
  const joined = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
}

/** One attribute (struct nlattr) with its padding. */
export function attribute(type: number, value: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(align(4 + value.length));
  const view = new DataView(bytes.buffer);
  view.setUint16(0, 4 + value.length, true);
  view.setUint16(2, type, true);
  bytes.set(value, 4);
  return bytes;
}

export const nested = (type: number, parts: NetlinkParts): Uint8Array => attribute(type | 0x8000, joinBytes(parts));
export const byteOf = (value: number): Uint8Array => Uint8Array.of(value);
/** Host order (this room runs on little-endian machines only, see libc.ts). */
export const wordOf = (value: number): Uint8Array => new Uint8Array(new Uint16Array([value]).buffer);
export const longOf = (value: number): Uint8Array => new Uint8Array(new Uint32Array([value]).buffer);
/** Network order, as ports are written. */
export const netWordOf = (value: number): Uint8Array => Uint8Array.of(value >> 8, value & 255);
/** With the zero that C expects. */
export const textOf = (text: string): Uint8Array => Uint8Array.from([...Buffer.from(text), 0]);

/** struct nlmsghdr and what follows it. */
export function renderMessage(type: number, flags: number, sequence: number, body: NetlinkParts): Uint8Array {
  const content = joinBytes(body);
  const bytes = new Uint8Array(align(headerBytes + content.length));
  const view = new DataView(bytes.buffer);
  view.setUint32(0, headerBytes + content.length, true);
  view.setUint16(4, type, true);
  view.setUint16(6, flags, true);
  view.setUint32(8, sequence, true);
  bytes.set(content, headerBytes);
  return bytes;
}

export interface NetlinkMessage {
  readonly type: number;
  readonly flags: number;
  readonly sequence: number;
  /** Without the header; shares memory with the buffer that was parsed. */
  readonly body: Uint8Array;
}

/** Messages of one datagram; a length that does not fit ends the list. */
export function parseMessages(bytes: Uint8Array): NetlinkMessage[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const messages: NetlinkMessage[] = [];
  for (let at = 0; at + headerBytes <= bytes.length; ) {
    const length = view.getUint32(at, true);
    if (length < headerBytes || at + length > bytes.length) break;
    messages.push({
      type: view.getUint16(at + 4, true),
      flags: view.getUint16(at + 6, true),
      sequence: view.getUint32(at + 8, true),
      body: bytes.subarray(at + headerBytes, at + length),
    });
    at += align(length);
  }
  return messages;
}

/** Attributes by type, the last of a type wins; flags in the type's upper bits are taken off. */
export function parseAttributes(bytes: Uint8Array): Map<number, Uint8Array> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const found = new Map<number, Uint8Array>();
  for (let at = 0; at + 4 <= bytes.length; ) {
    const length = view.getUint16(at, true);
    if (length < 4 || at + length > bytes.length) break;
    found.set(view.getUint16(at + 2, true) & 0x3fff, bytes.subarray(at + 4, at + length));
    at += align(length);
  }
  return found;
}

/** 0 where there is none. */
export const longIn = (bytes: Uint8Array | undefined): number =>
  bytes === undefined || bytes.length < 4 ? 0 : new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);

export const wordIn = (bytes: Uint8Array | undefined): number =>
  bytes === undefined || bytes.length < 2 ? 0 : bytes[0] | (bytes[1] << 8);

/** Up to the first zero. */
export function textIn(bytes: Uint8Array | undefined): string {
  if (bytes === undefined) return '';
  const end = bytes.indexOf(0);
  return Buffer.from(end < 0 ? bytes : bytes.subarray(0, end)).toString();
}
