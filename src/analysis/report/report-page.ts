// The report as one page of HTML that needs nothing else: no script, no font, no picture from anywhere. Everything an
// attacker wrote is escaped by svg.ts's escapeMarkup and nowhere else. What stands in it is report.ts.

import { renderBothRankings, renderMix } from './bar-charts.ts';
import { renderCampaigns } from './campaign-section.ts';
import { address, type Column, e, section, table } from './page-parts.ts';
import type { Report, ReportAttacker, ReportBrief, ReportFamily, ReportNews, ReportRow } from './report.ts';
import { reportStyle } from './report-style.ts';
import { renderBehaviour, renderCounted, renderMinute, renderSize } from './report-words.ts';
import { renderFigure, renderWhole } from './svg.ts';
import { renderDay, renderTimeline } from './time-charts.ts';
import { renderWorldMap } from './world-map.ts';

/** Of what attackers named; the whole of it is in the other forms. */
const keyLength = 160;

const rankColumns = (title: string, code = true): Column<ReportRow>[] => [
  {
    title,
    cell: ({ key, label }) => {
      const name = code ? `<code>${e(key, keyLength)}</code>` : e(key, keyLength);
      return label ? `${e(label)} <span class="quiet">${e(key, keyLength)}</span>` : name;
    },
  },
  { title: 'Hits', number: true, cell: ({ hits }) => renderWhole(hits) },
  { title: 'Sources', number: true, cell: ({ sources }) => renderWhole(sources) },
];

const ranking = (title: string, heading: string, rows: readonly ReportRow[], code = true): string =>
  rows.length === 0 ? '' : `<div>${heading === '' ? '' : `<h3>${e(heading)}</h3>`}${table(rankColumns(title, code), rows)}</div>`;

const inHalves = (rows: readonly ReportRow[]): string => {
  const half = Math.ceil(rows.length / 2);
  const halves = [rows.slice(0, half), rows.slice(half)].map((each) => ranking('Signature', '', each)).join('');
  return halves === '' ? '' : `<div class="columns">${halves}</div>`;
};

const legend = (entries: readonly (readonly [string, string])[]): string =>
  `<div class="legend">${entries.map(([color, words]) => `<span><i style="background:var(--${color})"></i>${e(words)}</span>`).join('')}</div>`;

function figures({ totals }: Report): string {
  const shown: readonly (readonly [string, string])[] = [
    ['sessions', renderFigure(totals.sessions)],
    ['probe packets', renderFigure(totals.probes)],
    ['received', renderSize(totals.bytesIn)],
    ['sources', renderFigure(totals.sources)],
    ['of own networks', renderFigure(totals.inside)],
    ['countries', renderFigure(totals.countries)],
    ['campaigns', renderFigure(totals.campaigns)],
    ['alerts', renderFigure(totals.alerts)],
  ];
  return `<div class="figures">${shown.map(([words, value]) => `<div><b>${e(value)}</b><span>${e(words)}</span></div>`).join('')}</div>`;
}

/** What a reader in a hurry reads: what happened, what to do, whom to look at. */
function briefSection({ sentences, actions, suspects }: ReportBrief): string {
  const list = (kind: 'ul' | 'ol', lines: readonly string[]): string =>
    lines.length === 0 ? '' : `<${kind}>${lines.map((line) => `<li>${e(line, 1000)}</li>`).join('')}</${kind}>`;
  const todo = actions.length === 0 ? '' : `<div class="todo"><h3>What to do</h3>${list('ol', actions)}</div>`;
  return (
    `<div class="brief"><div><h3>In short</h3>${list('ul', sentences)}</div>${todo}</div>` +
    section(
      'Look at these first',
      'Own networks first, then who attacked, then who did most different things. One in full: weir attacker ADDRESS.',
      suspects.length === 0
        ? ''
        : table(
            [
              {
                title: 'Source',
                cell: (suspect: (typeof suspects)[number]) =>
                  `${address(suspect.source)}<br><span class="quiet">${whereOf(suspect)}</span>`,
              },
              { title: 'Why', cell: ({ reasons }) => e(reasons.join('; '), 600) },
              { title: 'Hits', number: true, cell: ({ hits }) => renderWhole(hits) },
              { title: 'Last seen', cell: ({ lastSeen }) => `<span class="time">${renderMinute(lastSeen)}</span>` },
            ],
            suspects,
          ),
    )
  );
}

const newsShown = 6;

