// A filter program in words, one line an instruction. Pure. Names of places are those of frames without VLAN tag and IPv4 options.
// Sources: bpf(4), RFC 791, RFC 8200, RFC 9293.

import type { FilterProgram } from '../../kernel/capture/filter-program.ts';
import type { FilterInstruction } from '../../kernel/packet-socket.ts';

/** Beginning of the IP header, by LINKTYPE. */
const networkAt: Readonly<Record<number, number>> = { 0: 4, 1: 14, 12: 0, 101: 0, 108: 4, 113: 16, 228: 0, 229: 0, 276: 20 };

const network: Readonly<Record<number, string>> = {
  0: 'IP version and header length',
  6: 'IPv4 flags and fragment offset, or IPv6 next header',
  8: 'IPv4 TTL, or the IPv6 source',
  9: 'IPv4 protocol',
  12: 'IPv4 source address',
  16: 'IPv4 destination address',
  20: 'IPv4 source port (no options), or the IPv6 source',
  22: 'IPv4 destination port (no options)',
  24: 'IPv6 destination address',
  28: 'IPv6 destination address',
  32: 'IPv6 destination address',
  36: 'IPv6 destination address',
  40: 'source port over IPv6',
  42: 'destination port over IPv6',
  53: 'TCP flags over IPv6',
};

const etherTypes: Readonly<Record<number, string>> = {
  2048: 'IPv4',
  2054: 'ARP',
  33024: '802.1Q tag',
  34525: 'IPv6',
  34984: '802.1ad tag',
  37120: 'old QinQ tag',
};
const protocols: Readonly<Record<number, string>> = {
  1: 'ICMP',
  6: 'TCP',
  17: 'UDP',
  44: 'IPv6 fragment',
  58: 'ICMPv6',
  132: 'SCTP',
};

function placeOf(offset: number, linkType: number): string | undefined {
  if (offset >= 0xfffff000) return offset === 0xfffff004 ? 'direction of the frame' : 'a fact of the kernel';
  if (linkType === 1) {
    if (offset === 0 || offset === 2) return 'destination MAC';
    if (offset === 6 || offset === 8) return 'source MAC';
    if (offset === 12) return 'EtherType';
    if (offset === 14 && networkAt[1] === 14) return network[0];
    if (offset === 16) return 'EtherType behind a VLAN tag, or IPv4 length';
  }
  return network[offset - (networkAt[linkType] ?? 0)];
}

const sizes: Readonly<Record<number, string>> = { 0: '4 bytes', 8: '2 bytes', 16: '1 byte' };
const operators: Readonly<Record<number, string>> = {
  0: '+',
  16: '-',
  32: '*',
  48: '/',
  64: '|',
  80: '&',
  96: '<<',
  112: '>>',
  144: '%',
  160: '^',
};

const dotted = (value: number): string => [24, 16, 8, 0].map((shift) => (value >>> shift) & 255).join('.');

/** What a value means where it is compared with what was read last. */
function meaning(value: number, read: string): string {
  if (read.includes('EtherType') && etherTypes[value]) return ` (${etherTypes[value]})`;
  if (/protocol|next header/.test(read) && protocols[value]) return ` (${protocols[value]})`;
  if (/IPv4 (source|destination) address/.test(read)) return ` (${dotted(value)})`;
  return value > 9 ? ` (0x${value.toString(16)})` : '';
}

function sentence([code, whenTrue, whenFalse, operand]: FilterInstruction, at: number, linkType: number, read: string): string {
  const size = sizes[code & 0x18] ?? '4 bytes';
  const other = code & 8 ? 'X' : `${operand}`;
  const step = (distance: number): string => `go to ${at + 1 + distance}`;
  const place = placeOf(operand, linkType);
  const where = place ? ` (${place})` : '';
  switch (code & 7) {
    case 0:
    case 1: {
      const register = (code & 7) === 0 ? 'A' : 'X';
      if (code === 0xb1) return `X = length of the IPv4 header at ${operand}`;
      switch (code & 0xe0) {
        case 0x00:
          return `${register} = ${operand}`;
        case 0x20:
          return `${register} = ${size} at ${operand}${where}`;
        case 0x40:
          return `${register} = ${size} at X + ${operand}${transportPlace(operand, linkType)}`;
        case 0x60:
          return `${register} = memory ${operand}`;
        default:
          return `${register} = length of the frame`;
      }
    }
    case 2:
      return `memory ${operand} = A`;
    case 3:
      return `memory ${operand} = X`;
    case 4:
      return (code & 0xf0) === 0x80 ? 'A = -A' : `A = A ${operators[code & 0xf0] ?? '?'} ${other}`;
    case 5: {
      if ((code & 0xf0) === 0) return step(operand);
      const tests: Readonly<Record<number, string>> = {
        16: `A = ${other}${code & 8 ? '' : meaning(operand, read)}`,
        32: `A > ${other}`,
        48: `A >= ${other}`,
        64: `A has a bit of ${code & 8 ? 'X' : `0x${operand.toString(16)}${/fragment/.test(read) ? ' (a later fragment)' : ''}`}`,
      };
      return `if ${tests[code & 0xf0] ?? '?'} ${step(whenTrue)}, else ${step(whenFalse)}`;
    }
    case 6:
      if (code & 0x10) return 'keep A bytes';
      return operand === 0 ? 'drop: it does not match' : `match: keep up to ${operand} bytes`;
    default:
      return code & 0x80 ? 'A = X' : 'X = A';
  }
}

/** With X the length of the IPv4 header. */
function transportPlace(offset: number, linkType: number): string {
  const places: Readonly<Record<number, string>> = { 0: 'source port', 2: 'destination port', 13: 'TCP flags' };
  const place = places[offset - (networkAt[linkType] ?? 0)];
  return place ? ` (${place} over IPv4)` : '';
}

/** `  3  if A = 6 (TCP) go to 4, else go to 8`. */
export function explainFilter({ instructions, linkType }: FilterProgram): string[] {
  let read = '';
  return instructions.map((instruction, at) => {
    const text = sentence(instruction, at, linkType, read);
    if ((instruction[0] & 7) === 0) read = text;
    return `${String(at).padStart(4)}  ${text}`;
  });
}
