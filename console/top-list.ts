// One ranking of ports: the figure, a bar, and the other figure in small, because the two rankings differ.

import type { TopRow } from './api.ts';
import { make } from './dom.ts';
import { countText, portName, printable } from './wording.ts';

/** Ports are buttons: pressing one filters by it. */
export function renderTop(
  list: HTMLElement,
  rows: readonly TopRow[],
  by: 'hits' | 'sources',
  pick: (port: string) => void,
): void {
  if (rows.length === 0) {
    list.replaceChildren(make('li', 'quiet none', 'nothing yet'));
    return;
  }
  const greatest = Math.max(1, ...rows.map((row) => row[by]));
  list.replaceChildren(
    ...rows.map((row) => {
      const name = portName(row.key);
      const other = by === 'hits' ? `${countText(row.sources)} src` : `${countText(row.hits)} hits`;
      const label = make('span', 'top-key', make('span', 'mono', printable(row.key, 40)));
      if (name !== '') label.append(make('span', 'quiet', ` ${name}`));
      const bar = document.createElement('progress');
      bar.max = greatest;
      bar.value = row[by];
      bar.setAttribute('aria-hidden', 'true');
      const button = make(
        'button',
        'top-row',
        label,
        make('span', 'top-figure', countText(row[by])),
        make('span', 'top-other quiet', other),
        bar,
      );
      button.type = 'button';
      button.title = `show only sessions to ${printable(row.key, 40)}`;
      button.addEventListener('click', () => pick(row.key));
      return make('li', '', button);
    }),
  );
}
