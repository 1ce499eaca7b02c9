// The report as it is drawn: whole, self-contained, harmless whatever an attacker wrote, with the figures it was given.

import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { sampleReport } from '../../../test/support/sample-report.ts';
import { countryName, countryNumber } from './countries.ts';
import type { Report } from './report.ts';
import { renderReportPage } from './report-page.ts';
import { renderReportTable } from './report-table.ts';
import { renderFigure } from './svg.ts';
import { renderDay, renderTimeline } from './time-charts.ts';
import { renderWorldMap, shadeLimits } from './world-map.ts';

/** Names of the tags in order; throws where one is not closed. Attribute values never hold `<` or `>`. */
function tagsOf(markup: string): string[] {
  const open: string[] = [];
  const seen: string[] = [];
  for (const [, close, name, rest] of markup.matchAll(/<(\/?)([a-z][a-z0-9]*)([^<>]*)>/gi)) {
    if (close) assert.equal(open.pop(), name);
    else {
      seen.push(name);
      if (!rest.endsWith('/') && !['meta', 'br', 'img'].includes(name)) open.push(name);
    }
  }
  assert.deepEqual(open, []);
  return seen;
}

const bars = (svg: string, kind: string): { y: number; height: number }[] =>
  [...svg.matchAll(new RegExp(`<rect x="[^"]+" y="([^"]+)" width="[^"]+" height="([^"]+)" class="${kind}">`, 'g'))].map(
    (match) => ({
      y: Number(match[1]),
      height: Number(match[2]),
    }),
  );

