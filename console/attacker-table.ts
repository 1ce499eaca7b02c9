// The list of attackers: one row for each source, a press opens its page. Drawn whole: at most some hundred rows.

import type { Attacker } from './api.ts';
import { make } from './dom.ts';
import { attackerLink, placeText } from './verdict-list.ts';
import { countText, momentText, printable } from './wording.ts';

function cell(label: string, className: string, ...children: (Node | string)[]): HTMLTableCellElement {
  const element = make('td', className, ...children);
  element.dataset.label = label;
  return element;
}

function row({ source, event, weir }: Attacker, today: string): HTMLTableRowElement {
  const { sessions, probes, ports, decoys, behaviours, tools, signatures } = weir.attacker;
  const place = placeText(source);
  const shown = behaviours.slice(0, 4).map((name) => make('span', 'tag', printable(name, 40).replaceAll('-', ' ')));
  const element = make(
    'tr',
    '',
    cell('Source', 'mono', attackerLink(source.ip)),
    cell('Place', place === '' ? 'quiet' : '', place === '' ? '–' : place),
    cell('Last seen', 'mono quiet', momentText(event.end, today)),
    cell('Sessions', 'number mono', countText(sessions)),
    cell('Probes', 'number mono', countText(probes)),
    cell('Ports', 'number mono', countText(ports)),
    cell('Decoys', 'number mono', countText(decoys)),
    cell('Behaviour', '', ...shown),
    cell(
      'Marks',
      'quiet',
      [...tools, ...signatures]
        .slice(0, 6)
        .map((name) => printable(name, 60))
        .join(', '),
    ),
  );
  element.dataset.ip = source.ip;
  return element;
}

export function renderAttackers(body: HTMLElement, attackers: readonly Attacker[]): void {
  const today = new Date().toISOString();
  body.replaceChildren(...attackers.map((attacker) => row(attacker, today)));
  body.onclick = (event) => {
    if (!(event.target instanceof Element) || event.target.closest('a')) return;
    const ip = event.target.closest('tr')?.dataset.ip;
    if (ip && getSelection()?.isCollapsed !== false) location.hash = `#attacker/${encodeURIComponent(ip)}`;
  };
}
