// IPv4 and IPv6 addresses and inclusive ranges of them: parsing, rendering, algebra. Pure.
// Not for interfaces or routes (kernel/), nor for who lives at an address (decoy.ts).

export type Family = 4 | 6;

/** An address as its number; IPv4 in 32 bits, IPv6 in 128. */
export interface Address {
  readonly family: Family;
  readonly value: bigint;
}

/** Inclusive at both ends; `first <= last`. */
export interface AddressRange {
  readonly family: Family;
  readonly first: bigint;
  readonly last: bigint;
}

export const bitsOf = (family: Family): number => (family === 4 ? 32 : 128);

/** Dotted quad as an unsigned 32-bit number, or -1. Octal and short forms are refused. */
export function parseIpv4Number(text: string): number {
  let value = 0;
  let octet = -1;
  let dots = 0;
  let digits = 0;
  for (let index = 0; index < text.length; index += 1) {
    const code = text.charCodeAt(index);
    if (code === 46) {
      if (octet < 0) return -1;
      value = value * 256 + octet;
      octet = -1;
      digits = 0;
      dots += 1;
    } else if (code >= 48 && code <= 57) {
      if (digits > 0 && octet === 0) return -1;
      octet = Math.max(octet, 0) * 10 + (code - 48);
      digits += 1;
      if (octet > 255) return -1;
    } else return -1;
  }
  if (dots !== 3 || octet < 0) return -1;
  return value * 256 + octet;
}

function parseIpv6Value(text: string): bigint | undefined {
  const groups = parseIpv6Groups(text);
  if (!groups) return undefined;
  let value = 0n;
  for (const group of groups) value = (value << 16n) | BigInt(group);
  return value;
}

/** Eight numbers of 16 bits. The text may end in a dotted quad, which counts as two. */
function parseIpv6Groups(text: string): number[] | undefined {
  const groups: number[] = [];
  let gap = text.startsWith('::') ? 0 : -1;
  let at = gap === 0 ? 2 : 0;
  while (at < text.length) {
    const start = at;
    let group = 0;
    for (let digit = hexDigit(text, at); digit >= 0; digit = hexDigit(text, at)) {
      group = group * 16 + digit;
      at += 1;
      if (at - start > 4) return undefined;
    }
    if (text.charCodeAt(at) === 46) {
      const quad = parseIpv4Number(text.slice(start));
      if (quad < 0) return undefined;
      groups.push(quad >>> 16, quad & 0xffff);
      break;
    }
    if (at === start || groups.length === 8) return undefined;
    groups.push(group);
    if (at === text.length) break;
    if (text.charCodeAt(at) !== 58 || at + 1 === text.length) return undefined;
    at += 1;
    if (text.charCodeAt(at) === 58) {
      if (gap >= 0) return undefined;
      gap = groups.length;
      at += 1;
    }
  }
  if (gap < 0) return groups.length === 8 ? groups : undefined;
  if (groups.length > 7) return undefined;
  groups.splice(gap, 0, ...noGroups.slice(groups.length));
  return groups;
}

const noGroups: readonly number[] = [0, 0, 0, 0, 0, 0, 0, 0];

/** -1 for what is not one, and past the end. */
function hexDigit(text: string, at: number): number {
  const code = text.charCodeAt(at);
  if (code >= 48 && code <= 57) return code - 48;
  const letter = code | 32;
  return letter >= 97 && letter <= 102 && code < 128 ? letter - 87 : -1;
}

/** Undefined when it is not an address. Zone identifiers (`%eth0`) are refused; IPv4-mapped IPv6 becomes IPv4. */
export function parseAddress(text: string): Address | undefined {
  if (!text.includes(':')) {
    const value = parseIpv4Number(text);
    return value < 0 ? undefined : { family: 4, value: BigInt(value) };
  }
  const value = parseIpv6Value(text);
  if (value === undefined) return undefined;
  if (value >> 32n === 0xffffn) return { family: 4, value: value & 0xffffffffn };
  return { family: 6, value };
}

/** `a.b.c.d`, or RFC 5952 text. */
export function renderAddress(address: Address): string {
  if (address.family === 4) return renderIpv4Number(Number(address.value));
  const groups: number[] = [];
  for (let shift = 112n; shift >= 0n; shift -= 16n) groups.push(Number((address.value >> shift) & 0xffffn));
  return renderGroups(groups);
}

