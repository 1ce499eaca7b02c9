// Sends whole IP packets, whoever they say they are from, by the routes of one network namespace. What is in them is the caller's matter.
// Sources: raw(7), ipv6(7), net/ipv6/raw.c (IPPROTO_RAW has its header included).

import type { Address, Family } from '../model/address.ts';
import { AF_INET, AF_INET6, closeDescriptor, insideNetns, openSocket, SOCK_RAW, sendTo } from './libc.ts';
import { renderSocketAddress } from './socket-address.ts';

const IPPROTO_RAW = 255;

export class RawSender {
  readonly #fds = new Map<Family, number>();
  readonly #netns: string | undefined;

  /** Needs CAP_NET_RAW (CAP_SYS_ADMIN for another namespace); opens on first use. */
  constructor(netns: string | undefined) {
    this.#netns = netns;
  }

  /** `packet` begins with its IP header. False where the kernel refused it: no route, a rule. Throws `not-permitted`. */
  send(packet: Uint8Array, destination: Address): boolean {
    const { family } = destination;
    let fd = this.#fds.get(family);
    if (fd === undefined) {
      fd = insideNetns(this.#netns, () => openSocket(family === 4 ? AF_INET : AF_INET6, SOCK_RAW, IPPROTO_RAW));
      this.#fds.set(family, fd);
    }
    // The port of a raw socket's address has to be 0.
    return sendTo(fd, packet, renderSocketAddress(destination, 0)) === packet.length;
  }

  /** Idempotent. */
  close(): void {
    for (const fd of this.#fds.values()) closeDescriptor(fd);
    this.#fds.clear();
  }
}
