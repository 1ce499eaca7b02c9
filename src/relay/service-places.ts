// Which decoy, and which service behind it, a packet with a mark of the services network belongs to. Pure look-ups.

import { parseAddress } from '../model/address.ts';
import { RangeIndex } from '../model/range-index.ts';
import type { FlowPlace } from './flow.ts';
import type { KernelPathPort } from './kernel-path-protocol.ts';
import type { IntakeNetwork } from './network.ts';

interface PlacePort {
  readonly network: IntakeNetwork;
  /** Services by address: bindings of a network share none. */
  readonly services: RangeIndex<string>;
}

export class ServicePlaces {
  readonly #byMark = new Map<number, PlacePort>();

  constructor(networks: readonly IntakeNetwork[], ports: readonly KernelPathPort[]) {
    const byName = new Map(networks.map((network) => [network.name, network]));
    for (const { mark, network: name, bindings } of ports) {
      const network = byName.get(name);
      if (!network) continue;
      const services = bindings.flatMap(({ service, ranges }) => ranges.map((range) => ({ range, value: service })));
      this.#byMark.set(mark, { network, services: new RangeIndex(services) });
    }
  }

  /** Undefined for an address nobody lives at (any more), or a mark that is not known. */
  find(mark: number, ip: string): FlowPlace | undefined {
    const port = this.#byMark.get(mark);
    const address = port && parseAddress(ip);
    if (!address) return undefined;
    const decoy = port.network.directory.find(address);
    if (!decoy) return undefined;
    const service = port.services.at(address);
    if (service === undefined) return undefined;
    return { network: port.network.name, diversion: decoy.diversion, service, persona: decoy.persona.name };
  }
}
