// The rules of a namespace in one form, whoever made them: nft, iptables on nft, iptables-legacy. Reading is
// kernel/filter-reader.ts, the text of the tools is parsed there; what becomes of a packet is netops/filter-walk.ts.

import type { Address, Family } from './address.ts';

export type FilterBackend = 'nft' | 'legacy';
export type FilterHook = 'ingress' | 'egress' | 'prerouting' | 'input' | 'forward' | 'output' | 'postrouting';

/** Which chain: two families, and two backends, may have one of the same name. */
export type ChainPlace = Pick<RulePlace, 'backend' | 'family' | 'table' | 'chain'>;

/** Where a rule stands: enough to show it, and to delete it. */
export interface RulePlace {
  readonly backend: FilterBackend;
  /** nft: `ip`, `inet`, `netdev`, `bridge`, ...; legacy: `ip` or `ip6`. */
  readonly family: string;
  readonly table: string;
  readonly chain: string;
  /** nft's handle; of legacy the position in its chain, from 1. */
  readonly handle: number;
  /** As the tool that owns it prints it; printable. */
  readonly text: string;
  /** Who manages it, where that can be told: `docker`, `fail2ban sshd`, `kube`, `weir`, `ufw`, `firewalld`, `libvirt`, ... */
  readonly owner?: string;
}

/** A part of a key: numbers, both ends included (addresses, ports, bits, marks), or a device's name, with `wildcard` its start. */
export type FilterRange =
  | { readonly first: bigint; readonly last: bigint }
  | { readonly name: string; readonly wildcard: boolean };

/** As many parts as the expression it is compared with has. */
export type FilterKey = readonly FilterRange[];

/** An element of a set or map. */
export interface FilterElement {
  readonly key: FilterKey;
  /** Of a map from keys to values. */
  readonly value?: FilterKey;
  /** Of a map from keys to verdicts. */
  readonly verdict?: FilterAction;
  /** Seconds left when it was read. */
  readonly expires?: number;
  /** Seconds it was given when it was put there. */
  readonly timeout?: number;
  readonly comment?: string;
  /** ipset's `nomatch`: an exception from a wider element. */
  readonly excluded?: boolean;
}

/**
 * What a rule looks at. Fields are named after nft's expressions: `ip.saddr`, `ip6.daddr`, `tcp.dport`, `th.sport`, `tcp.flags`,
 * `icmp.type`, `meta.iifname`, `meta.mark`, `meta.l4proto`, `ct.state`, `ct.status`, `ct.mark`, `ct.original.daddr`,
 * `fib.daddr.type`, `socket.transparent`, `ether.saddr`, ...
 */
export type FilterExpression =
  | { readonly kind: 'field'; readonly field: string }
  | { readonly kind: 'constant'; readonly value: FilterKey }
  | {
      readonly kind: 'operation';
      readonly operator: '&' | '|' | '^' | '<<' | '>>';
      readonly left: FilterExpression;
      readonly right: FilterExpression;
    }
  | { readonly kind: 'concatenation'; readonly parts: readonly FilterExpression[] }
  /** nft's `jhash FIELD mod MODULUS seed SEED offset OFFSET`. */
  | {
      readonly kind: 'hash';
      readonly field: string;
      readonly modulus: number;
      readonly seed: number;
      readonly offset: number;
    }
  | { readonly kind: 'map'; readonly key: FilterExpression; readonly map: string | readonly FilterElement[] }
  | { readonly kind: 'unknown'; readonly text: string };

/** One condition of a rule. */
export type FilterMatch =
  | {
      readonly kind: 'compare';
      readonly left: FilterExpression;
      readonly operator: '==' | '!=' | '<' | '>' | '<=' | '>=';
      /** One of these, where there are several. */
      readonly right: readonly FilterKey[];
    }
  /** Whether one of these bits is set, or with `any` false none. */
  | { readonly kind: 'bits'; readonly left: FilterExpression; readonly mask: bigint; readonly any: boolean }
  /** `set` is the name of one in the rule's table; `ipset:NAME` is one of ipset's. */
  | { readonly kind: 'set'; readonly left: FilterExpression; readonly set: string; readonly inverted: boolean }
  /** One of several conditions; with `inverted` none. */
  | { readonly kind: 'any'; readonly of: readonly FilterMatch[]; readonly inverted: boolean }
  /** Whether it holds cannot be known from the packet: a limit, a quota, chance, the clock (`limited`), or not understood here. */
  | { readonly kind: 'undecided'; readonly text: string; readonly limited: boolean };

