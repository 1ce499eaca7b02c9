// Which decoy, and which service behind it, a packet with a mark of the services network belongs to. Pure look-ups.

import { parseAddress, rangeHolds } from '../model/address.ts';
import type { FlowPlace } from './flow.ts';
import type { KernelPathPort } from './kernel-path-protocol.ts';
import type { IntakeNetwork } from './network.ts';

interface PlacePort {
  readonly network: IntakeNetwork;
  readonly bindings: KernelPathPort['bindings'];
}

export class ServicePlaces {
  readonly #byMark = new Map<number, PlacePort>();

  constructor(networks: readonly IntakeNetwork[], ports: readonly KernelPathPort[]) {
    const byName = new Map(networks.map((network) => [network.name, network]));
    for (const { mark, network: name, bindings } of ports) {
      const network = byName.get(name);
      if (network) this.#byMark.set(mark, { network, bindings });
    }
  }

  /** Undefined for an address nobody lives at (any more), or a mark that is not known. */
  find(mark: number, ip: string): FlowPlace | undefined {
    const port = this.#byMark.get(mark);
    const address = port && parseAddress(ip);
    if (!address) return undefined;
    const decoy = port.network.directory.find(address);
    if (!decoy) return undefined;
    const binding = port.bindings.find(({ ranges }) => ranges.some((range) => rangeHolds(range, address)));
    return (
      binding && {
        network: port.network.name,
        diversion: decoy.diversion,
        service: binding.service,
        persona: decoy.persona.name,
      }
    );
  }
}
