// Asks the store for everything a report holds. Reads only; every list is bounded. What the answers look like is report.ts.

import { type Micros, renderMicros } from '../../base/clock.ts';
import { printableBytes } from '../../base/printable.ts';
import type { Campaign, PayloadFamily, Verdict } from '../../model/insight.ts';
import { portName } from '../../model/port-name.ts';
import type { AnalysisStore, InsightSubject, RollupRow, SourceFeatures, SourceSummary } from '../../record/analysis-store.ts';
import { dayMicros, dayOf, dayStart } from '../../record/day.ts';
import type { Filter, Store, TopRow } from '../../record/store.ts';
import { briefReport, planSuspects, privateRanges } from './brief-report.ts';
import { countryName } from './countries.ts';
import { emptyBucket, fillGaps } from './fill-gaps.ts';
import type {
  Report,
  ReportAttacker,
  ReportBucket,
  ReportCampaign,
  ReportFamily,
  ReportNews,
  ReportRow,
  ReportScan,
} from './report.ts';

export interface ReportQuestion {
  /** `from` inclusive, `to` exclusive. */
  readonly from: Micros;
  readonly to: Micros;
  readonly made: Micros;
  /** The day to show large, `2026-11-22`. */
  readonly day?: string;
  /** When the last report ended, or what the user asked for. */
  readonly newSince?: { readonly at: Micros; readonly because: 'last-report' | 'asked' };
  readonly planCampaigns: (features: readonly SourceFeatures[]) => readonly Campaign[];
}

type Source = Pick<Store, 'top' | 'counts'> & AnalysisStore;

const topRows = 20;
const familyRows = 12;
/** Among so many with most hits are those that want a look first. */
const suspectRows = 200;
const insideAsked = 3;
const allRows = 10_000;
const newRows = 50;
const scanRows = 400;
const scansShown = 24;
/** Campaigns are looked for among so many: with ten thousand that alone takes longer than all the rest of a report. */
const featureRows = 2500;
const campaignsShown = 12;
const scanBehaviours = ['port-scan', 'sweep', 'block-scan', 'slow-scan', 'two-phase-scan'] as const;

const bucketOf = ({ start, ...counts }: RollupRow): ReportBucket => ({ start: renderMicros(start), ...counts });

const labelled = (rows: readonly TopRow[], name: (key: string) => string | undefined): ReportRow[] =>
  rows.map(({ key, hits, sources }) => {
    const label = name(key);
    return { key, ...(label ? { label } : {}), hits, sources };
  });

const scanOf = ({ behaviour, source, start, end, hits, ports, hosts, tool, evidence }: Verdict): ReportScan => ({
  behaviour,
  source,
  start: renderMicros(start),
  end: renderMicros(end),
  hits,
  ports,
  hosts,
  ...(tool ? { tool } : {}),
  why: evidence[0] ?? '',
});

const attackerOf = ({ place, sessions, probes, firstSeen, lastSeen, ...summary }: SourceSummary): ReportAttacker => ({
  source: summary.source,
  ...(place?.country ? { country: place.country } : {}),
  ...(place?.asn ? { asn: place.asn } : {}),
  ...(place?.organization ? { organization: place.organization } : {}),
  firstSeen: renderMicros(firstSeen),
  lastSeen: renderMicros(lastSeen),
  hits: sessions + probes,
  ports: summary.ports,
  destinations: summary.destinations,
  behaviours: summary.behaviours,
  tools: summary.tools,
  signatures: summary.signatures,
});

const campaignOf = ({ start, end, members, ...campaign }: Campaign): ReportCampaign => ({
  ...campaign,
  start: renderMicros(start),
  end: renderMicros(end),
  members: members.map(({ firstSeen, lastSeen, ...member }) => ({
    ...member,
    firstSeen: renderMicros(firstSeen),
    lastSeen: renderMicros(lastSeen),
  })),
});

