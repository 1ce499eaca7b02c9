// BPF programs that a cgroup has for what its sockets send and receive (systemd's IPAddressDeny, container engines): which, and what they say to
// one packet: the kernel runs them on it (BPF_PROG_TEST_RUN), and nothing is sent. Needs CAP_SYS_ADMIN and CAP_BPF.
// Sources: bpf(2), include/uapi/linux/bpf.h.

import { closeSync, openSync, readFileSync } from 'node:fs';
import koffi from 'koffi';
import { addressBytes } from '../model/address.ts';
import { foldChecksum, sumWords } from '../model/checksum.ts';
import type { FilterPacket } from '../model/packet-filter.ts';
import { addressOf, callFailed } from './libc.ts';

const call = koffi.load(null).func('long syscall(long, int, void *, uint32_t)') as (
  number: number,
  command: number,
  attributes: Uint8Array,
  size: number,
) => number | bigint;
/** __NR_bpf; arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h. */
const bpfNumber = process.arch === 'x64' ? 321 : 280;
const BPF_PROG_TEST_RUN = 10;
const BPF_PROG_GET_FD_BY_ID = 13;
const BPF_OBJ_GET_INFO_BY_FD = 15;
const BPF_PROG_QUERY = 16;
const BPF_F_QUERY_EFFECTIVE = 1;
const attachTypes = { ingress: 0, egress: 1 } as const;
/** More on one cgroup are not looked at; the kernel allows 64. */
const mostPrograms = 64;

function bpf(command: number, attributes: Uint8Array, what: string): number {
  const result = Number(call(bpfNumber, command, attributes, attributes.length));
  if (result < 0) throw callFailed(`bpf (${what})`, koffi.errno());
  return result;
}

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
  } catch {
    return [];
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
    bpf(BPF_PROG_QUERY, attributes, 'programs of a cgroup');
    return [...ids.subarray(0, view.getUint32(24, true))].map((id) => judgeByProgram(id, packet));
  } finally {
    closeSync(directory);
  }
}

function judgeByProgram(id: number, packet: FilterPacket): CgroupProgram {
  const byId = new Uint8Array(12);
  new DataView(byId.buffer).setUint32(0, id, true);
  const program = bpf(BPF_PROG_GET_FD_BY_ID, byId, `program ${id}`);
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
    bpf(BPF_OBJ_GET_INFO_BY_FD, attributes, 'a program');
  } catch {
    return '';
  }
  const bytes = info.subarray(64, 80);
  const end = bytes.indexOf(0);
  return Buffer.from(end < 0 ? bytes : bytes.subarray(0, end)).toString('latin1');
}

function run(program: number, packet: FilterPacket): boolean | undefined {
  const bytes = renderProbePacket(packet);
  // The kernel takes a link header off first; what is left begins with IP.
  const frame = new Uint8Array(14 + bytes.length);
  frame.set(packet.family === 4 ? [8, 0] : [0x86, 0xdd], 12);
  frame.set(bytes, 14);
  const attributes = new Uint8Array(80);
  const view = new DataView(attributes.buffer);
  view.setUint32(0, program, true);
  view.setUint32(8, frame.length, true);
  view.setBigUint64(16, addressOf(frame), true);
  view.setUint32(32, 1, true);
  try {
    bpf(BPF_PROG_TEST_RUN, attributes, 'running a program');
  } catch {
    return undefined;
  }
  return (view.getUint32(4, true) & 1) === 1;
}

/** A SYN, or the answer to one: IP and TCP headers without options or data. Pure. */
export function renderProbePacket(packet: FilterPacket): Uint8Array {
  const tcp = new Uint8Array(20);
  const tcpView = new DataView(tcp.buffer);
  tcpView.setUint16(0, packet.sourcePort);
  tcpView.setUint16(2, packet.destinationPort);
  tcp[12] = 0x50;
  tcp[13] = packet.tcpFlags === 'syn,ack' ? 0x12 : 0x02;
  tcpView.setUint16(14, 64240);
  const [source, destination] = [addressBytes(packet.source), addressBytes(packet.destination)];
  if (packet.family === 6) {
    const ip = new Uint8Array(40);
    ip[0] = 0x60;
    ip[5] = tcp.length;
    ip[6] = 6;
    ip[7] = 64;
    ip.set(source, 8);
    ip.set(destination, 24);
    return Uint8Array.from([...ip, ...tcp]);
  }
  const ip = new Uint8Array(20);
  ip.set([0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6]);
  ip.set(source, 12);
  ip.set(destination, 16);
  new DataView(ip.buffer).setUint16(10, foldChecksum(sumWords(ip, 0, 20)));
  return Uint8Array.from([...ip, ...tcp]);
}
