// BPF programs that a cgroup has for what its sockets send and receive (systemd's IPAddressDeny, container engines): which, and what they say to
// one packet: the kernel runs them on it (BPF_PROG_TEST_RUN), and nothing is sent. Needs CAP_SYS_ADMIN and CAP_BPF.
// Sources: askBpf(2), include/uapi/linux/bpf.h.

import { closeSync, openSync, readFileSync } from 'node:fs';
import type { FilterPacket } from '../model/packet-filter.ts';
import { askBpf, BPF_OBJ_GET_INFO_BY_FD, BPF_PROG_GET_FD_BY_ID, BPF_PROG_QUERY, runBpfProgram } from './bpf-run.ts';
import { renderEthernet, renderTcpPacket, renderUdpPacket } from './frame-injection.ts';
import { addressOf, callFailed } from './libc.ts';

const BPF_F_QUERY_EFFECTIVE = 1;
const attachTypes = { ingress: 0, egress: 1 } as const;
/** More on one cgroup are not looked at; the kernel allows 64. */
const mostPrograms = 64;

export interface CgroupProgram {
  readonly id: number;
  readonly name: string;
  /** What it says to the packet; undefined where it could not be run. */
  readonly allows: boolean | undefined;
}

/** Where the unified hierarchy is mounted; undefined on machines without. */
export function unifiedRoot(): string | undefined {
  for (const line of readFileSync('/proc/self/mountinfo', 'utf8').split('\n'))
    if (/ - cgroup2 /.test(line)) return line.split(' ')[4];
  return undefined;
}

/**
 * Programs in effect for a cgroup (those of its ancestors too), each run on `packet`. `cgroup` is its path in the unified hierarchy.
 * Throws `not-permitted`, `system-call`; a cgroup that is gone has none.
 */
export function judgeByCgroup(cgroup: string, direction: 'ingress' | 'egress', packet: FilterPacket): CgroupProgram[] {
  const root = unifiedRoot();
  if (root === undefined) return [];
  let directory: number;
  try {
    directory = openSync(`${root}${cgroup}`, 'r');
  } catch (error) {
    const { code, errno = 0 } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return [];
    throw callFailed('opening a cgroup', Math.abs(errno));
  }
  const ids = new Uint32Array(mostPrograms);
  try {
    const attributes = new Uint8Array(56);
    const view = new DataView(attributes.buffer);
    view.setUint32(0, directory, true);
    view.setUint32(4, attachTypes[direction], true);
    view.setUint32(8, BPF_F_QUERY_EFFECTIVE, true);
    view.setBigUint64(16, addressOf(new Uint8Array(ids.buffer)), true);
    view.setUint32(24, mostPrograms, true);
    askBpf(BPF_PROG_QUERY, attributes, 'programs of a cgroup');
    return [...ids.subarray(0, view.getUint32(24, true))].map((id) => judgeByProgram(id, packet));
  } finally {
    closeSync(directory);
  }
}

function judgeByProgram(id: number, packet: FilterPacket): CgroupProgram {
  const byId = new Uint8Array(12);
  new DataView(byId.buffer).setUint32(0, id, true);
  const program = askBpf(BPF_PROG_GET_FD_BY_ID, byId, `program ${id}`);
  try {
    return { id, name: nameOf(program), allows: run(program, packet) };
  } finally {
    closeSync(program);
  }
}

/** struct bpf_prog_info: its name is at 64. */
function nameOf(program: number): string {
  const info = new Uint8Array(80);
  const attributes = new Uint8Array(16);
  const view = new DataView(attributes.buffer);
  view.setUint32(0, program, true);
  view.setUint32(4, info.length, true);
  view.setBigUint64(8, addressOf(info), true);
  try {
    askBpf(BPF_OBJ_GET_INFO_BY_FD, attributes, 'a program');
  } catch {
    return '';
  }
  const bytes = info.subarray(64, 80);
  const end = bytes.indexOf(0);
  return Buffer.from(end < 0 ? bytes : bytes.subarray(0, end)).toString('latin1');
}

function run(program: number, packet: FilterPacket): boolean | undefined {
  // The kernel takes a link header off first: the program sees IP.
  const frame = renderEthernet(
    '02:00:00:00:00:01',
    '02:00:00:00:00:02',
    packet.protocol === 'udp' ? renderUdpPacket(packet) : renderTcpPacket(packet),
  );
  try {
    return (runBpfProgram(program, frame) & 1) === 1;
  } catch {
    return undefined;
  }
}