const familyOf = (row: TopRow, family: PayloadFamily | undefined): ReportFamily => ({
  key: row.key,
  ...(family?.label ? { label: family.label } : {}),
  hits: row.hits,
  sources: row.sources,
  ...(family ? { firstSeen: renderMicros(family.firstSeen), example: printableBytes(family.example, 240) } : {}),
});

async function withFamilies(store: Source, rows: readonly TopRow[]): Promise<ReportFamily[]> {
  const found: ReportFamily[] = [];
  for (const row of rows) found.push(familyOf(row, await store.family(row.key)));
  return found;
}

const noNews = {
  because: 'first',
  ports: [],
  portCount: 0,
  countries: [],
  countryCount: 0,
  families: [],
  familyCount: 0,
  signatures: [],
  signatureCount: 0,
  urls: [],
  urlCount: 0,
} as const;

async function gatherNews(store: Source, question: ReportQuestion, newSources: number): Promise<ReportNews> {
  const { from, to, newSince } = question;
  const at = newSince?.at ?? from;
  const then: Filter = { until: at, limit: 1 };
  const since: Filter = { since: at, until: to, limit: allRows };
  if (newSince === undefined && (await store.rollups('day', { until: at, limit: 1 })).length === 0)
    return { ...noNews, since: renderMicros(at), sources: newSources };
  const fresh = async (subject: InsightSubject | 'ports'): Promise<TopRow[]> => {
    const rows = await (subject === 'ports'
      ? store.top(subject, 'sources', since)
      : store.topInsights(subject, 'sources', since));
    const keys = rows.map(({ key }) => key);
    const known = new Set(await store.knownKeys(subject, keys, then));
    return rows.filter(({ key }) => !known.has(key));
  };
  const ports = await fresh('ports');
  const countries = await fresh('countries');
  const families = await fresh('families');
  const signatures = await fresh('signatures');
  const urls = await fresh('urls');
  return {
    since: renderMicros(at),
    because: newSince?.because ?? 'period',
    sources: newSources,
    ports: labelled(ports.slice(0, newRows), portName),
    portCount: ports.length,
    countries: labelled(countries.slice(0, newRows), countryName),
    countryCount: countries.length,
    families: await withFamilies(store, families.slice(0, familyRows)),
    familyCount: families.length,
    signatures: labelled(signatures.slice(0, newRows), () => undefined),
    signatureCount: signatures.length,
    urls: labelled(urls.slice(0, newRows), () => undefined),
    urlCount: urls.length,
  };
}

/** The day to look at closely: the one asked for, else the one with most hits. */
async function gatherDay(store: Source, date: string): Promise<NonNullable<Report['day']>> {
  const since = dayStart(date);
  const filter: Filter = { since, until: since + dayMicros, limit: scanRows };
  const rows = await store.rollups('half-hour', filter);
  const byStart = new Map(rows.map((row) => [row.start, row]));
  const halfHours = Array.from({ length: 48 }, (_, index) => {
    const start = since + index * (dayMicros / 48);
    return byStart.get(start) ?? emptyBucket(start);
  });
  const verdicts = await store.verdicts({ ...filter, behaviours: scanBehaviours });
  const scans = verdicts
    .sort((left, right) => right.hits - left.hits || left.start - right.start || (left.id < right.id ? -1 : 1))
    .slice(0, scansShown)
    .sort((left, right) => left.start - right.start || (left.id < right.id ? -1 : 1));
  return { date, halfHours: halfHours.map(bucketOf), scans: scans.map(scanOf) };
}

/** Those inside among `attackers`; where that is hardly anybody, some that did less, whom to ask for one by one costs more. */
async function gatherInside(
  store: Source,
  inside: readonly TopRow[],
  attackers: readonly ReportAttacker[],
  filter: Filter,
): Promise<ReportAttacker[]> {
  const keys = new Set(inside.map(({ key }) => key));
  const found = attackers.filter(({ source }) => keys.has(source));
  for (const { source } of found) keys.delete(source);
  for (const source of [...keys].slice(0, Math.max(0, insideAsked - found.length))) {
    const page = await store.attacker(source, filter);
    if (page) found.push(attackerOf(page));
  }
  return found;
}

