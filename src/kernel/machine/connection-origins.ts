// Which process began which TCP connection, told by the kernel as it happens: also connections too short to be seen in any table. A BPF
// program on the tracepoint sock:inet_sock_set_state; whose flow that is on a wire is netops/who. Bounded: old entries give way.
// Sources: include/trace/events/sock.h, include/net/sock.h (struct sock_common: its beginning has been the same on 64 bits since 3.13).

import { printableBytes } from '../../base/printable.ts';
import { type Address, addressFromBytes } from '../../model/address.ts';
import { type BpfMapShape, createBpfMap, loadBpfProgram, openRawTracepoint, takeBpfEntries } from '../bpf.ts';
import { BpfProgram, bpfHelpers } from '../bpf-program.ts';
import { closeDescriptor } from '../libc.ts';

/** A connection that was made: the process connected, it did not accept. */
export interface ConnectionOrigin {
  readonly local: Address;
  readonly localPort: number;
  readonly remote: Address;
  readonly remotePort: number;
  readonly pid: number;
  readonly comm: string;
  /** Where struct net of its namespace lies: says only whether two are in the same. */
  readonly net: string;
}

const TCP_ESTABLISHED = 1;
const TCP_SYN_SENT = 2;
/** From the address to struct net and the addresses of IPv6: skc_family at 16, skc_net at 48, skc_v6_daddr at 56. */
const commonBytes = 88;
/** Family and ports with their addresses, as struct sock_common has them. */
const keyBytes = 40;
/** Process and thread, struct net, the thread's name. */
const valueBytes = 32;
const begun: BpfMapShape = { type: 'lruHash', keyBytes: 8, valueBytes: 24, entries: 16_384 };
const made: BpfMapShape = { type: 'lruHash', keyBytes, valueBytes, entries: 65_536 };

const common = -88;
const key = -128;
const value = -160;
const pointer = -168;

/** `begunMap`: by socket, who asked it to connect. `madeMap`: by addresses, once there was an answer. */
export function renderOriginsProgram(begunMap: number, madeMap: number): Uint8Array {
  const program = new BpfProgram()
    .load(8, 7, 1, 0)
    .load(8, 8, 1, 8)
    .load(8, 9, 1, 16)
    .store(8, 10, pointer, 7)
    .jumpWhen('equal', 9, TCP_SYN_SENT, 'begun')
    .jumpWhen('unequal', 8, TCP_SYN_SENT, 'end')
    .jumpWhen('unequal', 9, TCP_ESTABLISHED, 'forget')
    .map(1, begunMap)
    .stack(2, pointer)
    .call(bpfHelpers.mapLookup)
    .jumpWhen('equal', 0, 0, 'end');
  // Process and name as they were when it was asked; the answer came to whoever was running.
  for (const [from, to] of [
    [0, value],
    [8, value + 16],
    [16, value + 24],
  ])
    program.load(8, 1, 0, from).store(8, 10, to, 1);
  program
    .stack(1, common)
    .set(2, commonBytes)
    .copy(3, 7)
    .call(bpfHelpers.readKernel)
    .jumpWhen('unequal', 0, 0, 'end')
    .load(8, 1, 10, common + 48)
    .store(8, 10, value + 8, 1);
  for (let at = 0; at < keyBytes; at += 8) program.storeValue(8, 10, key + at, 0);
  program
    .load(4, 1, 10, common + 12)
    .store(4, 10, key + 4, 1)
    .load(2, 1, 10, common + 16)
    .store(2, 10, key, 1)
    .jumpWhen('equal', 1, 10, 'six')
    .load(4, 1, 10, common)
    .store(4, 10, key + 24, 1)
    .load(4, 1, 10, common + 4)
    .store(4, 10, key + 8, 1)
    .jump('keep')
    .label('six');
  for (let at = 0; at < 16; at += 8)
    program
      .load(8, 1, 10, common + 56 + at)
      .store(8, 10, key + 24 + at, 1)
      .load(8, 1, 10, common + 72 + at)
      .store(8, 10, key + 8 + at, 1);
  program
    .label('keep')
    .map(1, madeMap)
    .stack(2, key)
    .stack(3, value)
    .set(4, 0)
    .call(bpfHelpers.mapUpdate)
    .label('forget')
    .map(1, begunMap)
    .stack(2, pointer)
    .call(bpfHelpers.mapDelete)
    .jump('end')
    .label('begun')
    .call(bpfHelpers.currentPidAndThread)
    .store(8, 10, value, 0)
    .stack(1, value + 8)
    .set(2, 16)
    .call(bpfHelpers.currentName)
    .map(1, begunMap)
    .stack(2, pointer)
    .stack(3, value)
    .set(4, 0)
    .call(bpfHelpers.mapUpdate)
    .label('end')
    .exit(0);
  return program.render();
}

export class ConnectionOrigins {
  readonly #descriptors: number[] = [];
  readonly #made: number;

  /** Listens until it is closed, to all namespaces. Needs CAP_BPF and CAP_PERFMON. Throws `not-permitted`, `kernel-missing`. */
  constructor() {
    const keep = (fd: number): number => {
      this.#descriptors.push(fd);
      return fd;
    };
    try {
      const asked = keep(createBpfMap(begun));
      this.#made = keep(createBpfMap(made));
      const program = keep(loadBpfProgram('rawTracepoint', renderOriginsProgram(asked, this.#made)));
      keep(openRawTracepoint('inet_sock_set_state', program));
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** What was made since the last time, in any order. */
  take(): ConnectionOrigin[] {
    const origins: ConnectionOrigin[] = [];
    takeBpfEntries(this.#made, made, (keys, at, values, valueAt) => {
      const family = keys.getUint16(at, true);
      const name = new Uint8Array(values.buffer, valueAt + 16, 16);
      const end = name.indexOf(0);
      origins.push({
        local: readAddress(keys, at + 8, family),
        // skc_num is in host order, skc_dport is not.
        localPort: keys.getUint16(at + 6, true),
        remote: readAddress(keys, at + 24, family),
        remotePort: keys.getUint16(at + 4),
        pid: values.getUint32(valueAt + 4, true),
        comm: printableBytes(end < 0 ? name : name.subarray(0, end), 64),
        net: values.getBigUint64(valueAt + 8, true).toString(16),
      });
    });
    return origins;
  }

  /** Idempotent. */
  close(): void {
    for (const fd of this.#descriptors.splice(0)) closeDescriptor(fd);
  }
}

function readAddress(keys: DataView, at: number, family: number): Address {
  const bytes = new Uint8Array(keys.buffer, at, family === 10 ? 16 : 4);
  const mapped = bytes.length === 16 && keys.getBigUint64(at) === 0n && keys.getUint32(at + 8) === 0xffff;
  return addressFromBytes(mapped ? bytes.subarray(12) : bytes);
}
