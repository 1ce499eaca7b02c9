// Which processes hold which sockets and tunnel devices: one pass over /proc, bounded. Sockets themselves are socket-diag.ts, what a
// process is process-reader.ts. Without root only the caller's own processes can be seen: the rest is counted.
// Source: proc(5).

import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

export interface SocketHolder {
  readonly pid: number;
  readonly fd: number;
}

/** A descriptor of /dev/net/tun that is attached to a device. */
export interface TunHolder extends SocketHolder {
  /** Name of the device at the time it was attached. */
  readonly device: string;
}

export interface OwnersQuery {
  /** Only these processes; default: all. */
  readonly pids?: readonly number[];
  /** Default 65,536. */
  readonly maxProcesses?: number;
  /** Descriptors looked at in all, default 2,000,000. */
  readonly maxDescriptors?: number;
}

export class SocketOwners {
  readonly #holders = new Map<number, SocketHolder[]>();
  readonly #inodes = new Map<number, [fd: number, inode: number][]>();
  readonly tunnels: TunHolder[] = [];
  /** Processes whose descriptors may not be seen. */
  unreadable = 0;
  /** A bound was reached: what has no owner here may have one. */
  cut = false;

  /** Processes that hold a socket of this inode, each with a descriptor of it; empty: none that could be seen. */
  of(inode: number): readonly SocketHolder[] {
    return this.#holders.get(inode) ?? [];
  }

  /** Descriptors of sockets a process holds. */
  socketsOf(pid: number): readonly (readonly [fd: number, inode: number])[] {
    return this.#inodes.get(pid) ?? [];
  }

  /** Processes that hold any socket. */
  get pids(): IterableIterator<number> {
    return this.#inodes.keys();
  }

  add(pid: number, fd: number, inode: number): void {
    const holders = this.#holders.get(inode);
    if (!holders) this.#holders.set(inode, [{ pid, fd }]);
    else if (!holders.some((holder) => holder.pid === pid)) holders.push({ pid, fd });
    const held = this.#inodes.get(pid);
    if (held) held.push([fd, inode]);
    else this.#inodes.set(pid, [[fd, inode]]);
  }
}

/** Numbers below /proc, in its order. */
export function readPids(limit = 65_536): number[] {
  const pids: number[] = [];
  for (const name of readdirSync('/proc')) {
    const pid = Number(name);
    if (Number.isInteger(pid) && pids.length < limit) pids.push(pid);
  }
  return pids;
}

/** Of the processes that can be seen from here (this PID namespace). Never throws: a process may end at any time. */
export function readSocketOwners(query: OwnersQuery = {}): SocketOwners {
  const owners = new SocketOwners();
  const maxProcesses = query.maxProcesses ?? 65_536;
  const pids = query.pids ?? readPids(maxProcesses + 1);
  let left = query.maxDescriptors ?? 2_000_000;
  for (const [index, pid] of pids.entries()) {
    if (index >= maxProcesses || left <= 0) {
      owners.cut = true;
      break;
    }
    let names: string[];
    try {
      names = readdirSync(`/proc/${pid}/fd`);
    } catch (error) {
      if (mayNotSee(error)) owners.unreadable += 1;
      continue;
    }
    for (const name of names) {
      left -= 1;
      if (left < 0) {
        owners.cut = true;
        break;
      }
      let target: string;
      try {
        target = readlinkSync(`/proc/${pid}/fd/${name}`);
      } catch (error) {
        if (!mayNotSee(error)) continue;
        // Names of the same user's processes can be listed, what they lead to needs as many capabilities as theirs: proc_pid_fd(5).
        owners.unreadable += 1;
        break;
      }
      if (target.startsWith('socket:[')) owners.add(pid, Number(name), Number(target.slice(8, -1)));
      else if (target === '/dev/net/tun' || target === '/dev/tun') {
        const device = readTunDevice(pid, name);
        if (device !== undefined) owners.tunnels.push({ pid, fd: Number(name), device });
      }
    }
  }
  return owners;
}

const mayNotSee = (error: unknown): boolean => ['EACCES', 'EPERM'].includes((error as NodeJS.ErrnoException).code ?? '');

/** The kernel writes `iff:` and the device's name into fdinfo; see drivers/net/tun.c, tun_chr_show_fdinfo. */
function readTunDevice(pid: number, fd: string): string | undefined {
  try {
    return /^iff:\t(\S+)/m.exec(readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'utf8'))?.[1];
  } catch {
    return undefined;
  }
}
