// Filter programs (classic BPF): a libpcap expression compiled to instructions, checked, named by a hash. Compiling is tcpdump's, which
// needs no privilege for it; running is run-filter.ts, or the kernel.
// Sources: bpf(4), pcap-filter(7), tcpdump(8) option -ddd, Documentation/networking/filter.rst.

import { createHash } from 'node:crypto';
import { WeirError } from '../../base/errors.ts';
import { type CommandRunner, firstLines } from '../command.ts';
import type { FilterInstruction } from '../packet-socket.ts';

export interface FilterProgram {
  /** As typed; empty: everything. */
  readonly expression: string;
  /** LINKTYPE_*. */
  readonly linkType: number;
  readonly instructions: readonly FilterInstruction[];
  /** Of the instructions, sha256: the same hash, the same answer to every frame. */
  readonly hash: string;
}

/** Link types an expression can be compiled for, by tcpdump's names. */
const linkNames: Readonly<Record<number, string>> = {
  0: 'NULL',
  1: 'EN10MB',
  12: 'RAW',
  101: 'RAW',
  108: 'LOOP',
  113: 'LINUX_SLL',
  228: 'IPV4',
  229: 'IPV6',
  276: 'LINUX_SLL2',
};

export const linkTypeName = (linkType: number): string => linkNames[linkType] ?? `link type ${linkType}`;

/** BPF_MAXINSNS: longer ones the kernel refuses. */
const maxInstructions = 4096;
const scratchCells = 16;
export const wholeFrame = 262_144;

/** Classes and modes of an instruction's code. */
export const bpf = {
  ld: 0,
  ldx: 1,
  st: 2,
  stx: 3,
  alu: 4,
  jmp: 5,
  ret: 6,
  misc: 7,
} as const;

/** What `tcpdump -ddd` prints: a count, then code, jump true, jump false and operand of each. Throws `bad-request`. */
export function parseInstructions(text: string): FilterInstruction[] {
  const lines = text.trim().split('\n');
  const instructions = lines.slice(1).map((line): FilterInstruction => {
    const numbers = line.trim().split(/\s+/).map(Number);
    if (numbers.length !== 4 || numbers.some((number) => !Number.isInteger(number) || number < 0 || number > 0xffffffff))
      throw new WeirError('bad-request', 'a filter program does not parse');
    return [numbers[0], numbers[1], numbers[2], numbers[3]];
  });
  if (Number(lines[0]) !== instructions.length) throw new WeirError('bad-request', 'a filter program was cut short');
  checkInstructions(instructions);
  return instructions;
}

/**
 * Throws `bad-request` for what the kernel would refuse: a jump backwards (`protochain`) or out, an unknown instruction, a
 * division by zero, a program that does not end.
 */
export function checkInstructions(instructions: readonly FilterInstruction[]): void {
  const refuse = (at: number, why: string): never => {
    throw new WeirError('bad-request', `instruction ${at} of the filter ${why}`, {
      next: 'expressions that loop (protochain) run in no kernel: name the headers one by one, such as ip6[6] = 44',
    });
  };
  const { length } = instructions;
  if (length === 0 || length > maxInstructions) refuse(length, `: 1 to ${maxInstructions} are possible`);
  for (const [at, [code, whenTrue, whenFalse, operand]] of instructions.entries()) {
    const kind = code & 7;
    if (kind === bpf.jmp) {
      const furthest = (code & 0xf0) === 0 ? operand : Math.max(whenTrue, whenFalse);
      if (at + 1 + furthest >= length) refuse(at, 'jumps out of it or back');
      if ((code & 0xf0) > 0x40) refuse(at, 'is unknown');
    } else if (kind === bpf.st || kind === bpf.stx || ((kind === bpf.ld || kind === bpf.ldx) && (code & 0xe0) === 0x60)) {
      if (operand >= scratchCells) refuse(at, 'uses memory there is not');
    } else if (kind === bpf.alu) {
      const operation = code & 0xf0;
      if (operation > 0xa0) refuse(at, 'is unknown');
      if ((operation === 0x30 || operation === 0x90) && (code & 8) === 0 && operand === 0) refuse(at, 'divides by zero');
    }
  }
  if ((instructions[length - 1][0] & 7) !== bpf.ret) refuse(length - 1, 'does not end it');
}

export function hashOf(instructions: readonly FilterInstruction[]): string {
  const bytes = Buffer.alloc(instructions.length * 8);
  for (const [index, [code, whenTrue, whenFalse, operand]] of instructions.entries()) {
    bytes.writeUInt16BE(code, index * 8);
    bytes[index * 8 + 2] = whenTrue;
    bytes[index * 8 + 3] = whenFalse;
    bytes.writeUInt32BE(operand, index * 8 + 4);
  }
  return createHash('sha256').update(bytes).digest('hex');
}

/**
 * `snap`: bytes of a frame that are kept. Host names in it are asked of the resolver, once. Throws `bad-request` with the compiler's
 * words, `tool-missing` without tcpdump.
 */
export async function compileFilter(
  runner: CommandRunner,
  expression: string,
  linkType: number,
  snap = wholeFrame,
): Promise<FilterProgram> {
  const name = linkNames[linkType];
  if (name === undefined) throw new WeirError('bad-request', `no expression can be compiled for link type ${linkType}`);
  const { code, stdout, stderr } = await runner.run('tcpdump', ['-y', name, '-s', String(snap), '-ddd', '--', expression], {
    anyCode: true,
    timeoutMs: 15_000,
  });
  if (code !== 0)
    throw new WeirError('bad-request', `the expression does not compile: ${firstLines(stderr).replace(/^tcpdump: /, '')}`, {
      expression,
      next: 'see pcap-filter(7); examples: "tcp port 80", "host 10.0.0.1 and not port 22"',
    });
  const instructions = parseInstructions(stdout);
  return { expression, linkType, instructions, hash: hashOf(instructions) };
}
