// Sources that act as one: what they share, and, unfolded, each member with the reasons it belongs. Drawn whole when asked.

import type { Campaign } from './api.ts';
import { make } from './dom.ts';
import { attackerLink } from './verdict-list.ts';
import { countText, momentText, printable } from './wording.ts';

const shownMembers = 25;

const counted = (count: number, one: string): string => `${countText(count)} ${one}${count === 1 ? '' : 's'}`;

function membersOf({ size, members }: Campaign): HTMLElement {
  const shown = members.slice(0, shownMembers);
  const list = make(
    'ul',
    '',
    ...shown.map(({ source, hits, reasons }) =>
      make(
        'li',
        '',
        attackerLink(source.ip),
        make('span', 'quiet', ` ${counted(hits, 'hit')}: ${reasons.map((reason) => printable(reason, 300)).join('; ')}`),
      ),
    ),
  );
  const details = make('details', '', make('summary', '', 'Members, and why each belongs'), list);
  if (size > shown.length) details.append(make('p', 'quiet', `and ${countText(size - shown.length)} more`));
  return details;
}

function campaignItem(campaign: Campaign, today: string): HTMLLIElement {
  const { id, label, event, size, hits, bonds } = campaign;
  const facts = [
    counted(size, 'source'),
    counted(hits, 'hit'),
    `${momentText(event.start, today)} to ${momentText(event.end, today)} UTC`,
    printable(id, 20),
  ];
  const item = make(
    'li',
    'verdict low',
    make('header', '', make('strong', '', printable(label, 200)), make('span', 'quiet', facts.join(' · '))),
    make('p', '', `They share ${bonds.map((bond) => printable(bond, 200)).join('; ')}.`),
    membersOf(campaign),
  );
  item.dataset.id = id;
  return item;
}

export function renderCampaigns(list: HTMLElement, campaigns: readonly Campaign[]): void {
  const today = new Date().toISOString();
  list.replaceChildren(...campaigns.map((campaign) => campaignItem(campaign, today)));
}