/** What a rule does. */
export type FilterAction =
  | { readonly kind: 'accept' | 'drop' | 'return' | 'continue' }
  | { readonly kind: 'jump' | 'goto'; readonly chain: string }
  /** Of a packet of another protocol or, with `family`, another family the rule does not hold. */
  | { readonly kind: 'reject'; readonly answer: 'tcp-reset' | 'icmp'; readonly family?: Family }
  | { readonly kind: 'queue'; readonly first: number; readonly last: number; readonly bypass: boolean }
  | {
      readonly kind: 'dnat' | 'snat' | 'masquerade' | 'redirect';
      /** A range where one is picked; with a map that also gives ports, two parts. */
      readonly address?: FilterExpression;
      readonly port?: FilterExpression;
      /** The host's bits stay: nft's `prefix`, NETMAP. */
      readonly prefix: boolean;
      /** Ports are picked at random. */
      readonly random: boolean;
      /** Of a table for both: the family it is for. */
      readonly family?: Family;
    }
  | {
      readonly kind: 'tproxy';
      readonly address?: Address;
      readonly port?: number;
      readonly family?: Family;
      /** Of iptables: accepts at once. nft goes on with the rule. */
      readonly accepts: boolean;
      readonly mark?: { readonly value: number; readonly mask: number };
    }
  /** Writes a field: `meta.mark`, `ct.mark`, `ip.daddr`, `tcp.dport`; what else is written means nothing to a walk and is `nothing`. */
  | { readonly kind: 'write'; readonly field: string; readonly value: FilterExpression }
  | { readonly kind: 'notrack' | 'log' | 'counter' | 'nothing' }
  | { readonly kind: 'vmap'; readonly key: FilterExpression; readonly map: string | readonly FilterElement[] }
  /** Not understood, or takes the packet elsewhere: what comes of it cannot be told. */
  | { readonly kind: 'unknown'; readonly text: string };

/** Evaluated from first to last; a condition that does not hold ends the rule. */
export type FilterStatement = FilterMatch | FilterAction;

export interface FilterRule extends RulePlace {
  readonly statements: readonly FilterStatement[];
  /** Where it counts. */
  readonly packets?: number;
}

export interface FilterChain {
  readonly backend: FilterBackend;
  readonly family: string;
  readonly table: string;
  readonly name: string;
  /**
   * Of a base chain. Of equal priority the one registered last comes first (nf_hook_entries_grow); `order` is that of registration
   * as far as handles tell: sure within one table, likely between tables of nft, and not known between nft and legacy.
   */
  readonly base?: {
    readonly hook: FilterHook;
    readonly type: 'filter' | 'nat' | 'route';
    readonly priority: number;
    readonly policy: 'accept' | 'drop';
    readonly devices?: readonly string[];
    readonly order: number;
  };
  readonly rules: readonly FilterRule[];
}

export interface FilterSet {
  /** nft's or, with backend `legacy`, ipset's. */
  readonly backend: FilterBackend;
  readonly family: string;
  readonly table: string;
  readonly name: string;
  /** As the tool writes it: `ipv4_addr . inet_service`, `hash:ip,port`. */
  readonly type: string;
  /** Bounded by the reader, `truncated` then. Of ipset's list:set the names of its sets. */
  readonly elements: readonly FilterElement[];
  readonly truncated: boolean;
}

export interface PacketFilter {
  readonly chains: readonly FilterChain[];
  readonly sets: readonly FilterSet[];
  /** Parts that could not be read or understood at all: a walk past them is not proof. */
  readonly unreadable: readonly string[];
}

