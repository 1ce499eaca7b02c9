// FRR's routing daemons as processes of ours: found by what they are (no pid file is trusted), started in the network
// namespace they work in, stopped by number and start time. They outlive whoever started them. What they are told is
// plan/fabric-speaker.ts. Debian's package frr; its own services are neither used nor disturbed.

import { type ChildProcess, spawn } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
} from 'node:fs';
import path from 'node:path';
import { WeirError } from '../base/errors.ts';
import { printable } from '../base/printable.ts';
import { insideNetns } from './libc.ts';
import { readProcessStart } from './process-identity.ts';

export type FrrProgram = 'zebra' | 'bgpd';

export interface FrrDaemon {
  readonly program: FrrProgram;
  readonly pid: number;
  /** See process-identity.ts. */
  readonly start: string;
  readonly arguments: readonly string[];
}

const programDirectories = ['/usr/lib/frr', '/usr/libexec/frr', '/usr/sbin'];
const maxComplaintBytes = 4096;
/** What a far side can make a daemon hold: there is no limit on routes in this address family. An idle bgpd maps 320 MB. */
const maxAddressSpaceBytes = 2 ** 31;

/** Throws `tool-missing` naming the package. */
export function frrProgramPath(program: FrrProgram): string {
  const found = programDirectories.map((directory) => path.join(directory, program)).find((file) => existsSync(file));
  if (found) return found;
  throw new WeirError('tool-missing', `EVPN needs FRR's ${program}, which is not installed: install the package frr`, {
    program,
  });
}

/** The account FRR drops to, from its package. */
export function readFrrAccount(): { readonly uid: number; readonly gid: number } {
  const fields = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .map((line) => line.split(':'))
    .find(([name]) => name === 'frr');
  if (!fields) throw new WeirError('tool-missing', 'EVPN needs the account frr, which is not there: install the package frr');
  return { uid: Number(fields[2]), gid: Number(fields[3]) };
}

/** Files of one instance below `directory`, which only root can change; sockets are in a room of FRR's own inside it. */
export interface FrrFiles {
  readonly directory: string;
  readonly sockets: string;
  readonly zserv: string;
  readonly configuration: (program: FrrProgram) => string;
  readonly pidFile: (program: FrrProgram) => string;
}

/** Longest path of a unix socket (sun_path, unix(7)) without its final zero. */
const maxSocketPath = 107;

export function frrFiles(directory: string): FrrFiles {
  const sockets = path.join(directory, 'frr');
  const zserv = path.join(sockets, 'zserv.api');
  if (zserv.length > maxSocketPath)
    throw new WeirError('config-invalid', `the directory ${directory} is too long a name for FRR's sockets`, { directory });
  return {
    directory,
    sockets,
    zserv,
    configuration: (program) => path.join(directory, `${program}.conf`),
    pidFile: (program) => path.join(sockets, `${program}.pid`),
  };
}

/** Root owns the directory and what is read from it, FRR the room of the sockets. Idempotent. */
export function makeFrrDirectories(files: FrrFiles): void {
  const { uid, gid } = readFrrAccount();
  mkdirSync(files.directory, { recursive: true, mode: 0o750 });
  const found = lstatSync(files.directory);
  if (!found.isDirectory() || found.uid !== process.getuid?.())
    throw new WeirError('not-permitted', `${files.directory} is not a directory of ours: remove it`, { path: files.directory });
  chownSync(files.directory, 0, gid);
  chmodSync(files.directory, 0o750);
  mkdirSync(files.sockets, { recursive: true, mode: 0o750 });
  chownSync(files.sockets, uid, gid);
  chmodSync(files.sockets, 0o750);
}

/** Lets FRR read a file of root's. */
export const daemonGroup = (file: string): void => chownSync(file, 0, readFrrAccount().gid);

export const removeFrrDirectories = (files: FrrFiles): void => rmSync(files.directory, { recursive: true, force: true });

