// What one look at a machine found: its network namespaces and what is in each of them, as data. Reading is
// kernel/machine-reader.ts; judging is netops/. What could not be read is part of the picture: "not seen" is never "not there".

import type { Address, Family } from './address.ts';
import type { PacketFilter } from './packet-filter.ts';
import type { Transport } from './session.ts';

/** Something that could not be read, and why; whoever concludes from its absence is wrong. */
export interface Unseen {
  /** Inode of the namespace, absent where it is about the machine. */
  readonly netns?: string;
  /** `ruleset`, `processes of other users`, `conntrack`, ... */
  readonly what: string;
  /** In words: `needs CAP_NET_ADMIN`. */
  readonly why: string;
}

export interface MachineProcess {
  readonly pid: number;
  readonly comm: string;
  /** Absent without the permission to read it, and for threads of the kernel. */
  readonly exe?: string;
  readonly uid: number;
  /** Inode of its network namespace. */
  readonly netns: string;
  /** Path in the unified hierarchy. */
  readonly cgroup?: string;
  readonly container?: MachineContainer;
}

export interface MachineContainer {
  /** Full identifier, from the cgroup or the runtime. */
  readonly id: string;
  /** As the runtime names it, where its socket could be asked. */
  readonly name?: string;
  readonly runtime: 'docker' | 'podman' | 'containerd' | 'lxc' | 'unknown';
}

export interface MachineLink {
  readonly index: number;
  readonly name: string;
  readonly mac: string;
  readonly mtu: number;
  /** rtnetlink's name of the driver: `veth`, `bridge`, `vlan`, `tun`; absent for hardware. */
  readonly kind?: string;
  readonly up: boolean;
  /** RFC 2863, as the kernel says it: `up`, `down`, `lowerlayerdown`, `unknown`. */
  readonly operstate: string;
  readonly master?: string;
  /** Of a veth or a device above another: the index there, and the namespace where it is another one and could be told. */
  readonly peer?: { readonly index: number; readonly netns?: string };
  readonly addresses: readonly {
    readonly address: Address;
    readonly prefixLength: number;
    readonly usable: boolean;
    /** Of IPv4: nothing else is written there (a broadcast address, a peer, a label, a time): `ip addr add` of these two makes it anew. */
    readonly plain?: true;
  }[];
  readonly qdisc?: string;
}

export interface MachineRoute {
  readonly family: Family;
  readonly table: number;
  /** rtnetlink(7): `unicast`, `local`, `blackhole`, `prohibit`, `unreachable`, `throw`, `broadcast`, ... */
  readonly type: string;
  readonly destination: Address;
  readonly prefixLength: number;
  readonly metric: number;
  readonly protocol: string;
  readonly source?: Address;
  /** More than one for a multipath route; `via` absent where on-link. */
  readonly hops: readonly { readonly device?: string; readonly via?: Address; readonly dead?: boolean }[];
  /** As `ip route` prints it. */
  readonly text: string;
  /** It has more than the text says (an end, an encapsulation, rarer metrics): it cannot be written again from here. */
  readonly partial?: true;
}

export interface MachineRule {
  readonly family: Family;
  readonly priority: number;
  /** `lookup`, `prohibit`, `blackhole`, `unreachable`, `goto`, `nop`. */
  readonly action: string;
  readonly table?: number;
  readonly from?: { readonly address: Address; readonly prefixLength: number };
  readonly to?: { readonly address: Address; readonly prefixLength: number };
  readonly iif?: string;
  readonly oif?: string;
  readonly mark?: { readonly value: number; readonly mask: number };
  readonly inverted: boolean;
  /** Selectors beside these (uid, ports, tun_id), as text: whether they match is unknown to a walk. */
  readonly other?: string;
  readonly text: string;
}

export interface MachineNeighbour {
  readonly address: Address;
  readonly device: string;
  readonly mac?: string;
  /** `REACHABLE`, `STALE`, `FAILED`, `PERMANENT`, ... */
  readonly state: string;
}

/** A socket that takes what arrives: TCP in LISTEN, or UDP that is bound and not connected. */
export interface MachineListener {
  readonly transport: Transport;
  readonly address: Address;
  readonly port: number;
  readonly v6only: boolean;
  /** Of SO_BINDTODEVICE. */
  readonly device?: string;
  readonly transparent?: boolean;
  readonly inode: number;
  /** Of inet_diag: names a socket beyond doubt, also after its inode was used again. Decimal. */
  readonly cookie?: string;
  readonly uid: number;
  /** Of TCP: connections waiting for accept, and how many may. */
  readonly acceptQueue?: { readonly waiting: number; readonly limit: number };
  /** Processes that hold it; empty where they may not be seen. */
  readonly pids: readonly number[];
}

export interface MachineQdisc {
  readonly device: string;
  readonly kind: string;
  readonly drops: number;
  readonly overlimits: number;
  readonly text: string;
}

/** Somebody who reads NFQUEUE; see /proc/net/netfilter/nfnetlink_queue. */
export interface QueueConsumer {
  readonly queue: number;
  readonly portId: number;
  readonly waiting: number;
  readonly dropped: number;
}

export interface MachineNamespace {
  /** Inode of the namespace: its name for everybody. */
  readonly inode: string;
  /** For people: `` for the one looked from, else of /run/netns, of its container, or `pid 123 (nginx)`. */
  readonly name: string;
  /** To enter it: absent for the one looked from. */
  readonly path?: string;
  readonly container?: MachineContainer;
  readonly links: readonly MachineLink[];
  readonly routes: readonly MachineRoute[];
  readonly rules: readonly MachineRule[];
  readonly neighbours: readonly MachineNeighbour[];
  readonly listeners: readonly MachineListener[];
  /** By key as below /proc/sys: `net/ipv4/ip_forward`, `net/ipv4/conf/eth0/rp_filter`. */
  readonly sysctls: Readonly<Record<string, string>>;
  /** Absent where it could not be read. */
  readonly filter?: PacketFilter;
  readonly qdiscs: readonly MachineQdisc[];
  /** As `ip xfrm policy` prints them, one each; absent where they could not be read. */
  readonly xfrmPolicies?: readonly string[];
  /** Absent where they could not be read. */
  readonly queueConsumers?: readonly QueueConsumer[];
  /** Of /proc/net/snmp, netstat and snmp6: `Tcp.OutRsts`, `TcpExt.ListenOverflows`, `IcmpMsg.OutType3`. */
  readonly counters: Readonly<Record<string, number>>;
}

export interface Machine {
  /** Milliseconds since the epoch. */
  readonly takenAt: number;
  /** `6.18.1`. */
  readonly kernel: string;
  /** The one looked from is first. */
  readonly namespaces: readonly MachineNamespace[];
  /** Those that hold a socket, or are the first of their namespace. */
  readonly processes: readonly MachineProcess[];
  readonly unseen: readonly Unseen[];
}
