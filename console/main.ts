// The page's one owner of time and state: what is filtered, what is paused, when something is drawn or asked again.
// How things look is in the modules it wires together.

import {
  ApiError,
  type Attacker,
  ask,
  type Campaign,
  type Counts,
  type LiveMessage,
  type Point,
  type Query,
  type Session,
  type Status,
  type TopRow,
  type Verdict,
} from './api.ts';
import { AttackerSheet } from './attacker-sheet.ts';
import { renderAttackers } from './attacker-table.ts';
import { renderCampaigns } from './campaign-list.ts';
import { byId, make, setText } from './dom.ts';
import { Live } from './live.ts';
import { RateChart } from './rate-chart.ts';
import { SessionSheet } from './session-sheet.ts';
import { SessionTable } from './session-table.ts';
import { renderTop } from './top-list.ts';
import { verdictItem } from './verdict-list.ts';
import { Views } from './views.ts';
import { bytesText, countText, printable } from './wording.ts';

const figuresEveryMs = 5000;
const firstRows = '100';
const typingPauseMs = 350;
/** A scan grows with every message: its view need not. */
const judgedEveryMs = 2000;
/** Finding them compares all sources with each other. */
const campaignsEveryMs = 300_000;

const table = new SessionTable(byId('rows'));
const chart = new RateChart(byId('rate-sessions'), byId('rate-probes'));
const sheet = new SessionSheet();
const attackerSheet = new AttackerSheet((ip) => pick('source', ip));
const views = new Views({ attackers: loadAttackers, campaigns: loadCampaigns, behaviour: loadVerdicts });
const attackersBy = byId<HTMLSelectElement>('attackers-by');
const behaviourKind = byId<HTMLSelectElement>('behaviour-kind');
const filters = byId<HTMLFormElement>('filters');
const windowSelect = byId<HTMLSelectElement>('window');
const pauseButton = byId<HTMLButtonElement>('pause');
const olderButton = byId<HTMLButtonElement>('older');

let paused = false;
let judged = 0;
/** For which time campaigns were asked last, and when. */
let grouped: { readonly since: string; readonly at: number } | undefined;
let connected = false;
let waiting: LiveMessage[] = [];
let missedWhilePaused = 0;
let unlisted = 0;
let next: string | undefined;
let diversions: Status['diversions'] = [];
let loads = 0;

function filterQuery(): Query {
  const query: Record<string, string> = {};
  for (const [key, value] of new FormData(filters))
    if (typeof value === 'string' && value.trim() !== '') query[key] = value.trim();
  return query;
}

const isFiltered = (): boolean => Object.keys(filterQuery()).length > 0;

function showEmpty(): void {
  const empty = byId('empty');
  empty.hidden = table.size > 0;
  if (table.size > 0) return;
  if (isFiltered()) {
    empty.replaceChildren(
      make('p', '', make('strong', '', 'No session matches these filters.')),
      make('p', 'quiet', 'Clear them to see every touch.'),
    );
    return;
  }
  const decoy = diversions?.[0]?.ranges[0]?.split(/[/-]/)[0] ?? 'DECOY';
  empty.replaceChildren(
    make('p', '', make('strong', '', 'Nothing has touched a decoy yet.')),
    make('p', 'quiet', 'Touch one yourself, from another machine of that network:'),
    make('pre', '', make('code', '', `nc -v ${printable(decoy, 60)} 2222`)),
    make('p', 'quiet', 'It appears here within a second. ', make('code', '', 'weir decoys'), ' lists who lives where.'),
  );
}

/** False when the filters are not valid: the message is shown. */
async function loadSessions(): Promise<boolean> {
  loads += 1;
  const load = loads;
  const mistake = byId('filter-error');
  try {
    const page = await ask<{ items: Session[]; next?: string }>('sessions', { ...filterQuery(), limit: firstRows });
    if (load !== loads) return true;
    setText(mistake, '');
    waiting = [];
    unlisted = 0;
    table.clear();
    table.prepend(page.items, false);
    next = page.next;
    olderButton.hidden = next === undefined;
    showEmpty();
  } catch (error) {
    if (!(error instanceof ApiError) || error.status !== 400) return true;
    if (load === loads) setText(mistake, error.message);
    return false;
  }
  return true;
}

async function loadOlder(): Promise<void> {
  if (next === undefined) return;
  const page = await ask<{ items: Session[]; next?: string }>('sessions', { ...filterQuery(), limit: firstRows, before: next });
  setPaused(true);
  table.append(page.items);
  next = table.full ? undefined : page.next;
  olderButton.hidden = next === undefined;
}

