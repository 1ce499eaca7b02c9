// The state of a running Weir as `weir status`, GET /api/status and the console's banner show it. Data only.
// Each program fills in what it knows; whoever shows it copes with what is absent.

export type Health = 'good' | 'degraded' | 'bad';

export interface ProcessStatus {
  /** `up`, `netd`, `gateway`, `recorder`. */
  readonly name: string;
  readonly state: 'running' | 'starting' | 'restarting' | 'stopped';
  readonly pid?: number;
  readonly user?: string;
  /** ISO 8601. */
  readonly since?: string;
  readonly restarts?: number;
  readonly memoryBytes?: number;
}

export interface DiversionStatus {
  readonly name: string;
  readonly kind: string;
  readonly interface?: string;
  /** Living decoys, as a decimal number: an IPv6 range exceeds 2^53. */
  readonly decoys: string;
  /** As text: `10.64.0.0/12`. */
  readonly ranges: readonly string[];
  readonly personas?: readonly string[];
  /** Addresses given back to live hosts. */
  readonly withheld?: readonly string[];
}

export interface Status {
  readonly version?: string;
  readonly health?: Health;
  /** Why health is not good, one sentence each, with the next step. */
  readonly reasons?: readonly string[];
  readonly data?: string;
  readonly processes?: readonly ProcessStatus[];
  readonly diversions?: readonly DiversionStatus[];
  /** Set while an apply waits for `weir confirm`; ISO 8601. */
  readonly confirmBefore?: string;
  readonly sessions?: { readonly open: number; readonly total?: number };
  readonly journal?: { readonly lagMs?: number; readonly lagBytes?: number; readonly sizeBytes?: number };
  readonly store?: { readonly sizeBytes?: number; readonly sessions?: number; readonly oldest?: string };
  /** Everything that was lost or refused, by name; zeros may be left out. */
  readonly drops?: Readonly<Record<string, number>>;
  readonly console?: {
    readonly url?: string;
    readonly fingerprint?: string;
    readonly error?: string;
    readonly followers?: number;
  };
}
