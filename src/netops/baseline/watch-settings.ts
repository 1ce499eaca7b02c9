// Reads settings again whenever somebody changed them, with the programs that did, for a bounded time. What is kept of it is the caller's.

import { createCommandRunner } from '../../kernel/command.ts';
import { ChangeAuthors } from '../../kernel/settings/change-authors.ts';
import { readSettings } from '../../kernel/settings/settings-reader.ts';
import type { NetworkSettings } from '../../model/network-settings.ts';
import type { SettingsRead } from './settings-restore.ts';

export interface SettingsWatchOptions {
  readonly netns?: string;
  readonly forMs: number;
  readonly signal: AbortSignal;
  /** Default: readSettings. */
  readonly read?: SettingsRead;
}

export interface AuthorsHeard {
  /** All that changed something since the last call, also what was not heard of yet. */
  take(): readonly string[];
}

/** While somebody changes things at each turn, readings are taken as they come. */
const maxReadings = 5;

/**
 * A reading that nobody changed anything under, with those who changed something before it: a change that falls into a reading may be in it
 * or not, and its author belongs to the one it is in.
 */
export async function readQuietly(
  read: () => Promise<NetworkSettings>,
  heard: AuthorsHeard,
): Promise<{ readonly settings: NetworkSettings; readonly authors: readonly string[]; readonly isQuiet: boolean }> {
  const authors = new Set(heard.take());
  for (let count = 1; ; count += 1) {
    const settings = await read();
    const meanwhile = heard.take();
    for (const author of meanwhile) authors.add(author);
    const isQuiet = meanwhile.length === 0;
    if (isQuiet || count === maxReadings) return { settings, authors: [...authors].sort(), isQuiet };
  }
}

/** Several changes in a row are one. */
const quietMs = 400;
/** Changes that do not rest are read in between all the same. */
const quietLimitMs = 5000;
/** iptables-legacy, ipset and sysctls tell nobody: they are looked at from time to time. */
const lookEveryMs = 15_000;

export interface ChangeBell {
  /** Since it was last set false. */
  changed: boolean;
  /** Until something changes, at most so long. */
  wait(ms: number): Promise<void>;
}

/**
 * Has settings read whenever they changed and are quiet, until `end` (of `now`), however much changes: then once more, and no more. `reading`
 * sets `changed` anew.
 */
export async function followChanges(
  bell: ChangeBell,
  { end, signal, now = Date.now }: { readonly end: number; readonly signal: AbortSignal; readonly now?: () => number },
  reading: () => Promise<void>,
): Promise<void> {
  while (!signal.aborted) {
    const left = end - now();
    if (!bell.changed && left <= 0) return;
    if (!bell.changed) await bell.wait(Math.min(left, lookEveryMs));
    const quietEnd = Math.min(end, now() + quietLimitMs);
    while (bell.changed && !signal.aborted && now() < quietEnd) {
      bell.changed = false;
      await bell.wait(Math.min(quietMs, quietEnd - now()));
    }
    const isLast = now() >= end;
    await reading();
    if (isLast) return;
  }
}

/**
 * `onReading` is called one at a time, once at the start without authors. `[]`: something may have changed that tells nobody. Needs root.
 * Gives how often the kernel had more to tell than fitted.
 */
export async function watchSettings(
  { netns, forMs, signal, read = readSettings }: SettingsWatchOptions,
  onReading: (settings: NetworkSettings, authors: readonly string[] | undefined) => Promise<void>,
): Promise<number> {
  const runner = createCommandRunner(netns);
  let wake: () => void = () => {};
  const bell: ChangeBell = {
    changed: false,
    wait: (ms) =>
      new Promise((resolve) => {
        const timer = setTimeout(resolve, ms);
        wake = () => {
          clearTimeout(timer);
          resolve();
        };
      }),
  };
  const authors = new ChangeAuthors(netns, () => {
    bell.changed = true;
    wake();
  });
  const stop = (): void => wake();
  signal.addEventListener('abort', stop);
  const end = Date.now() + forMs;
  try {
    const first = await readQuietly(() => read(runner), authors);
    bell.changed = !first.isQuiet;
    await onReading(first.settings, undefined);
    await followChanges(bell, { end, signal }, async () => {
      const next = await readQuietly(() => read(runner), authors);
      // Before somebody takes it: what changes meanwhile is for the next.
      bell.changed = !next.isQuiet;
      await onReading(next.settings, next.authors);
    });
    return authors.overruns;
  } finally {
    signal.removeEventListener('abort', stop);
    authors.close();
  }
}
