// Small pieces every picture of the report is made of: escaped text, marks, axes, figures. Pure text in, text out.
// Colours are CSS variables of report-page.ts; every mark also differs in shape or place, so that grey paper tells it too.

import { printable } from '../../base/printable.ts';

/** Text for HTML and SVG, between tags and inside attributes; what could move a reader's eye is made visible first. */
export function escapeMarkup(text: string, maxLength = 400): string {
  return printable(text, maxLength)
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
    .replaceAll("'", '&#39;');
}

const steps: readonly (readonly [number, string])[] = [
  [1e15, 'P'],
  [1e12, 'T'],
  [1e9, 'G'],
  [1e6, 'M'],
  [1e3, 'k'],
];

/** `1,234` up to 9,999, then `12.3k`, `4.6M`. */
export function renderFigure(value: number): string {
  if (Math.abs(value) < 10_000) return Number.isInteger(value) ? value.toLocaleString('en-US') : value.toFixed(1);
  const [size, letter] = steps.find(([step]) => Math.abs(value) >= step) ?? [1, ''];
  const scaled = value / size;
  return `${scaled >= 100 ? Math.round(scaled) : scaled.toFixed(1).replace(/\.0$/, '')}${letter}`;
}

/** Whole figures of a large number, for tables: `1,234,567`. */
export const renderWhole = (value: number): string => Math.round(value).toLocaleString('en-US');

/** A coordinate: two digits are a hundredth of a point. */
export const at = (value: number): string => String(Math.round(value * 100) / 100);

export interface TextPlace {
  readonly x: number;
  readonly y: number;
  readonly anchor?: 'start' | 'middle' | 'end';
  /** Class names of the page's style. */
  readonly kind?: string;
}

export const text = (words: string, { x, y, anchor = 'start', kind = 'tick' }: TextPlace): string =>
  `<text x="${at(x)}" y="${at(y)}" text-anchor="${anchor}" class="${kind}">${escapeMarkup(words)}</text>`;

export interface Box {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

/** A bar with its words for who points at it. */
export const bar = ({ x, y, width, height }: Box, kind: string, title = ''): string =>
  `<rect x="${at(x)}" y="${at(y)}" width="${at(Math.max(0, width))}" height="${at(Math.max(0, height))}" class="${kind}">` +
  `${title === '' ? '' : `<title>${escapeMarkup(title)}</title>`}</rect>`;

export const line = (x1: number, y1: number, x2: number, y2: number, kind: string): string =>
  `<line x1="${at(x1)}" y1="${at(y1)}" x2="${at(x2)}" y2="${at(y2)}" class="${kind}"/>`;

/** A picture that scales with the page; `about` is read aloud. */
export const picture = (width: number, height: number, about: string, parts: readonly string[]): string =>
  `<svg viewBox="0 0 ${at(width)} ${at(height)}" role="img" aria-label="${escapeMarkup(about, 1500)}">${parts.join('')}</svg>`;