test('the page is one whole document that runs nothing and asks nobody', () => {
  const page = renderReportPage(sampleReport);
  const tags = tagsOf(page.slice(page.indexOf('<html')));
  for (const forbidden of ['script', 'img', 'link', 'iframe', 'object', 'form', 'foreignObject'])
    assert.ok(!tags.includes(forbidden));
  assert.match(page, /default-src 'none'/);
  // The one link is what the data's licence asks for.
  const unlinked = page.replace('<a href="https://db-ip.com">', '');
  assert.doesNotMatch(unlinked, /<a[\s>]/);
  assert.doesNotMatch(unlinked, /<[^>]*\s(src|href|style)=(?!"background:var)|url\(|@import/);
  assert.equal(tags.filter((name) => name === 'svg').length, 6);
  for (const heading of [
    'Look at these first',
    'New since last time',
    'Day by day',
    'Every half-hour',
    '2026-11-08, enlarged',
    'Ports',
    'Where from',
    'What they did',
  ])
    assert.ok(page.includes(`<h2>${heading}</h2>`), heading);
});

test('what attackers wrote is shown, and is only text', () => {
  const hostile = fc.string({ unit: 'binary', maxLength: 40 });
  fc.assert(
    fc.property(hostile, hostile, (key, label) => {
      const nasty = `"'></text></style><script>${key}</script>\u202e`;
      const row = { key: nasty, label, hits: 1, sources: 1 };
      const scan = {
        ...(sampleReport.day?.scans[0] as NonNullable<Report['day']>['scans'][0]),
        source: nasty,
        why: label,
        tool: nasty,
      };
      const attacker = { ...sampleReport.attackers[0], source: nasty, organization: label, behaviours: [nasty] };
      const page = renderReportPage({
        ...sampleReport,
        halfHours: sampleReport.halfHours.slice(0, 2),
        day: { date: '2026-11-08', halfHours: [], scans: [scan] },
        ports: { byHits: [row], bySources: [row] },
        behaviours: [row],
        families: [{ ...row, example: nasty }],
        credentials: [row],
        attackers: [attacker],
        campaigns: [{ ...sampleReport.campaigns[0], label: nasty, bonds: [nasty] }],
        notes: [nasty],
      });
      assert.ok(!tagsOf(page.slice(page.indexOf('<html'))).includes('script'));
      assert.ok(!page.includes('\u202e'));
    }),
    { numRuns: 60 },
  );
});

test('the page has a size, whatever attackers wrote and however much of it', () => {
  const long = '\u202e<b>😀=cmd|'.repeat(500);
  const rows = Array.from({ length: 50 }, () => ({ key: long, label: long, hits: 9e15, sources: 9e15 }));
  const families = rows.map((row) => ({ ...row, example: long, firstSeen: sampleReport.from }));
  const attackers = rows.slice(0, 20).map(() => ({
    ...sampleReport.attackers[0],
    source: long,
    organization: long,
    behaviours: Array(50).fill(long),
    signatures: Array(500).fill(long),
  }));
  const members = Array.from({ length: 100 }, (_, index) => ({
    ...sampleReport.campaigns[0].members[0],
    source: `${index} ${long}`,
    reasons: Array.from({ length: 6 }, (_, each) => `${index}.${each} ${long}`),
  }));
  const campaign = { ...sampleReport.campaigns[0], label: long, bonds: Array(8).fill(long), members, size: 1e6 };
  const page = renderReportPage({
    ...sampleReport,
    brief: {
      sentences: Array(8).fill(long),
      actions: Array(6).fill(long),
      suspects: attackers.slice(0, 8).map((attacker) => ({ ...attacker, inside: true, reasons: Array(6).fill(long) })),
    },
    ports: { byHits: rows.slice(0, 20), bySources: rows.slice(0, 20) },
    countries: rows,
    networks: rows,
    behaviours: rows.slice(0, 20),
    signatures: rows.slice(0, 20),
    families: families.slice(0, 12),
    credentials: rows.slice(0, 20),
    users: rows.slice(0, 20),
    passwords: rows.slice(0, 20),
    urls: rows.slice(0, 20),
    attackers,
    campaigns: Array(12).fill(campaign),
    news: { ...sampleReport.news, ports: rows, urls: rows, signatures: rows, families: families.slice(0, 12) },
  });
  assert.ok(page.length < 1_500_000, `${page.length}`);
  assert.ok(!page.includes('\u202e') && !page.includes('<b>😀'));
  tagsOf(page.slice(page.indexOf('<html')));
});

test('nothing recorded is a report too', () => {
  const nothing: Report = {
    ...sampleReport,
    totals: { hits: 0, sessions: 0, probes: 0, sources: 0, bytesIn: 0, alerts: 0, countries: 0, campaigns: 0, inside: 0 },
    brief: { sentences: ['Nothing was recorded in this time.'], actions: [], suspects: [] },
    days: [],
    halfHours: [],
    day: undefined,
    ports: { byHits: [], bySources: [] },
    countries: [],
    networks: [],
    behaviours: [],
    signatures: [],
    families: [],
    credentials: [],
    users: [],
    passwords: [],
    urls: [],
    attackers: [],
    campaigns: [],
    notes: [],
    news: {
      ...sampleReport.news,
      sources: 0,
      ports: [],
      portCount: 0,
      countries: [],
      families: [],
      countryCount: 0,
      familyCount: 0,
      signatureCount: 0,
      signatures: [],
      urls: [],
      urlCount: 0,
    },
  };
  const page = renderReportPage(nothing);
  assert.match(page, /Nothing was recorded in this time\./);
  tagsOf(page.slice(page.indexOf('<html')));
});

test('bars are as high as their figures, stacked, and name them', () => {
  const day = sampleReport.days[3];
  const half = { ...day, start: '2026-11-12T00:00:00.000000Z', sessions: day.sessions / 2, probes: 0, hits: day.sessions / 2 };
  const svg = renderTimeline([day, half], 86_400_000, 'two days');
  const [first, second] = bars(svg, 'sessions');
  assert.ok(Math.abs(first.height - 2 * second.height) < 0.05);
  const [probes] = bars(svg, 'probes');
  assert.equal(bars(svg, 'probes').length, 1);
  assert.ok(Math.abs(probes.y + probes.height - first.y) < 0.05, 'probes stand on sessions');
  assert.ok(Math.abs(probes.height / first.height - day.probes / day.sessions) < 0.01);
  assert.ok(svg.includes(`${day.sessions.toLocaleString('en-US')} sessions`));
});

test('a fortnight of half-hours is a few marks, however many there are', () => {
  const svg = renderTimeline(sampleReport.halfHours, 1_800_000, 'half-hours');
  assert.equal(svg.split('<path').length - 1, 5);
  assert.ok(svg.length < 120_000);
});

test('each scan of the day is a span at its time, within the day', () => {
  const scans = sampleReport.day?.scans ?? [];
  const before = { ...scans[0], start: '2026-11-07T20:00:00.000000Z', end: '2026-11-09T02:00:00.000000Z' };
  const svg = renderDay('2026-11-08', sampleReport.day?.halfHours ?? [], [before, ...scans]);
  const spans = [...svg.matchAll(/<rect x="([^"]+)" y="[^"]+" width="([^"]+)" height="10" class="scan/g)].map((match) => [
    Number(match[1]),
    Number(match[2]),
  ]);
  assert.equal(spans.length, scans.length + 1);
  assert.deepEqual(spans[0], [52, 900], 'what began earlier and ended later fills the day');
  assert.deepEqual(
    [...spans].slice(1).map(([x]) => x),
    [...spans]
      .slice(1)
      .map(([x]) => x)
      .sort((left, right) => left - right),
  );
});

