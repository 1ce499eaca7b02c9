// The report as one table (CSV, RFC 4180): a row for each bucket and each line of each ranking, told apart by `section`.
// Cells that a spreadsheet would run as a formula are quoted with an apostrophe.

import { renderCell } from '../../record/exporters/csv.ts';
import type { Report, ReportAttacker, ReportBucket, ReportRow } from './report.ts';

const columns = [
  'section',
  'time',
  'key',
  'label',
  'hits',
  'sessions',
  'probes',
  'sources',
  'ports',
  'destinations',
  'new_sources',
  'detail',
] as const;

type Line = Partial<Record<(typeof columns)[number], string | number>>;

const bucketLines = (section: string, buckets: readonly ReportBucket[]): Line[] =>
  buckets.map(({ start, newSources, ...counts }) => ({ section, time: start, ...counts, new_sources: newSources }));

const rankLines = (section: string, rows: readonly ReportRow[]): Line[] =>
  rows.map(({ key, label, hits, sources }) => ({ section, key, ...(label ? { label } : {}), hits, sources }));

const attackerLine = (section: string, attacker: ReportAttacker): Line => ({
  section,
  time: attacker.firstSeen,
  key: attacker.source,
  label: [attacker.country, attacker.asn && `AS${attacker.asn}`, attacker.organization].filter(Boolean).join(' '),
  hits: attacker.hits,
  ports: attacker.ports,
  destinations: attacker.destinations,
  detail: [`until ${attacker.lastSeen}`, ...attacker.behaviours, ...attacker.tools, ...attacker.signatures].join('; '),
});

function* lines(report: Report): Generator<Line> {
  const { totals, brief, news, day } = report;
  yield {
    section: 'totals',
    time: report.from,
    label: `until ${report.to}`,
    hits: totals.hits,
    sessions: totals.sessions,
    probes: totals.probes,
    sources: totals.sources,
    detail: `${totals.bytesIn} bytes received; ${totals.countries} countries; ${totals.campaigns} campaigns; ${totals.alerts} alerts; ${totals.inside} sources of own networks`,
  };
  for (const detail of brief.sentences) yield { section: 'in-short', detail };
  for (const detail of brief.actions) yield { section: 'to-do', detail };
  for (const suspect of brief.suspects)
    yield { ...attackerLine('look-first', suspect), detail: [`until ${suspect.lastSeen}`, ...suspect.reasons].join('; ') };
  yield* bucketLines('day', report.days);
  yield* bucketLines('half-hour', report.halfHours);
  for (const scan of day?.scans ?? [])
    yield {
      section: 'scan',
      time: scan.start,
      key: scan.source,
      label: scan.behaviour,
      hits: scan.hits,
      ports: scan.ports,
      destinations: scan.hosts,
      detail: [`until ${scan.end}`, ...(scan.tool ? [scan.tool] : []), scan.why].join('; '),
    };
  yield* rankLines('port-by-hits', report.ports.byHits);
  yield* rankLines('port-by-sources', report.ports.bySources);
  yield* rankLines('country', report.countries);
  yield* rankLines('network', report.networks);
  yield* rankLines('behaviour', report.behaviours);
  yield* rankLines('signature', report.signatures);
  for (const family of report.families)
    yield { ...rankLines('family', [family])[0], time: family.firstSeen, detail: family.example };
  yield* rankLines('credential', report.credentials);
  yield* rankLines('user', report.users);
  yield* rankLines('password', report.passwords);
  yield* rankLines('url', report.urls);
  for (const attacker of report.attackers) yield attackerLine('attacker', attacker);
  for (const campaign of report.campaigns) {
    const { id, label, start, end, size, hits, bonds, members } = campaign;
    yield {
      section: 'campaign',
      time: start,
      key: id,
      label,
      hits,
      sources: size,
      detail: [`until ${end}`, ...bonds].join('; '),
    };
    for (const member of members)
      yield {
        section: 'campaign-member',
        time: member.firstSeen,
        key: id,
        label: member.source,
        hits: member.hits,
        detail: member.reasons.join('; '),
      };
  }
  const fresh = {
    sources: news.sources,
    ports: news.portCount,
    countries: news.countryCount,
    families: news.familyCount,
    signatures: news.signatureCount,
    urls: news.urlCount,
  };
  for (const [key, count] of Object.entries(fresh)) yield { section: 'new', time: news.since, key, hits: count };
  yield* rankLines('new-port', news.ports);
  yield* rankLines('new-country', news.countries);
  yield* rankLines('new-family', news.families);
  yield* rankLines('new-signature', news.signatures);
  yield* rankLines('new-url', news.urls);
  for (const detail of report.notes) yield { section: 'note', detail };
}

/** Pieces of whole lines, the names of the columns first; lines end with CRLF. */
export function* renderReportTable(report: Report): Generator<string> {
  yield `${columns.join(',')}\r\n`;
  for (const row of lines(report)) yield `${columns.map((column) => renderCell(row[column])).join(',')}\r\n`;
}
