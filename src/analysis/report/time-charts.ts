// What happened when: small panels over one time axis (hits, sources, ports, and how a bucket's hits spread over ports),
// and one day enlarged with its scans as spans below. Pure: data in, SVG out.

import { scaleLinear, scaleUtc } from 'd3-scale';
import type { ReportBucket, ReportScan } from './report.ts';
import { at, type Box, bar, line, picture, renderFigure, renderWhole, text } from './svg.ts';

const width = 960;
const left = 52;
const right = 8;
const gap = 26;
/** With more buckets than this, bars would be thinner than the gaps between them. */
const maxBars = 120;
/** Of an axis's letters, rather too much than too little. */
const letterWidth = 7.5;

interface Panel {
  readonly title: string;
  readonly height: number;
  /** Stacked from below; each with the class of its mark. */
  readonly layers: readonly { readonly kind: string; readonly value: (bucket: ReportBucket) => number }[];
  /** The top of the axis when it is not that of the data. */
  readonly most?: number;
}

/** 100: every hit was at another port, as in a scan. Near 0: the same ports again and again. */
const spread = ({ ports, hits }: ReportBucket): number => (hits === 0 ? 0 : Math.min(100, (100 * ports) / hits));

const hits: Panel = {
  title: 'Hits: sessions, and probe packets above them',
  height: 96,
  layers: [
    { kind: 'sessions', value: ({ sessions }) => sessions },
    { kind: 'probes', value: ({ probes }) => probes },
  ],
};
const sources: Panel = {
  title: 'Distinct sources',
  height: 56,
  layers: [{ kind: 'sources', value: (bucket) => bucket.sources }],
};
const ports: Panel = { title: 'Distinct ports', height: 56, layers: [{ kind: 'ports', value: (bucket) => bucket.ports }] };
const spreading: Panel = {
  title: 'Ports per 100 hits: 100 is a scan, near 0 is repetition',
  height: 44,
  layers: [{ kind: 'spread', value: spread }],
  most: 100,
};

const timeOf = ({ start }: ReportBucket): number => Date.parse(start);

const words = (bucket: ReportBucket, stepMs: number): string => {
  const start = stepMs >= 86_400_000 ? bucket.start.slice(0, 10) : bucket.start.slice(0, 16).replace('T', ' ');
  return (
    `${start}: ${renderWhole(bucket.sessions)} sessions, ${renderWhole(bucket.probes)} probes, ` +
    `${renderWhole(bucket.sources)} sources (${renderWhole(bucket.newSources)} new), ${renderWhole(bucket.ports)} ports`
  );
};

type Scale = (value: number) => number;

function renderPanel(panel: Panel, buckets: readonly ReportBucket[], top: number, x: Scale, stepMs: number): string[] {
  const total = (bucket: ReportBucket): number => panel.layers.reduce((sum, { value }) => sum + value(bucket), 0);
  const most = panel.most ?? buckets.reduce((greatest, bucket) => Math.max(greatest, total(bucket)), 1);
  const y = scaleLinear([0, most], [top + panel.height, top]).nice(4);
  const parts = [text(panel.title, { x: left, y: top - 6, kind: 'panel' })];
  for (const tick of y.ticks(panel.height < 60 ? 2 : 4)) {
    if (!Number.isInteger(tick)) continue;
    parts.push(line(left, y(tick), width - right, y(tick), tick === 0 ? 'axis' : 'grid'));
    parts.push(text(renderFigure(tick), { x: left - 6, y: y(tick) + 3.5, anchor: 'end' }));
  }
  let below = buckets.map(() => 0);
  for (const { kind, value } of panel.layers) {
    const above = buckets.map((bucket, index) => below[index] + value(bucket));
    if (buckets.length <= maxBars) {
      buckets.forEach((bucket, index) => {
        if (value(bucket) === 0) return;
        const start = x(timeOf(bucket));
        const space = x(timeOf(bucket) + stepMs) - start;
        const box = {
          x: start + space * 0.08,
          y: y(above[index]),
          width: space * 0.84,
          height: y(below[index]) - y(above[index]),
        };
        parts.push(bar(box, kind, words(bucket, stepMs)));
      });
    } else parts.push(steppedArea(buckets, below, above, x, y, kind, stepMs));
    below = above;
  }
  return parts;
}

/** A filled outline in steps: one mark for thousands of buckets. */
function steppedArea(
  buckets: readonly ReportBucket[],
  below: readonly number[],
  above: readonly number[],
  x: Scale,
  y: Scale,
  kind: string,
  stepMs: number,
): string {
  const end = at(x(timeOf(buckets[buckets.length - 1]) + stepMs));
  const over = buckets.map((bucket, index) => `${at(x(timeOf(bucket)))}V${at(y(above[index]))}H`);
  const under = buckets.map((bucket, index) => `V${at(y(below[index]))}H${at(x(timeOf(bucket)))}`);
  const start = `M${at(x(timeOf(buckets[0])))} ${at(y(below[0]))}H`;
  return `<path d="${start}${over.join('')}${end}${under.reverse().join('')}Z" class="${kind}"/>`;
}

const months = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];

