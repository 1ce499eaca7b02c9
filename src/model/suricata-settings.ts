// What is configured of Suricata, and what its frames are marked with: tags of networks, and the frames of ours whose answer
// tells that the whole way works. Data only.

/** A hop on one of the machine's interfaces whose connections begin with a PROXY header. */
export interface SniffedHop {
  readonly interface: string;
  /** Of its receiver. */
  readonly ports: readonly number[];
  /** The diversion whose sessions these are: they are shown from the wire instead of being made frames of. */
  readonly diversion?: string;
  /** What becomes of connections without a header: shown as they are, or left out. */
  readonly withoutHeader: 'pass' | 'drop';
}

export interface SuricataSettings {
  /** Rule files of the user's, absolute. */
  readonly rules: readonly string[];
  /** Of reassembled streams; what else Suricata holds follows from it. */
  readonly memoryBytes: number;
  readonly hops: readonly SniffedHop[];
}

/** Where frames arrive in Suricata's namespace. */
export const feedLink = 'feed';

/** 802.1Q identifiers: diversions from 1, hops without a diversion from here, diversions beyond what fits all share one. */
export const firstHopTag = 3900;
export const commonTag = 4000;
export const markerTag = 4094;

/** The tag of each diversion, in their order in the configuration. */
export const tagsOf = (diversions: readonly string[]): Readonly<Record<string, number>> =>
  Object.fromEntries(diversions.map((name, index) => [name, index + 1 < firstHopTag ? index + 1 : commonTag]));

/**
 * The rule that answers a marker: the last number of Weir's own. Of the range for local use it must not be: of two rules with one
 * number Suricata keeps the later revision, and whoever writes a rule begins at 1000001.
 */
export const markerSignature = 1_100_999;
/** Addresses of documentation (RFC 5737). */
export const markerEnds = { source: '192.0.2.1', destination: '192.0.2.2', port: 9 } as const;

/** `token` is a secret of one run, printable: nobody else can answer for Suricata. */
export const renderMarkerRule = (token: string): string =>
  `alert udp ${markerEnds.source} any -> ${markerEnds.destination} ${markerEnds.port} (msg:"WEIR marker"; content:"${token}"; depth:${token.length}; sid:${markerSignature}; rev:1;)\n`;
