// The sockets of all networks as netd holds them: opens what a network lacks, keeps what still serves, and closes what
// nobody needs. Which networks there are is the plan's; what is done with a socket is the gateway's.

import { asWeirError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { type IntakeInterface, openIntakeSockets } from '../kernel/intake-sockets.ts';
import { closeDescriptor, listenSocket } from '../kernel/libc.ts';
import type { NamedSocket } from '../kernel/named-socket.ts';
import { openServicesSockets } from '../kernel/services-sockets.ts';
import { netnsInode, readInterfaceIndex, socketNetnsInode } from '../kernel/socket-place.ts';

/** Where the gateway listens on loopback, in every network, when these are free in the machine's own; else the kernel's choice. */
const usualPorts = { tcp: 29631, udp: 29632, narrow: 29633 };
/** As much as net.core.somaxconn lets it be. */
const acceptQueue = 65_535;

/** A namespace in which decoys are to be answered. */
export interface DoorNetwork {
  /** Empty: this machine's own. */
  readonly name: string;
  readonly netns?: string;
  /** Interfaces with claimed ranges. */
  readonly interfaces: readonly IntakeInterface[];
}

/** The namespace that leads to services with their own TCP/IP stack, and the NFLOG group of what passes it. */
export interface DoorServices {
  readonly netns: string;
  readonly group: number;
}

export class IntakeDoor {
  readonly #log: Log;
  #sockets: NamedSocket[];
  #left: NamedSocket[] = [];

  /** `existing` are sockets a running gateway gave back; they are ours now. The machine's own network is opened at once. */
  constructor(existing: readonly NamedSocket[], log: Log) {
    this.#log = log;
    this.#sockets = [...existing];
    this.open([]);
  }

  /** All sockets, of all networks. */
  get sockets(): readonly NamedSocket[] {
    return this.#sockets;
  }

  port(kind: 'tcp' | 'udp' | 'narrow'): number {
    return this.#sockets.find((one) => one.name === `${kind}4` && one.network === undefined)?.port ?? 0;
  }

  /**
   * Afterwards `sockets` serves these networks and the machine's own. A network whose namespace is not there (yet) is left
   * out, and named in the answer; so is an interface, and not named. With `services` the services namespace is watched too.
   * What is no longer used stays open until `closeLeft`: an offer may still be on its way.
   * Throws what opening in the machine's own namespace throws; then nothing has changed.
   */
  open(networks: readonly DoorNetwork[], services?: DoorServices): string[] {
    const home = networks.find(({ name }) => name === '') ?? { name: '', interfaces: [] };
    const next = this.#openHome(home);
    const missing: string[] = [];
    for (const network of networks) {
      if (network.name === '') continue;
      try {
        next.push(...this.#openAt(network, this.#ports()));
      } catch (error) {
        missing.push(network.name);
        this.#log.warn('no sockets in this network', { network: network.name, error: asWeirError(error).message });
      }
    }
    try {
      if (services) next.push(...openServicesSockets(services.netns, services.group, this.#sockets));
    } catch (error) {
      this.#log.warn('no sockets in the services namespace', { error: asWeirError(error).message });
    }
    const kept = new Set(next.map(({ fd }) => fd));
    this.#left.push(...this.#sockets.filter(({ fd }) => !kept.has(fd)));
    this.#sockets = next;
    return missing;
  }

  /** Closes what the last `open` left over. */
  closeLeft(): void {
    for (const { fd } of this.#left) closeDescriptor(fd);
    this.#left = [];
  }

  /** After net.core.somaxconn was raised: listening again makes the new ceiling hold. */
  listenAgain(): void {
    for (const { fd, role } of this.#sockets) if (role === 'tcp') listenSocket(fd, acceptQueue);
  }

  #openHome(home: DoorNetwork): NamedSocket[] {
    const known = this.#sockets.some(({ network }) => network === undefined);
    const { tcp, udp, narrow } = this.#ports();
    try {
      return this.#openAt(home, {
        tcp: tcp || usualPorts.tcp,
        udp: udp || usualPorts.udp,
        narrow: narrow || usualPorts.narrow,
      });
    } catch (error) {
      if (known) throw error;
      return this.#openAt(home, { tcp: 0, udp: 0, narrow: 0 });
    }
  }

  #ports(): typeof usualPorts {
    return { tcp: this.port('tcp'), udp: this.port('udp'), narrow: this.port('narrow') };
  }

  #openAt({ name, netns, interfaces }: DoorNetwork, ports: typeof usualPorts): NamedSocket[] {
    const network = name === '' ? undefined : name;
    const place = netnsInode(netns);
    // One that was unplugged keeps nobody from being answered on the others.
    const present = interfaces.filter((one) => readInterfaceIndex(one.name, netns) !== undefined);
    const usable = this.#sockets.filter(
      (socket) =>
        socket.network === network &&
        (socketNetnsInode(socket.fd) ?? place) === place &&
        (socket.interface === undefined || socket.interfaceIndex === readInterfaceIndex(socket.interface, netns)),
    );
    const plan = {
      tcpPort: ports.tcp,
      udpPort: ports.udp,
      narrowPort: ports.narrow,
      interfaces: present,
      ...(netns ? { netns } : {}),
      ...(network ? { network } : {}),
    };
    return openIntakeSockets(plan, usable);
  }
}
