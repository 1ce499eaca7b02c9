// What analysis makes of records: verdicts on a source's behaviour, what a session matched and held, payload families, and
// where addresses are. Data only; analysis/ makes it, record/ keeps it. It can be made again from the records at any time.

import type { Micros } from '../base/clock.ts';
import type { Severity } from './event.ts';
import type { Fact } from './fact.ts';
import type { Transport } from './session.ts';

export type { Fact, FactKind } from './fact.ts';

export type Behaviour =
  | 'port-scan' // many ports of one decoy
  | 'sweep' // one port of many decoys
  | 'block-scan' // many ports of many decoys
  | 'slow-scan' // the same, spread over hours or days
  | 'repeated-access' // one port of one decoy again and again, without guessing
  | 'brute-force' // many credentials
  | 'exploitation' // a signature of an exploit
  | 'crawler' // a web crawler, or a nikto-like walk over paths
  | 'research-scanner' // says who it is, or is known
  | 'silent-opener' // connects and says nothing, over and over
  | 'two-phase-scan' // a stateless SYN, later a handshake with the payload
  | 'flood'; // more datagrams or SYNs than a scan would need

/** How sure a verdict is: `certain` is by construction (a counted threshold), `likely` and `possible` by inference. */
export type Confidence = 'certain' | 'likely' | 'possible';

/**
 * One judgement about one source in one span of time. The same behaviour of the same source towards the same target in the
 * same window has the same `id`; a later one replaces an earlier one, so counts only grow and replays change nothing.
 */
export interface Verdict {
  /** As createIdentifier makes them: sorts by `start`; the rest is a digest of what it is about. */
  readonly id: string;
  readonly behaviour: Behaviour;
  readonly source: string;
  readonly start: Micros;
  readonly end: Micros;
  readonly severity: Severity;
  readonly confidence: Confidence;
  /** The one decoy or port it is about, where there is one. */
  readonly destination?: string;
  readonly port?: number;
  readonly transport?: Transport | 'icmp';
  readonly diversion?: string;
  /** Sessions and probe packets, distinct ports, distinct decoys, distinct credentials it rests on. */
  readonly hits: number;
  readonly ports: number;
  readonly hosts: number;
  readonly credentials: number;
  /** `ZMap`, `masscan`, `Mirai`, `Nmap`, `hydra`, `Shodan`, … */
  readonly tool?: string;
  /** ATT&CK techniques, `T1046`; CVE identifiers. */
  readonly techniques: readonly string[];
  readonly cves: readonly string[];
  /** Sentences a person can check, with the figures and the threshold; at most 8. */
  readonly evidence: readonly string[];
  /** Identifiers of sessions or probes it rests on; at most 16. */
  readonly records: readonly string[];
}

/** A rule that matched one session. */
export interface SignatureHit {
  /** Of rules/signatures, or of the user's own files. */
  readonly rule: string;
  readonly name: string;
  readonly intention: 'exploit' | 'malware' | 'brute-force' | 'recon' | 'flood' | 'benign';
  readonly severity: Severity;
  readonly tags: readonly string[];
  readonly cves: readonly string[];
  readonly techniques: readonly string[];
  /** What the rule's captures took: `url`, `command`, `file`, …; each at most 2,048 characters, escaped by nobody. */
  readonly captures: Readonly<Record<string, string>>;
}

/** What analysis found in one session that ended. A pure function of its record, the rules and the families so far. */
export interface SessionInsight {
  /** Of the session. */
  readonly id: string;
  readonly start: Micros;
  readonly source: string;
  readonly signatures: readonly SignatureHit[];
  /** Distinct, at most 64. */
  readonly facts: readonly Fact[];
  /** Identifier of its payload's family; absent when it sent nothing. */
  readonly family?: string;
}

/** Payloads so alike that they read as one. */
export interface PayloadFamily {
  /** Hex, 16 digits, of its first payload's hash: the same first payload founds the same family. */
  readonly id: string;
  readonly firstSeen: Micros;
  /** sha256 of the founding payload, as sessions name it. */
  readonly payloadHash: string;
  /** Up to 256 bytes of the founding payload. */
  readonly example: Uint8Array;
  /** What similarity is measured by; opaque, at most 1 KiB. */
  readonly sketch: Uint8Array;
  /** Short and readable: `HTTP POST /ctrlt/…`, `Telnet busybox dropper`, … */
  readonly label: string;
}

/** Where an address is, as far as the databases know. */
export interface Place {
  readonly ip: string;
  /** ISO 3166-1 alpha-2. */
  readonly country?: string;
  readonly asn?: number;
  readonly organization?: string;
}

/** What one batch of events gave; applied in the same transaction as the events. */
export interface Insights {
  readonly sessions: readonly SessionInsight[];
  readonly verdicts: readonly Verdict[];
  readonly families: readonly PayloadFamily[];
  /** Of sources not told before (or told differently before). */
  readonly places: readonly Place[];
}

/** Why a source belongs to a campaign, in words a person can check. */
export interface CampaignMember {
  readonly source: string;
  readonly firstSeen: Micros;
  readonly lastSeen: Micros;
  readonly hits: number;
  readonly reasons: readonly string[];
}

/** Sources that act as one. */
export interface Campaign {
  /** Hex digits of what binds it: the same bond gives the same identifier on any day. */
  readonly id: string;
  readonly label: string;
  readonly start: Micros;
  readonly end: Micros;
  /** How many there are; `members` shows at most 100. */
  readonly size: number;
  readonly members: readonly CampaignMember[];
  /** What they share: `family 3fa9…`, `credentials admin:admin and 11 more`, `JA4 t13d…`, `AS64500`. */
  readonly bonds: readonly string[];
  readonly hits: number;
}
