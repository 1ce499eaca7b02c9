// Alerts and verdicts as they come, for whoever passes them on: each once, and again only when it became more severe.
// Sessions are followed by sessions.ts: they come in pieces.

import { WeirError } from '../base/errors.ts';
import type { CommandContext } from './command-context.ts';
import type { LiveUpdate, RecorderReader } from './reader.ts';
import { type FilterOptions, filterTextOf } from './verb.ts';
import { renderCount } from './wording.ts';

/** Remembered as told; a verdict that grows after so many others came is told again. */
const maxTold = 10_000;

export interface Followed<Row> {
  /** `alert`, for people. */
  readonly kind: string;
  readonly of: (update: LiveUpdate) => readonly Row[];
  /** Newest first. */
  readonly earlier: (recorder: RecorderReader) => Promise<readonly Row[]>;
  /** The same text: told already. */
  readonly key: (row: Row) => string;
  readonly show: (rows: readonly Row[], titles: boolean) => Promise<void>;
}

/** Until Ctrl-C. With `--since` first those from then on. Throws `not-running` when the recorder ends. */
export async function follow<Row>(context: CommandContext, options: FilterOptions, followed: Followed<Row>): Promise<number> {
  const { since, limit: _limit, ...others } = filterTextOf(options);
  const [other] = Object.entries(others).find(([, value]) => value !== undefined) ?? [];
  if (other !== undefined)
    throw new WeirError('bad-request', `--${other} cannot be followed: leave it out, or select by what --json prints`);
  const { signal, stdout } = context.environment;
  const told = new Set<string>();
  let titles = true;
  const show = async (rows: readonly Row[]): Promise<void> => {
    const fresh = rows.filter((row) => {
      const key = followed.key(row);
      // Told again: it goes last, so that what goes on is not forgotten for what is over.
      const isNew = !told.delete(key);
      told.add(key);
      if (told.size > maxTold) told.delete(told.values().next().value as string);
      return isNew;
    });
    if (fresh.length === 0) return;
    if (context.json) await context.printJsonLines(fresh);
    else await followed.show(fresh, titles);
    titles = false;
  };
  const recorder = await context.recorder();
  // Of its own: whatever ends this has to end the stream too, or the process stays for it.
  const listening = new AbortController();
  const updates = recorder.live({}, 1, AbortSignal.any([signal, listening.signal]))[Symbol.asyncIterator]();
  try {
    // It listens before it asks for earlier ones: none falls between.
    let next = updates.next();
    next.catch(() => {});
    if (since !== undefined) await show([...(await followed.earlier(recorder))].reverse());
    if (!context.json) await context.note('following; Ctrl-C ends');
    for (let update = await next; !update.done && !stdout.closed; update = await next) {
      next = updates.next();
      next.catch(() => {});
      await show(followed.of(update.value));
      const { unsaid = 0, missed = 0 } = update.value;
      if (unsaid + missed > 0)
        await context.note(
          `a flood: ${renderCount(unsaid + missed)} or more alerts and verdicts not told here; \`weir ${followed.kind}s\` has those of its kind`,
        );
    }
  } finally {
    listening.abort();
  }
  if (!signal.aborted && !stdout.closed)
    throw new WeirError('not-running', 'the recorder ended the stream', { next: 'weir status says why' });
  return 0;
}