const renderIpv4Number = (value: number): string =>
  `${value >>> 24}.${(value >>> 16) & 255}.${(value >>> 8) & 255}.${value & 255}`;

function renderGroups(groups: readonly number[]): string {
  let bestStart = -1;
  let bestLength = 1;
  for (let start = 0; start < 8; start += 1) {
    let length = 0;
    while (start + length < 8 && groups[start + length] === 0) length += 1;
    if (length > bestLength) {
      bestStart = start;
      bestLength = length;
    }
  }
  const hex = (from: number, to: number): string => {
    let text = '';
    for (let index = from; index < to; index += 1) text += `${index > from ? ':' : ''}${groups[index].toString(16)}`;
    return text;
  };
  return bestStart < 0 ? hex(0, 8) : `${hex(0, bestStart)}::${hex(bestStart + bestLength, 8)}`;
}

/** IPv4-mapped: the first 80 bits zero, the next 16 one. */
function isMapped(groups: readonly number[]): boolean {
  for (let index = 0; index < 5; index += 1) if (groups[index] !== 0) return false;
  return groups[5] === 0xffff;
}

const renderUnmapped = (groups: readonly number[]): string =>
  isMapped(groups) ? renderIpv4Number(groups[6] * 65536 + groups[7]) : renderGroups(groups);

/** What `renderAddress(parseAddress(text))` gives for text of this family, without the numbers in between; undefined for other text. */
export function normalAddressText(text: string, family: Family): string | undefined {
  if (family === 4) return parseIpv4Number(text) < 0 ? undefined : text;
  const groups = parseIpv6Groups(text);
  return groups && renderUnmapped(groups);
}

/** The text of the 4 or 16 bytes at `at` in network order; IPv4-mapped IPv6 as IPv4. */
export function renderAddressAt(bytes: Uint8Array, at: number, family: Family): string {
  if (family === 4) return `${bytes[at]}.${bytes[at + 1]}.${bytes[at + 2]}.${bytes[at + 3]}`;
  const groups: number[] = [];
  for (let index = 0; index < 16; index += 2) groups.push((bytes[at + index] << 8) | bytes[at + index + 1]);
  return renderUnmapped(groups);
}

/** Network byte order: 4 or 16 bytes. */
export function addressBytes(address: Address): Uint8Array {
  const bytes = new Uint8Array(address.family === 4 ? 4 : 16);
  let rest = address.value;
  for (let index = bytes.length - 1; index >= 0; index -= 1) {
    bytes[index] = Number(rest & 0xffn);
    rest >>= 8n;
  }
  return bytes;
}

/** From 4 or 16 bytes in network order. */
export function addressFromBytes(bytes: Uint8Array): Address {
  let value = 0n;
  for (const byte of bytes) value = (value << 8n) | BigInt(byte);
  return { family: bytes.length === 4 ? 4 : 6, value };
}

/** One address, `a/len` (host bits may be set), or `a-b`. Undefined when it does not parse or runs backwards. */
export function parseRange(text: string): AddressRange | undefined {
  const trimmed = text.trim();
  const slash = trimmed.indexOf('/');
  if (slash >= 0) {
    const address = parseAddress(trimmed.slice(0, slash));
    const lengthText = trimmed.slice(slash + 1);
    if (!address || !/^\d{1,3}$/.test(lengthText)) return undefined;
    const length = Number(lengthText);
    const bits = bitsOf(address.family);
    if (length > bits) return undefined;
    const size = 1n << BigInt(bits - length);
    const first = address.value - (address.value % size);
    return { family: address.family, first, last: first + size - 1n };
  }
  const dash = trimmed.indexOf('-');
  if (dash >= 0) {
    const first = parseAddress(trimmed.slice(0, dash).trim());
    const last = parseAddress(trimmed.slice(dash + 1).trim());
    if (!first || !last || first.family !== last.family || first.value > last.value) return undefined;
    return { family: first.family, first: first.value, last: last.value };
  }
  const address = parseAddress(trimmed);
  return address && { family: address.family, first: address.value, last: address.value };
}

