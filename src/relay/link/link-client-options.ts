// What the agent's end of its link needs from its owner, what it tells of itself, and its bounds. Data and types only.

import type { Clock } from '../../base/clock.ts';
import type { Log } from '../../base/log.ts';
import type { AgentMessage, GatewayMessage } from '../../model/agent.ts';
import type { ProxyFlow, ProxyTlv } from '../../model/proxy-protocol.ts';
import type { SynDetails } from '../../model/session.ts';

/** PEM. From a token (enrolment), or what enrolment gave. */
export interface LinkCredentials {
  readonly key: string;
  readonly certificate: string;
  /** SHA-256 of the DER of the gateway's CA certificate, hex without colons. The gateway sends that certificate in its chain. */
  readonly caFingerprint: string;
}

/** How the gateway is reached, and by what it is known. */
export interface LinkTarget {
  readonly gateway: { readonly host: string; readonly port: number };
  /** An HTTP proxy that takes CONNECT; `authorization` is the whole value of Proxy-Authorization. */
  readonly proxy?: { readonly host: string; readonly port: number; readonly authorization?: string };
  /** The name the gateway's certificate must carry, a host name or an IP address. */
  readonly serverName: string;
}

export type Hello = Omit<Extract<AgentMessage, { kind: 'hello' }>, 'kind' | 'protocol'>;
type Message<Kind extends GatewayMessage['kind']> = Extract<GatewayMessage, { kind: Kind }>;
export type Welcome = Message<'welcome'>;
export type TouchRequest = Message<'touch'>;
export type UpgradeOffer = Message<'upgrade'>;

/** `away` waits until `nextTryAt` (milliseconds since 1970, by our own clock); `reason` is a sentence for people. */
export type LinkState =
  | { readonly state: 'idle' | 'closed' }
  | { readonly state: 'connecting'; readonly reason?: string }
  | { readonly state: 'linked'; readonly welcome: Welcome }
  | { readonly state: 'away'; readonly reason: string; readonly nextTryAt: number };

export interface LinkClientOptions extends LinkTarget {
  /** Asked for each connection: a renewed certificate is used from the next one on. */
  credentials(): LinkCredentials;
  /** Asked for each connection. */
  hello(): Hello;
  /** `skewMicros`: by what our clock is ahead of the gateway's, wrong by at most the way to it. */
  onWelcome?(welcome: Welcome, skewMicros: number): void;
  /** Answer with `send({kind: 'applied', ..})`. */
  onRules(rules: string, configuration: string): void;
  /** Answer with `send({kind: 'touched', ..})`. */
  onTouch(request: TouchRequest): void;
  onUpgrade(offer: UpgradeOffer): void;
  /** The answer to `send({kind: 'renew', ..})`, PEM. */
  onCertificate(certificate: string): void;
  onGoodbye?(reason: string): void;
  onStateChange?(state: LinkState): void;
  readonly log: Log;
  readonly clock: Clock;
  readonly limits?: Partial<LinkClientLimits>;
  /** Between 0 and 1; tests give their own. */
  readonly random?: () => number;
}

export interface LinkClientLimits {
  /** First and longest wait between two attempts; in between it doubles, and each is shortened by chance by up to a half. */
  readonly backOffMs: number;
  readonly backOffMaxMs: number;
  /** A link that lived so long starts again at `backOffMs`. */
  readonly settledMs: number;
  /** From the first packet to `welcome`. */
  readonly connectMs: number;
  readonly pingEveryMs: number;
  readonly deadAfterMs: number;
  /** Open at once; more are refused (`openFlow` gives undefined). */
  readonly flows: number;
  /** Longest line taken from the gateway: rules. */
  readonly controlLineBytes: number;
  /** What may wait on the way to the gateway for one datagram flow; what is more is dropped. */
  readonly datagramBytes: number;
  /** Messages that may wait for the control stream. */
  readonly controlBytes: number;
  /** How long the gateway may take to make a batch of records durable, once it has begun to take it; ten times as long until then. */
  readonly spoolMs: number;
}

export const linkClientLimits: LinkClientLimits = {
  backOffMs: 200,
  backOffMaxMs: 30_000,
  settledMs: 10_000,
  connectMs: 15_000,
  pingEveryMs: 3_000,
  deadAfterMs: 9_000,
  flows: 4_000,
  controlLineBytes: 32 * 2 ** 20,
  datagramBytes: 256 * 1024,
  controlBytes: 2 ** 20,
  spoolMs: 60_000,
};

/** A flow as its header says it. Useful types: tlvType.uniqueId, .linkLayer (the source's MAC, 6 bytes), .netns (a segment's name). */
export interface FlowRequest {
  readonly flow: ProxyFlow;
  /** Where the listener has it. */
  readonly syn?: SynDetails;
  readonly tlvs?: readonly ProxyTlv[];
  /** Under which identifier we record it if the gateway does not take it, or cannot say so. */
  readonly session?: string;
}

export interface DatagramRequest extends FlowRequest {
  /** An answer of the decoy's. The bytes are the receiver's. */
  onDatagram(bytes: Uint8Array): void;
  /** Once: the gateway has taken it. Without it, it never heard of it or turned it away. */
  onTaken?(): void;
  /** Once: the gateway ended it, the link broke, or `close` was called. */
  onEnd(): void;
}

export interface DatagramFlow {
  /** False: dropped and counted, because the link is full, or it has ended, or more than 65,535 bytes. */
  send(bytes: Uint8Array): boolean;
  close(): void;
}

export interface LinkClientCounters {
  connects: number;
  links: number;
  /** Gateways turned away: another CA, another name, no HTTP/2. */
  untrusted: number;
  flows: number;
  /** Not opened: no link, or too many at once. */
  flowsRefused: number;
  /** Reset by the gateway because it would not take them. */
  flowsTurnedAway: number;
  datagrams: number;
  datagramsDropped: number;
  /** Messages of the gateway that are none. */
  badMessages: number;
}
