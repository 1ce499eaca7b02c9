// Who began which connection, remembered as long as its packets may still be seen, for each namespace by itself: others may have the same
// addresses. Filled from kernel/machine/connection-origins.ts; whether one is meant is world.ts.

import type { ConnectionOrigin } from '../../kernel/machine/connection-origins.ts';
import { type Flow, flowKey } from './flow.ts';
import type { Origin, OriginBook } from './world.ts';

const maxOrigins = 131_072;
/** Of one five-tuple: namespaces with the same addresses. */
const maxAlike = 4;
const maxNets = 4096;

export class KeptOrigins implements OriginBook {
  readonly #byFlow = new Map<string, readonly Origin[]>();
  /** Inode by struct net; undefined: processes of several were seen to use it. */
  readonly #inodes = new Map<string, string | undefined>();

  /** `notBefore`: they were made after that, in seconds of uptime. */
  add(origins: Iterable<ConnectionOrigin>, notBefore: number): void {
    for (const { local, localPort, remote, remotePort, pid, comm, net } of origins) {
      const key = flowKey({ protocol: 6, a: { address: local, port: localPort }, b: { address: remote, port: remotePort } });
      const others = (this.#byFlow.get(key) ?? []).filter((one) => one.net !== net).slice(0, maxAlike - 1);
      // Anew at the end: the oldest give way first.
      this.#byFlow.delete(key);
      this.#byFlow.set(key, [{ pid, comm, net, notBefore }, ...others]);
      if (this.#byFlow.size > maxOrigins) for (const oldest of this.#byFlow.keys()) if (this.#byFlow.delete(oldest)) break;
    }
  }

  find(flow: Flow): readonly Origin[] {
    return flow.protocol === 6 ? (this.#byFlow.get(flowKey(flow)) ?? []) : [];
  }

  learn(net: string, inode: string): void {
    const known = this.#inodes.has(net) && this.#inodes.get(net) !== inode;
    this.#inodes.delete(net);
    this.#inodes.set(net, known ? undefined : inode);
    if (this.#inodes.size > maxNets) for (const oldest of this.#inodes.keys()) if (this.#inodes.delete(oldest)) break;
  }

  inodeOf(net: string): string | undefined {
    return this.#inodes.get(net);
  }
}