/** `described` are families whose payload stands elsewhere on the page. */
function newSection(news: ReportNews, described: ReadonlySet<string>): string {
  if (news.because === 'first') return '';
  const since = {
    'last-report': `Never seen before ${renderMinute(news.since)}, when the last report ended.`,
    asked: `Never seen before ${renderMinute(news.since)}.`,
    period: `Never seen before this report's beginning, ${renderMinute(news.since)}: no report ended within it.`,
  }[news.because];
  const list = (title: string, heading: string, rows: readonly ReportRow[], all = rows.length, code = true): string => {
    const shown = rows.slice(0, newsShown);
    const rest = all > shown.length ? `<p class="note">and ${renderWhole(all - shown.length)} more</p>` : '';
    return shown.length === 0 ? '' : `<div>${ranking(title, heading, shown, code)}${rest}</div>`;
  };
  const parts = [
    list('Port', renderCounted(news.portCount, 'new port'), news.ports, news.portCount),
    list('Country', renderCounted(news.countryCount, 'new country', 'new countries'), news.countries, news.countryCount, false),
    list('Signature', renderCounted(news.signatureCount, 'new signature'), news.signatures, news.signatureCount),
    list('URL, never fetched', renderCounted(news.urlCount, 'new URL'), news.urls, news.urlCount),
  ].join('');
  const unseen = news.families.filter(({ key }) => !described.has(key)).slice(0, newsShown);
  const elsewhere = news.familyCount - unseen.length;
  const families =
    news.familyCount > 0
      ? `<h3>${renderCounted(news.familyCount, 'new payload family', 'new payload families')}</h3>` +
        `${unseen.length > 0 ? familyTable(unseen) : ''}` +
        `${elsewhere > 0 ? `<p class="note">${unseen.length > 0 ? `and ${renderWhole(elsewhere)} more; the` : 'The'} most frequent of this time are below</p>` : ''}`
      : '';
  const body = `<p>${renderCounted(news.sources, 'source')} had not been here before.</p><div class="columns">${parts}</div>${families}`;
  return section('New since last time', since, body);
}

const familyTable = (families: readonly ReportFamily[]): string =>
  table<ReportFamily>(
    [
      {
        title: 'Family and its first payload',
        cell: ({ key, label, example, firstSeen }) =>
          `<b>${e(label ?? key)}</b> <span class="quiet">${e(key)}${firstSeen ? `, first seen ${renderMinute(firstSeen)}` : ''}</span>` +
          `${example ? `<pre>${e(example, 1000)}</pre>` : ''}`,
      },
      { title: 'Hits', number: true, cell: ({ hits }) => renderWhole(hits) },
      { title: 'Sources', number: true, cell: ({ sources }) => renderWhole(sources) },
    ],
    families,
  );

const tags = (words: readonly string[]): string => words.map((word) => `<span class="tag">${e(word, 80)}</span>`).join('');

const whereOf = ({ country, asn, organization }: ReportAttacker): string =>
  e([country, asn && `AS${asn}`, organization].filter(Boolean).join(' '), 60);

const attackerTable = (attackers: readonly ReportAttacker[]): string =>
  table<ReportAttacker>(
    [
      { title: 'Source', cell: ({ source }) => address(source) },
      { title: 'Where', cell: whereOf },
      { title: 'Hits', number: true, cell: ({ hits }) => renderWhole(hits) },
      { title: 'Ports', number: true, cell: ({ ports }) => renderWhole(ports) },
      { title: 'Decoys', number: true, cell: ({ destinations }) => renderWhole(destinations) },
      {
        title: 'First and last',
        cell: ({ firstSeen, lastSeen }) => `<span class="time">${renderMinute(firstSeen)}<br>${renderMinute(lastSeen)}</span>`,
      },
      {
        title: 'Did',
        cell: ({ behaviours, tools, signatures }) =>
          tags([...behaviours.map(renderBehaviour), ...tools, ...signatures].slice(0, 8)),
      },
    ],
    attackers,
  );

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
    // Those of one day stand below, enlarged.
    days.length > 1
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
  const title = `Weir report, ${renderMinute(report.from)} to ${renderMinute(report.to)} UTC`;
  const credentials =
    ranking('User and password', 'Both', report.credentials) +
    ranking('User', 'Users', report.users) +
    ranking('Password', 'Passwords', report.passwords);
  const sections = [
    newSection(news, new Set(families.map(({ key }) => key))),
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
          'Each source counts once for each behaviour; hits are the sessions and packets it was told by.',
          renderMix(report.behaviours, 'Behaviours by number of sources'),
        )
      : '',
    section('Exploits and probes by signature', '', inHalves(report.signatures)),
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
    renderCampaigns(campaigns, report.totals.campaigns),
    report.notes.length > 0 ? section('Notes', '', `<ul>${report.notes.map((note) => `<li>${e(note)}</li>`).join('')}</ul>`) : '',
  ];
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>${e(title)}</title><style>${reportStyle}</style></head>
<body><header><h1>Weir report</h1><p class="quiet">${renderMinute(report.from)} to ${renderMinute(report.to)}. Made ${renderMinute(report.made)}. All times are UTC.</p></header>
<main>${figures(report)}${briefSection(report.brief)}${sections.join('\n')}</main>
<footer class="note"><p>A hit is a session or a probe packet. Unreliable sources (datagrams whose sender did not prove its address) are counted as they claim to be.
Networks: RouteViews, NRO and <a href="https://db-ip.com">IP Geolocation by DB-IP</a>, CC BY 4.0; countries: geo-whois-asn-country.</p></footer>
</body></html>
`;
}
