// One session in full, in a sheet over the page: its facts, and its bytes as text or hex with times and directions.
// Opened and closed by the address bar's fragment, so that a session can be linked to and the back button works.

import { ApiError, ask, type Chunk, type Session, type Verdict } from './api.ts';
import { byId, make, setText } from './dom.ts';
import { placeText, severityClass, verdictItem } from './verdict-list.ts';
import {
  bytesText,
  durationText,
  endpointText,
  explainOutcome,
  fromBase64,
  hexOf,
  microsOf,
  printable,
  textOf,
} from './wording.ts';

/** Bytes drawn at once; the rest on demand, so that a megabyte does not freeze the page. */
const drawnBytes = 64 * 1024;

interface Stored {
  readonly session: Session;
  readonly chunks: readonly Chunk[];
  readonly verdicts?: readonly Verdict[];
}

function factRows(session: Session): [string, string][] {
  const { weir, source, destination, network, tls, event } = session;
  const rows: [string, string | undefined][] = [
    [
      'Source',
      `${endpointText(source.ip, source.port)}${weir.session.source_reliable ? '' : ' (not proven: the address may be forged)'}`,
    ],
    ['Place', placeText(source)],
    ['Source MAC', source.mac],
    ['Decoy', `${endpointText(destination.ip, destination.port)}/${network.transport}`],
    [
      'Through',
      [`diversion ${weir.diversion}`, `service ${weir.service}`, weir.persona && `persona ${weir.persona}`]
        .filter(Boolean)
        .join(', '),
    ],
    ['Began', `${event.start.slice(0, 10)} ${event.start.slice(11, 23)} UTC`],
    ['Lasted', event.duration === undefined ? 'still open' : durationText(event.duration / 1000)],
    ['Ended', weir.session.outcome === 'open' ? undefined : explainOutcome(weir.session.outcome)],
    ['Protocol', network.protocol],
    ['TLS', tls && [tls.version, tls.client.server_name && `for ${tls.client.server_name}`].filter(Boolean).join(' ')],
    ['JA4', tls?.client.ja4],
    ['JA3', tls?.client.ja3],
    ['User', session.user?.name],
    ['Password', weir.password],
    ['System', weir.syn?.system && `${weir.syn.system} (a guess from its SYN)`],
    ['SYN', weir.syn && `ttl ${weir.syn.ttl}, window ${weir.syn.window}, options ${weir.syn.options || 'none'}`],
    ['Tags', weir.tags?.join(', ')],
    [
      'Bytes',
      `${bytesText(source.bytes)} in, ${bytesText(destination.bytes)} out${weir.payload.truncated ? ', recorded in part: the limit was reached' : ''}`,
    ],
    ['SHA-256', weir.payload.sha256],
    ['Family', weir.payload.family],
    ['Techniques', session.threat?.technique.id.join(', ')],
    ['CVE', session.vulnerability?.id.join(', ')],
  ];
  return rows
    .filter((row): row is [string, string] => row[1] !== undefined && row[1] !== '')
    .map(([name, value]) => [name, printable(value, 2000)]);
}

/** Rules it matched with what they captured, facts, and the verdicts it is part of. */
function findings({ session, verdicts = [] }: Stored): HTMLElement[] {
  const parts: HTMLElement[] = [];
  const signatures = session.weir.signatures ?? [];
  if (signatures.length > 0) {
    const list = make('dl', 'pairs');
    for (const { id, name, severity, captures = {} } of signatures) {
      list.append(
        make('dt', '', make('span', `tag ${severityClass(severity)}`, printable(id, 80))),
        make('dd', '', printable(name, 200)),
      );
      for (const [key, value] of Object.entries(captures))
        list.append(make('dt', '', printable(key, 20)), make('dd', '', printable(value, 2048)));
    }
    parts.push(make('h3', '', 'Signatures'), list);
  }
  const facts = session.weir.facts ?? [];
  if (facts.length > 0) {
    const list = make('dl', 'pairs');
    for (const { kind, value } of facts) list.append(make('dt', '', printable(kind, 20)), make('dd', '', printable(value, 2048)));
    parts.push(make('h3', '', 'What it holds'), list);
  }
  if (verdicts.length > 0)
    parts.push(make('h3', '', 'Part of'), make('ol', 'verdicts', ...verdicts.map((verdict) => verdictItem(verdict, false))));
  return parts;
}

export class SessionSheet {
  readonly #dialog = byId<HTMLDialogElement>('detail');
  readonly #bytes = byId('detail-bytes');
  #stored: Stored | undefined;
  #request: AbortController | undefined;

