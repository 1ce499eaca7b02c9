// What `weir doctor` answers, as interface.md writes it, and the identifiers of the causes it knows.

/** One each for the faults it can name; a cause it cannot name has `unexplained`. */
export const causeIds = [
  'service-not-listening',
  'service-bound-loopback',
  'service-v6only',
  'fw-rule-drop',
  'fw-legacy-drop',
  'fw-reject-rst',
  'fw-reject-icmp',
  'fw-reply-drop',
  'fw-rate-limit',
  'banned',
  'rpfilter',
  'return-route-captured-by-bridge',
  'gateway-ip-is-local',
  'no-return-route',
  'return-route-blackhole',
  'policy-rule-prohibit',
  'policy-route-captured',
  'no-route-to-destination',
  'next-hop-unreachable',
  'martian-address',
  'forwarding-disabled',
  'dnat-target-down',
  'dnat-target-not-listening',
  'accept-queue-full',
  'pmtu-blackhole',
  'ct-invalid-asymmetric',
  'cgroup-bpf-deny',
  'ipsec-policy',
  'bridge-nf-drop',
  'nfqueue-no-consumer',
  'reply-lost-off-host',
  'qdisc-drop',
  'link-down',
  'docker-raw-isolation',
  'nat-backend-conflict',
  'app-abort',
  'unexplained',
] as const;

export type CauseId = (typeof causeIds)[number];

export type DiagnosisVerdict = 'reachable' | 'unreachable' | 'degraded' | 'inconclusive';
/** `proven`: seen happening to this flow; `observed`: counters or events that fit; `predicted`: the rules say so; `unknown`. */
export type Confidence = 'proven' | 'observed' | 'predicted' | 'unknown';

export interface DiagnosisHop {
  readonly n: number;
  /** `link`, `neighbour`, `route`, `filter`, `nat`, `socket`, `application`, ... */
  readonly layer: string;
  /** For people, as MachineNamespace.name. */
  readonly netns: string;
  readonly dev?: string;
  readonly state: 'pass' | 'fail' | 'unknown' | 'not-measured';
  readonly detail: string;
  /** What was read or seen, as the tool or the kernel says it; each with the rung of the ladder that gave it. */
  readonly evidence: readonly { readonly rung: string; readonly text: string }[];
}

export interface DiagnosisFix {
  readonly when: 'now' | 'persist';
  readonly cmd: string;
  /** Brings back byte for byte what was there; empty for what needs none. */
  readonly undo: string;
  readonly risk: string;
  /** What else it lets through or changes, in words. */
  readonly scope: string;
}

export interface RejectedFix {
  readonly cmd: string;
  readonly why: string;
  readonly proof: string;
}

export interface Diagnosis {
  readonly flow: {
    readonly proto: 'tcp' | 'udp';
    readonly src: string;
    readonly sport?: number;
    readonly dst: string;
    readonly dport: number;
    readonly netns: string;
  };
  readonly verdict: DiagnosisVerdict;
  readonly confidence: Confidence;
  readonly cause?: { readonly id: CauseId; readonly layer: string; readonly hop: number; readonly detail?: string };
  readonly hops: readonly DiagnosisHop[];
  readonly fix: readonly DiagnosisFix[];
  readonly rejected_fixes: readonly RejectedFix[];
  readonly not_measured: readonly string[];
  /** With `--contrast`: the same for the other source, without its own contrast. */
  readonly contrast?: Omit<Diagnosis, 'contrast'>;
}
