// Processes as /proc tells them: name, program, user, network namespace, cgroup, and the container that follows from the cgroup.
// What they hold is socket-owners.ts, what a runtime calls a container container-names.ts. Processes end at any time: then undefined.
// Source: proc(5), cgroups(7). Names are made by whoever runs the process: hostile text, made printable here.

import { readFileSync, readlinkSync } from 'node:fs';
import { printable } from '../../base/printable.ts';
import type { MachineContainer, MachineProcess } from '../../model/machine.ts';

/** Inode of `net:[4026531840]`. */
export const namespaceInode = (link: string): string | undefined => /^net:\[(\d+)\]$/.exec(link)?.[1];

/** Inode of a process's network namespace; undefined when it ended or may not be seen. */
export function readProcessNetns(pid: number | 'self'): string | undefined {
  try {
    return namespaceInode(readlinkSync(`/proc/${pid}/ns/net`));
  } catch {
    return undefined;
  }
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}

/** Undefined when it ended, or its namespace may not be seen: another user's, without root. */
export function readProcess(pid: number): MachineProcess | undefined {
  const netns = readProcessNetns(pid);
  const status = readText(`/proc/${pid}/status`);
  if (netns === undefined || status === undefined) return undefined;
  const cgroups = readText(`/proc/${pid}/cgroup`) ?? '';
  const cgroup = /^0::(.*)$/m.exec(cgroups)?.[1];
  const container = parseContainer(cgroups);
  let exe: string | undefined;
  try {
    exe = printable(readlinkSync(`/proc/${pid}/exe`), 400);
  } catch {
    // A thread of the kernel, or another user's process.
  }
  return {
    pid,
    comm: printable(/^Name:\t(.*)$/m.exec(status)?.[1] ?? '', 64),
    ...(exe === undefined ? {} : { exe }),
    // The effective user: real, effective, saved, file system.
    uid: Number(/^Uid:\t\d+\t(\d+)/m.exec(status)?.[1] ?? -1),
    netns,
    ...(cgroup === undefined ? {} : { cgroup: printable(cgroup, 400) }),
    ...(container === undefined ? {} : { container }),
  };
}

/** PF_KTHREAD of include/linux/sched.h, of the ninth field of /proc/PID/stat. Names hold brackets and blanks. */
export const isKernelThread = (stat: string): boolean =>
  (Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[6]) & 0x0020_0000) !== 0;

/** Of a process that is there: whether it is one of the kernel's own. */
export const readIsKernelThread = (pid: number): boolean => isKernelThread(readText(`/proc/${pid}/stat`) ?? ') ');

/** Why processes may not be looked into. Root of a container is none over those of others. */
export const whyUnreadable = (uid = process.geteuid?.()): string =>
  uid === 0 ? 'root here has no CAP_SYS_PTRACE over them' : 'needs root';

const hex = '([0-9a-f]{64})';
const shapes: readonly (readonly [RegExp, MachineContainer['runtime']])[] = [
  [new RegExp(`/docker[-/]${hex}(?:\\.scope)?(?:/|$)`), 'docker'],
  [new RegExp(`/libpod-${hex}(?:\\.scope)?(?:/|$)`), 'podman'],
  [new RegExp(`/(?:cri-containerd-|crio-)?${hex}(?:\\.scope)?(?:/|$)`), 'containerd'],
  [/\/lxc(?:\.payload)?[./]([A-Za-z0-9._-]{1,64})(?:\/|$)/, 'lxc'],
];

/** From the lines of /proc/PID/cgroup, of either hierarchy: the names runtimes give. */
export function parseContainer(cgroups: string): MachineContainer | undefined {
  for (const line of cgroups.split('\n', 32)) {
    const path = line.slice(line.indexOf(':', line.indexOf(':') + 1) + 1);
    for (const [shape, runtime] of shapes) {
      const id = shape.exec(path)?.[1];
      if (id !== undefined) return { id, runtime };
    }
  }
  return undefined;
}
