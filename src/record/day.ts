// Days as the store divides time: UTC, named `2026-11-22`. Pure.

import type { Micros } from '../base/clock.ts';

export const dayMicros = 86_400_000_000;
export const halfHourMicros = 1_800_000_000;

export const dayOf = (at: Micros): string => new Date(Math.floor(at / 1000)).toISOString().slice(0, 10);

/** First microsecond of a day. NaN when it is not one. */
export const dayStart = (day: string): Micros => Date.parse(`${day}T00:00:00Z`) * 1000;
