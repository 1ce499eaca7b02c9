// Campaigns on the report's page: each reason once, with those it is true of, instead of the same words for every member.

import { address, e, section, table } from './page-parts.ts';
import type { ReportCampaign } from './report.ts';
import { renderCounted, renderMinute } from './report-words.ts';
import { renderWhole } from './svg.ts';

const toldInFull = 6;
const membersShown = 8;
const reasonsShown = 8;

interface Reason {
  readonly words: string;
  readonly sources: readonly string[];
}

/** What binds these members, what most of them share first. */
function reasonsOf(members: ReportCampaign['members']): Reason[] {
  const sources = new Map<string, string[]>();
  for (const { source, reasons } of members)
    for (const reason of new Set(reasons)) sources.set(reason, [...(sources.get(reason) ?? []), source]);
  return [...sources]
    .map(([words, holders]) => ({ words, sources: holders }))
    .sort((left, right) => right.sources.length - left.sources.length);
}

function renderCampaign({ id, label, start, end, size, members, hits, bonds }: ReportCampaign): string {
  const shown = members.slice(0, membersShown);
  const reasons = reasonsOf(shown);
  const rows = table<Reason>(
    [
      { title: 'Belong because', cell: ({ words }) => e(words, 400) },
      {
        title: 'Which of those shown',
        cell: ({ sources }) => (sources.length === shown.length ? 'all' : sources.map(address).join(', ')),
      },
    ],
    reasons.slice(0, reasonsShown),
  );
  const rest =
    reasons.length > reasonsShown ? `<p class="note">and ${renderCounted(reasons.length - reasonsShown, 'more reason')}</p>` : '';
  const more = size > shown.length ? ` and ${renderWhole(size - shown.length)} more` : '';
  return (
    `<div class="campaign"><h3>${e(label)} <span class="quiet">${e(id)}</span></h3>` +
    `<p>${renderCounted(size, 'source')}, ${renderCounted(hits, 'hit')}, ${renderMinute(start)} to ${renderMinute(end)}. They share ${e(bonds.join('; '), 1000)}.</p>` +
    `<p>${shown.map((member) => `${address(member.source)} <span class="quiet">(${renderCounted(member.hits, 'hit')})</span>`).join(', ')}${more}</p>${rows}${rest}</div>`
  );
}

/** Not one by one: what is left after those told in full. */
const renderOthers = (campaigns: readonly ReportCampaign[]): string =>
  campaigns.length === 0
    ? ''
    : table<ReportCampaign>(
        [
          { title: 'Others', cell: ({ label, id }) => `${e(label)} <span class="quiet">${e(id)}</span>` },
          { title: 'Sources', number: true, cell: ({ size }) => renderWhole(size) },
          { title: 'Hits', number: true, cell: ({ hits }) => renderWhole(hits) },
          {
            title: 'First and last',
            cell: ({ start, end }) =>
              `<span class="time">${renderMinute(start)}</span> to <span class="time">${renderMinute(end)}</span>`,
          },
        ],
        campaigns,
      );

/** `all` is how many there are; nothing where there is none. */
export const renderCampaigns = (campaigns: readonly ReportCampaign[], all: number): string =>
  section(
    'Campaigns',
    'Sources that share what few others have. Sharing is evidence, not proof. All of one: weir campaigns ID.',
    campaigns.slice(0, toldInFull).map(renderCampaign).join('') +
      renderOthers(campaigns.slice(toldInFull)) +
      (campaigns.length > 0 && all > campaigns.length
        ? `<p class="note">and ${renderWhole(all - campaigns.length)} smaller ones: weir campaigns</p>`
        : ''),
  );
