// Where the kernel's trace events are: the machine's tracefs when it is mounted, else a mount of our own that has no place in any
// directory and goes with its descriptor, however the process ends. Changes nothing anybody else sees.
// Sources: Documentation/trace/ftrace.rst, fsopen(2), fsmount(2).

import { closeSync, existsSync, readFileSync } from 'node:fs';
import koffi from 'koffi';
import { callFailed } from '../libc.ts';

const library = koffi.load(null);
// glibc before 2.36 has no functions for these; the numbers are the same on every architecture (since 5.2).
const calls = {
  fsopen: library.func('syscall', 'long', ['long', 'str', 'uint32_t']),
  fsconfig: library.func('syscall', 'long', ['long', 'int', 'uint32_t', 'void *', 'void *', 'int']),
  fsmount: library.func('syscall', 'long', ['long', 'int', 'uint32_t', 'uint32_t']),
};
const [fsopenNumber, fsconfigNumber, fsmountNumber] = [430, 431, 432];
const closeOnExec = 1;
const FSCONFIG_CMD_CREATE = 6;
/** MOUNT_ATTR_NOSUID, NODEV, NOEXEC. */
const mountAttributes = 2 | 4 | 8;

export interface Tracefs {
  readonly path: string;
  /** Idempotent. */
  close(): void;
}

function checked(call: string, result: number): number {
  if (result >= 0) return result;
  throw callFailed(call, koffi.errno(), { fileSystem: 'tracefs', next: 'run it as root, outside a container' });
}

/** Mount points of a kind, from the text of /proc/self/mounts; octal escapes resolved. See proc_pid_mounts(5). */
export const mountPointsOf = (mounts: string, kind: string): string[] =>
  mounts
    .split('\n')
    .map((line) => line.split(' '))
    .filter((fields) => fields[2] === kind)
    .map((fields) => fields[1].replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8))));

/** Needs CAP_SYS_ADMIN outside user namespaces. Throws `not-permitted`, or `system-call` on kernels without tracefs. */
export function openTracefs(): Tracefs {
  const mounted = mountPointsOf(readFileSync('/proc/self/mounts', 'utf8'), 'tracefs').find((path) =>
    existsSync(`${path}/events`),
  );
  if (mounted !== undefined) return { path: mounted, close: () => {} };
  const context = checked('fsopen', calls.fsopen(fsopenNumber, 'tracefs', closeOnExec));
  let mount: number;
  try {
    checked('fsconfig', calls.fsconfig(fsconfigNumber, context, FSCONFIG_CMD_CREATE, null, null, 0));
    mount = checked('fsmount', calls.fsmount(fsmountNumber, context, closeOnExec, mountAttributes));
  } finally {
    closeSync(context);
  }
  let open = true;
  return {
    path: `/proc/${process.pid}/fd/${mount}`,
    close() {
      if (open) closeSync(mount);
      open = false;
    },
  };
}
