// `weir sessions`: what touched the decoys, newest first; with --follow as it happens.

import { parseMicros } from '../base/clock.ts';
import { WeirError } from '../base/errors.ts';
import type { SessionDocument } from '../record/documents.ts';
import type { FilterText, FindingText } from '../record/filter-text.ts';
import { nothingYet } from './advice.ts';
import type { CommandContext, CommonOptions } from './command-context.ts';
import { sessionColumns } from './session-rows.ts';
import {
  type FilterOptions,
  type FindingOptions,
  filterTextOf,
  findingTextOf,
  isFiltered,
  type Verb,
  verbCommand,
  withFilter,
  withFindings,
} from './verb.ts';
import { plural } from './wording.ts';

interface Options extends CommonOptions, FilterOptions, FindingOptions {
  readonly follow?: boolean;
}

const defaultRows = '50';
const followedRows = '10';
/** An open session is shown once it said something, ended, or is this old. */
const patienceMicros = 1_500_000;
const maxHeld = 2000;

const selected = (options: Options): FilterText & FindingText => ({ ...filterTextOf(options), ...findingTextOf(options) });

async function list(context: CommandContext, options: Options): Promise<number> {
  return context.read(async (reader) => {
    const page = await reader.sessions({ ...selected(options), limit: options.limit ?? defaultRows });
    if (context.json) {
      await context.printJsonLines(page.items);
      return 0;
    }
    if (page.items.length === 0) {
      await context.print(
        nothingYet('sessions', isFiltered(options) || Object.values(findingTextOf(options)).some(Boolean), context),
      );
      return 0;
    }
    await context.printTable(sessionColumns(context.style, context.now, page.items), page.items);
    const [newest] = page.items;
    await context.note(
      `${plural(page.items.length, 'session')}${page.next ? `; older ones: --before ${page.next}` : ''}; one in full: weir session ${newest.weir.session.id}`,
    );
    return 0;
  });
}

/** Decides when a session that comes in pieces is worth its one line. Bounded. */
class Held {
  readonly #held = new Map<string, SessionDocument>();
  readonly #shown = new Set<string>();

  /** Those of `updates` that are ready now, and those held long enough; oldest first. */
  take(updates: readonly SessionDocument[], now: number): SessionDocument[] {
    const ready: SessionDocument[] = [];
    for (const update of [...updates].reverse()) {
      const { id, outcome } = update.weir.session;
      const done = outcome !== 'open';
      if (this.#shown.has(id)) {
        if (done) this.#shown.delete(id);
      } else if (done || (update.weir.payload.preview !== undefined && update.network.protocol !== undefined)) {
        ready.push(update);
        this.#held.delete(id);
        if (!done) this.#remember(id);
      } else this.#held.set(id, update);
    }
    for (const [id, session] of this.#held) {
      if (now - parseMicros(session['@timestamp']) < patienceMicros && this.#held.size <= maxHeld) break;
      this.#held.delete(id);
      this.#remember(id);
      ready.push(session);
    }
    return ready;
  }

  #remember(id: string): void {
    this.#shown.add(id);
    if (this.#shown.size > maxHeld) {
      const [oldest] = this.#shown;
      this.#shown.delete(oldest);
    }
  }
}

const followsNoBehaviour = (): WeirError =>
  new WeirError(
    'bad-request',
    'behaviour: is judged over time and cannot be followed as it happens: leave out --follow, or ask weir verdicts',
    {
      parameter: 'behaviour',
    },
  );

async function follow(context: CommandContext, options: Options): Promise<number> {
  const filter = selected(options);
  if (filter.behaviour !== undefined) throw followsNoBehaviour();
  const { signal, stdout } = context.environment;
  const recorder = await context.recorder();
  const columns = sessionColumns(context.style, undefined, undefined);
  const first = await recorder.sessions({ ...filter, limit: options.limit ?? followedRows });
  const shown = [...first.items].reverse();
  if (context.json) await context.printJsonLines(shown);
  else {
    await context.printTable(columns, shown);
    await context.note('following; Ctrl-C ends');
  }
  const held = new Held();
  const seen = new Set(shown.filter(({ weir }) => weir.session.outcome !== 'open').map(({ weir }) => weir.session.id));
  for await (const update of recorder.live({ ...filter, since: undefined, until: undefined, before: undefined }, 1000, signal)) {
    if (stdout.closed) return 0;
    const fresh = update.sessions.filter(({ weir }) => !seen.has(weir.session.id));
    if (context.json) await context.printJsonLines([...fresh].reverse());
    else {
      const rows = held.take(fresh, context.now);
      if (rows.length > 0) await context.printTable(columns, rows, false);
    }
    seen.clear();
    const lost = update.skipped + (update.missed ?? 0);
    if (lost > 0) await context.note(`a flood: ${plural(lost, 'more session')} recorded and not shown here`);
  }
  if (!signal.aborted) throw new WeirError('not-running', 'the recorder ended the stream', { next: 'weir status says why' });
  return 0;
}

export const sessionsVerb: Verb = (run) =>
  withFindings(
    withFilter(
      verbCommand('sessions', 'sessions, newest first', [
        'weir sessions --since 1h --source 203.0.113.0/24',
        'weir sessions --tag mirai --country NL',
        'weir sessions --follow --port 22',
        "weir sessions --protocol http --json | jq '.source.ip'",
      ]),
    ),
  )
    .option('-f, --follow', 'go on with new ones as they come')
    .action((options: Options) =>
      run(options, (context) => (options.follow ? follow(context, options) : list(context, options))),
    );