/** The shortest list of `{first, prefixLength}` blocks that cover exactly this range. */
export function rangeToCidrs(range: AddressRange): { first: Address; prefixLength: number }[] {
  const bits = bitsOf(range.family);
  const blocks: { first: Address; prefixLength: number }[] = [];
  let at = range.first;
  while (at <= range.last) {
    let sizeBits = 0;
    while (
      sizeBits < bits &&
      (at & ((1n << BigInt(sizeBits + 1)) - 1n)) === 0n &&
      at + (1n << BigInt(sizeBits + 1)) - 1n <= range.last
    )
      sizeBits += 1;
    blocks.push({ first: { family: range.family, value: at }, prefixLength: bits - sizeBits });
    at += 1n << BigInt(sizeBits);
  }
  return blocks;
}

/** `a`, `a/len` where the range is one block, else `a-b`. */
export function renderRange(range: AddressRange): string {
  const first = renderAddress({ family: range.family, value: range.first });
  if (range.first === range.last) return first;
  const blocks = rangeToCidrs(range);
  if (blocks.length === 1) return `${first}/${blocks[0].prefixLength}`;
  return `${first}-${renderAddress({ family: range.family, value: range.last })}`;
}

export const rangeSize = (range: AddressRange): bigint => range.last - range.first + 1n;

export const rangeHolds = (range: AddressRange, address: Address): boolean =>
  range.family === address.family && range.first <= address.value && address.value <= range.last;

export const rangesOverlap = (a: AddressRange, b: AddressRange): boolean =>
  a.family === b.family && a.first <= b.last && b.first <= a.last;

const byStart = (a: AddressRange, b: AddressRange): number =>
  a.family - b.family || (a.first < b.first ? -1 : a.first > b.first ? 1 : a.last < b.last ? -1 : a.last > b.last ? 1 : 0);

function isSorted(ranges: readonly AddressRange[]): boolean {
  for (let index = 1; index < ranges.length; index += 1) if (byStart(ranges[index - 1], ranges[index]) > 0) return false;
  return true;
}

/** Sorted by family and start, with overlapping and touching ranges joined. */
export function uniteRanges(ranges: readonly AddressRange[]): AddressRange[] {
  const united: AddressRange[] = [];
  for (const range of isSorted(ranges) ? ranges : [...ranges].sort(byStart)) {
    const previous = united.at(-1);
    if (previous && previous.family === range.family && range.first <= previous.last + 1n) {
      if (range.last > previous.last) united[united.length - 1] = { ...previous, last: range.last };
    } else united.push(range);
  }
  return united;
}

/** Every address of `ranges` that no range of `holes` has; sorted and joined. */
export function subtractRanges(ranges: readonly AddressRange[], holes: readonly AddressRange[]): AddressRange[] {
  const left: AddressRange[] = [];
  const cuts = uniteRanges(holes);
  let cutIndex = 0;
  for (const range of uniteRanges(ranges)) {
    let first = range.first;
    while (
      cutIndex < cuts.length &&
      (cuts[cutIndex].family < range.family || (cuts[cutIndex].family === range.family && cuts[cutIndex].last < first))
    )
      cutIndex += 1;
    let index = cutIndex;
    while (index < cuts.length && cuts[index].family === range.family && cuts[index].first <= range.last) {
      const cut = cuts[index];
      if (cut.first > first) left.push({ family: range.family, first, last: cut.first - 1n });
      if (cut.last >= first) first = cut.last + 1n;
      index += 1;
    }
    if (first <= range.last) left.push({ family: range.family, first, last: range.last });
  }
  return left;
}

/** Every address that both have; sorted and joined. */
export function overlapRanges(a: readonly AddressRange[], b: readonly AddressRange[]): AddressRange[] {
  const found: AddressRange[] = [];
  const left = uniteRanges(a);
  const right = uniteRanges(b);
  for (let at = 0, other = 0; at < left.length && other < right.length; ) {
    const one = left[at];
    const two = right[other];
    if (rangesOverlap(one, two)) {
      const [later] = one.first > two.first ? [one] : [two];
      const [sooner] = one.last < two.last ? [one] : [two];
      found.push({ family: one.family, first: later.first, last: sooner.last });
    }
    if (one.family < two.family || (one.family === two.family && one.last < two.last)) at += 1;
    else other += 1;
  }
  return found;
}
