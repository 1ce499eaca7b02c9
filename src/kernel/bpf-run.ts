// Programs that are in the kernel already, found and run on a packet of ours (BPF_PROG_TEST_RUN): what they would say, without a packet on any
// wire. Making programs is bpf.ts.
// Sources: bpf(2), Documentation/bpf/bpf_prog_run.rst, include/uapi/linux/bpf.h (union bpf_attr).

import { callBpf } from './bpf.ts';
import { addressOf, callFailed } from './libc.ts';

const BPF_PROG_TEST_RUN = 10;
export const BPF_PROG_GET_FD_BY_ID = 13;
export const BPF_OBJ_GET_INFO_BY_FD = 15;
export const BPF_PROG_QUERY = 16;

/** What the command gives. Throws `not-permitted`, `system-call`. */
export function askBpf(command: number, attributes: Uint8Array, what: string): number {
  const result = callBpf(command, attributes);
  if (result < 0) throw callFailed(`bpf (${what})`, -result);
  return result;
}

/** Runs a program once on a frame; what it returned. `context` is struct xdp_md where the program is of XDP. Throws as askBpf. */
export function runBpfProgram(program: number, frame: Uint8Array, context?: Uint8Array, flags = 0): number {
  const attributes = new Uint8Array(80);
  const view = new DataView(attributes.buffer);
  view.setUint32(0, program, true);
  view.setUint32(8, frame.length, true);
  view.setBigUint64(16, addressOf(frame), true);
  view.setUint32(32, 1, true);
  if (context) {
    view.setUint32(40, context.length, true);
    view.setBigUint64(48, addressOf(context), true);
  }
  view.setUint32(64, flags, true);
  askBpf(BPF_PROG_TEST_RUN, attributes, 'running a program');
  return view.getUint32(4, true);
}
