// The report as one page of HTML that needs nothing else: no script, no font, no picture from anywhere. Everything an
// attacker wrote is escaped by svg.ts's escapeMarkup and nowhere else. What stands in it is report.ts.

import { renderBothRankings, renderMix } from './bar-charts.ts';
import type { Report, ReportAttacker, ReportCampaign, ReportFamily, ReportNews, ReportRow } from './report.ts';
import { reportStyle } from './report-style.ts';
import { escapeMarkup, renderFigure, renderWhole } from './svg.ts';
import { renderDay, renderTimeline } from './time-charts.ts';
import { renderWorldMap } from './world-map.ts';

const e = escapeMarkup;
const minute = (time: string): string => `${time.slice(0, 10)} ${time.slice(11, 16)}`;
const counted = (count: number, one: string, many = `${one}s`): string => `${renderWhole(count)} ${count === 1 ? one : many}`;

/** IPv4 stays on its line; IPv6 may break. */
const address = (ip: string): string => `<code${ip.includes(':') ? '' : ' class="time"'}>${e(ip)}</code>`;

interface Column<T> {
  readonly title: string;
  readonly number?: boolean;
  /** Markup, escaped already. */
  readonly cell: (row: T) => string;
}

function table<T>(columns: readonly Column<T>[], rows: readonly T[]): string {
  const kind = ({ number }: Column<T>): string => (number ? ' class="number"' : '');
  const head = columns.map((column) => `<th scope="col"${kind(column)}>${e(column.title)}</th>`).join('');
  const body = rows.map((row) => `<tr>${columns.map((column) => `<td${kind(column)}>${column.cell(row)}</td>`).join('')}</tr>`);
  return `<div class="wide"><table><thead><tr>${head}</tr></thead><tbody>${body.join('')}</tbody></table></div>`;
}

const rankColumns = (title: string, code = true): Column<ReportRow>[] => [
  {
    title,
    cell: ({ key, label }) => {
      const name = code ? `<code>${e(key)}</code>` : e(key);
      return label ? `${e(label)} <span class="quiet">${e(key)}</span>` : name;
    },
  },
  { title: 'Hits', number: true, cell: ({ hits }) => renderWhole(hits) },
  { title: 'Sources', number: true, cell: ({ sources }) => renderWhole(sources) },
];

const ranking = (title: string, heading: string, rows: readonly ReportRow[], code = true): string =>
  rows.length === 0 ? '' : `<div>${heading === '' ? '' : `<h3>${e(heading)}</h3>`}${table(rankColumns(title, code), rows)}</div>`;

const section = (title: string, about: string, body: string): string =>
  body === '' ? '' : `<section><h2>${e(title)}</h2>${about === '' ? '' : `<p class="quiet">${e(about)}</p>`}${body}</section>`;

const legend = (entries: readonly (readonly [string, string])[]): string =>
  `<div class="legend">${entries.map(([color, words]) => `<span><i style="background:var(--${color})"></i>${e(words)}</span>`).join('')}</div>`;

function figures({ totals }: Report): string {
  const shown: readonly (readonly [string, number])[] = [
    ['hits', totals.hits],
    ['sessions', totals.sessions],
    ['probe packets', totals.probes],
    ['distinct sources', totals.sources],
    ['countries', totals.countries],
    ['campaigns', totals.campaigns],
  ];
  return `<div class="figures">${shown.map(([words, value]) => `<div><b>${renderFigure(value)}</b><span>${e(words)}</span></div>`).join('')}</div>`;
}

/** The morning's two sentences. */
function inShort(report: Report): string {
  const { totals, days, ports, behaviours, signatures } = report;
  if (totals.hits === 0) return '<p>Nothing was recorded in this time.</p>';
  const busiest = days.reduce((most, day) => (day.hits > most.hits ? day : most), days[0]);
  const sentences = [
    `${counted(totals.sources, 'source')} made ${counted(totals.sessions, 'session')} and sent ${counted(totals.probes, 'probe packet')}` +
      `${totals.countries > 0 ? `, from ${counted(totals.countries, 'country', 'countries')}` : ''}.`,
  ];
  if (days.length > 1 && busiest)
    sentences.push(
      `The busiest day was ${busiest.start.slice(0, 10)} with ${counted(busiest.hits, 'hit')} by ${counted(busiest.sources, 'source')}.`,
    );
  const [most] = ports.byHits;
  const [widest] = ports.bySources;
  const name = ({ key, label }: ReportRow): string => (label ? `${key} (${label})` : key);
  if (most && widest)
    sentences.push(
      most.key === widest.key
        ? `${name(most)} was touched most, and by most sources.`
        : `${name(most)} had most hits (${renderWhole(most.hits)} by ${counted(most.sources, 'source')}), ${name(widest)} most sources (${renderWhole(widest.sources)}).`,
    );
  const scans = behaviours.filter(({ key }) => key.includes('scan') || key === 'sweep').reduce((sum, { hits }) => sum + hits, 0);
  if (scans > 0) sentences.push(`${counted(scans, 'scan was', 'scans were')} told apart from the rest.`);
  if (signatures[0])
    sentences.push(
      `Most frequent exploit or probe: ${signatures[0].label ?? signatures[0].key} (${counted(signatures[0].sources, 'source')}).`,
    );
  return `<p>${e(sentences.join(' '), 4000)}</p>`;
}