/** A packet as rules see it. */
export interface FilterPacket {
  readonly family: Family;
  readonly protocol: 'tcp' | 'udp' | 'icmp';
  readonly source: Address;
  readonly sourcePort: number;
  readonly destination: Address;
  readonly destinationPort: number;
  readonly inputDevice?: string;
  readonly outputDevice?: string;
  readonly mark: number;
  readonly state: 'new' | 'established' | 'related' | 'invalid' | 'untracked';
  /** `syn`, `syn,ack`, ...; of TCP. Default: `syn` where the state is new, else unknown. */
  readonly tcpFlags?: string;
  /** What connection tracking knows: rewritten by DNAT or SNAT, and from what. */
  readonly originalDestination?: { readonly address: Address; readonly port: number };
  /** Not 0 but unknown where absent and `state` is not `new`. */
  readonly connectionMark?: number;
  /** Default: `original` where the state is new, else unknown. */
  readonly direction?: 'original' | 'reply';
  readonly icmp?: { readonly type: number; readonly code: number };
  /** `02:00:00:00:00:01`. */
  readonly sourceMac?: string;
  /** Of the local process that sends it. */
  readonly uid?: number;
}

export type FilterVerdict =
  | { readonly kind: 'accept' }
  | { readonly kind: 'drop'; readonly rule?: RulePlace; readonly policyOf?: ChainPlace }
  | { readonly kind: 'reject'; readonly answer: 'tcp-reset' | 'icmp'; readonly rule: RulePlace }
  | { readonly kind: 'queue'; readonly first: number; readonly last: number; readonly bypass: boolean; readonly rule: RulePlace }
  /** As long as a socket listens there. */
  | { readonly kind: 'tproxy'; readonly address?: Address; readonly port?: number; readonly rule: RulePlace }
  /** It depends on what cannot be known from here: the first such rule, and why. */
  | { readonly kind: 'unknown'; readonly rule?: RulePlace; readonly why: string };

export interface FilterStep {
  readonly rule: RulePlace;
  /** `undecided`: taken as not matching in this list. */
  readonly outcome: 'matched' | 'undecided' | 'rewrote';
  /** What the rule did there: `accept`, `jump`, `dnat`, ... */
  readonly action?: FilterAction['kind'];
  readonly why?: string;
  /** Of what is undecided: it depends on a rate, a count, the clock or chance, not on something unknown. */
  readonly limited?: boolean;
}

export interface FilterWalk {
  readonly verdict: FilterVerdict;
  /** All that can come out, where the verdict is unknown; else just the verdict. */
  readonly possible: readonly FilterVerdict[];
  /** After what rules rewrote: destination by DNAT, marks, untracked. */
  readonly packet: FilterPacket;
  /** Of `packet` what some rule rewrote to something that cannot be told (masquerade's address, a range): `destination`, `mark`, ... */
  readonly blurred: readonly string[];
  /** Rules that matched or could not be decided, in order; at most 256. */
  readonly steps: readonly FilterStep[];
}

/** rtnetlink(7)'s types of routes, as far as they tell addresses apart. */
export type AddressType = 'unicast' | 'local' | 'broadcast' | 'anycast' | 'multicast' | 'blackhole' | 'unreachable' | 'prohibit';

/** What a walk has to know beside the packet. Whatever is absent is unknown, and said where it matters. */
export interface WalkContext {
  readonly hook: FilterHook;
  /** A frame that is bridged: rules of family `bridge` see it, and `with-ip` those of ip and ip6 too (br_netfilter). */
  readonly bridged?: 'bridge-only' | 'with-ip';
  /** Whether an address is this namespace's own (fib, addrtype); undefined where that cannot be told. */
  readonly isLocal: (packet: FilterPacket, which: 'source' | 'destination') => boolean | undefined;
  /** More exactly than `isLocal`. */
  readonly addressType?: (packet: FilterPacket, which: 'source' | 'destination') => AddressType | undefined;
  /** Whether the reverse path check of the rules (`fib saddr . iif oif`, rpfilter) finds a route. */
  readonly hasReversePath?: (packet: FilterPacket) => boolean | undefined;
  /** First address of the device a packet came in by, for `redirect`; of the one it leaves by, for `masquerade`. */
  readonly deviceAddress?: (device: string, family: Family) => Address | undefined;
  /** What listens for a packet that begins a connection: a socket, one that is transparent (IP_TRANSPARENT), or none. */
  readonly listenerOf?: (packet: FilterPacket) => 'ordinary' | 'transparent' | 'none' | undefined;
  /** The socket such a packet finds here, connected or listening (nft's `socket`); null: none does. */
  readonly findSocket?: (
    packet: FilterPacket,
  ) => { readonly transparent: boolean; readonly wildcard: boolean } | null | undefined;
  /** Whether somebody reads this NFQUEUE. */
  readonly hasQueueConsumer?: (queue: number) => boolean | undefined;
}
