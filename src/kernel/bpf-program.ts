// Programs for the kernel's BPF machine as bytes: instructions, and labels in place of counted jumps. Pure; loading is bpf.ts.
// Source: Documentation/bpf/standardization/instruction-set.rst, include/uapi/linux/bpf.h.

type Register = 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 | 10;
export type BpfWidth = 1 | 2 | 4 | 8;

interface Instruction {
  readonly code: number;
  readonly to: number;
  readonly from: number;
  readonly offset: number;
  readonly value: number;
  readonly label?: string;
}

const load = { 1: 0x71, 2: 0x69, 4: 0x61, 8: 0x79 } as const;
const store = { 1: 0x73, 2: 0x6b, 4: 0x63, 8: 0x7b } as const;
const storeValue = { 1: 0x72, 2: 0x6a, 4: 0x62, 8: 0x7a } as const;
const operations = { add: 0x07, and: 0x57, shiftLeft: 0x67, shiftRight: 0x77 } as const;
const jumps = { equal: 0x15, unequal: 0x55 } as const;

/** Register 10 is the stack's end: 512 bytes below it are the program's. */
export class BpfProgram {
  readonly #instructions: Instruction[] = [];
  readonly #labels = new Map<string, number>();

  #add(code: number, to: number, from: number, offset: number, value: number, label?: string): this {
    this.#instructions.push({ code, to, from, offset, value, ...(label === undefined ? {} : { label }) });
    return this;
  }

  /** The next instruction has this name. */
  label(name: string): this {
    this.#labels.set(name, this.#instructions.length);
    return this;
  }

  copy(to: Register, from: Register): this {
    return this.#add(0xbf, to, from, 0, 0);
  }

  set(to: Register, value: number): this {
    return this.#add(0xb7, to, 0, 0, value);
  }

  /** The address of a place on the stack, `offset` negative. */
  stack(to: Register, offset: number): this {
    return this.copy(to, 10).calculate('add', to, offset);
  }

  /** Two slots: an address of 64 bits that the kernel puts in for the map's descriptor. */
  map(to: Register, fd: number): this {
    return this.#add(0x18, to, 1, 0, fd).#add(0, 0, 0, 0, 0);
  }

  calculate(operation: keyof typeof operations, to: Register, value: number): this {
    return this.#add(operations[operation], to, 0, 0, value);
  }

  load(width: BpfWidth, to: Register, from: Register, offset: number): this {
    return this.#add(load[width], to, from, offset, 0);
  }

  store(width: BpfWidth, to: Register, offset: number, from: Register): this {
    return this.#add(store[width], to, from, offset, 0);
  }

  storeValue(width: BpfWidth, to: Register, offset: number, value: number): this {
    return this.#add(storeValue[width], to, 0, offset, value);
  }

  /** Atomic, 64 bits. */
  addInMemory(to: Register, offset: number, from: Register): this {
    return this.#add(0xdb, to, from, offset, 0);
  }

  jump(label: string): this {
    return this.#add(0x05, 0, 0, 0, 0, label);
  }

  jumpWhen(comparison: keyof typeof jumps, register: Register, value: number, label: string): this {
    return this.#add(jumps[comparison], register, 0, 0, value, label);
  }

  /** A helper by its number: arguments in registers 1 to 5, which are lost; the result in 0. */
  call(helper: number): this {
    return this.#add(0x85, 0, 0, 0, helper);
  }

  /** With this result. */
  exit(value: number): this {
    return this.set(0, value).#add(0x95, 0, 0, 0, 0);
  }

  /** struct bpf_insn, eight bytes each. */
  render(): Uint8Array {
    const bytes = new Uint8Array(this.#instructions.length * 8);
    const view = new DataView(bytes.buffer);
    for (const [index, { code, to, from, offset, value, label }] of this.#instructions.entries()) {
      const target = label === undefined ? undefined : this.#labels.get(label);
      if (label !== undefined && target === undefined) throw new RangeError(`there is no label ${label}`);
      bytes[index * 8] = code;
      bytes[index * 8 + 1] = to | (from << 4);
      view.setInt16(index * 8 + 2, target === undefined ? offset : target - index - 1, true);
      view.setInt32(index * 8 + 4, value, true);
    }
    return bytes;
  }
}

/** enum bpf_func_id. */
export const bpfHelpers = {
  mapLookup: 1,
  mapUpdate: 2,
  mapDelete: 3,
  currentPidAndThread: 14,
  currentName: 16,
  loadBytesRelative: 68,
  readKernel: 113,
} as const;