function newSection(news: ReportNews): string {
  const since = {
    'last-report': `Never seen before ${minute(news.since)}, when the last report ended.`,
    asked: `Never seen before ${minute(news.since)}.`,
    first: 'Nothing was recorded before this period: all of it is new.',
    period: `Never seen before this report's beginning, ${minute(news.since)}: there was no report before it.`,
  }[news.because];
  if (news.because === 'first') return section('New since last time', since, ' ');
  const list = (title: string, heading: string, rows: readonly ReportRow[], all = rows.length, code = true): string => {
    const shown = rows.slice(0, 10);
    const rest = all > shown.length ? `<p class="note">and ${renderWhole(all - shown.length)} more</p>` : '';
    return shown.length === 0 ? '' : `<div>${ranking(title, heading, shown, code)}${rest}</div>`;
  };
  const parts = [
    list('Port', counted(news.portCount, 'new port'), news.ports, news.portCount),
    list('Country', counted(news.countries.length, 'new country', 'new countries'), news.countries, news.countries.length, false),
    list('Signature', counted(news.signatures.length, 'new signature'), news.signatures),
    list('URL, never fetched', counted(news.urlCount, 'new URL'), news.urls, news.urlCount),
  ].join('');
  const families =
    news.families.length > 0
      ? `<h3>${counted(news.familyCount, 'new payload family', 'new payload families')}</h3>${familyTable(news.families)}`
      : '';
  const body = `<p>${counted(news.sources, 'source')} had not been here before.</p><div class="columns">${parts}</div>${families}`;
  return section('New since last time', since, body);
}

const familyTable = (families: readonly ReportFamily[]): string =>
  table<ReportFamily>(
    [
      {
        title: 'Family and its first payload',
        cell: ({ key, label, example, firstSeen }) =>
          `<b>${e(label ?? key)}</b> <span class="quiet">${e(key)}${firstSeen ? `, first seen ${minute(firstSeen)}` : ''}</span>` +
          `${example ? `<pre>${e(example, 1000)}</pre>` : ''}`,
      },
      { title: 'Hits', number: true, cell: ({ hits }) => renderWhole(hits) },
      { title: 'Sources', number: true, cell: ({ sources }) => renderWhole(sources) },
    ],
    families,
  );

const tags = (words: readonly string[]): string => words.map((word) => `<span class="tag">${e(word, 80)}</span>`).join('');

const attackerTable = (attackers: readonly ReportAttacker[]): string =>
  table<ReportAttacker>(
    [
      { title: 'Source', cell: ({ source }) => address(source) },
      {
        title: 'Where',
        cell: ({ country, asn, organization }) => e([country, asn && `AS${asn}`, organization].filter(Boolean).join(' '), 60),
      },
      { title: 'Hits', number: true, cell: ({ hits }) => renderWhole(hits) },
      { title: 'Ports', number: true, cell: ({ ports }) => renderWhole(ports) },
      { title: 'Decoys', number: true, cell: ({ destinations }) => renderWhole(destinations) },
      {
        title: 'First and last',
        cell: ({ firstSeen, lastSeen }) => `<span class="time">${minute(firstSeen)}<br>${minute(lastSeen)}</span>`,
      },
      { title: 'Did', cell: ({ behaviours, tools, signatures }) => tags([...behaviours, ...tools, ...signatures].slice(0, 8)) },
    ],
    attackers,
  );

function renderCampaign({ id, label, start, end, size, members, bonds, hits }: ReportCampaign): string {
  const shown = members.slice(0, 8);
  const rows = table(
    [
      { title: 'Member', cell: ({ source }: (typeof shown)[number]) => address(source) },
      { title: 'Hits', number: true, cell: (member) => renderWhole(member.hits) },
      { title: 'Belongs because', cell: ({ reasons }) => e(reasons.join('; '), 400) },
    ],
    shown,
  );
  const rest = size > shown.length ? `<p class="note">and ${renderWhole(size - shown.length)} more sources</p>` : '';
  return (
    `<div class="campaign"><h3>${e(label)} <span class="quiet">${e(id)}</span></h3>` +
    `<p>${counted(size, 'source')}, ${counted(hits, 'hit')}, ${minute(start)} to ${minute(end)}. They share ${e(bonds.join('; '), 1000)}.</p>${rows}${rest}</div>`
  );
}

