// The bpf(2) system call: maps, and programs that fill them. Owns nothing: descriptors are the caller's, and what is attached goes when
// they are closed. Programs are put together by bpf-program.ts.
// Source: bpf(2), include/uapi/linux/bpf.h (union bpf_attr).

import koffi from 'koffi';
import { WeirError } from '../base/errors.ts';
import { printable } from '../base/printable.ts';
import { addressOf, callFailed, errnoName } from './libc.ts';

/** Of the architectures Node runs on that libc.ts allows: asm/unistd.h. */
const callNumbers: Readonly<Record<string, number>> = { x64: 321, arm64: 280, riscv64: 280, loong64: 280, ppc64: 361 };

const syscall = koffi.load(null).func('long syscall(long, int, void *, unsigned int)') as (
  number: number,
  command: number,
  attributes: Uint8Array,
  length: number,
) => number;

const BPF_MAP_CREATE = 0;
const BPF_MAP_LOOKUP_ELEM = 1;
const BPF_PROG_LOAD = 5;
const BPF_RAW_TRACEPOINT_OPEN = 17;
const BPF_MAP_LOOKUP_AND_DELETE_BATCH = 25;
const attributeBytes = 128;
const loadAttempts = 100;

/** enum bpf_map_type. */
export const bpfMaps = { hash: 1, array: 2, lruHash: 9 } as const;
/** enum bpf_prog_type. */
export const bpfPrograms = { socketFilter: 1, xdp: 6, rawTracepoint: 17 } as const;

/** Any command, with attributes as its caller laid them out: result of the call, or the negated errno. */
export const callBpf = (command: number, attributes: Uint8Array): number => call(command, attributes);

/** Result of the call, or the negated errno. */
function call(command: number, attributes: Uint8Array): number {
  const number = callNumbers[process.arch];
  if (number === undefined) throw new WeirError('kernel-missing', `bpf(2) has no number here for ${process.arch}`);
  const result = syscall(number, command, attributes, attributes.length);
  return result < 0 ? -koffi.errno() : result;
}

const attributesOf = (fill: (view: DataView) => void): Uint8Array => {
  const bytes = new Uint8Array(attributeBytes);
  fill(new DataView(bytes.buffer));
  return bytes;
};

export interface BpfMapShape {
  readonly type: keyof typeof bpfMaps;
  readonly keyBytes: number;
  readonly valueBytes: number;
  readonly entries: number;
}

/** A descriptor. Needs CAP_BPF: throws `not-permitted`. */
export function createBpfMap({ type, keyBytes, valueBytes, entries }: BpfMapShape): number {
  const fd = call(
    BPF_MAP_CREATE,
    attributesOf((view) => {
      for (const [index, value] of [bpfMaps[type], keyBytes, valueBytes, entries].entries())
        view.setUint32(index * 4, value, true);
    }),
  );
  if (fd < 0) throw callFailed('bpf', -fd, { command: 'BPF_MAP_CREATE' });
  return fd;
}

/** A descriptor. Throws `not-permitted`, or `kernel-missing` with the verifier's last words. */
export function loadBpfProgram(type: keyof typeof bpfPrograms, instructions: Uint8Array): number {
  // The kernel gives some helpers only to programs that are free by its own terms: the few instructions of this room are so too.
  const license = Buffer.from('Dual MIT/GPL\0');
  const log = new Uint8Array(1 << 16);
  const load = (verbose: boolean): number =>
    call(
      BPF_PROG_LOAD,
      attributesOf((view) => {
        view.setUint32(0, bpfPrograms[type], true);
        view.setUint32(4, instructions.length / 8, true);
        view.setBigUint64(8, addressOf(instructions), true);
        view.setBigUint64(16, addressOf(license), true);
        if (!verbose) return;
        view.setUint32(24, 1, true);
        view.setUint32(28, log.length, true);
        view.setBigUint64(32, addressOf(log), true);
      }),
    );
  // The verifier gives up when a signal comes.
  let fd = load(false);
  for (let attempt = 1; attempt < loadAttempts && errnoName(-fd) === 'EAGAIN'; attempt += 1) fd = load(false);
  if (fd >= 0) return fd;
  if (errnoName(-fd) === 'EPERM') throw callFailed('bpf', -fd, { command: 'BPF_PROG_LOAD' });
  load(true);
  const said = Buffer.from(log.subarray(0, log.indexOf(0)))
    .toString()
    .trim()
    .split('\n')
    .slice(-4)
    .join('; ');
  throw new WeirError('kernel-missing', `this kernel does not take a BPF program: ${errnoName(-fd)}: ${printable(said, 600)}`);
}