/** The one of ours that runs, if any; of two with the same socket (a start that was cut short) all but the last are told. */
export function findFrrDaemons(program: FrrProgram, zserv: string): FrrDaemon[] {
  const found: FrrDaemon[] = [];
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    const daemon = readFrrDaemon(Number(entry));
    if (daemon?.program === program && daemon.arguments.includes(zserv)) found.push(daemon);
  }
  return found;
}

/** Undefined when this process is no FRR daemon, or one that an ordinary account started. */
function readFrrDaemon(pid: number): FrrDaemon | undefined {
  try {
    const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8');
    const [first, ...rest] = command.split('\0').slice(0, -1);
    const program = (['zebra', 'bgpd'] as const).find((name) => first?.endsWith(`/${name}`));
    if (!program) return undefined;
    if (path.basename(readlinkSync(`/proc/${pid}/exe`).replace(/ \(deleted\)$/, '')) !== program) return undefined;
    // A process that dropped its privileges belongs to root here; one of another account is somebody else's.
    const owner = statSync(`/proc/${pid}`).uid;
    if (owner !== 0 && owner !== readFrrAccount().uid) return undefined;
    const start = readProcessStart(pid);
    return start === undefined ? undefined : { program, pid, start, arguments: rest };
  } catch {
    return undefined;
  }
}

/** Inode of the process's network namespace, to compare with that of a path below /run/netns. */
export function readNetnsOf(pid: number): number | undefined {
  try {
    return statSync(`/proc/${pid}/ns/net`).ino;
  } catch {
    return undefined;
  }
}

export const isAlive = ({ pid, start }: FrrDaemon): boolean => readProcessStart(pid) === start;

export interface StartOptions {
  readonly program: FrrProgram;
  readonly arguments: readonly string[];
  /** Path of the namespace; absent: this process's own. */
  readonly netns?: string;
  /** Called once when it ends while this process lives, with its own last words. */
  readonly onExit: (reason: string) => void;
}

/** The daemon runs in a session of its own. Throws `tool-missing` or `fault`; whether it works shows over its sockets. */
export function startFrrDaemon(options: StartOptions): FrrDaemon {
  const file = frrProgramPath(options.program);
  const child: ChildProcess = insideNetns(options.netns, () =>
    spawn('prlimit', [`--as=${maxAddressSpaceBytes}`, file, ...options.arguments], {
      detached: true,
      stdio: ['ignore', 'ignore', 'pipe'],
      env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C' },
      cwd: '/',
    }),
  );
  let complaint = '';
  child.stderr?.setEncoding('utf8');
  child.stderr?.on('data', (text: string) => {
    complaint = (complaint + text).slice(-maxComplaintBytes);
  });
  child.once('error', (error) => options.onExit(error.message));
  child.once('exit', (code, signal) => {
    // What it wrote while it started says nothing about a signal.
    const words = signal ? '' : complaint.trim().split('\n').slice(-2).join('; ');
    options.onExit(`${signal ?? `exit code ${code}`}${words ? `: ${printable(words, 400)}` : ''}`);
  });
  child.unref();
  (child.stderr as unknown as { unref?: () => void } | null)?.unref?.();
  const start = child.pid === undefined ? undefined : readProcessStart(child.pid);
  if (child.pid === undefined || start === undefined)
    throw new WeirError('fault', `${options.program} did not start`, { program: options.program });
  return { program: options.program, pid: child.pid, start, arguments: options.arguments };
}

/** Asked to end (bgpd then tells its peers), made to after the bound. Resolves when it is gone. */
export async function stopFrrDaemon(daemon: FrrDaemon, boundMs = 2000): Promise<void> {
  for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
    if (!isAlive(daemon)) return;
    try {
      process.kill(daemon.pid, signal);
    } catch {
      return;
    }
    const end = performance.now() + boundMs;
    while (isAlive(daemon) && performance.now() < end) await new Promise((resolve) => setTimeout(resolve, 20));
  }
  if (isAlive(daemon)) throw new WeirError('timeout', `${daemon.program} (pid ${daemon.pid}) does not end`, { pid: daemon.pid });
}
