// How numbers, times and outcomes read in human output. Pure; no colours (style.ts), no layout (table.ts).

import { type Micros, renderMicros } from '../base/clock.ts';
import { printable } from '../base/printable.ts';

/** `412 B`, `1.4 kB`, `23 MB`: powers of 1000, three digits at most. */
export function renderBytes(bytes: number): string {
  if (bytes < 1000) return `${bytes} B`;
  let value = bytes / 1000;
  for (const unit of ['kB', 'MB', 'GB']) {
    if (value < 999.5) return `${value < 9.95 ? value.toFixed(1) : Math.round(value)} ${unit}`;
    value /= 1000;
  }
  return `${value < 9.95 ? value.toFixed(1) : Math.round(value)} TB`;
}

/** Digits in groups: `65 535` with thin no-break spaces would break columns, so commas. */
export const renderCount = (count: number | string): string => String(count).replace(/\B(?=(\d{3})+(?!\d))/g, ',');

/** `1 session`, `2 sessions`, `1,048,576 decoys`. */
export const plural = (count: number | string, one: string, many = `${one}s`): string =>
  `${renderCount(count)} ${String(count) === '1' ? one : many}`;

/** `45 µs`, `3.2 ms`, `1.5 s`, `2 m 5 s`, `3 h 12 m`. */
export function renderDuration(micros: number): string {
  if (micros < 1000) return `${Math.round(micros)} µs`;
  if (micros < 99_950) return `${(micros / 1000).toFixed(1)} ms`;
  if (micros < 999_500) return `${Math.round(micros / 1000)} ms`;
  const seconds = micros / 1e6;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const whole = Math.floor(seconds);
  if (whole < 3600) return `${Math.floor(whole / 60)} m ${whole % 60} s`;
  if (whole < 172_800) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} m`;
  return `${Math.floor(whole / 86_400)} d ${Math.floor((whole % 86_400) / 3600)} h`;
}

/** `now`, `12s`, `5m`, `3h`, `2d`: how long ago, one unit. */
export function renderAgo(at: Micros, now: Micros): string {
  const seconds = Math.floor((now - at) / 1e6);
  if (seconds < 1) return 'now';
  if (seconds < 60) return `${seconds}s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m`;
  if (seconds < 172_800) return `${Math.floor(seconds / 3600)}h`;
  return `${Math.floor(seconds / 86_400)}d`;
}

/** UTC, as short as is clear: `05:06:07` today, `03-04 05:06:07` this year, with the year before that. */
export function renderMoment(at: Micros, now: Micros): string {
  const text = renderMicros(at);
  const today = renderMicros(now);
  const time = text.slice(11, 19);
  if (text.slice(0, 10) === today.slice(0, 10)) return time;
  return text.slice(0, 4) === today.slice(0, 4) ? `${text.slice(5, 10)} ${time}` : `${text.slice(0, 10)} ${time}`;
}

/** `2026-03-04 05:06:07.123 UTC`. */
export const renderInstant = (at: Micros): string => `${renderMicros(at).slice(0, 23).replace('T', ' ')} UTC`;

/** `192.0.2.1:22`, `[2001:db8::1]:22`. */
export const renderEndpoint = (ip: string, port: number): string => (ip.includes(':') ? `[${ip}]:${port}` : `${ip}:${port}`);

const outcomes: Readonly<Record<string, string>> = {
  open: 'still open',
  'client-closed': 'the attacker closed the connection',
  'client-reset': 'the attacker reset the connection',
  'server-closed': 'the service closed the connection',
  idle: 'nothing came for the idle limit',
  'time-limit': 'the time limit was reached',
  'byte-limit': 'the byte limit was reached',
  shed: 'closed to make room under flood',
  shutdown: 'Weir was stopped',
  interrupted: 'the process that held it died',
  'service-unreachable': 'the service it was meant for did not answer',
  unknown: 'the imported log does not say how it ended',
};

export const explainOutcome = (outcome: string): string => outcomes[outcome] ?? printable(outcome, 40);
