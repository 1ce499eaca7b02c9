// What analysis knows about the sessions of a page: findings and the place of the source, asked for all of them at once.

import type { Place, SessionInsight } from '../model/insight.ts';
import type { AnalysisStore } from './analysis-store.ts';
import type { SessionSummary } from './store.ts';

export interface SessionMarks {
  readonly insight?: SessionInsight | undefined;
  readonly place?: Place | undefined;
}

/** At most 10,000 sessions. */
export async function readMarks(
  store: Pick<AnalysisStore, 'insights' | 'places'>,
  sessions: readonly SessionSummary[],
): Promise<(session: SessionSummary) => SessionMarks> {
  if (sessions.length === 0) return () => ({});
  const insights = await store.insights(sessions.map(({ id, start }) => ({ id, start })));
  const placeOf = await readPlaces(
    store,
    sessions.map(({ source }) => source.ip),
  );
  const found = new Map(insights.map((insight) => [insight.id, insight]));
  return ({ id, source }) => ({ insight: found.get(id), place: placeOf(source.ip) });
}

/** At most 10,000 addresses. */
export async function readPlaces(
  store: Pick<AnalysisStore, 'places'>,
  ips: readonly string[],
): Promise<(ip: string) => Place | undefined> {
  const asked = [...new Set(ips)];
  const places = asked.length === 0 ? [] : await store.places(asked);
  const known = new Map(places.map((place) => [place.ip, place]));
  return (ip) => known.get(ip);
}
