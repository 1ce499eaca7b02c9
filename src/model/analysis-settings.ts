// What analysis is told: the thresholds of behaviour, whose defaults docs/behaviour.md justifies, and the user's own files.
// Data only; the text form and its bounds are config/analysis-schema.ts.

/** Counts are inclusive: so many are enough. Times in milliseconds of the events' own clock. */
export interface BehaviourThresholds {
  /** A scan: `scanPorts` ports of one decoy, one port of `scanHosts` decoys, or `blockTargets` ports of decoys in `scanWindowMs`. */
  readonly scanWindowMs: number;
  readonly scanPorts: number;
  readonly scanHosts: number;
  readonly blockTargets: number;
  /** The same three figures, reached in `slowWindowMs` by somebody who never reaches them in `scanWindowMs`. */
  readonly slowWindowMs: number;
  /** Sessions with the same port of the same decoy: those that said something, and those that did not. */
  readonly repeatWindowMs: number;
  readonly repeatedSessions: number;
  readonly silentSessions: number;
  /** Distinct credentials at one port number; logins whose credentials cannot be read. */
  readonly guessWindowMs: number;
  readonly guessedCredentials: number;
  readonly guessedLogins: number;
  /** Distinct paths that are not there, asked of one decoy. */
  readonly crawlWindowMs: number;
  readonly crawledPaths: number;
  /** Packets, or sessions that said nothing, to one port of one decoy. */
  readonly floodWindowMs: number;
  readonly floodPackets: number;
  /** How long after a stateless SYN a handshake with a payload is its second phase. */
  readonly secondPhaseWindowMs: number;
  /** A behaviour that rests so long is over; what follows is another. */
  readonly pauseMs: number;
  /** Sources remembered at once, and the bytes spent on all of them. */
  readonly sources: number;
  readonly memoryBytes: number;
}

/** The user's own databases of places, by absolute path; without one, that which comes with Weir. */
export interface GeoFiles {
  readonly country?: string;
  readonly asn?: string;
}

export interface AnalysisSettings {
  readonly behaviour: BehaviourThresholds;
  readonly geo: GeoFiles;
  /** Absolute paths of rule files, and of directories of them. */
  readonly rules: readonly string[];
}
