// Which process of this machine a flow belongs to, as packets of it pass: sockets and who holds them, read at most every so often. Needs root
// for other users' processes; gets tuples, never packets.

import { printable } from '../../base/printable.ts';
import { readMachineLinks } from '../../kernel/machine/link-reader.ts';
import { readProcess } from '../../kernel/machine/process-reader.ts';
import { readConnections, type SocketEntry } from '../../kernel/machine/socket-diag.ts';
import { readSocketOwners, type SocketOwners } from '../../kernel/machine/socket-owners.ts';
import { withRouteSocket } from '../../kernel/route-socket.ts';
import { renderAddress } from '../../model/address.ts';

export interface PacketEnds {
  readonly transport: 'tcp' | 'udp';
  readonly source: string;
  readonly sourcePort: number;
  readonly destination: string;
  readonly destinationPort: number;
  /** Sent by this machine, or come to it; undefined: it cannot be told. */
  readonly outgoing?: boolean;
}

const socketsEveryMs = 500;
const ownersEveryMs = 3000;
/** Beyond it a machine's sockets are not read for the sake of a remark. */
const maxSockets = 50_000;

type Place = Pick<SocketEntry, 'transport' | 'local' | 'localPort' | 'remote' | 'remotePort' | 'inode'> & {
  readonly v6only?: boolean;
};

const keyOf = (transport: string, ip: string, port: number, otherIp: string, otherPort: number): string =>
  `${transport} ${ip} ${port} ${otherIp} ${otherPort}`;

const isForMany = (ip: string): boolean => {
  const first = Number.parseInt(ip, 10);
  return ip.includes(':') ? /^ff/i.test(ip) : ip.endsWith('.255') || (first >= 224 && first < 240);
};

/** Sockets of one namespace by what packets say. Pure. */
export class SocketTable {
  readonly #inodes = new Map<string, number>();
  readonly #own: ReadonlySet<string>;

  /** `own`: addresses the namespace has. */
  constructor(sockets: Iterable<Place>, own: ReadonlySet<string>) {
    this.#own = own;
    for (const { transport, local, localPort, remote, remotePort, inode, v6only } of sockets) {
      const ip = renderAddress(local);
      if (remotePort !== 0) {
        this.#inodes.set(keyOf(transport, ip, localPort, renderAddress(remote), remotePort), inode);
        continue;
      }
      if (local.value !== 0n) this.#inodes.set(`${transport} ${ip} ${localPort}`, inode);
      else {
        this.#inodes.set(`${transport} *${local.family} ${localPort}`, inode);
        // One for IPv4 alone is the better answer there.
        const four = `${transport} *4 ${localPort}`;
        if (local.family === 6 && v6only !== true && !this.#inodes.has(four)) this.#inodes.set(four, inode);
      }
    }
  }

  /** Its inode; 0: the kernel's own. A connection that nobody holds is its listener's. Only an end that is here has a socket: a server on the same port is not the other machine's. */
  find({ transport, source, sourcePort, destination, destinationPort, outgoing }: PacketEnds): number | undefined {
    const there = keyOf(transport, source, sourcePort, destination, destinationPort);
    const back = keyOf(transport, destination, destinationPort, source, sourcePort);
    // One that is only asked for, or waits out its time, has none.
    for (const key of outgoing === false ? [back, there] : [there, back]) {
      const inode = this.#inodes.get(key);
      if (inode !== undefined && inode !== 0) return inode;
    }
    if (outgoing !== true) {
      const inode = this.#bound(transport, destination, destinationPort);
      if (inode !== undefined) return inode;
    }
    // The loopback shows what is sent here as what has come.
    return outgoing === false && !this.#isOwn(source) ? undefined : this.#bound(transport, source, sourcePort);
  }

  #isOwn(ip: string): boolean {
    return this.#own.has(ip) || ip.startsWith('127.');
  }

  #bound(transport: string, ip: string, port: number): number | undefined {
    const exact = this.#inodes.get(`${transport} ${ip} ${port}`);
    if (exact !== undefined) return exact;
    if (!this.#isOwn(ip) && !isForMany(ip)) return undefined;
    return this.#inodes.get(`${transport} *${ip.includes(':') ? 6 : 4} ${port}`);
  }
}

export class SocketHolders {
  readonly #netns: string | undefined;
  #sockets = new SocketTable([], new Set());
  #owners: SocketOwners | undefined;
  #socketsAt = Number.NEGATIVE_INFINITY;
  #ownersAt = Number.NEGATIVE_INFINITY;

  /** Of this namespace (a path; undefined: this one). */
  constructor(netns: string | undefined) {
    this.#netns = netns;
  }

  /** In words, for a comment; undefined where nobody is known. Throws what reading sockets throws. */
  describe(ends: PacketEnds): string | undefined {
    let inode = this.#sockets.find(ends);
    if (inode === undefined && performance.now() - this.#socketsAt > socketsEveryMs) {
      this.#socketsAt = performance.now();
      this.#read();
      this.#socketsAt = performance.now();
      inode = this.#sockets.find(ends);
    }
    if (inode === undefined || inode === 0) return undefined;
    if (
      this.#owners === undefined ||
      (this.#owners.of(inode).length === 0 && performance.now() - this.#ownersAt > ownersEveryMs)
    ) {
      this.#owners = readSocketOwners();
      this.#ownersAt = performance.now();
    }
    const [holder] = this.#owners.of(inode);
    const process = holder && readProcess(holder.pid);
    if (!process) return undefined;
    const container = process.container ? `, container ${process.container.name ?? process.container.id.slice(0, 12)}` : '';
    return `process ${printable(process.comm, 40)}, pid ${process.pid}, uid ${process.uid}${container}`;
  }

  #read(): void {
    const own = new Set(
      withRouteSocket(this.#netns, readMachineLinks).flatMap(({ addresses }) =>
        addresses.map(({ address }) => renderAddress(address)),
      ),
    );
    this.#sockets = new SocketTable(readConnections(this.#netns, { limit: maxSockets }).sockets, own);
  }
}
