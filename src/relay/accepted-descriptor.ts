// An accepted connection that is still a descriptor: becomes a socket of Node's for whom wants one, and stays what it is for
// whom moves its bytes by system calls. Exactly one of the two owns it in the end.

import net from 'node:net';
import { closeDescriptor, resetConnection } from '../kernel/libc.ts';

export class AcceptedDescriptor {
  #fd: number;
  #socket: net.Socket | undefined;

  constructor(fd: number) {
    this.#fd = fd;
  }

  /** True while nobody has taken it. */
  get left(): boolean {
    return this.#fd >= 0;
  }

  /** Throws what Node throws for a descriptor it cannot adopt; it is closed then. */
  adopt(): net.Socket {
    if (this.#socket) return this.#socket;
    const fd = this.#fd;
    this.#fd = -1;
    if (fd < 0) throw new Error('the descriptor of this connection was taken');
    try {
      this.#socket = new net.Socket({ fd, allowHalfOpen: true, readable: true, writable: true });
    } catch (error) {
      closeDescriptor(fd);
      throw error;
    }
    return this.#socket;
  }

  readonly take = (): number | undefined => {
    const fd = this.#fd;
    this.#fd = -1;
    return fd < 0 ? undefined : fd;
  };

  /** Resets it whatever it has become, unless somebody took the descriptor. */
  drop(): void {
    const fd = this.take();
    if (fd !== undefined) resetConnection(fd);
    else this.#socket?.on('error', () => {}).destroy();
  }
}
