// How an operating system's TCP/IP stack shows itself to whoever looks closely (nmap -O, p0f): lifetimes, windows,
// options and their order, identification, answers to flags that make no sense. Data only; the files are in
// rules/stacks/, read by config/. How the kernel is made to look so is plan/ruleset-stack.ts.

/** Of IPv4 identification fields. `kernel`: left as Linux does it. `increment`: one count for each decoy, on all its packets. */
export type IdentificationKind = 'kernel' | 'zero' | 'increment' | 'random';

/** SYN-ACKs, and what an accepted connection agrees on. */
export interface TcpOpening {
  /** In bytes, 1 to 65535; absent: Linux's own, which follows the MSS. */
  readonly window?: number;
  /** The most it announces over IPv4, 20 less over IPv6, which has the longer header; absent: what the link allows. */
  readonly maxSegmentSize?: number;
  /**
   * Order behind the MSS: `linux` sack, timestamp, nop, scale; `windows` nop, scale, then sack and timestamp; `bsd` the same
   * with two end marks where Windows writes two nops before a lonely sack.
   */
  readonly layout: 'linux' | 'windows' | 'bsd';
  /** 0 to 14, RFC 7323; absent: never scales. */
  readonly windowScale?: number;
  /** RFC 7323 timestamps, when the client offers them. */
  readonly timestamps: boolean;
  /** RFC 2018 selective acknowledgment, when the client offers it. */
  readonly selectiveAck: boolean;
  /** RFC 3168, when the client asks for it. */
  readonly ecn: boolean;
}

/** RST segments: answers of closed ports, and of open ones to what belongs to no connection. */
export interface TcpReset {
  /** Absent: the stack's. */
  readonly ttl?: number;
  readonly doNotFragment: boolean;
  readonly identification: IdentificationKind;
  /** Of the RST for a segment with ACK: `zero` as RFC 9293 has it, or `sequence` for a copy of its own sequence number. */
  readonly acknowledgment: 'zero' | 'sequence';
  /** Whether the RST for a lonely FIN counts it. */
  readonly countsFin: boolean;
}

export type StrayAnswer = 'reset' | 'silent';

export interface TcpStack {
  readonly name: string;
  readonly description: string;
  /** First TTL and hop limit, 1 to 255. */
  readonly ttl: number;
  readonly opening: TcpOpening;
  /** Of all TCP that is no RST. */
  readonly doNotFragment: boolean;
  readonly identification: IdentificationKind;
  readonly reset: TcpReset;
  readonly strays: {
    /** Open port, neither SYN nor ACK nor RST. */
    readonly noFlags: StrayAnswer;
    /** Open port, SYN together with FIN; `answer` takes it as a SYN. */
    readonly synFin: StrayAnswer | 'answer';
    /** Closed port, ACK without SYN. */
    readonly closedAck: StrayAnswer;
    /** Closed port, neither SYN nor ACK nor RST. */
    readonly closedNoFlags: StrayAnswer;
  };
  readonly icmp: {
    /** Absent: the stack's. */
    readonly ttl?: number;
    readonly identification: IdentificationKind;
    /** Code of an echo reply: as asked, or 0. */
    readonly echoCode: 'copy' | 'zero';
    /** Whether an echo reply may be fragmented: always, or as the request says. */
    readonly echoDoNotFragment: 'never' | 'copy';
    /** Whether port unreachable quotes the UDP checksum, or 0. */
    readonly quotesChecksum: boolean;
    /** The same of the IP header's. */
    readonly quotesHeaderChecksum: boolean;
  };
}

/** What Linux itself does since 5.x: nothing has to be changed for it. */
export const linuxStack: TcpStack = {
  name: 'linux',
  description: 'Linux 4.15 and later.',
  ttl: 64,
  opening: { layout: 'linux', windowScale: 7, timestamps: true, selectiveAck: true, ecn: true },
  doNotFragment: true,
  identification: 'kernel',
  reset: { doNotFragment: true, identification: 'kernel', acknowledgment: 'zero', countsFin: true },
  strays: { noFlags: 'silent', synFin: 'silent', closedAck: 'reset', closedNoFlags: 'reset' },
  icmp: {
    identification: 'kernel',
    echoCode: 'copy',
    echoDoNotFragment: 'never',
    quotesChecksum: true,
    quotesHeaderChecksum: true,
  },
};

export type HiddenOption = 'timestamp' | 'sack-permitted' | 'window-scale';

/** Options of a SYN the kernel must not see, because this stack does not know them: no-operations stand in their place. */
export function hiddenOptions(stack: TcpStack): HiddenOption[] {
  const { timestamps, selectiveAck, windowScale } = stack.opening;
  return [
    ...(timestamps ? [] : (['timestamp'] as const)),
    ...(selectiveAck ? [] : (['sack-permitted'] as const)),
    ...(windowScale === undefined ? (['window-scale'] as const) : []),
  ];
}