test('every country a database can name has a name and a number; small ones are dots', () => {
  const alphabet = [...'ABCDEFGHIJKLMNOPQRSTUVWXYZ'];
  const codes = alphabet.flatMap((one) => alphabet.map((two) => one + two)).filter((code) => countryNumber(code) !== undefined);
  assert.equal(codes.length, 249);
  assert.equal(new Set(codes.map(countryNumber)).size, 249);
  for (const code of codes) assert.notEqual(countryName(code), code);
  assert.equal(countryName('XX'), undefined);
  const map = renderWorldMap([...codes, 'XX'].map((key, index) => ({ key, label: key, hits: index, sources: index + 1 })));
  assert.match(map, /<circle[^>]*><title>SG: /);
  assert.match(map, /<path[^>]*class="shade\d"><title>US: /);
  tagsOf(map);
});

test('shades reach from one source to the most, each its own range', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 5_000_000 }), (most) => {
      const limits = shadeLimits(most);
      assert.deepEqual(
        limits,
        [...new Set(limits)].sort((left, right) => left - right),
      );
      assert.ok((limits.at(-1) ?? 0) >= most);
    }),
  );
});

test('figures are short and honest', () => {
  assert.deepEqual([0, 999, 9999, 12_345, 1_200_000, 2_198_312, 5e9, 7.5e15].map(renderFigure), [
    '0',
    '999',
    '9,999',
    '12.3k',
    '1.2M',
    '2.2M',
    '5G',
    '7.5P',
  ]);
});

test('the table has a line for every row, and no formula', () => {
  const text = [
    ...renderReportTable({
      ...sampleReport,
      users: [
        { key: '=cmd|"/c calc"!A1', hits: 1, sources: 1 },
        { key: 'a\r\n"b"', hits: 2, sources: 1 },
      ],
    }),
  ].join('');
  const [head, ...rows] = text.split('\r\n').slice(0, -1);
  assert.equal(head.split(',').length, 12);
  assert.equal(rows.filter((line) => line.startsWith('half-hour,')).length, sampleReport.halfHours.length);
  assert.ok(rows.includes(`user,,"'=cmd|""/c calc""!A1",,1,,,1,,,,`));
  assert.ok(rows.includes(String.raw`user,,"a\r\n""b""",,2,,,1,,,,`));
  const [first] = sampleReport.days;
  assert.ok(
    rows.includes(
      `day,${first.start},,,${first.hits},${first.sessions},${first.probes},${first.sources},${first.ports},${first.destinations},${first.newSources},`,
    ),
  );
});
