// Figures and times in the words of a report's sentences. Pure.

import { renderWhole } from './svg.ts';

/** `2026-11-22 06:30`; UTC, as all times of a report. */
export const renderMinute = (time: string): string => `${time.slice(0, 10)} ${time.slice(11, 16)}`;

export const renderCounted = (count: number, one: string, many = `${one}s`): string =>
  `${renderWhole(count)} ${count === 1 ? one : many}`;

/** `a, b and 3 more`, of `all` there are. */
export function renderSome(names: readonly string[], most: number, all = names.length): string {
  const shown = names.slice(0, most);
  return all > shown.length ? `${shown.join(', ')} and ${renderWhole(all - shown.length)} more` : shown.join(', ');
}

const sizes: readonly (readonly [number, string])[] = [
  [1e12, 'TB'],
  [1e9, 'GB'],
  [1e6, 'MB'],
  [1e3, 'kB'],
];

/** Decimal units: `91.0 MB`. */
export function renderSize(bytes: number): string {
  const [size, unit] = sizes.find(([step]) => bytes >= step) ?? [1, 'B'];
  return `${size === 1 ? renderWhole(bytes) : (bytes / size).toFixed(1)} ${unit}`;
}

/** `port-scan` as people write it; what is no behaviour stays what it is. */
export const renderBehaviour = (behaviour: string): string =>
  behaviour === 'two-phase-scan' ? 'two-phase scan' : behaviour.replaceAll('-', ' ');
