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
/** iptables-legacy, ipset and sysctls tell nobody: they are looked at from time to time. */
const lookEveryMs = 15_000;

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
  let changed = false;
  const authors = new ChangeAuthors(netns, () => {
    changed = true;
    wake();
  });
  const wait = (ms: number): Promise<void> =>
    new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  const stop = (): void => wake();
  signal.addEventListener('abort', stop);
  const end = Date.now() + forMs;
  try {
    const first = await readQuietly(() => read(runner), authors);
    changed = !first.isQuiet;
    await onReading(first.settings, undefined);
    while (!signal.aborted) {
      const left = end - Date.now();
      if (!changed && left <= 0) break;
      if (!changed) await wait(Math.min(left, lookEveryMs));
      while (changed && !signal.aborted) {
        changed = false;
        await wait(quietMs);
      }
      const next = await readQuietly(() => read(runner), authors);
      changed = !next.isQuiet;
      await onReading(next.settings, next.authors);
    }
    return authors.overruns;
  } finally {
    signal.removeEventListener('abort', stop);
    authors.close();
  }
}
