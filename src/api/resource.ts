// What every resource of the API is given, and how each reads its query. No routes of its own.

import type { Context } from 'hono';
import type { Clock } from '../base/clock.ts';
import { WeirError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { type FilterText, filterKeys, findingKeys, parseFilter, parseFindings, renderFilter } from '../record/filter-text.ts';
import type { AskedStore } from '../record/insight-questions.ts';
import type { Filter, SessionFilter } from '../record/store.ts';
import type { Answers } from './answers.ts';
import type { LiveFeed } from './live-feed.ts';

export interface ApiContext {
  readonly store: AskedStore;
  readonly feed: LiveFeed;
  readonly answers: Answers;
  /** The state of all programs, as the program that serves the API knows it; plain JSON. */
  readonly status: () => Promise<unknown>;
  readonly clock: Clock;
  readonly log: Log;
}

/** The filter in a query. Unknown parameters are refused: a misspelt filter must not look like no filter. */
export function filterOf(context: Context, clock: Clock, others: readonly string[] = [], defaultLimit = 50): Filter {
  const query = context.req.query();
  for (const key of Object.keys(query)) {
    if (!(filterKeys as readonly string[]).includes(key) && !others.includes(key))
      throw new WeirError('bad-request', `unknown parameter '${key.slice(0, 40)}'`, { known: [...filterKeys, ...others] });
  }
  return parseFilter(query as FilterText, clock(), defaultLimit);
}

/** The same for sessions, which are also selected by what analysis found in them. */
export const sessionFilterOf = (
  context: Context,
  clock: Clock,
  others: readonly string[] = [],
  defaultLimit = 50,
): SessionFilter => ({
  ...filterOf(context, clock, [...others, ...findingKeys], defaultLimit),
  ...parseFindings(context.req.query()),
});

/** The cursor for the next page, absent on the last one. */
export const nextOf = (filter: Filter, rows: readonly { readonly id: string }[]): string | undefined =>
  rows.length === filter.limit ? rows.at(-1)?.id : undefined;

/** Times relative to now are rounded to a second, so that equal questions of several readers are equal. */
export function keyOf(filter: Filter): string {
  const round = (at: number | undefined): number | undefined => (at === undefined ? undefined : Math.floor(at / 1e6) * 1e6);
  const { since, until, ...rest } = filter;
  return JSON.stringify(
    renderFilter({
      ...rest,
      ...(since === undefined ? {} : { since: round(since) }),
      ...(until === undefined ? {} : { until: round(until) }),
    }),
  );
}

/** One of `allowed`, or `bad-request`. */
export function choiceOf<T extends string>(context: Context, key: string, allowed: readonly T[], otherwise: T): T {
  const value = context.req.query(key);
  if (value === undefined || value === '') return otherwise;
  const found = allowed.find((choice) => choice === value);
  if (!found)
    throw new WeirError('bad-request', `${key}: '${value.slice(0, 40)}' is none of ${allowed.join(', ')}`, { parameter: key });
  return found;
}

/** A whole number between bounds, or `bad-request`. */
export function numberOf(context: Context, key: string, minimum: number, maximum: number, otherwise: number): number {
  const value = context.req.query(key);
  if (value === undefined || value === '') return otherwise;
  const number = /^\d{1,9}$/.test(value) ? Number(value) : Number.NaN;
  if (!(number >= minimum && number <= maximum))
    throw new WeirError('bad-request', `${key}: '${value.slice(0, 40)}' is not a number from ${minimum} to ${maximum}`, {
      parameter: key,
    });
  return number;
}