/** From now on the program runs at each event of a tracepoint, until the descriptor is closed. Throws `not-permitted`, `kernel-missing`. */
export function openRawTracepoint(name: string, program: number): number {
  const text = Buffer.from(`${name}\0`);
  const fd = call(
    BPF_RAW_TRACEPOINT_OPEN,
    attributesOf((view) => {
      view.setBigUint64(0, addressOf(text), true);
      view.setUint32(8, program, true);
    }),
  );
  if (fd >= 0) return fd;
  if (errnoName(-fd) === 'EPERM') throw callFailed('bpf', -fd, { command: 'BPF_RAW_TRACEPOINT_OPEN' });
  throw new WeirError('kernel-missing', `this kernel has no tracepoint ${name}: ${errnoName(-fd)}`);
}

/** The value of one key, written into `value`; false when there is none. */
export function readBpfEntry(map: number, key: Uint8Array, value: Uint8Array): boolean {
  const result = call(
    BPF_MAP_LOOKUP_ELEM,
    attributesOf((view) => {
      view.setUint32(0, map, true);
      view.setBigUint64(8, addressOf(key), true);
      view.setBigUint64(16, addressOf(value), true);
    }),
  );
  return result === 0;
}

/** Entries taken out at a time: more than any bucket holds. */
const batchEntries = 4096;

/**
 * Takes every entry out of a map of type `hash` or `lruHash` and shows it; views of buffers that are used again. Needs Linux 5.6: throws
 * `system-call`. Entries made meanwhile may come now or the next time, none twice.
 */
export function takeBpfEntries(
  map: number,
  shape: BpfMapShape,
  visit: (keys: DataView, keyAt: number, values: DataView, valueAt: number) => void,
): void {
  const keys = new Uint8Array(batchEntries * shape.keyBytes);
  const values = new Uint8Array(batchEntries * shape.valueBytes);
  const place = new Uint8Array(Math.max(8, shape.keyBytes));
  const keyView = new DataView(keys.buffer);
  const valueView = new DataView(values.buffer);
  // A map has no more batches than entries; the bound ends a map that is filled as fast as it is read.
  for (let batch = 0; batch <= shape.entries; batch += 1) {
    const attributes = attributesOf((view) => {
      if (batch > 0) view.setBigUint64(0, addressOf(place), true);
      view.setBigUint64(8, addressOf(place), true);
      view.setBigUint64(16, addressOf(keys), true);
      view.setBigUint64(24, addressOf(values), true);
      view.setUint32(32, batchEntries, true);
      view.setUint32(36, map, true);
    });
    const result = call(BPF_MAP_LOOKUP_AND_DELETE_BATCH, attributes);
    const ended = result < 0;
    if (ended && errnoName(-result) !== 'ENOENT')
      throw callFailed('bpf', -result, { command: 'BPF_MAP_LOOKUP_AND_DELETE_BATCH' });
    const count = new DataView(attributes.buffer).getUint32(32, true);
    for (let index = 0; index < count; index += 1) visit(keyView, index * shape.keyBytes, valueView, index * shape.valueBytes);
    if (ended) return;
  }
}
