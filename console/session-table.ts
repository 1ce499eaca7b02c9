// The list of sessions: newest on top, a bounded number of rows, each updated in place while its session goes on.
// Draws only when asked (main.ts sets the pace); every attacker byte goes through wording.ts into a text node.

import type { Session } from './api.ts';
import { make, setText } from './dom.ts';
import { severityClass } from './verdict-list.ts';
import { bytesText, endpointText, fromBase64, momentText, printable, printableBytes } from './wording.ts';

const maxRows = 400;

interface Row {
  readonly element: HTMLTableRowElement;
  readonly cells: Record<'protocol' | 'in' | 'out' | 'end' | 'preview', HTMLElement>;
  session: Session;
}

/** What one look tells: the login it tried, the name it asked for, or its first bytes. */
function previewText(session: Session, earlier: Session | undefined): string {
  const parts: string[] = [];
  if (session.user)
    parts.push(
      `${printable(session.user.name, 60)}${session.weir.password === undefined ? '' : ` / ${printable(session.weir.password, 60)}`}`,
    );
  if (session.tls?.client.server_name) parts.push(`SNI ${printable(session.tls.client.server_name, 80)}`);
  const bytes = session.weir.payload.preview ?? earlier?.weir.payload.preview;
  if (bytes) parts.push(printableBytes(fromBase64(bytes)));
  if (parts.length > 0) return parts.join('  ·  ');
  return session.source.bytes === 0 && session.weir.session.outcome !== 'open' ? 'said nothing' : '';
}

export class SessionTable {
  readonly #body: HTMLElement;
  readonly #rows = new Map<string, Row>();
  #order: string[] = [];

  constructor(body: HTMLElement) {
    this.#body = body;
    body.addEventListener('click', (event) => {
      if (!(event.target instanceof Element) || event.target.closest('a')) return;
      const id = event.target.closest('tr')?.dataset.id;
      if (id && getSelection()?.isCollapsed !== false) location.hash = `#session/${id}`;
    });
  }

  get size(): number {
    return this.#order.length;
  }

  clear(): void {
    this.#rows.clear();
    this.#order = [];
    this.#body.replaceChildren();
  }

  /** Sessions newest first, on top of what is shown. Those already shown are updated where they are. */
  prepend(sessions: readonly Session[], fresh: boolean): void {
    const elements: HTMLElement[] = [];
    const ids: string[] = [];
    for (const session of sessions) {
      if (this.#update(session) || ids.length >= maxRows) continue;
      const row = this.#create(session, fresh);
      elements.push(row.element);
      ids.push(session.event.id);
    }
    this.#body.prepend(...elements);
    this.#order = [...ids, ...this.#order];
    while (this.#order.length > maxRows) this.#drop(this.#order.pop());
  }

  /** Older ones, below. The newest stay: what does not fit is left out. */
  append(sessions: readonly Session[]): void {
    for (const session of sessions) {
      if (this.#order.length >= maxRows || this.#update(session)) continue;
      this.#body.append(this.#create(session, false).element);
      this.#order.push(session.event.id);
    }
  }

  get full(): boolean {
    return this.#order.length >= maxRows;
  }

  #drop(id: string | undefined): void {
    if (id === undefined) return;
    this.#rows.get(id)?.element.remove();
    this.#rows.delete(id);
  }

  #update(session: Session): boolean {
    const row = this.#rows.get(session.event.id);
    if (!row) return false;
    const earlier = row.session;
    row.session =
      session.weir.payload.preview || !earlier.weir.payload.preview
        ? session
        : { ...session, weir: { ...session.weir, payload: { ...session.weir.payload, preview: earlier.weir.payload.preview } } };
    this.#fill(row);
    return true;
  }

  #create(session: Session, fresh: boolean): Row {
    const today = new Date().toISOString();
    const cell = (label: string, className = '', ...children: (Node | string)[]): HTMLTableCellElement => {
      const element = make('td', className, ...children);
      element.dataset.label = label;
      return element;
    };
    const id = session.event.id;
    const link = make('a', 'mono', momentText(session['@timestamp'], today));
    link.href = `#session/${encodeURIComponent(id)}`;
    link.title = `${session['@timestamp']}: open this session`;
    const source = cell('Source', 'mono', endpointText(session.source.ip, session.source.port));
    if (session.source.geo) source.append(make('span', 'quiet', ` ${printable(session.source.geo.country_iso_code, 4)}`));
    if (!session.weir.session.source_reliable) {
      const mark = make('span', 'doubt', '?');
      mark.title = 'UDP: the address may be forged';
      source.append(mark);
    }
    const cells = {
      protocol: cell('Protocol'),
      in: cell('In', 'number mono'),
      out: cell('Out', 'number mono'),
      end: cell('End', 'end'),
      preview: cell('First bytes', 'preview mono'),
    };
    const decoy = cell(
      'Decoy',
      'mono',
      endpointText(session.destination.ip, session.destination.port),
      make('span', 'quiet', `/${session.network.transport}`),
    );
    const element = make(
      'tr',
      fresh ? 'fresh' : '',
      cell('Time', 'time', link),
      source,
      decoy,
      cells.protocol,
      cells.in,
      cells.out,
      cells.end,
      cells.preview,
    );
    element.dataset.id = id;
    const row: Row = { element, cells, session };
    this.#rows.set(id, row);
    this.#fill(row);
    return row;
  }

  #fill({ cells, session }: Row): void {
    const { protocol } = session.network;
    const tls = session.tls !== undefined && protocol !== 'tls';
    cells.protocol.replaceChildren(make('span', protocol ? 'tag' : 'quiet', protocol ? printable(protocol, 20) : '–'));
    if (tls) cells.protocol.append(make('span', 'tag lock', 'tls'));
    setText(cells.in, bytesText(session.source.bytes));
    setText(cells.out, bytesText(session.destination.bytes));
    const { outcome } = session.weir.session;
    cells.end.className = `end end-${outcome}`;
    setText(cells.end, outcome);
    const preview = previewText(session, undefined);
    const marks = (session.weir.signatures ?? []).slice(0, 3);
    if (marks.length === 0) setText(cells.preview, preview);
    else {
      const tags = marks.map(({ id, name, severity }) => {
        const tag = make('span', `tag ${severityClass(severity)}`, printable(id, 40));
        tag.title = printable(name, 200);
        return tag;
      });
      cells.preview.replaceChildren(...tags, ` ${preview}`);
    }
    cells.preview.classList.toggle('quiet', preview === 'said nothing');
  }
}
