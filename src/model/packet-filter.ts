// The rules of a namespace in one form, whoever made them: nft, iptables on nft, iptables-legacy. Reading is
// kernel/filter-reader.ts, the text of the tools is parsed there; what becomes of a packet is netops/filter-walk.ts.

import type { Address, Family } from './address.ts';

export type FilterBackend = 'nft' | 'legacy';
export type FilterHook = 'ingress' | 'egress' | 'prerouting' | 'input' | 'forward' | 'output' | 'postrouting';

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
}

/** One condition of a rule. What is not understood is `unknown`: a walk then says it cannot decide. */
export type FilterMatch =
  | { readonly kind: 'compare'; readonly field: string; readonly operator: string; readonly value: unknown }
  | { readonly kind: 'set'; readonly field: string; readonly set: string; readonly inverted: boolean }
  | { readonly kind: 'limit'; readonly text: string; readonly inverted: boolean }
  | { readonly kind: 'unknown'; readonly text: string };

/** What a rule does when its conditions hold, in order; the last may end the walk. */
export type FilterAction =
  | { readonly kind: 'accept' | 'drop' | 'return' | 'continue' }
  | { readonly kind: 'jump' | 'goto'; readonly chain: string }
  | { readonly kind: 'reject'; readonly answer: 'tcp-reset' | 'icmp' }
  | { readonly kind: 'queue'; readonly first: number; readonly last: number; readonly bypass: boolean }
  | {
      readonly kind: 'dnat' | 'snat' | 'masquerade' | 'redirect';
      readonly address?: Address;
      readonly ports?: readonly [number, number];
    }
  | { readonly kind: 'tproxy'; readonly address?: Address; readonly port?: number }
  | { readonly kind: 'mark'; readonly value: number; readonly mask: number; readonly of: 'packet' | 'connection' }
  | { readonly kind: 'notrack' | 'log' | 'counter' | 'nothing' }
  | { readonly kind: 'vmap'; readonly field: string; readonly map: string }
  | { readonly kind: 'unknown'; readonly text: string };

export interface FilterRule extends RulePlace {
  readonly matches: readonly FilterMatch[];
  readonly actions: readonly FilterAction[];
  /** Where it counts. */
  readonly packets?: number;
}

export interface FilterChain {
  readonly backend: FilterBackend;
  readonly family: string;
  readonly table: string;
  readonly name: string;
  /** Of a base chain. Of equal priority the order is that of registration: `order`. */
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
  readonly type: string;
  /** Elements as the tool writes them in JSON; bounded by the reader, `truncated` then. */
  readonly elements: readonly unknown[];
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
  /** `syn`, `syn,ack`, ...; of TCP. */
  readonly tcpFlags?: string;
  /** What connection tracking knows: rewritten by DNAT or SNAT, and from what. */
  readonly originalDestination?: { readonly address: Address; readonly port: number };
  readonly connectionMark?: number;
}

export type FilterVerdict =
  | { readonly kind: 'accept' }
  | { readonly kind: 'drop'; readonly rule?: RulePlace; readonly policyOf?: { readonly table: string; readonly chain: string } }
  | { readonly kind: 'reject'; readonly answer: 'tcp-reset' | 'icmp'; readonly rule: RulePlace }
  | { readonly kind: 'queue'; readonly first: number; readonly last: number; readonly bypass: boolean; readonly rule: RulePlace }
  | { readonly kind: 'tproxy'; readonly address?: Address; readonly port?: number; readonly rule: RulePlace }
  /** It depends on what cannot be known from here: the first such rule, and why. */
  | { readonly kind: 'unknown'; readonly rule: RulePlace; readonly why: string };

export interface FilterStep {
  readonly rule: RulePlace;
  readonly outcome: 'matched' | 'undecided' | 'rewrote';
  readonly why?: string;
}

export interface FilterWalk {
  readonly verdict: FilterVerdict;
  /** After what rules rewrote: destination by DNAT, marks, untracked. */
  readonly packet: FilterPacket;
  /** Rules that matched or could not be decided, in order; at most 256. */
  readonly steps: readonly FilterStep[];
}

/** What a walk has to know beside the packet. */
export interface WalkContext {
  readonly hook: FilterHook;
  /** Rules of family `bridge`, and with br_netfilter those of `ip` too, see a frame that is bridged. */
  readonly bridged?: boolean;
  /** Whether an address is this namespace's own (fib, addrtype); undefined where that cannot be told. */
  readonly isLocal: (packet: FilterPacket, which: 'source' | 'destination') => boolean | undefined;
}
