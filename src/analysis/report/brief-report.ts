// What a report says first: what happened in a few sentences, what to do about it, and which sources want a look before the
// others. Pure: every figure in it is one of the report's.

import { type AddressRange, parseRange } from '../../model/address.ts';
import type { Report, ReportAttacker, ReportBrief, ReportNews, ReportRow, ReportSuspect } from './report.ts';
import { renderBehaviour, renderCounted, renderMinute, renderSize, renderSome } from './report-words.ts';
import { renderWhole } from './svg.ts';

const suspectsShown = 8;
const named = 3;

/** Addresses of one's own networks: RFC 1918, 3927, 4193, 4291. Who comes from there is a machine of one's own, or forges. */
export const privateRanges: readonly AddressRange[] = [
  '10.0.0.0/8',
  '172.16.0.0/12',
  '192.168.0.0/16',
  '169.254.0.0/16',
  'fc00::/7',
  'fe80::/10',
].flatMap((text) => parseRange(text) ?? []);

const attacks: readonly string[] = ['exploitation', 'brute-force'];
const hasAttacked = ({ behaviours }: ReportAttacker): boolean => behaviours.some((behaviour) => attacks.includes(behaviour));

function reasonsOf(attacker: ReportAttacker, isInside: boolean): string[] {
  const { behaviours, signatures, tools, destinations, ports } = attacker;
  return [
    ...(isInside ? ['its address is private: a machine of your own, unless it is forged'] : []),
    ...(behaviours.length > 0 ? [renderSome(behaviours.map(renderBehaviour), 4)] : []),
    ...(signatures.length > 0
      ? [`matched ${renderCounted(signatures.length, 'signature')}: ${renderSome(signatures, named)}`]
      : []),
    ...(tools.length > 0 ? [`tools: ${renderSome(tools, named)}`] : []),
    `touched ${renderCounted(ports, 'port')} of ${renderCounted(destinations, 'decoy')}`,
  ];
}

/**
 * Who wants a look first: those inside before all, then who attacked, then who did most different things, at most decoys, most often.
 * Research scanners come last, however much they did. `others` may hold sources of `inside` too.
 */
export function planSuspects(inside: readonly ReportAttacker[], others: readonly ReportAttacker[]): ReportSuspect[] {
  const within = new Set(inside.map(({ source }) => source));
  const rank = (attacker: ReportAttacker): number[] => [
    within.has(attacker.source) ? 1 : 0,
    attacker.behaviours.includes('research-scanner') ? 0 : 1,
    hasAttacked(attacker) ? 1 : 0,
    attacker.behaviours.length,
    attacker.signatures.length,
    attacker.destinations,
    attacker.hits,
  ];
  return [...inside, ...others.filter(({ source, behaviours }) => !within.has(source) && behaviours.length > 0)]
    .map((attacker) => ({ attacker, order: rank(attacker) }))
    .sort((left, right) => {
      const differing = left.order.findIndex((value, index) => value !== right.order[index]);
      return differing < 0
        ? Number(left.attacker.source > right.attacker.source) - Number(left.attacker.source < right.attacker.source)
        : right.order[differing] - left.order[differing];
    })
    .slice(0, suspectsShown)
    .map(({ attacker }) => {
      const isInside = within.has(attacker.source);
      return { ...attacker, inside: isInside, reasons: reasonsOf(attacker, isInside) };
    });
}

const nameOf = ({ key, label }: ReportRow): string => (label ? `${key} (${label})` : key);

function portSentence({ byHits: [most], bySources: [widest] }: Report['ports']): string[] {
  if (!most || !widest) return [];
  if (most.key === widest.key)
    return [
      `${nameOf(most)} was touched most, and by most sources: ${renderCounted(most.hits, 'hit')} by ${renderCounted(most.sources, 'source')}.`,
    ];
  return [
    `${nameOf(most)} had most hits (${renderWhole(most.hits)} by ${renderCounted(most.sources, 'source')}), ` +
      `${nameOf(widest)} most sources (${renderWhole(widest.sources)}).`,
  ];
}

const isLater = ({ because }: ReportNews): boolean => because === 'last-report' || because === 'asked';

