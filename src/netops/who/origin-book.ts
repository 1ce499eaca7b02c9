// Who began which connection, remembered as long as its packets may still be seen. Filled from kernel/machine/connection-origins.ts.

import type { ConnectionOrigin } from '../../kernel/machine/connection-origins.ts';
import { type Flow, flowKey } from './flow.ts';
import type { OriginBook } from './world.ts';

const maxOrigins = 131_072;

export class KeptOrigins implements OriginBook {
  readonly #byFlow = new Map<string, { readonly pid: number; readonly comm: string }>();

  add(origins: Iterable<ConnectionOrigin>): void {
    for (const { local, localPort, remote, remotePort, pid, comm } of origins) {
      const key = flowKey({ protocol: 6, a: { address: local, port: localPort }, b: { address: remote, port: remotePort } });
      // Anew at the end: the oldest give way first.
      this.#byFlow.delete(key);
      this.#byFlow.set(key, { pid, comm });
      if (this.#byFlow.size > maxOrigins) for (const oldest of this.#byFlow.keys()) if (this.#byFlow.delete(oldest)) break;
    }
  }

  find(flow: Flow): { readonly pid: number; readonly comm: string } | undefined {
    return flow.protocol === 6 ? this.#byFlow.get(flowKey(flow)) : undefined;
  }
}
