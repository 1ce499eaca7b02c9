// Spans of time as people say them. Pure.

import type { Micros } from '../../base/clock.ts';

/** `under a second`, `1.4 s`, `12 s`, `3 min 12 s`, `2 h 5 min`, `3 d 4 h`. */
export function spanText(span: Micros): string {
  const seconds = Math.max(span, 0) / 1e6;
  if (seconds < 1) return 'under a second';
  if (seconds < 10) return `${Number(seconds.toFixed(1))} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  const [big, bigName, small, smallName] =
    whole < 3600 ? [60, 'min', 1, 's'] : whole < 86_400 ? [3600, 'h', 60, 'min'] : [86_400, 'd', 3600, 'h'];
  const rest = Math.floor((whole % big) / small);
  return `${Math.floor(whole / big)} ${bigName}${rest > 0 ? ` ${rest} ${smallName}` : ''}`;
}

/** The same of milliseconds, as thresholds are. */
export const thresholdText = (milliseconds: number): string => spanText(milliseconds * 1000);