function tickWords(time: Date, spanMs: number): string {
  const clock = `${String(time.getUTCHours()).padStart(2, '0')}:${String(time.getUTCMinutes()).padStart(2, '0')}`;
  const day = `${time.getUTCDate()} ${months[time.getUTCMonth()]}`;
  if (spanMs > 400 * 86_400_000) return `${months[time.getUTCMonth()]} ${time.getUTCFullYear()}`;
  if (spanMs > 2 * 86_400_000) return clock === '00:00' ? day : `${day} ${clock}`;
  return clock === '00:00' && spanMs > 86_400_000 ? day : clock;
}

function timeAxis(from: number, to: number, y: number, x: Scale, ticks: readonly Date[]): string[] {
  let free = 0;
  return ticks.flatMap((tick) => {
    const place = x(tick.getTime());
    const anchor = place > width - right - 30 ? 'end' : place < left + 20 ? 'start' : 'middle';
    const space = letterWidth * tickWords(tick, to - from).length;
    const start = place - (anchor === 'end' ? space : anchor === 'middle' ? space / 2 : 0);
    // Words that would touch those before them are left out, with their tick.
    if (start < free) return [];
    free = start + space + letterWidth;
    return [line(place, y, place, y + 4, 'axis'), text(tickWords(tick, to - from), { x: place, y: y + 16, anchor })];
  });
}

/** Hits, sources, ports and their spread over the whole period; `stepMs` is the length of a bucket. */
export function renderTimeline(buckets: readonly ReportBucket[], stepMs: number, about: string): string {
  if (buckets.length === 0) return '';
  const from = timeOf(buckets[0]);
  const to = timeOf(buckets[buckets.length - 1]) + stepMs;
  const time = scaleUtc([from, to], [left, width - right]);
  const x: Scale = (value) => time(value);
  const parts: string[] = [];
  let top = 18;
  for (const panel of [hits, sources, ports, spreading]) {
    parts.push(...renderPanel(panel, buckets, top, x, stepMs));
    top += panel.height + gap;
  }
  const floor = top - gap;
  // A tick between two buckets means nothing.
  const aligned = time.ticks(10).filter((tick) => tick.getTime() % Math.min(stepMs, 86_400_000) === 0);
  parts.push(...timeAxis(from, to, floor, x, aligned));
  const peak = buckets.reduce((most, bucket) => (bucket.hits > most.hits ? bucket : most));
  return picture(width, floor + 22, `${about}. Most: ${words(peak, stepMs)}`, parts);
}

const rowHeight = 17;
const scanWords: Readonly<Partial<Record<ReportScan['behaviour'], string>>> = {
  'port-scan': 'port scan',
  sweep: 'sweep',
  'block-scan': 'block scan',
  'slow-scan': 'slow scan',
  'two-phase-scan': 'two-phase scan',
};

/** One day in half-hours, each scan a span in a row of its own. */
export function renderDay(date: string, buckets: readonly ReportBucket[], scans: readonly ReportScan[]): string {
  const from = Date.parse(`${date}T00:00:00Z`);
  const to = from + 86_400_000;
  const stepMs = 1_800_000;
  const time = scaleUtc([from, to], [left, width - right]);
  const x: Scale = (value) => time(Math.min(to, Math.max(from, value)));
  const tall: Panel = { ...hits, height: 130 };
  const parts: string[] = [];
  let top = 18;
  for (const panel of [tall, sources, ports]) {
    parts.push(...renderPanel(panel, buckets, top, x, stepMs));
    top += panel.height + gap;
  }
  const floor = top - gap;
  const ticks = Array.from({ length: 9 }, (_, index) => new Date(from + index * 3 * 3_600_000));
  parts.push(...timeAxis(from, to, floor, x, ticks));
  top = floor + 46;
  if (scans.length > 0)
    parts.push(text('Scans of that day, each from its first to its last packet', { x: left, y: top - 12, kind: 'panel' }));
  for (const [index, scan] of scans.entries())
    parts.push(...renderScan(scan, { x: left, y: top + index * rowHeight, width, height: rowHeight }, x));
  const height = scans.length > 0 ? top + scans.length * rowHeight + 4 : floor + 22;
  return picture(width, height, `${date} in half-hours, with ${scans.length} scans`, parts);
}

function renderScan(scan: ReportScan, row: Box, x: Scale): string[] {
  const start = x(Date.parse(scan.start));
  const end = Math.max(start + 3, x(Date.parse(scan.end)));
  const label = [
    scan.source,
    scanWords[scan.behaviour] ?? scan.behaviour,
    ...(scan.ports > 1 ? [`${renderFigure(scan.ports)} ports`] : []),
    ...(scan.hosts > 1 ? [`${renderFigure(scan.hosts)} decoys`] : []),
    ...(scan.tool ? [scan.tool] : []),
  ].join(', ');
  const rightHalf = start > (left + width) / 2;
  const words = rightHalf
    ? text(label, { x: start - 6, y: row.y + 11, anchor: 'end', kind: 'scan-words' })
    : text(label, { x: end + 6, y: row.y + 11, kind: 'scan-words' });
  return [
    line(left, row.y + rowHeight - 1, width - right, row.y + rowHeight - 1, 'grid'),
    bar({ x: start, y: row.y + 3, width: end - start, height: rowHeight - 7 }, `scan ${scan.behaviour}`, `${label}. ${scan.why}`),
    words,
  ];
}
