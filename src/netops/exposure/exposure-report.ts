// What `weir exposure` answers: every service that listens, from where it can be reached and by which rule. Data only.

import type { Unseen } from '../../model/machine.ts';
import type { RulePlace } from '../../model/packet-filter.ts';
import type { Transport } from '../../model/session.ts';

/**
 * From the widest to the narrowest. `internet`: from any public source, at a public address. `anywhere`: from any public source too, but
 * the address is private: whoever forwards to it lets the Internet in. `listed`: from public sources that a rule names. `lan`: from private
 * addresses behind an interface or on its link. `containers`: from other namespaces of this machine. `local`: from its own only.
 */
export const reaches = ['internet', 'anywhere', 'listed', 'lan', 'containers', 'local'] as const;
export type Reach = (typeof reaches)[number];

/** Smaller is wider. */
export const reachRank = (reach: Reach): number => reaches.indexOf(reach);

/** Where a packet is thought to come from. */
export interface Vantage {
  /** Of the namespace it comes into. */
  readonly netns: string;
  readonly device: string;
  readonly zone: 'public' | 'listed' | 'private' | 'link' | 'container';
  /** An example; the rules were walked with it. */
  readonly source: string;
  /** Of `listed`: as the rule has it. */
  readonly range?: string;
}

/** A rule, or the end of a chain, that decided. */
export interface DecidedBy {
  readonly rule?: RulePlace;
  /** For people: the rule's text, or `policy drop of filter INPUT`, `no route back: rp_filter`. */
  readonly text: string;
}

/** One way to a service. */
export interface ExposurePath {
  readonly from: Vantage;
  /** What is dialled: `203.0.113.1:8080`. */
  readonly dialled: string;
  readonly by: 'direct' | 'published' | 'routed' | 'tproxy';
  /** `proven` by the rules; `limited`: within a rate or count; `unknown`: a rule that cannot be decided stands in the way. */
  readonly certainty: 'proven' | 'limited' | 'unknown';
  readonly reach: Reach;
  /** What lets it in. */
  readonly allowedBy: readonly DecidedBy[];
  /** What cannot be decided. */
  readonly undecided?: DecidedBy;
}

export interface ExposedService {
  readonly netns: string;
  /** Its name where there is one. */
  readonly container?: string;
  readonly transport: Transport;
  readonly address: string;
  readonly port: number;
  readonly processes: readonly { readonly pid: number; readonly comm: string; readonly uid: number }[];
  readonly uid: number;
  /** The widest that is proven or within a limit. */
  readonly reach: Reach;
  /** The widest if what cannot be decided, or was not walked, goes the wrong way; absent where it is the same. */
  readonly atWorst?: Reach;
  /** Ways that were not walked, and may let in as far as `atWorst` says; absent: all were. */
  readonly notWalked?: number;
  readonly paths: readonly ExposurePath[];
  /** Of vantages that are not let in: which rule stops them, each said once. */
  readonly stoppedBy: readonly { readonly zone: Vantage['zone']; readonly device: string; readonly by: DecidedBy }[];
  /** Weir's own: it is meant to be reached. */
  readonly isWeir: boolean;
}

export interface ExposureReport {
  /** Milliseconds since the epoch. */
  readonly takenAt: number;
  readonly services: readonly ExposedService[];
  readonly vantages: readonly Vantage[];
  readonly unseen: readonly Unseen[];
  /** In words: paths not walked, families of rules not understood. */
  readonly notMeasured: readonly string[];
}
