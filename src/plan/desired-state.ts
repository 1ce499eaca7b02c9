// What should be true of the kernel, as plain data, and its text form for the state file. How it is decided is
// desired.ts; how it becomes rules is ruleset.ts and ruleset-link.ts.

import { WeirError } from '../base/errors.ts';
import type { Address, AddressRange } from '../model/address.ts';
import type { Binding, InterfaceAddress, KernelPathService, NetworkDiversion } from '../model/configuration.ts';
import type { DecoyGroup } from '../model/decoy.ts';
import type { Persona } from '../model/persona.ts';
import type { PortSet } from '../model/port-set.ts';
import type {
  AgentDiversion,
  AgentSettings,
  InnerGateway,
  ProxyDiversion,
  RelayBinding,
  RelayedService,
} from '../model/relayed-service.ts';
import type { SuricataSettings } from '../model/suricata-settings.ts';

/** Ports on 127.0.0.1 and ::1 where the gateway's TPROXY sockets wait. */
export interface GatewayPorts {
  readonly tcp: number;
  readonly udp: number;
  /** Where connections do not scale windows by themselves; absent: stacks with a scale below Linux's go without scaling. */
  readonly narrow?: number;
}

/** What is never diverted on this machine's own addresses. */
export interface Guards {
  /** Management ports of the configuration, the console's, sshd's, and that of the operator's session. */
  readonly ports: PortSet;
  readonly sources: readonly AddressRange[];
  /** Name servers: their late answers are not touches. */
  readonly resolvers: readonly Address[];
}

export interface DesiredSysctl {
  readonly key: string;
  readonly value: string;
  readonly why: string;
}

/** Ports of decoys that are open whatever their persona says, because a service has them. */
export interface BoundPorts {
  readonly diversion: string;
  /** Absent: all decoys of the diversion. Disjoint from those of its other entries. */
  readonly ranges?: readonly AddressRange[];
  readonly tcp: PortSet;
  readonly udp: PortSet;
}

/** Decoys that an agent runs on its machine. */
export interface RemoteDecoys {
  readonly agent: string;
  /** Empty: that machine's own network; otherwise the name of a `network` diversion of it. */
  readonly network: string;
  readonly groups: readonly DecoyGroup[];
}

/** What is relayed: where flows come in besides decoys of our own, and where they lead. As applied, for the gateway. */
export interface RelayState {
  readonly agentDiversions: readonly AgentDiversion[];
  readonly proxyDiversions: readonly ProxyDiversion[];
  readonly remote: readonly RemoteDecoys[];
  readonly services: readonly RelayedService[];
  readonly bindings: readonly RelayBinding[];
  readonly innerGateways: readonly InnerGateway[];
  /** Of agent, proxy and remote diversions. */
  readonly personas: readonly Persona[];
  readonly agents: Omit<AgentSettings, 'rules'> & { readonly rules: Readonly<Record<string, string>> };
}

/** Suricata beside the decoys. */
export interface IdsState {
  readonly settings: SuricataSettings;
  /** The tag of each diversion's frames. */
  readonly tags: Readonly<Record<string, number>>;
}

/** What should be true inside one network namespace. */
export interface NetworkState {
  /** Own groups with the addresses of this machine filled in; claimed ones without live hosts and reserved addresses. */
  readonly groups: readonly DecoyGroup[];
  /** Those that the groups' populations name. */
  readonly personas: readonly Persona[];
  /** Absent: none. */
  readonly bound?: readonly BoundPorts[];
  readonly guards: Guards;
  readonly ports: GatewayPorts;
  /**
   * MSS that decoys announce over IPv4 (20 less over IPv6) although the link carries less: what is announced is what can be
   * received, and hosts of a tunnelled segment announce what their own Ethernet carries. Absent: by the link.
   */
  readonly announcedSize?: number;
  /** Whether somebody tracks connections; only then may rules ask, which would switch it on for the whole machine. */
  readonly tracking: boolean;
  /** Whether there are other Ethernet links, on which decoys must not answer. */
  readonly manyLinks: boolean;
  /** Interface of each diversion with claimed addresses. */
  readonly interfaces: Readonly<Record<string, string>>;
  /** Ethernet links on which decoys wear their own MAC: these become promiscuous. */
  readonly macLinks: readonly string[];
  /**
   * Links whose decoys lie behind somebody else's router, the far end of a tunnel: nobody asks for their MACs, and what they
   * look like is their IP alone.
   */
  readonly routedLinks?: readonly string[];
  readonly sysctls: readonly DesiredSysctl[];
  /** Living hosts inside configured ranges; not decoys. */
  readonly live: readonly AddressRange[];
}

