// Services that answer over a connection of the gateway's own, what is bound to them, and the other machines' ports and
// proxies that lead here. Data, and the one look-up they share: who answers at this decoy. Pure.

import { type Address, type AddressRange, parseAddress, rangeHolds, rangeSize } from './address.ts';
import type { Diversion, InterfaceAddress } from './configuration.ts';
import type { Place } from './decoy.ts';
import { hasPort, type PortSet } from './port-set.ts';
import type { Transport } from './session.ts';

/**
 * How the gateway reaches a service. `direct`: from its own address. `proxy`: so, with a PROXY header in front.
 * `transparent`: from the attacker's address to the decoy's address and port, next hop the service, which owns the decoys'
 * addresses (AnyIP) and routes back through `from`.
 */
export type DialPath = 'direct' | 'proxy' | 'transparent';

export interface RelayedService {
  readonly kind: 'external';
  readonly name: string;
  readonly path: DialPath;
  readonly address: Address;
  /** Absent: the decoy's port; always absent with `transparent`. */
  readonly port?: number;
  /** With `proxy`: the header's version. UDP needs 2. */
  readonly proxyVersion?: 1 | 2;
  /** With `transparent`, as in KernelPathService. */
  readonly wire?: { readonly interface: string; readonly from: InterfaceAddress };
  /** The inner gateway (an agent) that it is handed on to, the first of several; everything else here is as seen from the last. */
  readonly via?: string;
  readonly place: Place;
}

/** Where an inner gateway takes connections of the gateway before it, with a PROXY header (v2, with a checksum). */
export interface InnerGateway {
  /** Its agent's name. */
  readonly name: string;
  readonly address: Address;
  readonly port: number;
  readonly place: Place;
}

/** Decoys and ports that a relayed service answers; what is not said holds for all. */
export interface RelayBinding {
  readonly diversion: string;
  readonly addresses?: readonly AddressRange[];
  readonly ports?: PortSet;
  readonly transport?: Transport;
  /** `catch-all`: the built-in one, where a wider binding says something else. `gateway`: in an agent's rules, whatever the gateway has. */
  readonly service: string;
  readonly place: Place;
}

/** Ports on another machine's own addresses, handed over by its agent. */
export interface AgentDiversion {
  readonly kind: 'agent';
  readonly name: string;
  readonly agent: string;
  readonly tcp: PortSet;
  readonly udp: PortSet;
  /** Empty: every address of that machine. */
  readonly addresses: readonly Address[];
  readonly persona: string;
  readonly place: Place;
}

/** Connections (and PROXY v2 datagrams) of proxies that say whom they speak for. */
export interface ProxyDiversion {
  readonly kind: 'proxy';
  readonly name: string;
  readonly listen: { readonly address: Address; readonly port: number };
  /** Who may connect; everybody else is reset unheard, and counted. Empty with `inner` alone: the address the agent's link leads to. */
  readonly allow: readonly AddressRange[];
  readonly persona: string;
  /** Takes what another gateway hands on: that one records, here it is only relayed, to the service its header names. */
  readonly inner?: boolean;
  readonly place: Place;
}

/** A `host` or `network` diversion that an agent runs on its machine: in its rules, not planned here. */
export interface RemoteDiversion {
  readonly agent: string;
  readonly diversion: Diversion;
}

/** What the gateway needs to know of agents. */
export interface AgentSettings {
  /** Where links arrive; absent: no agents. */
  readonly listen?: { readonly address: Address; readonly port: number };
  /** Where `listen` stands. */
  readonly place?: Place;
  /** Names under which agents reach us, for our certificate, beside our own addresses. */
  readonly publicNames: readonly string[];
  /** By agent: the JSON text of a weir.yaml with its own part alone. */
  readonly rules: ReadonlyMap<string, string>;
}

/** The part of a configuration that leads elsewhere: nothing of it is planned as rules of this machine. */
export interface Relaying {
  /** Ports of other machines; their agents do the diverting. */
  readonly agentDiversions: readonly AgentDiversion[];
  readonly proxyDiversions: readonly ProxyDiversion[];
  readonly remoteDiversions: readonly RemoteDiversion[];
  /** Services that the gateway dials, and what is bound to them. */
  readonly relayedServices: readonly RelayedService[];
  readonly relayBindings: readonly RelayBinding[];
  readonly innerGateways: readonly InnerGateway[];
  readonly agents: AgentSettings;
}

/** A machine that relays nothing; spread into a Configuration made by hand. */
export const nothingRelayed: Relaying = {
  agentDiversions: [],
  proxyDiversions: [],
  remoteDiversions: [],
  relayedServices: [],
  relayBindings: [],
  innerGateways: [],
  agents: { publicNames: [], rules: new Map() },
};

/** Of two that hold, the first says who answers: fewest addresses, then fewest ports, then one transport before both. */
export function bySpecificity(bindings: readonly RelayBinding[]): RelayBinding[] {
  const sorted = bindings.map((binding) => ({ binding, weight: weightOf(binding) }));
  sorted.sort(
    (a, b) =>
      Number(a.weight.addresses > b.weight.addresses) - Number(a.weight.addresses < b.weight.addresses) ||
      a.weight.ports - b.weight.ports ||
      a.weight.transports - b.weight.transports,
  );
  return sorted.map(({ binding }) => binding);
}

/** Finds the most specific binding; built once. */
export class BindingTable {
  readonly #byDiversion = new Map<string, RelayBinding[]>();

  constructor(bindings: readonly RelayBinding[]) {
    for (const binding of bySpecificity(bindings)) {
      const known = this.#byDiversion.get(binding.diversion);
      if (known) known.push(binding);
      else this.#byDiversion.set(binding.diversion, [binding]);
    }
  }

  /** The service's name; undefined: nothing is bound, the catch-all answers. */
  find(diversion: string, ip: string, port: number, transport: Transport): string | undefined {
    const bindings = this.#byDiversion.get(diversion);
    if (!bindings) return undefined;
    const address = parseAddress(ip);
    return bindings.find(
      (one) =>
        (one.transport === undefined || one.transport === transport) &&
        (one.ports === undefined || hasPort(one.ports, port)) &&
        (one.addresses === undefined || (address !== undefined && one.addresses.some((range) => rangeHolds(range, address)))),
    )?.service;
  }
}

const everywhere = 1n << 129n;

function weightOf({ addresses, ports, transport }: RelayBinding): { addresses: bigint; ports: number; transports: number } {
  return {
    addresses: addresses?.reduce((sum, range) => sum + rangeSize(range), 0n) ?? everywhere,
    ports: ports?.reduce((sum, { first, last }) => sum + last - first + 1, 0) ?? 65_536,
    transports: transport === undefined ? 2 : 1,
  };
}
