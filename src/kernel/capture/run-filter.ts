// Runs a classic BPF program over a frame, as the kernel does: the same program gives the same answer offline. Pure. What lies
// outside the frame ends the program with 0. The program was checked by filter-program.ts: jumps lead forward, so it ends.
// Sources: bpf(4), net/core/filter.c, Documentation/networking/filter.rst.

import type { FilterInstruction } from '../packet-socket.ts';

/** Where the kernel's own facts begin among offsets (SKF_AD_OFF). */
const ancillary = 0xfffff000;
const ancillaryPacketType = 4;
const PACKET_HOST = 0;
const PACKET_OUTGOING = 4;

const scratch = new Uint32Array(16);

/**
 * Bytes of the frame `bytes[start..end]` to keep; 0: it does not match. `wireLength` is what `len` and `greater` mean.
 * `outgoing` is what `inbound` and `outbound` ask; where it is unknown neither matches.
 */
export function runFilter(
  program: readonly FilterInstruction[],
  bytes: Uint8Array,
  start: number,
  end: number,
  wireLength: number,
  outgoing?: boolean,
): number {
  const length = end - start;
  let a = 0;
  let x = 0;
  for (let at = 0; at < program.length; at += 1) {
    const [code, whenTrue, whenFalse, operand] = program[at];
    switch (code) {
      case 0x20: // ld [k]
      case 0x28:
      case 0x30:
      case 0x40: // ld [x + k]
      case 0x48:
      case 0x50: {
        const size = code & 0x10 ? 1 : code & 0x08 ? 2 : 4;
        const offset = code & 0x40 ? x + operand : operand;
        if (offset >= ancillary && !(code & 0x40)) {
          if (offset !== ancillary + ancillaryPacketType || outgoing === undefined) return 0;
          a = outgoing ? PACKET_OUTGOING : PACKET_HOST;
          break;
        }
        if (offset + size > length) return 0;
        const from = start + offset;
        if (size === 1) a = bytes[from];
        else if (size === 2) a = (bytes[from] << 8) | bytes[from + 1];
        else a = ((bytes[from] << 24) | (bytes[from + 1] << 16) | (bytes[from + 2] << 8) | bytes[from + 3]) >>> 0;
        break;
      }
      case 0x80: // ld len
        a = wireLength >>> 0;
        break;
      case 0x81:
        x = wireLength >>> 0;
        break;
      case 0x00: // ld #k
        a = operand;
        break;
      case 0x01:
        x = operand;
        break;
      case 0x60: // ld M[k]
        a = scratch[operand];
        break;
      case 0x61:
        x = scratch[operand];
        break;
      case 0x02: // st M[k]
        scratch[operand] = a;
        break;
      case 0x03:
        scratch[operand] = x;
        break;
      case 0xb1: // ldxb 4*([k]&0xf)
        if (operand >= length) return 0;
        x = (bytes[start + operand] & 15) << 2;
        break;
      case 0x05: // ja
        at += operand;
        break;
      case 0x15: // jeq
        at += a === operand ? whenTrue : whenFalse;
        break;
      case 0x1d:
        at += a === x ? whenTrue : whenFalse;
        break;
      case 0x25: // jgt
        at += a > operand ? whenTrue : whenFalse;
        break;
      case 0x2d:
        at += a > x ? whenTrue : whenFalse;
        break;
      case 0x35: // jge
        at += a >= operand ? whenTrue : whenFalse;
        break;
      case 0x3d:
        at += a >= x ? whenTrue : whenFalse;
        break;
      case 0x45: // jset
        at += a & operand ? whenTrue : whenFalse;
        break;
      case 0x4d:
        at += a & x ? whenTrue : whenFalse;
        break;
      case 0x06: // ret #k
        return operand;
      case 0x16: // ret a
        return a;
      case 0x07: // tax
        x = a;
        break;
      case 0x87: // txa
        a = x;
        break;
      case 0x84: // neg
        a = -a >>> 0;
        break;
      default: {
        if ((code & 7) !== 4) return 0;
        const result = calculate(code & 0xf0, a, code & 8 ? x : operand);
        if (result < 0) return 0;
        a = result;
      }
    }
  }
  return 0;
}

/** In 32 bits without sign; -1 where the program ends: a division by zero. */
function calculate(operation: number, a: number, b: number): number {
  switch (operation) {
    case 0x00:
      return (a + b) >>> 0;
    case 0x10:
      return (a - b) >>> 0;
    case 0x20:
      return Math.imul(a, b) >>> 0;
    case 0x30:
      return b === 0 ? -1 : Math.floor(a / b);
    case 0x40:
      return (a | b) >>> 0;
    case 0x50:
      return (a & b) >>> 0;
    case 0x60:
      return b < 32 ? (a << b) >>> 0 : 0;
    case 0x70:
      return b < 32 ? a >>> b : 0;
    case 0x90:
      return b === 0 ? -1 : a % b;
    case 0xa0:
      return (a ^ b) >>> 0;
    default:
      return -1;
  }
}
