// The configuration after parsing: complete, checked, frozen. The text form and its messages are config/.

import type { Address, AddressRange } from './address.ts';
import type { AnalysisSettings } from './analysis-settings.ts';
import type { DecoyGroup, Place } from './decoy.ts';
import type { Persona } from './persona.ts';
import type { PortSet } from './port-set.ts';
import type { Relaying } from './relayed-service.ts';
import type { SuricataSettings } from './suricata-settings.ts';

export interface Retention {
  readonly days: number;
  readonly sizeBytes: number;
}

/** Never diverted, always reachable. */
export interface Management {
  readonly ports: PortSet;
  readonly sources: readonly AddressRange[];
}

/** Bounds of the catch-all; every one is enforced and what it cuts is counted. */
export interface Limits {
  readonly sessions: number;
  readonly sessionsPerSource: number;
  readonly sessionBytes: number;
  readonly idleTimeoutMs: number;
  readonly totalTimeoutMs: number;
  /** How long a client of a server-first protocol may stay silent before the banner is sent. */
  readonly bannerDelayMs: number;
}

export interface ProbeLimits {
  /** ARP probes per second while looking for live hosts before a claim. */
  readonly claimRate: number;
}

/** Addresses on an interface of this machine. */
export interface HostDiversion {
  readonly kind: 'host';
  readonly name: string;
  /** Absent: every interface that holds an address of this machine (kind `own` groups only). */
  readonly interface?: string;
  readonly groups: readonly DecoyGroup[];
  readonly place: Place;
  /** The line of the decoy that holds this address, where single decoys were gathered into one group. For messages. */
  readonly placeOf?: (address: Address) => Place;
}

/** An address with the length of its subnet's prefix. */
export interface InterfaceAddress {
  readonly address: Address;
  readonly prefixLength: number;
}

/** An 802.1Q VLAN (1 to 4094) on a trunk of this machine. */
export interface VlanAttachment {
  readonly kind: 'vlan';
  readonly trunk: string;
  readonly vlan: number;
}

export interface EvpnPeer {
  readonly address: Address;
  /** Absent: the same autonomous system as ours. */
  readonly asn?: number;
}

/** RFC 7432 and RFC 8365 by FRR, in the namespace that holds the VTEP's address. */
export interface EvpnSettings {
  readonly asn: number;
  readonly peers: readonly EvpnPeer[];
  /** Absent: the VTEP's address where it is IPv4. */
  readonly routerId?: Address;
}

/** A VXLAN segment (RFC 7348), VNI 1 to 16777215. */
export interface VxlanAttachment {
  readonly kind: 'vxlan';
  readonly vni: number;
  /** The VTEP: an address of this machine. */
  readonly local: Address;
  /** UDP port of the VTEPs; 4789. */
  readonly port: number;
  /** Far VTEPs for head-end replication; empty with `evpn`, which learns them. */
  readonly remotes: readonly Address[];
  readonly evpn?: EvpnSettings;
  /** `single`: one VXLAN device with a VLAN-aware bridge for all EVPN segments, where the kernel has VLAN filtering. */
  readonly device: 'per-vni' | 'single';
}

/** A segment that did not exist: a network namespace of its own with one link, `lan`. */
export interface NetworkDiversion {
  readonly kind: 'network';
  readonly name: string;
  readonly attachment: VlanAttachment | VxlanAttachment;
  /** Weir's own addresses in the segment, one for each subnet; every decoy lies in one of the subnets. */
  readonly addresses: readonly InterfaceAddress[];
  /** Default gateways, at most one of each family; for answers to attackers beyond the segment. */
  readonly gateways: readonly Address[];
  /** Absent: what the trunk or the underlay leaves. */
  readonly mtu?: number;
  /**
   * The agent whose machine has the real link and carries its packets here (transport `packets`): the attachment is the
   * tunnel, the decoys lie behind its far end as behind a router.
   */
  readonly agent?: string;
  readonly groups: readonly DecoyGroup[];
  readonly place: Place;
  readonly placeOf?: (address: Address) => Place;
}

export type Diversion = HostDiversion | NetworkDiversion;

/** Diversions in this machine's own network namespace. */
export const hostDiversions = (diversions: readonly Diversion[]): HostDiversion[] =>
  diversions.filter((diversion) => diversion.kind === 'host');

/** Segments that did not exist before. */
export const networkDiversions = (diversions: readonly Diversion[]): NetworkDiversion[] =>
  diversions.filter((diversion) => diversion.kind === 'network');

/**
 * Somebody else's machine, container or VM that answers with its own TCP stack (`path: kernel`): packets to its decoys
 * are routed to it unchanged, and it owns the decoys' addresses itself (AnyIP there) and routes back through us.
 */
export interface KernelPathService {
  readonly kind: 'external';
  readonly path: 'kernel';
  readonly name: string;
  /** Next hop: the service's own address on the wire behind `interface`. */
  readonly address: Address;
  /** The machine's interface on whose wire the service is; a name for it where it is a tunnel. */
  readonly interface: string;
  /** Our address on that wire, the service's way back. */
  readonly from: InterfaceAddress;
  /** Of an agent: the wire is a tunnel to its gateway, which gets the packets as they came and keeps the record. */
  readonly tunnel?: PacketTunnel;
  readonly place: Place;
}

/** The agent's end of a tunnel; `remotes` is the gateway alone. */
export interface PacketTunnel {
  readonly attachment: VxlanAttachment;
  /** Of both ends. */
  readonly mtu: number;
}

/** Decoys that a service answers; the rest is the catch-all's. Addresses lie in `claimed` groups of the diversion. */
export interface Binding {
  readonly diversion: string;
  readonly addresses: readonly AddressRange[];
  readonly service: string;
  readonly place: Place;
}

export interface ConsoleSettings {
  readonly address: string;
  readonly port: number;
}

export interface Configuration extends Relaying {
  readonly version: 1;
  /** Absolute path. */
  readonly data: string;
  /** Absent when there is no file and the defaults hold. */
  readonly file?: string;
  readonly retention: Retention;
  readonly management: Management;
  readonly console: ConsoleSettings;
  readonly limits: Limits;
  readonly probing: ProbeLimits;
  readonly analysis: AnalysisSettings;
  /** Absent: the access baseline is checked only when somebody asks. */
  readonly baseline?: { readonly everyMs: number };
  /** Absent: no Suricata. */
  readonly suricata?: SuricataSettings;
  readonly diversions: readonly Diversion[];
  readonly services: readonly KernelPathService[];
  readonly bindings: readonly Binding[];
  /** Whose part this is: the rules an agent was given. Absent: a configuration of its own. */
  readonly agent?: string;
  readonly personas: ReadonlyMap<string, Persona>;
}
