// What others can act on: sources that did something, with why, and the URLs and hashes they named. Gathered from verdicts,
// page by page, bounded. How it is written is blocklist.ts, stix.ts and misp.ts.

import type { Micros } from '../../base/clock.ts';
import type { Behaviour, Verdict } from '../../model/insight.ts';
import type { Filter, Store } from '../store.ts';

/** One source and what it did. */
export interface SourceIndicator {
  readonly ip: string;
  readonly firstSeen: Micros;
  readonly lastSeen: Micros;
  readonly hits: number;
  readonly behaviours: readonly Behaviour[];
  readonly techniques: readonly string[];
  readonly cves: readonly string[];
  readonly tools: readonly string[];
}

export interface Indicators {
  readonly sources: readonly SourceIndicator[];
  readonly urls: readonly string[];
  /** Sources that were left out because there are more than one list holds. */
  readonly left: number;
}

/** Nobody loads longer lists by hand, and memory has an end. */
export const maxSources = 200_000;
const pageSize = 5000;
const maxNamed = 5000;

/** These say who somebody is, not that he did harm. */
const harmless: readonly Behaviour[] = ['research-scanner', 'crawler', 'silent-opener', 'repeated-access'];

/** A list that blocks must not be written by who forges sources: a handshake or an answered challenge proves `certain` ones. */
const provable = ({ confidence, behaviour }: Verdict): boolean => confidence === 'certain' && !harmless.includes(behaviour);

type Bounds = Omit<Filter, 'limit'> & { readonly limit?: number };

/** Newest verdicts first; `filter.limit` bounds the sources. */
export async function gatherIndicators(store: Store, filter: Bounds): Promise<Indicators> {
  const most = Math.min(filter.limit ?? maxSources, maxSources);
  const found = new Map<string, SourceIndicator>();
  const over = new Set<string>();
  let { before } = filter;
  for (;;) {
    const page = await store.verdicts({ ...filter, limit: pageSize, ...(before === undefined ? {} : { before }) });
    for (const verdict of page.filter(provable)) {
      const known = found.get(verdict.source);
      if (known || found.size < most) found.set(verdict.source, joined(known, verdict));
      else if (over.size < maxSources) over.add(verdict.source);
    }
    if (page.length < pageSize) break;
    before = page[page.length - 1].id;
  }
  return {
    sources: [...found.values()],
    urls: (await store.topInsights('urls', 'sources', { ...filter, limit: maxNamed })).map(({ key }) => key),
    left: over.size,
  };
}

const union = <T>(one: readonly T[], other: readonly T[]): T[] => [...new Set([...one, ...other])].slice(0, 32);

function joined(known: SourceIndicator | undefined, verdict: Verdict): SourceIndicator {
  return {
    ip: verdict.source,
    firstSeen: Math.min(known?.firstSeen ?? verdict.start, verdict.start),
    lastSeen: Math.max(known?.lastSeen ?? verdict.end, verdict.end),
    hits: (known?.hits ?? 0) + verdict.hits,
    behaviours: union(known?.behaviours ?? [], [verdict.behaviour]),
    techniques: union(known?.techniques ?? [], verdict.techniques),
    cves: union(known?.cves ?? [], verdict.cves),
    tools: union(known?.tools ?? [], verdict.tool ? [verdict.tool] : []),
  };
}
