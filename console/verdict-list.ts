// One judgement about a source as it reads on the page: what, who, where, since when, and the evidence.

import type { Place, Verdict } from './api.ts';
import { make } from './dom.ts';
import { countText, durationText, endpointText, microsOf, momentText, printable } from './wording.ts';

/** A class name whatever the API says. */
export const severityClass = (severity: string): string => (severity === 'high' || severity === 'medium' ? severity : 'low');

/** `NL, AS64500 Example`; empty when it is not known. */
export function placeText({ geo, as }: Place): string {
  const parts: string[] = [];
  if (geo) parts.push(printable(geo.country_iso_code, 4));
  if (as) parts.push(`AS${as.number}${as.organization ? ` ${printable(as.organization.name, 80)}` : ''}`);
  return parts.join(', ');
}

export function attackerLink(ip: string): HTMLAnchorElement {
  const link = make('a', 'mono', printable(ip, 60));
  link.href = `#attacker/${encodeURIComponent(ip)}`;
  link.title = 'everything about this source';
  return link;
}

function targetText({ destination, network }: Verdict): string {
  const port = destination?.port === undefined ? '' : `${destination.port}${network.transport ? `/${network.transport}` : ''}`;
  if (destination?.ip === undefined) return port === '' ? '' : `at port ${port}`;
  if (destination.port === undefined) return `at ${printable(destination.ip, 60)}`;
  return `at ${endpointText(destination.ip, destination.port)}`;
}

/** `named`: also who it is about. */
export function verdictItem(verdict: Verdict, named: boolean): HTMLLIElement {
  const { behaviour, severity, confidence, hits, tool, evidence } = verdict.weir.verdict;
  const today = new Date().toISOString();
  const lasted = Math.max(0, microsOf(verdict.event.end) - microsOf(verdict.event.start));
  const facts = [
    `${momentText(verdict.event.start, today)} UTC, ${durationText(lasted)}`,
    targetText(verdict),
    `${countText(hits)} ${hits === 1 ? 'hit' : 'hits'}`,
    tool && `with ${printable(tool, 40)}`,
    [...(verdict.threat?.technique.id ?? []), ...(verdict.vulnerability?.id ?? [])].map((id) => printable(id, 30)).join(', '),
  ];
  const head = make(
    'header',
    '',
    make('strong', `tag ${severityClass(severity)}`, printable(behaviour, 40).replaceAll('-', ' ')),
    ...(named ? [make('span', '', attackerLink(verdict.source.ip))] : []),
    ...(named && placeText(verdict.source) !== '' ? [make('span', 'quiet', placeText(verdict.source))] : []),
    make('span', 'quiet', [printable(confidence, 20), ...facts].filter(Boolean).join(' · ')),
  );
  const list = make('ul', '', ...evidence.map((sentence) => make('li', '', printable(sentence, 400))));
  return make('li', `verdict ${severityClass(severity)}`, head, ...(evidence.length > 0 ? [list] : []));
}