function newsSentence(news: ReportNews): string[] {
  if (news.because === 'first') return ['Nothing was recorded before this time: all of it is new.'];
  const counts: readonly (readonly [number, string, string?])[] = [
    [news.sources, 'source'],
    [news.portCount, 'port'],
    [news.countryCount, 'country', 'countries'],
    [news.signatureCount, 'signature'],
    [news.familyCount, 'payload family', 'payload families'],
    [news.urlCount, 'URL'],
  ];
  const some = counts.filter(([count]) => count > 0).map(([count, one, many]) => renderCounted(count, one, many));
  const since = `${renderMinute(news.since)}${news.because === 'last-report' ? ', when the last report ended' : ''}`;
  return [some.length === 0 ? `Nothing is new since ${since}.` : `Never seen before ${since}: ${some.join(', ')}.`];
}

function sentencesOf(report: Omit<Report, 'brief'>): string[] {
  const { totals, days, behaviours, signatures, campaigns, news } = report;
  if (totals.hits === 0) return ['Nothing was recorded in this time.'];
  const busiest = days.reduce((most, day) => (day.hits > most.hits ? day : most), days[0]);
  const did = [...behaviours].sort((left, right) => right.sources - left.sources).slice(0, named);
  const [signature] = signatures;
  const [campaign] = campaigns;
  return [
    `${renderCounted(totals.sources, 'source')}${totals.countries > 0 ? ` from ${renderCounted(totals.countries, 'country', 'countries')}` : ''} ` +
      `made ${renderCounted(totals.sessions, 'session')}${totals.probes > 0 ? ` and sent ${renderCounted(totals.probes, 'probe packet')}` : ''}; ` +
      `decoys were told ${renderSize(totals.bytesIn)}.`,
    ...newsSentence(news),
    ...(days.length > 1 && busiest
      ? [
          `The busiest day was ${busiest.start.slice(0, 10)} with ${renderCounted(busiest.hits, 'hit')} by ${renderCounted(busiest.sources, 'source')}.`,
        ]
      : []),
    ...portSentence(report.ports),
    ...(did.length > 0
      ? [
          `Seen most: ${did.map(({ key, sources }) => `${renderBehaviour(key)} by ${renderCounted(sources, 'source')}`).join(', ')}.`,
        ]
      : []),
    ...(signature
      ? [
          `The signature matched most is ${nameOf(signature)}: ${renderCounted(signature.hits, 'time')} by ${renderCounted(signature.sources, 'source')}.`,
        ]
      : []),
    ...(campaign
      ? [
          `${renderCounted(totals.campaigns, 'campaign')} ${totals.campaigns === 1 ? 'was' : 'were'} found; ` +
            `the largest, with ${renderCounted(campaign.hits, 'hit')}: ${campaign.label}.`,
        ]
      : []),
  ];
}

function actionsOf(report: Omit<Report, 'brief'>, suspects: readonly ReportSuspect[]): string[] {
  const { totals, news, urls, credentials } = report;
  const inside = suspects.filter(({ inside }) => inside).map(({ source }) => source);
  const first = suspects.find(({ inside }) => !inside);
  return [
    ...(totals.inside > 0
      ? [
          `Find ${renderCounted(totals.inside, 'machine')} of your own networks (${renderSome(inside, named, totals.inside)}): nothing of yours has a reason to touch a decoy.`,
        ]
      : []),
    ...(totals.alerts > 0
      ? [`Read the ${renderCounted(totals.alerts, 'alert')} of this time: weir alerts --since ${report.from.slice(0, 10)}.`]
      : []),
    ...(first ? [`Look at ${first.source}${inside.length > 0 ? '' : ' first'}: weir attacker ${first.source}.`] : []),
    ...(isLater(news) && news.signatureCount > 0
      ? [
          `Check whether anything here is what these attack, matched for the first time: ${renderSome(
            news.signatures.map(({ key }) => key),
            named,
            news.signatureCount,
          )}.`,
        ]
      : []),
    ...(urls.length > 0
      ? ['Search the logs of proxies and name servers for the URLs below: a machine that asked for one of them may be taken.']
      : []),
    ...(credentials.length > 0
      ? [
          'Make sure that no account uses a password listed below: each of them was tried, and is tried wherever somebody answers.',
        ]
      : []),
  ];
}

/** `suspects` as planSuspects gives them. */
export const briefReport = (report: Omit<Report, 'brief'>, suspects: readonly ReportSuspect[]): ReportBrief => ({
  sentences: sentencesOf(report),
  actions: actionsOf(report, suspects),
  suspects,
});
