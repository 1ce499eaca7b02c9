// Which programs change rules of nftables, routes and policy rules of a network namespace, as netlink tells it: with each transaction of
// nftables the process that made it, with each route the netlink port of who asked, of most programs their process number. Whoever listens to
// nftables makes large transactions of everybody dearer (generation-watch.ts): for a bounded time only.
// Sources: include/uapi/linux/netfilter/{nfnetlink.h,nf_tables.h} (NFTA_GEN_PROC_PID, NFTA_GEN_PROC_NAME), netlink(7).

import { readFileSync, readlinkSync } from 'node:fs';
import { printable } from '../../base/printable.ts';
import { AF_NETLINK, bindSocket, closeDescriptor, EAGAIN, EINTR, insideNetns, openSocket, receive, SOCK_RAW } from '../libc.ts';
import { readNamespaceIdentity } from '../namespace-handle.ts';
import { parseAttributes, textIn } from '../netlink-message.ts';
import { NETLINK_NETFILTER } from '../nft-digest.ts';
import { attachFilter, type FilterInstruction } from '../packet-socket.ts';
import { Readiness } from '../readiness.ts';
import { orClose, setReceiveBuffer } from '../tproxy-socket.ts';

const NETLINK_ROUTE = 0;
/** NFNLGRP_NFTABLES is 7. */
const nftGroups = 1 << 6;
/** RTNLGRP_IPV4_ROUTE 7, IPV4_RULE 8, IPV6_ROUTE 11, IPV6_RULE 19. */
const routeGroups = [7, 8, 11, 19].reduce((bits, group) => bits | (1 << (group - 1)), 0);
const NFT_MSG_NEWGEN = 15;
const NFTA_GEN_PROC_PID = 2;
const NFTA_GEN_PROC_NAME = 3;
const bufferBytes = 64 << 10;
const queueBytes = 4 << 20;
const maxDatagrams = 64;
const maxAuthors = 64;

/** In the kernel: of what nftables tells only the end of a transaction. */
const onlyGenerations: readonly FilterInstruction[] = [
  [0x30, 0, 0, 4],
  [0x15, 0, 1, NFT_MSG_NEWGEN],
  [0x06, 0, 0, 0x40000],
  [0x06, 0, 0, 0],
];

export class ChangeAuthors {
  readonly #sockets: { readonly fd: number; readonly watch: Readiness; readonly read: () => void }[] = [];
  readonly #netns: string | undefined;
  readonly #buffer = new Uint8Array(bufferBytes);
  readonly #view = new DataView(this.#buffer.buffer);
  readonly #onChange: () => void;
  #authors = new Set<string>();
  #open = true;
  /** Times the kernel had more to tell than fitted. */
  overruns = 0;