  constructor() {
    addEventListener('hashchange', () => void this.follow());
    this.#dialog.addEventListener('close', () => {
      // The event comes a task later: the sheet may show another session by then.
      if (this.#dialog.open) return;
      this.#request?.abort();
      if (location.hash.startsWith('#session/')) history.pushState(null, '', location.pathname);
    });
    this.#dialog.addEventListener('click', (event) => {
      if (event.target === this.#dialog) this.#dialog.close();
    });
    for (const input of this.#dialog.querySelectorAll<HTMLInputElement>('input[name="view"]'))
      input.addEventListener('change', () => this.#drawBytes(drawnBytes));
  }

  /** Shows what the fragment names, or closes. */
  async follow(): Promise<void> {
    const id = /^#session\/([0-9a-z]{19})$/.exec(location.hash)?.[1];
    if (!id) {
      if (this.#dialog.open) this.#dialog.close();
      return;
    }
    this.#request?.abort();
    this.#request = new AbortController();
    this.#stored = undefined;
    setText(byId('detail-title'), 'Session');
    setText(byId('detail-id'), id);
    byId('detail-facts').replaceChildren(make('p', 'quiet', 'loading…'));
    this.#bytes.replaceChildren();
    byId('detail-findings').replaceChildren();
    byId<HTMLAnchorElement>('detail-capture').href = `/api/sessions/${id}/capture`;
    byId<HTMLAnchorElement>('detail-payload').href = `/api/sessions/${id}/payload`;
    const attacker = byId<HTMLAnchorElement>('detail-attacker');
    attacker.hidden = true;
    if (!this.#dialog.open) this.#dialog.showModal();
    try {
      this.#stored = await ask<Stored>(`sessions/${id}`, {}, this.#request.signal);
    } catch (error) {
      if (error instanceof ApiError) byId('detail-facts').replaceChildren(make('p', 'mistake', error.message));
      return;
    }
    this.#drawFacts(this.#stored.session);
    attacker.href = `#attacker/${encodeURIComponent(this.#stored.session.source.ip)}`;
    attacker.hidden = false;
    byId('detail-findings').replaceChildren(...findings(this.#stored));
    this.#drawBytes(drawnBytes);
  }

  #drawFacts(session: Session): void {
    setText(
      byId('detail-title'),
      `${printable(session.network.protocol ?? session.network.transport, 20)} from ${session.source.ip}`,
    );
    const list = make('dl', 'facts');
    for (const [name, value] of factRows(session))
      list.append(make('div', value.length > 48 ? 'fact wide' : 'fact', make('dt', '', name), make('dd', '', value)));
    byId('detail-facts').replaceChildren(list);
  }

  #drawBytes(limit: number): void {
    const stored = this.#stored;
    if (!stored) return;
    const hex = this.#dialog.querySelector<HTMLInputElement>('input[name="view"]:checked')?.value === 'hex';
    const start = microsOf(stored.session.event.start);
    const offsets = { in: 0, out: 0 };
    const parts: HTMLElement[] = [];
    let drawn = 0;
    let left = 0;
    for (const chunk of stored.chunks) {
      const bytes = fromBase64(chunk.bytes);
      const shown = bytes.subarray(0, Math.max(0, limit - drawn));
      drawn += shown.length;
      left += bytes.length - shown.length;
      if (shown.length > 0 || bytes.length === 0) {
        const inward = chunk.direction === 'in';
        const head = make(
          'header',
          '',
          make('strong', '', inward ? '→ from the attacker' : '← from the decoy'),
          make('span', 'quiet', `+${durationText(Math.max(0, microsOf(chunk.at) - start))}`),
          make('span', 'quiet', bytesText(bytes.length)),
        );
        const body = make('pre', '', hex ? hexOf(shown, offsets[chunk.direction]) : textOf(shown));
        body.tabIndex = 0;
        parts.push(make('article', `chunk ${inward ? 'inward' : 'outward'}`, head, body));
      }
      offsets[chunk.direction] += bytes.length;
    }
    if (parts.length === 0) parts.push(make('p', 'quiet', 'No byte was exchanged: the connection itself is the event.'));
    if (left > 0) {
      const more = make('button', 'plain', `Show ${bytesText(left)} more`);
      more.type = 'button';
      more.addEventListener('click', () => this.#drawBytes(limit + 16 * drawnBytes));
      parts.push(more);
    }
    this.#bytes.replaceChildren(...parts);
  }
}