async function loadSeries(): Promise<void> {
  const { points, at } = await ask<{ points: Point[]; at: string }>('series', { span: '300', step: '1' });
  chart.set(points, at);
}

async function loadAttackers(): Promise<void> {
  const query = { since: windowSelect.value, by: attackersBy.value, limit: '200' };
  const { items } = await ask<{ items: Attacker[] }>('attackers', query);
  renderAttackers(byId('attacker-rows'), items);
  byId('attackers-empty').hidden = items.length > 0;
}

async function loadVerdicts(): Promise<void> {
  const query = { since: windowSelect.value, behaviour: behaviourKind.value, limit: '100' };
  const { items } = await ask<{ items: Verdict[] }>('verdicts', query);
  byId('verdicts').replaceChildren(...items.map((verdict) => verdictItem(verdict, true)));
  byId('verdicts-empty').hidden = items.length > 0;
}

async function askCampaigns(since: string, list: HTMLElement): Promise<readonly Campaign[] | undefined> {
  try {
    return (await ask<{ items: Campaign[] }>('campaigns', { since, limit: '100' })).items;
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    list.replaceChildren(make('li', 'mistake', error.message));
    grouped = undefined;
    return undefined;
  }
}

async function loadCampaigns(): Promise<void> {
  const since = windowSelect.value;
  const list = byId('campaign-list');
  if (grouped?.since === since && performance.now() - grouped.at < campaignsEveryMs) return;
  if (grouped?.since !== since) {
    grouped = undefined;
    byId('campaigns-empty').hidden = true;
    list.replaceChildren(make('li', 'quiet', 'comparing sources…'));
  }
  const items = await askCampaigns(since, list);
  // Another time was chosen meanwhile: what came is not its answer.
  if (items === undefined || windowSelect.value !== since) return;
  grouped = { since, at: performance.now() };
  renderCampaigns(list, items);
  byId('campaigns-empty').hidden = items.length > 0;
}

const pickPort = (port: string): void => pick('port', port);

/** A port is looked at beside what is chosen already, a source with all it did. */
function pick(name: 'port' | 'source', value: string): void {
  if (name === 'source')
    for (const field of filters.elements)
      if (field instanceof HTMLInputElement || field instanceof HTMLSelectElement) field.value = '';
  (filters.elements.namedItem(name) as HTMLInputElement).value = value;
  applyFilters();
  views.show('sessions');
  byId('sessions').scrollIntoView({ behavior: 'smooth', block: 'start' });
}

async function loadFigures(): Promise<void> {
  const query = { ...filterQuery(), since: windowSelect.value };
  const [counts, byHits, bySources, status] = await Promise.all([
    ask<Counts>('counts', query),
    ask<{ items: TopRow[] }>('top', { ...query, subject: 'ports', by: 'hits', limit: '8' }),
    ask<{ items: TopRow[] }>('top', { ...query, subject: 'ports', by: 'sources', limit: '8' }),
    ask<Status>('status'),
  ]);
  setText(byId('count-sessions'), countText(counts.sessions));
  setText(byId('count-open'), `${countText(counts.openSessions)} open now`);
  setText(byId('count-probes'), countText(counts.probes));
  setText(byId('count-sources'), countText(counts.sources));
  setText(byId('count-bytes'), bytesText(counts.bytesIn));
  setText(byId('count-alerts'), countText(counts.alerts));
  byId('count-alerts').classList.toggle('attention', counts.alerts > 0);
  renderTop(byId('top-hits'), byHits.items, 'hits', pickPort);
  renderTop(byId('top-sources'), bySources.items, 'sources', pickPort);
  showStatus(status);
  if (counts.alerts > 0) {
    const { items } = await ask<{ items: { message: string }[] }>('alerts', { limit: '1', since: windowSelect.value });
    setText(byId('alert-hint'), items[0] ? printable(items[0].message, 90) : '');
  } else setText(byId('alert-hint'), 'nothing to look at');
}

