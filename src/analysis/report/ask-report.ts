// A report as it is asked for in words: which time, which day large, new since when. What is not said is chosen from what
// the store has. Gathering is gather-report.ts.

import type { Micros } from '../../base/clock.ts';
import { WeirError } from '../../base/errors.ts';
import { printable } from '../../base/printable.ts';
import type { AnalysisStore, RollupRow } from '../../record/analysis-store.ts';
import { dayMicros, dayStart } from '../../record/day.ts';
import { parseTime } from '../../record/filter-text.ts';
import type { Store } from '../../record/store.ts';
import { planCampaigns } from '../campaigns/plan-campaigns.ts';
import { gatherReport } from './gather-report.ts';
import type { Report } from './report.ts';

export const reportKeys = ['from', 'to', 'day', 'new-since', 'last-report'] as const;

/** `from`, `to`, `new-since` and `last-report` as filters write times; `day` as `2026-11-22`. */
export type ReportText = Partial<Record<(typeof reportKeys)[number], string>>;

/** A store with more days than this is not shown whole unless somebody asks for it. */
const wholeDays = 92;
const usualDays = 30;

const mistake = (key: string, value: string, hint: string): WeirError =>
  new WeirError('bad-request', `${key}: '${printable(value, 80)}' ${hint}`, { parameter: key });

function timeOf(key: string, text: string | undefined, now: Micros): Micros | undefined {
  if (text === undefined || text === '') return undefined;
  const at = parseTime(text, now);
  if (at === undefined) throw mistake(key, text, 'is no time: 7d, 2026-01-31 or 2026-01-31T12:00:00Z');
  return at;
}

/** All that is there while that is a quarter, else its last thirty days; always whole days. */
function usualSpan(days: readonly RollupRow[], now: Micros): { from: Micros; to: Micros } {
  const starts = days.map(({ start }) => start);
  if (starts.length === 0) return { from: now - usualDays * dayMicros, to: now };
  const first = starts.reduce((least, start) => Math.min(least, start));
  const to = starts.reduce((most, start) => Math.max(most, start)) + dayMicros;
  return { from: to - first > wholeDays * dayMicros ? to - usualDays * dayMicros : first, to };
}

/** Throws `bad-request` for what is no time, and what the store throws. */
export async function askReport(
  store: Pick<Store, 'top' | 'counts'> & AnalysisStore,
  text: ReportText,
  now: Micros,
): Promise<Report> {
  const from = timeOf('from', text.from, now);
  const to = timeOf('to', text.to, now);
  const usual =
    from === undefined || to === undefined ? usualSpan(await store.rollups('day', { limit: 10_000 }), now) : undefined;
  const span = { from: from ?? Math.min(usual?.from ?? now, (to ?? now) - dayMicros), to: to ?? usual?.to ?? now };
  if (span.from >= span.to) throw mistake('to', text.to ?? 'now', 'is not after the beginning');
  if (text.day !== undefined && !(/^\d{4}-\d{2}-\d{2}$/.test(text.day) && Number.isFinite(dayStart(text.day))))
    throw mistake('day', text.day, 'is no day: 2026-01-31');
  const asked = timeOf('new-since', text['new-since'], now);
  const last = timeOf('last-report', text['last-report'], now);
  const since = asked ?? (last !== undefined && last > span.from && last < span.to ? last : undefined);
  return gatherReport(store, {
    ...span,
    made: now,
    ...(text.day === undefined ? {} : { day: text.day }),
    ...(since === undefined ? {} : { newSince: { at: since, because: asked === undefined ? 'last-report' : 'asked' } }),
    planCampaigns,
  });
}
