// One source in full, in a sheet over the page: how it behaves and why we say so, what it tried where. Opened and closed by
// the address bar's fragment, as a session is.

import { ApiError, type AttackerPage, ask, type Campaign, type TopRow } from './api.ts';
import { byId, make, setText } from './dom.ts';
import { placeText, verdictItem } from './verdict-list.ts';
import { bytesText, countText, fromBase64, portName, printable, printableBytes } from './wording.ts';

const shownRows = 15;

function pairs(rows: readonly (readonly [string, string])[]): HTMLElement {
  const list = make('dl', 'pairs');
  for (const [name, value] of rows) list.append(make('dt', '', name), make('dd', '', value));
  return list;
}

const ranking = (rows: readonly TopRow[], note: (key: string) => string = () => ''): HTMLElement =>
  pairs(
    rows
      .slice(0, shownRows)
      .map(({ key, hits }) => [countText(hits), `${printable(key, 300)}${note(key) === '' ? '' : `  ${note(key)}`}`] as const),
  );

/** Whom it acts with, and why it belongs there. */
const campaignParts = (campaigns: readonly Campaign[], ip: string): HTMLElement[] =>
  campaigns.flatMap(({ label, size, members }, index) => {
    const reasons = members.find(({ source }) => source.ip === ip)?.reasons ?? [];
    return [
      ...(index === 0 ? [make('h3', '', 'Campaigns')] : []),
      pairs([
        [counted(size, 'source'), printable(label, 200)],
        ...reasons.map((reason) => ['because', printable(reason, 300)] as const),
      ]),
    ];
  });

const counted = (count: number, one: string): string => `${countText(count)} ${one}${count === 1 ? '' : 's'}`;

function parts({ attacker, ports, decoys, credentials, facts, verdicts, families }: AttackerPage): HTMLElement[] {
  const { source, event, weir } = attacker;
  const { sessions, probes, tools, signatures } = weir.attacker;
  const elements: HTMLElement[] = [];
  const section = (title: string, rest: number, ...body: HTMLElement[]): void => {
    elements.push(make('h3', '', title), ...body);
    if (rest > 0) elements.push(make('p', 'quiet', `and ${countText(rest)} more`));
  };
  const summary: [string, string][] = [
    ['First seen', `${event.start.slice(0, 19).replace('T', ' ')} UTC`],
    ['Last seen', `${event.end.slice(0, 19).replace('T', ' ')} UTC`],
    ['Touched', `${counted(sessions, 'session')}, ${counted(probes, 'probe')}, ${bytesText(source.bytes)} received`],
    ['Tools', tools.map((tool) => printable(tool, 60)).join(', ')],
    ['Signatures', signatures.map((id) => printable(id, 80)).join(', ')],
  ];
  elements.push(pairs(summary.filter(([, value]) => value !== '')));
  if (verdicts.length > 0)
    section(
      'Behaviour',
      verdicts.length - shownRows,
      make('ol', 'verdicts', ...verdicts.slice(0, shownRows).map((verdict) => verdictItem(verdict, false))),
    );
  if (ports.length > 0) section('Ports', ports.length - shownRows, ranking(ports, portName));
  if (decoys.length > 0) section('Decoys', decoys.length - shownRows, ranking(decoys));
  if (credentials.length > 0) section('Credentials', credentials.length - shownRows, ranking(credentials));
  if (facts.length > 0)
    section(
      'What its payloads hold',
      facts.length - 2 * shownRows,
      pairs(facts.slice(0, 2 * shownRows).map(({ kind, value }) => [printable(kind, 20), printable(value, 500)] as const)),
    );
  if (families.length > 0)
    section(
      'Payload families',
      0,
      pairs(
        families.map(({ label, example }) => [printable(label, 120), printableBytes(fromBase64(example)).slice(0, 300)] as const),
      ),
    );
  return elements;
}

export class AttackerSheet {
  readonly #dialog = byId<HTMLDialogElement>('attacker');
  #request: AbortController | undefined;
  /** Whom it shows. */
  #ip: string | undefined;

  /** `onSessions` is told whose sessions somebody wants to see. */
  constructor(onSessions: (ip: string) => void) {
    byId('attacker-sessions').addEventListener('click', () => {
      const ip = this.#ip;
      this.#dialog.close();
      if (ip) onSessions(ip);
    });
    addEventListener('hashchange', () => void this.follow());
    this.#dialog.addEventListener('close', () => {
      if (this.#dialog.open) return;
      this.#request?.abort();
      if (location.hash.startsWith('#attacker/')) history.pushState(null, '', location.pathname);
    });
    this.#dialog.addEventListener('click', (event) => {
      if (event.target === this.#dialog) this.#dialog.close();
    });
  }

  /** They take longer than the rest: the page stands without them. */
  async #addCampaigns(ip: string, body: HTMLElement, signal: AbortSignal): Promise<void> {
    const found = await ask<{ items: Campaign[] }>('campaigns', { member: ip }, signal).catch(() => undefined);
    if (found && !signal.aborted) body.append(...campaignParts(found.items, ip));
  }

  /** Shows what the fragment names, or closes. */
  async follow(): Promise<void> {
    const encoded = /^#attacker\/([0-9a-fA-F.:%]{2,60})$/.exec(location.hash)?.[1];
    if (!encoded) {
      if (this.#dialog.open) this.#dialog.close();
      return;
    }
    this.#request?.abort();
    this.#request = new AbortController();
    const body = byId('attacker-page');
    this.#ip = decodeURIComponent(encoded);
    setText(byId('attacker-title'), printable(this.#ip, 60));
    setText(byId('attacker-place'), '');
    body.replaceChildren(make('p', 'quiet', 'loading…'));
    if (!this.#dialog.open) this.#dialog.showModal();
    try {
      const page = await ask<AttackerPage>(`attackers/${encoded}`, {}, this.#request.signal);
      setText(byId('attacker-place'), placeText(page.attacker.source));
      body.replaceChildren(...parts(page));
      void this.#addCampaigns(page.attacker.source.ip, body, this.#request.signal);
    } catch (error) {
      if (error instanceof ApiError) body.replaceChildren(make('p', 'mistake', error.message));
    }
  }
}