/** Sources never seen before; those of the half-hour of `since` that came earlier in it are among them. */
async function countNewSources(store: Source, since: Micros, until: Micros): Promise<number> {
  const nextDay = dayStart(dayOf(since)) + dayMicros;
  const firstDay = await store.rollups('half-hour', { since, until: Math.min(until, nextDay), limit: allRows });
  const later = nextDay < until ? await store.rollups('day', { since: nextDay, until, limit: allRows }) : [];
  return [...firstDay, ...later].reduce((sum, { newSources }) => sum + newSources, 0);
}

/** Throws what the store throws. */
export async function gatherReport(store: Source, question: ReportQuestion): Promise<Report> {
  const { from, to, made } = question;
  const filter: Filter = { since: from, until: to, limit: topRows };
  const notes: string[] = [];
  const counts = await store.counts(filter);
  const days = await store.rollups('day', { ...filter, limit: allRows });
  const halfHours = await store.rollups('half-hour', { ...filter, limit: allRows });
  const busiest = days.reduce<RollupRow | undefined>((most, row) => (!most || row.hits > most.hits ? row : most), undefined);
  const date = question.day ?? (busiest && dayOf(busiest.start));
  const countries = await store.topInsights('countries', 'sources', { ...filter, limit: allRows });
  const features = await store.features({ ...filter, limit: featureRows });
  if (features.length === featureRows)
    notes.push(`Campaigns were looked for among the ${featureRows} sources with most hits; there are more.`);
  if (halfHours.length === allRows) notes.push(`Half-hours are shown for the last ${allRows} of the period.`);
  const campaigns = question.planCampaigns(features);
  const top = (subject: Parameters<Source['topInsights']>[0], rows = topRows): Promise<TopRow[]> =>
    store.topInsights(subject, 'hits', { ...filter, limit: rows });
  const newSources = await countNewSources(store, question.newSince?.at ?? from, to);
  const attackers = (await store.attackers('hits', { ...filter, limit: suspectRows })).map(attackerOf);
  const inside = await store.top('sources', 'hits', { ...filter, sources: privateRanges, limit: allRows });
  const suspects = planSuspects(await gatherInside(store, inside, attackers, filter), attackers);
  const report: Omit<Report, 'brief'> = {
    made: renderMicros(made),
    from: renderMicros(from),
    to: renderMicros(to),
    totals: {
      hits: counts.sessions + counts.probes,
      sessions: counts.sessions,
      probes: counts.probes,
      sources: counts.sources,
      bytesIn: counts.bytesIn,
      alerts: counts.alerts,
      countries: countries.length,
      campaigns: campaigns.length,
      inside: inside.length,
    },
    days: fillGaps(days, dayMicros).map(bucketOf),
    halfHours: fillGaps(halfHours, dayMicros / 48).map(bucketOf),
    ...(date === undefined ? {} : { day: await gatherDay(store, date) }),
    ports: {
      byHits: labelled(await store.top('ports', 'hits', filter), portName),
      bySources: labelled(await store.top('ports', 'sources', filter), portName),
    },
    countries: labelled(countries, countryName),
    networks: labelled(await store.topInsights('asns', 'sources', filter), () => undefined),
    behaviours: labelled(await store.topInsights('behaviours', 'sources', filter), () => undefined),
    signatures: labelled(await top('signatures'), () => undefined),
    families: await withFamilies(store, await top('families', familyRows)),
    credentials: labelled(await store.top('credentials', 'hits', filter), () => undefined),
    users: labelled(await top('users'), () => undefined),
    passwords: labelled(await top('passwords'), () => undefined),
    urls: labelled(await top('urls'), () => undefined),
    attackers: attackers.slice(0, topRows),
    campaigns: campaigns.slice(0, campaignsShown).map(campaignOf),
    news: await gatherNews(store, question, newSources),
    notes,
  };
  return { ...report, brief: briefReport(report, suspects) };
}
