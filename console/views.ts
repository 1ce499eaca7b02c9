// Which of the page's views is open: sessions, attackers, campaigns or behaviour. The fragment says so; sheets leave it as it is.

import { byId } from './dom.ts';

const names = ['sessions', 'attackers', 'campaigns', 'behaviour'] as const;
export type ViewName = (typeof names)[number];

export class Views {
  readonly #load: Partial<Record<ViewName, () => Promise<void>>>;
  #open: ViewName = 'sessions';
  readonly #loading = new Set<ViewName>();

  /** `load` fills a view when it opens and whenever figures are refreshed. */
  constructor(load: Partial<Record<ViewName, () => Promise<void>>>) {
    this.#load = load;
    addEventListener('hashchange', () => this.follow());
  }

  /** Opens the view the fragment names, if it names one. */
  follow(): void {
    const name = names.find((candidate) => location.hash === `#${candidate}`);
    if (name) this.show(name);
  }

  show(name: ViewName): void {
    this.#open = name;
    for (const each of names) {
      byId(each).hidden = each !== name;
      if (each === name) byId(`tab-${each}`).setAttribute('aria-current', 'page');
      else byId(`tab-${each}`).removeAttribute('aria-current');
    }
    this.refresh();
  }

  /** One request of a view at a time; a failed one is asked again with the next refresh. */
  refresh(): void {
    const name = this.#open;
    const load = this.#load[name];
    if (!load || this.#loading.has(name)) return;
    this.#loading.add(name);
    load()
      .catch(() => undefined)
      .finally(() => this.#loading.delete(name));
  }
}
