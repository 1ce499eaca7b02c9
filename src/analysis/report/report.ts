// What a report holds, as data: the JSON of `weir report`, and what the page and the table are drawn from. Times are
// ISO 8601 UTC. Where it comes from is gather-report.ts; how it looks report-page.ts and report-table.ts.

import type { Behaviour, Campaign } from '../../model/insight.ts';

/** One half-hour or day; counts are exact. */
export interface ReportBucket {
  readonly start: string;
  /** Sessions and probe packets. */
  readonly hits: number;
  readonly sessions: number;
  readonly probes: number;
  /** Distinct. */
  readonly sources: number;
  readonly ports: number;
  readonly destinations: number;
  readonly newSources: number;
}

export interface ReportRow {
  readonly key: string;
  /** What a person calls it: a port's usual protocol, a country's name. */
  readonly label?: string;
  readonly hits: number;
  readonly sources: number;
}

/** One scan on the day that is shown large. */
export interface ReportScan {
  readonly behaviour: Behaviour;
  readonly source: string;
  readonly start: string;
  readonly end: string;
  readonly hits: number;
  readonly ports: number;
  readonly hosts: number;
  readonly tool?: string;
  /** The first sentence of its evidence. */
  readonly why: string;
}

export interface ReportFamily extends ReportRow {
  readonly firstSeen?: string;
  /** The founding payload's first bytes, unsafe ones escaped. */
  readonly example?: string;
}

export interface ReportAttacker {
  readonly source: string;
  readonly country?: string;
  readonly asn?: number;
  readonly organization?: string;
  readonly firstSeen: string;
  readonly lastSeen: string;
  readonly hits: number;
  readonly ports: number;
  readonly destinations: number;
  readonly behaviours: readonly string[];
  readonly tools: readonly string[];
  readonly signatures: readonly string[];
}

/** A source that wants a look before others. */
export interface ReportSuspect extends ReportAttacker {
  /** Its address is private (RFC 1918, 3927, 4193, 4291). */
  readonly inside: boolean;
  readonly reasons: readonly string[];
}

/** What a reader is told first; every figure in it is elsewhere in the report, or of the named source. */
export interface ReportBrief {
  readonly sentences: readonly string[];
  /** What to do, the most urgent first. */
  readonly actions: readonly string[];
  /** At most 8: those inside first, then who attacked, then who did most different things. */
  readonly suspects: readonly ReportSuspect[];
}

export interface ReportCampaign extends Omit<Campaign, 'start' | 'end' | 'members'> {
  readonly start: string;
  readonly end: string;
  readonly members: readonly {
    readonly source: string;
    readonly firstSeen: string;
    readonly lastSeen: string;
    readonly hits: number;
    readonly reasons: readonly string[];
  }[];
}

/** What had never been seen before `since`; each list is at most 50 long, the counts say how many there are. */
export interface ReportNews {
  readonly since: string;
  /**
   * `last-report`: since the end of the last one. `period`: since the beginning of this one. `asked`: as the command said.
   * `first`: nothing was recorded before, so that all of it is new and none of it is listed.
   */
  readonly because: 'last-report' | 'period' | 'asked' | 'first';
  readonly sources: number;
  readonly ports: readonly ReportRow[];
  readonly portCount: number;
  readonly countries: readonly ReportRow[];
  readonly countryCount: number;
  readonly families: readonly ReportFamily[];
  readonly familyCount: number;
  readonly signatures: readonly ReportRow[];
  readonly signatureCount: number;
  readonly urls: readonly ReportRow[];
  readonly urlCount: number;
}

export interface Report {
  readonly made: string;
  readonly from: string;
  readonly to: string;
  readonly totals: {
    readonly hits: number;
    readonly sessions: number;
    readonly probes: number;
    readonly sources: number;
    readonly bytesIn: number;
    readonly alerts: number;
    readonly countries: number;
    readonly campaigns: number;
    /** Sources with private addresses; 10,000 where there are more. */
    readonly inside: number;
  };
  readonly brief: ReportBrief;
  readonly days: readonly ReportBucket[];
  readonly halfHours: readonly ReportBucket[];
  /** The day that is shown large: the one asked for, or that with most hits. Absent when there is nothing. */
  readonly day?: { readonly date: string; readonly halfHours: readonly ReportBucket[]; readonly scans: readonly ReportScan[] };
  readonly ports: { readonly byHits: readonly ReportRow[]; readonly bySources: readonly ReportRow[] };
  /** By sources; the key is ISO 3166-1 alpha-2. */
  readonly countries: readonly ReportRow[];
  readonly networks: readonly ReportRow[];
  /** By sources; hits are the sessions and packets that verdicts rest on, not how many verdicts there are. */
  readonly behaviours: readonly ReportRow[];
  readonly signatures: readonly ReportRow[];
  readonly families: readonly ReportFamily[];
  readonly credentials: readonly ReportRow[];
  readonly users: readonly ReportRow[];
  readonly passwords: readonly ReportRow[];
  readonly urls: readonly ReportRow[];
  readonly attackers: readonly ReportAttacker[];
  readonly campaigns: readonly ReportCampaign[];
  readonly news: ReportNews;
  /** What a reader must know of these figures: what was cut, what could not be measured. */
  readonly notes: readonly string[];
}