function showStatus(status: Status): void {
  const health = status.health ?? 'good';
  const drops = Object.entries(status.drops ?? {}).filter(([, count]) => count > 0);
  const reasons = [...(status.reasons ?? [])];
  if (status.confirmBefore && !reasons.some((reason) => reason.includes('weir confirm')))
    reasons.push(
      `The last change is not confirmed: run weir confirm before ${status.confirmBefore.slice(11, 19)} UTC, or it is rolled back.`,
    );
  if (drops.length > 0)
    reasons.push(`Lost and counted: ${drops.map(([name, count]) => `${name} ${countText(count)}`).join(', ')}.`);
  byId('health').dataset.health = connected ? health : 'bad';
  setText(byId('health-text'), !connected ? 'connection lost' : health === 'good' ? 'all is well' : health);
  const banner = byId('banner');
  banner.hidden = reasons.length === 0;
  banner.dataset.health = health;
  const wanted = reasons.map((reason) => printable(reason, 600));
  if (banner.textContent !== wanted.join('')) banner.replaceChildren(...wanted.map((text) => make('p', '', text)));
  diversions = status.diversions ?? [];
}

function refreshFigures(): void {
  if (!document.hidden) views.refresh();
  if (!document.hidden && byId('filter-error').textContent === '') loadFigures().catch(() => setConnected(connected));
}

function setConnected(state: boolean): void {
  connected = state;
  byId('live').dataset.state = !connected ? 'lost' : paused ? 'paused' : 'live';
  setText(byId('live-text'), !connected ? 'reconnecting' : paused ? 'paused' : 'live');
  if (!connected) {
    byId('health').dataset.health = 'bad';
    setText(byId('health-text'), 'connection lost');
  }
}

function showPaused(state: boolean): void {
  paused = state;
  pauseButton.setAttribute('aria-pressed', String(paused));
  setText(pauseButton, paused ? 'Resume' : 'Pause');
  missedWhilePaused = 0;
  setConnected(connected);
}

function setPaused(state: boolean): void {
  showPaused(state);
  if (!state) void loadSessions();
}

/** At most one drawing a frame and only of what came since: the server sends at most four messages a second. */
function draw(): void {
  if (waiting.length === 0) return;
  const messages = waiting;
  waiting = [];
  unlisted = 0;
  for (const message of messages) {
    table.prepend(message.sessions, true);
    unlisted += message.skipped;
  }
  const note = byId('skipped');
  note.hidden = unlisted === 0;
  if (unlisted > 0)
    setText(
      note,
      `A flood: ${countText(unlisted)} more just now are recorded and counted, not listed here. Filters narrow the list.`,
    );
  showEmpty();
}

const live = new Live({
  onMessage(message) {
    chart.update(message.rate);
    if (message.verdicts.length > 0 && performance.now() - judged > judgedEveryMs) {
      judged = performance.now();
      views.refresh();
    }
    if (paused) {
      missedWhilePaused += message.sessions.length + message.skipped;
      if (missedWhilePaused > 0) setText(pauseButton, `Resume (${countText(missedWhilePaused)} new)`);
      return;
    }
    waiting.push(message);
    if (waiting.length > 20) waiting = waiting.slice(-20);
    if (waiting.length === 1) requestAnimationFrame(draw);
  },
  onState(state) {
    const came = state && !connected;
    setConnected(state);
    if (came) refreshFigures();
  },
  onGap() {
    if (!paused) void loadSessions();
    void loadSeries().catch(() => undefined);
    refreshFigures();
  },
});

function applyFilters(): void {
  const query = filterQuery();
  showPaused(false);
  void loadSessions().then((valid) => {
    if (!valid) return;
    live.open(query);
    refreshFigures();
  });
}

let typing: ReturnType<typeof setTimeout> | undefined;
filters.addEventListener('input', () => {
  clearTimeout(typing);
  typing = setTimeout(applyFilters, typingPauseMs);
});
filters.addEventListener('submit', (event) => {
  event.preventDefault();
  clearTimeout(typing);
  applyFilters();
});
filters.addEventListener('reset', () => {
  setText(byId('filter-error'), '');
  setTimeout(applyFilters);
});
pauseButton.addEventListener('click', () => setPaused(!paused));
olderButton.addEventListener('click', () => void loadOlder());
windowSelect.addEventListener('change', refreshFigures);
attackersBy.addEventListener('change', () => views.refresh());
behaviourKind.addEventListener('change', () => views.refresh());

setInterval(refreshFigures, figuresEveryMs);
setInterval(() => {
  if (document.hidden) return;
  chart.draw();
  const rate = chart.now();
  const shown = (value: number): string => (value >= 10 ? countText(Math.round(value)) : value.toFixed(1));
  setText(byId('rate-now'), `${shown(rate.sessions)} sessions/s, ${shown(rate.probes)} probes/s`);
}, 1000);

await Promise.allSettled([loadSessions(), loadSeries(), loadFigures()]);
showEmpty();
live.open(filterQuery());
void sheet.follow();
void attackerSheet.follow();
views.follow();