  /** Throws `not-found` (no such namespace), `not-permitted`: needs CAP_NET_ADMIN there. */
  constructor(netns: string | undefined, onChange: () => void) {
    this.#onChange = onChange;
    this.#netns = netns;
    try {
      this.#listen(netns, NETLINK_NETFILTER, nftGroups, (body) => nftAuthor(body), onlyGenerations);
      this.#listen(netns, NETLINK_ROUTE, routeGroups, (_body, portId) => routeAuthor(portId, this.#netns));
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** Those of all that was changed since the last call, as `name[pid]`: what the kernel told and nobody heard yet among them. */
  take(): string[] {
    for (const { read } of this.#sockets) read();
    const authors = [...this.#authors].sort();
    this.#authors = new Set();
    return authors;
  }

  /** Idempotent. */
  close(): void {
    this.#open = false;
    for (const { fd, watch } of this.#sockets.splice(0)) {
      watch.close();
      closeDescriptor(fd);
    }
  }

  #listen(
    netns: string | undefined,
    protocol: number,
    groups: number,
    authorOf: (body: Uint8Array, portId: number) => string,
    filter?: readonly FilterInstruction[],
  ): void {
    const fd = insideNetns(netns, () => {
      const socket = openSocket(AF_NETLINK, SOCK_RAW, protocol);
      return orClose(socket, () => {
        if (filter) attachFilter(socket, filter);
        setReceiveBuffer(socket, queueBytes);
        const address = new Uint8Array(12);
        new DataView(address.buffer).setUint16(0, AF_NETLINK, true);
        new DataView(address.buffer).setUint32(8, groups, true);
        bindSocket(socket, address);
        return socket;
      });
    });
    const read = (): void => this.#read(fd, authorOf);
    const watch = orClose(fd, () => new Readiness(fd, { readable: true }, read));
    this.#sockets.push({ fd, watch, read });
  }

  #read(fd: number, authorOf: (body: Uint8Array, portId: number) => string): void {
    let changed = false;
    for (let count = 0; this.#open && count < maxDatagrams; count += 1) {
      const got = receive(fd, this.#buffer);
      if (got === -EAGAIN || got === -EINTR) break;
      changed = true;
      if (got < 0) {
        this.overruns += 1;
        break;
      }
      for (let at = 0; at + 16 <= got; ) {
        const size = this.#view.getUint32(at, true);
        if (size < 16 || at + size > got) break;
        const author = authorOf(this.#buffer.subarray(at + 16, at + size), this.#view.getUint32(at + 12, true));
        if (this.#authors.size < maxAuthors) this.#authors.add(author);
        at += (size + 3) & ~3;
      }
    }
    if (changed && this.#open) this.#onChange();
  }
}

/** PROC_PID_INIT_INO of include/linux/proc_ns.h. */
const firstPidNamespace = 'pid:[4026531836]';

const linkOf = (path: string): string | undefined => {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
};

/** struct nfgenmsg comes first. Numbers are big-endian, and those of the machine's first PID namespace. */
function nftAuthor(body: Uint8Array): string {
  const attributes = parseAttributes(body.subarray(4));
  const [pid, name] = [attributes.get(NFTA_GEN_PROC_PID), attributes.get(NFTA_GEN_PROC_NAME)];
  if (pid?.length !== 4) return 'unknown (nftables)';
  const number = new DataView(pid.buffer, pid.byteOffset).getUint32(0);
  const whose = linkOf('/proc/self/ns/pid') === firstPidNamespace ? '' : 'of the host: ';
  return `${printable((name && textIn(name)) ?? '?', 40)}[${whose}${number}]`;
}

/** The namespace a process is in, and what it is called; undefined: it is gone. */
export interface PortOwner {
  readonly netns: string | undefined;
  readonly pidNamespace: string | undefined;
  readonly comm: string;
}

/**
 * Who has that netlink port: the kernel itself is 0, a program's first socket has its process number, as its own PID namespace counts, any
 * other a number without a meaning. So a process of that number is who it was only where it sees the same network and the same numbers.
 */
export function nameRouteAuthor(
  portId: number,
  owner: PortOwner | undefined,
  here: { readonly netns: string | undefined; readonly pidNamespace: string | undefined },
): string {
  if (portId === 0) return 'the kernel';
  if (!owner) return `a program that ended (netlink port ${portId})`;
  if (owner.netns === undefined || owner.netns !== here.netns || owner.pidNamespace !== here.pidNamespace)
    return `a program of another namespace, or one that ended (netlink port ${portId})`;
  return `${printable(owner.comm, 40)}[${portId}]`;
}

function routeAuthor(portId: number, netns: string | undefined): string {
  const inode = netns === undefined ? linkOf('/proc/self/ns/net') : `net:[${readNamespaceIdentity(netns)}]`;
  let owner: PortOwner | undefined;
  try {
    owner = {
      comm: readFileSync(`/proc/${portId}/comm`, 'utf8').trim(),
      netns: linkOf(`/proc/${portId}/ns/net`),
      pidNamespace: linkOf(`/proc/${portId}/ns/pid`),
    };
  } catch {
    owner = undefined;
  }
  return nameRouteAuthor(portId, owner, { netns: inode, pidNamespace: linkOf('/proc/self/ns/pid') });
}
