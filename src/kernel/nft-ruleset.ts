// nftables rulesets as immutable data: tables, sets, maps, chains, rules, and short words to write them with.
// Text is nft-render.ts, the kernel is nft-apply.ts; which rules there should be is plan/ruleset.ts.

/** A packet field as nft names it, for example `ip daddr`, `tcp dport`, `@nh,104,24`. See nft(8), PAYLOAD EXPRESSIONS. */
export type NftField = string;

export interface NftHash {
  readonly hash: NftField;
  readonly modulus: number;
  /** Unsigned 32 bits. */
  readonly seed: number;
}

export type NftExpression = NftField | NftHash;

/** A constant, an anonymous set of constants, or a named set. */
export type NftOperand = string | number | readonly (string | number)[] | { readonly set: string };

export type NftVerdict = 'accept' | 'drop' | 'return' | { readonly goto: string } | { readonly jump: string };

export type NftStatement =
  | { readonly do: 'match'; readonly left: NftExpression; readonly not: boolean; readonly right: NftOperand }
  | { readonly do: 'at-least'; readonly left: NftExpression; readonly value: number }
  | {
      readonly do: 'flags';
      readonly field: NftField;
      readonly mask: readonly string[];
      readonly not: boolean;
      readonly value: readonly string[];
    }
  | { readonly do: 'set'; readonly field: NftField; readonly value: string }
  | { readonly do: 'set-by-map'; readonly field: NftField; readonly key: NftExpression; readonly map: NftMapOperand }
  | { readonly do: 'set-xor'; readonly field: NftField; readonly source: NftField; readonly key: number }
  | { readonly do: 'copy'; readonly field: NftField; readonly from: NftField }
  | { readonly do: 'shift-right'; readonly field: NftField; readonly bits: number }
  /** Writes a 16-bit field: the next of this rule's own count, or a random number. */
  | { readonly do: 'number'; readonly field: NftField; readonly how: 'inc' | 'random' }
  /** Overwrites a TCP option with no-operations; nothing happens when it is not there. Linux 5.18. */
  | { readonly do: 'hide-option'; readonly option: string }
  | { readonly do: 'vmap'; readonly key: NftExpression; readonly map: NftVerdictMapOperand }
  | {
      readonly do: 'log';
      readonly prefix: string;
      readonly group: number;
      readonly snaplen: number;
      readonly queueThreshold: number;
    }
  /** Changes a dynamic set while packets pass: `update` adds, or sets the time anew; it ends the rule when the set is full. */
  | {
      readonly do: 'remember';
      readonly how: 'update' | 'delete';
      readonly set: string;
      readonly key: NftField;
      /** Of maps. */
      readonly data?: NftField;
      readonly seconds?: number;
    }
  /** Matches what is more than so many packets a second, of all that come by. */
  | { readonly do: 'beyond'; readonly perSecond: number }
  /** Hands the frame to a device as it is; only at ingress. */
  | { readonly do: 'forward'; readonly device: string }
  | { readonly do: 'tproxy'; readonly family: 4 | 6; readonly port: number }
  | { readonly do: 'reject'; readonly how: 'tcp-reset' | 'port-unreachable' }
  | { readonly do: 'notrack' }
  | { readonly do: 'counter' }
  | { readonly do: 'verdict'; readonly verdict: NftVerdict };

export type NftMapOperand = { readonly map: string } | { readonly entries: readonly (readonly [string | number, string])[] };
export type NftVerdictMapOperand =
  | { readonly map: string }
  | { readonly entries: readonly (readonly [string | number, NftVerdict])[] };

export type NftRule = readonly NftStatement[];

export interface NftHook {
  readonly type: 'filter' | 'nat';
  readonly hook: 'prerouting' | 'forward' | 'postrouting' | 'output' | 'input' | 'ingress' | 'egress';
  /** Of netdev chains. */
  readonly device?: string;
  readonly priority: number;
}

export interface NftChain {
  readonly name: string;
  /** At most 120 bytes; kept by the kernel. */
  readonly comment?: string;
  readonly hook?: NftHook;
  readonly rules: readonly NftRule[];
}

/** A set, or with `data` a map. Elements of a map are `key : value`. */
export interface NftSet {
  readonly name: string;
  readonly type: string;
  readonly data?: string;
  readonly interval: boolean;
  readonly elements: readonly string[];
  /** Rules add and remove elements; at most so many. Then `elements` is empty. */
  readonly dynamic?: { readonly size: number };
}

export type NftFamily = 'inet' | 'netdev' | 'arp';

export interface NftTable {
  readonly family: NftFamily;
  readonly name: string;
  readonly comment: string;
  readonly sets: readonly NftSet[];
  readonly chains: readonly NftChain[];
}

/** Our tables: the only name this room ever creates, replaces or deletes. */
export const ownTableName = 'weir';
export const ownTableFamilies: readonly NftFamily[] = ['inet', 'netdev', 'arp'];

export const match = (left: NftExpression, right: NftOperand): NftStatement => ({ do: 'match', left, not: false, right });
export const matchNot = (left: NftExpression, right: NftOperand): NftStatement => ({ do: 'match', left, not: true, right });
export const verdict = (value: NftVerdict): NftStatement => ({ do: 'verdict', verdict: value });
export const accept = verdict('accept');
export const drop = verdict('drop');
export const goto = (chain: string): NftStatement => verdict({ goto: chain });
export const jump = (chain: string): NftStatement => verdict({ jump: chain });
export const tcpFlags = (mask: readonly string[], value: readonly string[]): NftStatement => ({
  do: 'flags',
  field: 'tcp flags',
  mask,
  not: false,
  value,
});
export const tcpFlagsNot = (mask: readonly string[], value: readonly string[]): NftStatement => ({
  do: 'flags',
  field: 'tcp flags',
  mask,
  not: true,
  value,
});
