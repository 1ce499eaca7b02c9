// What analysis found as the API's JSON documents: verdicts, attackers, payload families, rollups. Pure; asking the store
// is insight-questions.ts. Bytes leave as base64; making text safe to show is the reader's part.

import { renderMicros } from '../base/clock.ts';
import type { Severity } from '../model/event.ts';
import type { Behaviour, Confidence, PayloadFamily, Place, Verdict } from '../model/insight.ts';
import type { RollupRow, SourcePage, SourceSummary } from './analysis-store.ts';
import { placeFields, renderVerdict } from './exporters/jsonl.ts';
import type { TopRow } from './store.ts';

/** Where a source is, as far as it is known. */
export interface PlaceDocument {
  readonly geo?: { readonly country_iso_code: string };
  readonly as?: { readonly number: number; readonly organization?: { readonly name: string } };
}

/** ATT&CK techniques, CVE identifiers. */
export interface ThreatDocument {
  readonly threat?: { readonly framework: string; readonly technique: { readonly id: readonly string[] } };
  readonly vulnerability?: { readonly id: readonly string[] };
}

export interface VerdictDocument extends ThreatDocument {
  readonly '@timestamp': string;
  readonly event: { readonly id: string; readonly start: string; readonly end: string; readonly duration: number };
  readonly source: { readonly ip: string } & PlaceDocument;
  readonly destination?: { readonly ip?: string; readonly port?: number };
  readonly network: { readonly transport?: string };
  readonly weir: {
    readonly diversion?: string;
    readonly verdict: {
      readonly behaviour: Behaviour;
      readonly severity: Severity;
      readonly confidence: Confidence;
      readonly hits: number;
      readonly ports: number;
      readonly hosts: number;
      readonly credentials: number;
      readonly tool?: string;
      readonly evidence: readonly string[];
      readonly records: readonly string[];
    };
  };
}

/** One source over the time asked for. */
export interface AttackerDocument {
  /** First and last seen. */
  readonly event: { readonly start: string; readonly end: string };
  readonly source: { readonly ip: string; readonly bytes: number } & PlaceDocument;
  readonly weir: {
    readonly attacker: {
      readonly sessions: number;
      readonly probes: number;
      readonly ports: number;
      readonly decoys: number;
      readonly behaviours: readonly Behaviour[];
      readonly tools: readonly string[];
      readonly signatures: readonly string[];
      readonly families: readonly string[];
    };
  };
}

export interface FamilyDocument {
  readonly id: string;
  readonly label: string;
  readonly first_seen: string;
  readonly sha256: string;
  /** The first bytes of the payload that founded it, base64. */
  readonly example: string;
}

/** A ranking's row; of payload families also what they look like. */
export interface TopDocument extends TopRow {
  readonly label?: string;
  readonly example?: string;
}

export interface AttackerPageDocument {
  readonly attacker: AttackerDocument;
  /** Most frequent first, at most 50 each. */
  readonly ports: readonly TopRow[];
  readonly decoys: readonly TopRow[];
  readonly credentials: readonly TopRow[];
  readonly facts: readonly { readonly kind: string; readonly value: string; readonly hits: number }[];
  readonly verdicts: readonly VerdictDocument[];
  readonly families: readonly FamilyDocument[];
  /** Half-hours in which it was here. */
  readonly activity: readonly { readonly start: string; readonly hits: number }[];
}

export interface RollupDocument extends Omit<RollupRow, 'start'> {
  readonly start: string;
}

export const verdictDocument = (verdict: Verdict, place?: Place): VerdictDocument =>
  renderVerdict(verdict, place) as unknown as VerdictDocument;

export const attackerDocument = (summary: SourceSummary): AttackerDocument => ({
  event: { start: renderMicros(summary.firstSeen), end: renderMicros(summary.lastSeen) },
  source: { ip: summary.source, bytes: summary.bytesIn, ...placeFields(summary.place) },
  weir: {
    attacker: {
      sessions: summary.sessions,
      probes: summary.probes,
      ports: summary.ports,
      decoys: summary.destinations,
      behaviours: summary.behaviours,
      tools: summary.tools,
      signatures: summary.signatures,
      families: summary.families,
    },
  },
});

export const familyDocument = (family: PayloadFamily): FamilyDocument => ({
  id: family.id,
  label: family.label,
  first_seen: renderMicros(family.firstSeen),
  sha256: family.payloadHash,
  example: Buffer.from(family.example).toString('base64'),
});

export const attackerPageDocument = (page: SourcePage, families: readonly PayloadFamily[]): AttackerPageDocument => ({
  attacker: attackerDocument(page),
  ports: page.topPorts,
  decoys: page.topDestinations,
  credentials: page.credentials,
  facts: page.facts,
  verdicts: page.verdicts.map((verdict) => verdictDocument(verdict, page.place)),
  families: families.map(familyDocument),
  activity: page.activity.map(({ start, hits }) => ({ start: renderMicros(start), hits })),
});

export const rollupDocument = (row: RollupRow): RollupDocument => ({ ...row, start: renderMicros(row.start) });