/** Ceiling of a listener's accept queue; see listen(2). */
export const backlogKey = 'net/core/somaxconn';
export const wantedBacklog = 16_384;

/** Personas that the groups' populations name, in order of name. Throws `fault` for one that does not exist. */
export function usedPersonas(groups: readonly DecoyGroup[], personas: ReadonlyMap<string, Persona>): Persona[] {
  const names = new Set(groups.flatMap(({ population }) => population.shares.map(({ persona }) => persona)));
  return [...names].sort().map((name) => {
    const persona = personas.get(name);
    if (!persona) throw new WeirError('fault', `the configuration has no persona ${name}`);
    return persona;
  });
}

/** The one link of every segment, inside its namespace. */
export const segmentLink = 'lan';

/** A `network` diversion as it should be: a namespace with the link `lan`, addresses, and decoys in it. */
export interface SegmentState {
  /** The diversion's. */
  readonly name: string;
  /** Name of the network namespace, below /run/netns. */
  readonly netns: string;
  readonly attachment: NetworkDiversion['attachment'];
  readonly addresses: readonly InterfaceAddress[];
  readonly gateways: readonly Address[];
  /** Of `lan`. */
  readonly mtu: number;
  /** Whose machine the decoys are on; `lan` is the tunnel to it. */
  readonly agent?: string;
  /** `interfaces` and `macLinks` name `lan`; nothing is observed: the namespace holds what we put there. */
  readonly inside: NetworkState;
}

/** Everything: the machine's own namespace (the fields of NetworkState), the segments, and who answers by kernel path. */
export interface DesiredState extends NetworkState {
  readonly segments: readonly SegmentState[];
  readonly services: readonly KernelPathService[];
  readonly bindings: readonly Binding[];
  /** Absent: nothing is. */
  readonly relay?: RelayState;
  /** Absent: no Suricata. */
  readonly ids?: IdsState;
}

/** The state of a machine without Weir. */
export const isEmptyState = (desired: NetworkState | undefined): boolean =>
  desired === undefined ||
  (desired.groups.length === 0 &&
    !('segments' in desired && (desired as DesiredState).segments.length > 0) &&
    !('relay' in desired && desired.relay !== undefined) &&
    !('ids' in desired && desired.ids !== undefined));

/** The same state with the gateway elsewhere; the same object where nothing changes. */
export function atPorts(desired: DesiredState, ports: GatewayPorts): DesiredState {
  const moved = (now: GatewayPorts): boolean => now.tcp !== ports.tcp || now.udp !== ports.udp || now.narrow !== ports.narrow;
  if (!moved(desired.ports) && !desired.segments.some(({ inside }) => moved(inside.ports))) return desired;
  return {
    ...desired,
    ports,
    segments: desired.segments.map((segment) => ({ ...segment, inside: { ...segment.inside, ports } })),
  };
}

const rangeMark = 'range:';

/** JSON with ranges and other big numbers as text. */
export function encodeState(value: unknown): string {
  return JSON.stringify(value, (_key, item: unknown) => {
    if (typeof item === 'bigint') return `number:${item.toString(16)}`;
    if (isRange(item)) return `${rangeMark}${item.family}:${item.first.toString(16)}:${item.last.toString(16)}`;
    return item;
  });
}

/** Inverse of encodeState. Throws `fault` when it does not parse; the caller treats the file as lost. */
export function decodeState(text: string): unknown {
  try {
    return JSON.parse(text, (_key, item: unknown) => {
      if (typeof item !== 'string') return item;
      if (item.startsWith('number:')) return BigInt(`0x${item.slice(7)}`);
      if (!item.startsWith(rangeMark)) return item;
      const [family, first, last] = item.slice(rangeMark.length).split(':');
      return { family: family === '4' ? 4 : 6, first: BigInt(`0x${first}`), last: BigInt(`0x${last}`) };
    });
  } catch (error) {
    throw new WeirError('fault', 'the state file does not parse', {}, error);
  }
}

function isRange(value: unknown): value is AddressRange {
  return value !== null && typeof value === 'object' && 'first' in value && 'last' in value && typeof value.first === 'bigint';
}
