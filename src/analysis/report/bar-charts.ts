// Rankings as bars: two side by side that show how they differ, and single ones. Pure: data in, SVG out.

import type { ReportRow } from './report.ts';
import { renderBehaviour } from './report-words.ts';
import { bar, line, picture, renderFigure, renderWhole, text } from './svg.ts';

const rowHeight = 20;
const half = 470;
const gutter = 20;
const labelWidth = 150;
const figureWidth = 56;

interface Ranking {
  readonly title: string;
  readonly rows: readonly ReportRow[];
  readonly by: 'hits' | 'sources';
  readonly kind: string;
}

function renderRanking({ title, rows, by, kind }: Ranking, left: number, ranksBeside: ReadonlyMap<string, number>): string[] {
  const most = rows.reduce((greatest, row) => Math.max(greatest, row[by]), 1);
  const space = half - labelWidth - figureWidth - 40;
  const parts = [
    text(title, { x: left, y: 14, kind: 'panel' }),
    text(by === 'hits' ? 'place by sources' : 'place by hits', { x: left + half - 4, y: 14, anchor: 'end' }),
  ];
  rows.forEach((row, index) => {
    const y = 24 + index * rowHeight;
    const beside = ranksBeside.get(row.key);
    const words = `${row.key}${row.label ? ` ${row.label}` : ''}: ${renderWhole(row.hits)} hits, ${renderWhole(row.sources)} sources`;
    parts.push(text(`${index + 1}`, { x: left + 16, y: y + 13, anchor: 'end' }));
    parts.push(text(row.label ? `${row.key} ${row.label}` : row.key, { x: left + 24, y: y + 13, kind: 'name' }));
    const length = Math.max(1, (space * row[by]) / most);
    parts.push(bar({ x: left + labelWidth, y: y + 3, width: length, height: rowHeight - 7 }, kind, words));
    parts.push(text(renderFigure(row[by]), { x: left + labelWidth + length + 5, y: y + 13, kind: 'figure' }));
    // Where the other ranking has it: the point of showing both.
    parts.push(text(beside === undefined ? '–' : `${beside}.`, { x: left + half - 4, y: y + 13, anchor: 'end' }));
  });
  return parts;
}

const ranksOf = (rows: readonly ReportRow[]): Map<string, number> => new Map(rows.map(({ key }, index) => [key, index + 1]));

const inWords = (rows: readonly ReportRow[]): string =>
  rows
    .slice(0, 8)
    .map(({ key, label, hits, sources }) => `${key}${label ? ` ${label}` : ''} ${hits} hits ${sources} sources`)
    .join(', ');

/** The same subject by hits and by sources: what is first here need not be there at all. */
export function renderBothRankings(byHits: readonly ReportRow[], bySources: readonly ReportRow[], subject: string): string {
  const width = 2 * half + gutter;
  const height = 28 + Math.max(byHits.length, bySources.length) * rowHeight;
  return picture(width, height, `${subject} by hits: ${inWords(byHits)}. By sources: ${inWords(bySources)}`, [
    ...renderRanking({ title: `${subject} by hits`, rows: byHits, by: 'hits', kind: 'sessions' }, 0, ranksOf(bySources)),
    line(half + gutter / 2, 4, half + gutter / 2, height - 4, 'grid'),
    ...renderRanking(
      { title: `${subject} by sources`, rows: bySources, by: 'sources', kind: 'sources' },
      half + gutter,
      ranksOf(byHits),
    ),
  ]);
}

/** Behaviours over the whole width: sources as the bar, hits as a figure. */
export function renderMix(rows: readonly ReportRow[], about: string): string {
  const width = 2 * half + gutter;
  const most = rows.reduce((greatest, { sources }) => Math.max(greatest, sources), 1);
  const parts = rows.flatMap((row, index) => {
    const y = index * rowHeight;
    const length = Math.max(1, ((width - 420) * row.sources) / most);
    const words = `${renderWhole(row.sources)} ${row.sources === 1 ? 'source' : 'sources'}, ${renderWhole(row.hits)} ${row.hits === 1 ? 'hit' : 'hits'}`;
    return [
      text(row.label ?? renderBehaviour(row.key), { x: 0, y: y + 14, kind: 'name' }),
      bar({ x: 170, y: y + 3, width: length, height: rowHeight - 7 }, 'sources', `${row.label ?? row.key}: ${words}`),
      text(words, { x: 170 + length + 6, y: y + 14, kind: 'figure' }),
    ];
  });
  return picture(width, rows.length * rowHeight + 4, `${about}: ${inWords(rows)}`, parts);
}