function timeSections(report: Report): string {
  const colors = legend([
    ['sessions', 'sessions'],
    ['probes', 'probe packets'],
    ['sources', 'distinct sources'],
    ['ports', 'distinct ports'],
    ['spread', 'ports per 100 hits'],
  ]);
  const { days, halfHours, day } = report;
  return [
    days.length > 1
      ? section('Day by day', '', `${renderTimeline(days, 86_400_000, 'Hits, sources and ports for each day')}${colors}`)
      : '',
    halfHours.length > 0
      ? section(
          'Every half-hour',
          'A scan raises hits and ports together; repetition raises hits alone.',
          `${renderTimeline(halfHours, 1_800_000, 'Hits, sources and ports for each half-hour')}${colors}`,
        )
      : '',
    day
      ? section(
          `${day.date}, enlarged`,
          day.scans.length > 0
            ? 'The scans with most packets are spans below the hits; times are UTC.'
            : 'No scan was told apart on this day.',
          renderDay(day.date, day.halfHours, day.scans),
        )
      : '',
  ].join('');
}

/** The whole page; every figure in it is in `report`. */
export function renderReportPage(report: Report): string {
  const { ports, countries, families, campaigns, news } = report;
  const title = `Weir report, ${minute(report.from)} to ${minute(report.to)} UTC`;
  const credentials =
    ranking('User and password', 'Both', report.credentials) +
    ranking('User', 'Users', report.users) +
    ranking('Password', 'Passwords', report.passwords);
  const sections = [
    newSection(news),
    timeSections(report),
    ports.byHits.length > 0
      ? section(
          'Ports',
          'By hits and by distinct sources the rankings differ: one insistent source makes hits, many sources make a trend.',
          renderBothRankings(ports.byHits, ports.bySources, 'Ports'),
        )
      : '',
    countries.length > 0
      ? section(
          'Where from',
          'By the registry of addresses: where an attacker rents, not where he sits.',
          `${renderWorldMap(countries)}<div class="columns">${ranking('Country', 'Countries', countries.slice(0, 12), false)}${ranking('Network', 'Networks', report.networks.slice(0, 12), false)}</div>`,
        )
      : '',
    report.behaviours.length > 0
      ? section(
          'What they did',
          'Each source counts once for each behaviour.',
          renderMix(report.behaviours, 'Behaviours by number of sources'),
        )
      : '',
    section('Exploits and probes by signature', '', ranking('Signature', '', report.signatures)),
    families.length > 0
      ? section(
          'Payload families',
          'Payloads that differ in hosts, numbers and tokens alone count as one.',
          familyTable(families),
        )
      : '',
    section('What they tried to fetch', 'Named in payloads; never fetched by Weir.', ranking('URL', '', report.urls)),
    credentials === '' ? '' : section('Credentials', '', `<div class="columns">${credentials}</div>`),
    report.attackers.length > 0 ? section('Attackers', 'Those with most hits.', attackerTable(report.attackers)) : '',
    campaigns.length > 0
      ? section(
          'Campaigns',
          'Sources that share what few others have. Sharing is evidence, not proof.',
          `${campaigns.map(renderCampaign).join('')}${report.totals.campaigns > campaigns.length ? `<p class="note">and ${renderWhole(report.totals.campaigns - campaigns.length)} smaller ones</p>` : ''}`,
        )
      : '',
    report.notes.length > 0 ? section('Notes', '', `<ul>${report.notes.map((note) => `<li>${e(note)}</li>`).join('')}</ul>`) : '',
  ];
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>${e(title)}</title><style>${reportStyle}</style></head>
<body><header><h1>Weir report</h1><p class="quiet">${minute(report.from)} to ${minute(report.to)}. Made ${minute(report.made)}. All times are UTC.</p></header>
<main>${figures(report)}${inShort(report)}${sections.join('\n')}</main>
<footer class="note"><p>A hit is a session or a probe packet. Unreliable sources (datagrams whose sender did not prove its address) are counted as they claim to be.
Networks: RouteViews, NRO and <a href="https://db-ip.com">IP Geolocation by DB-IP</a>, CC BY 4.0; countries: geo-whois-asn-country.</p></footer>
</body></html>
`;
}
