// A listener inside a cgroup whose BPF program lets nothing out to one address, as systemd's IPAddressDeny makes one.

import { execFileSync } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync, rmdirSync } from 'node:fs';
import koffi from 'koffi';
import type { FaultLab } from './fault-lab.ts';
import { until } from './namespace.ts';

const library = koffi.load(null);
const syscall = library.func('long syscall(long, int, void *, uint)') as (
  number: number,
  command: number,
  attributes: Uint8Array,
  size: number,
) => number;
/** __NR_bpf of x86-64 and arm64. */
const bpfNumber = process.arch === 'arm64' ? 280 : 321;
const BPF_PROG_LOAD = 5;
const BPF_PROG_ATTACH = 8;
const BPF_PROG_TYPE_CGROUP_SKB = 8;
const BPF_CGROUP_INET_EGRESS = 1;
const loadTries = 100;

const instruction = (code: number, registers: number, offset: number, immediate: number): number[] => [
  code,
  registers,
  offset & 255,
  (offset >> 8) & 255,
  ...new Uint8Array(new Int32Array([immediate]).buffer),
];

/** Denies what goes to `address`: compares 4 bytes at 16 of the packet (bpf_skb_load_bytes, 26): the same: 0, else 1. */
const denying = (address: readonly number[]): Uint8Array =>
  Uint8Array.from([
    ...instruction(0xb7, 0x02, 0, 16),
    ...instruction(0xbf, 0xa3, 0, 0),
    ...instruction(0x07, 0x03, 0, -8),
    ...instruction(0xb7, 0x04, 0, 4),
    ...instruction(0x85, 0x00, 0, 26),
    ...instruction(0x61, 0xa1, -8, 0),
    ...instruction(0xb4, 0x02, 0, new DataView(Uint8Array.from(address).buffer).getInt32(0, true)),
    ...instruction(0x1d, 0x21, 2, 0),
    ...instruction(0xb7, 0x00, 0, 1),
    ...instruction(0x95, 0, 0, 0),
    ...instruction(0xb7, 0x00, 0, 0),
    ...instruction(0x95, 0, 0, 0),
  ]);

function load(instructions: Uint8Array): number {
  const license = Uint8Array.from(Buffer.from('GPL\0'));
  const log = new Uint8Array(65536);
  const attributes = new Uint8Array(128);
  const view = new DataView(attributes.buffer);
  view.setUint32(0, BPF_PROG_TYPE_CGROUP_SKB, true);
  view.setUint32(4, instructions.length / 8, true);
  view.setBigUint64(8, koffi.address(instructions), true);
  view.setBigUint64(16, koffi.address(license), true);
  view.setUint32(24, 1, true);
  view.setUint32(28, log.length, true);
  view.setBigUint64(32, koffi.address(log), true);
  view.setUint32(68, BPF_CGROUP_INET_EGRESS, true);
  let fd = -1;
  // The verifier gives up when a signal comes, such as that of a child's end.
  for (let times = 0; times < loadTries && fd < 0 && (times === 0 || koffi.errno() === koffi.os.errno.EAGAIN); times += 1)
    fd = Number(syscall(bpfNumber, BPF_PROG_LOAD, attributes, attributes.length));
  if (fd < 0) throw new Error(`no BPF program: ${Buffer.from(log).toString().replace(/\0+$/, '')}`);
  return fd;
}

/** The listener runs in a process of its own; ended, with its cgroup, by what is returned. */
export async function attachDenyingProgram(lab: FaultLab): Promise<() => Promise<void>> {
  const root = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .flatMap((line) => (/ - cgroup2 /.test(line) ? [line.split(' ')[4]] : []))[0];
  if (!root) throw new Error('there is no unified cgroup hierarchy');
  const group = `${root}/weirt-${process.pid.toString(36)}-deny`;
  const program = load(denying([10, 50, 1, 10]));
  mkdirSync(group, { recursive: true });
  const directory = openSync(group, 'r');
  const attributes = new Uint8Array(64);
  new Uint32Array(attributes.buffer).set([directory, program, BPF_CGROUP_INET_EGRESS, 0]);
  if (Number(syscall(bpfNumber, BPF_PROG_ATTACH, attributes, attributes.length)) < 0)
    throw new Error('the BPF program was not attached');
  closeSync(directory);
  closeSync(program);
  const child = lab
    .at('server')
    .spawn([
      'sh',
      '-c',
      `echo $$ >${group}/cgroup.procs; exec socat -u TCP-LISTEN:8080,fork,reuseaddr,backlog=64 OPEN:/dev/null`,
    ]);
  child.stdout?.resume();
  child.stderr?.resume();
  await until('the listener of the cgroup is there', async () =>
    (await lab.at('server').run(['ss', '-Hltn'])).stdout.includes(':8080'),
  );
  let ended = false;
  return async () => {
    if (ended) return;
    ended = true;
    for (const pid of readFileSync(`${group}/cgroup.procs`, 'utf8').split('\n').filter(Boolean))
      execFileSync('kill', ['-9', pid]);
    await until('the cgroup is empty', () => readFileSync(`${group}/cgroup.procs`, 'utf8') === '');
    rmdirSync(group);
  };
}
