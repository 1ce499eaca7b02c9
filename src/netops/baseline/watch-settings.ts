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
    await onReading(await read(runner), undefined);
    while (!signal.aborted) {
      const left = end - Date.now();
      if (!changed && left <= 0) break;
      if (!changed) await wait(Math.min(left, lookEveryMs));
      while (changed && !signal.aborted) {
        changed = false;
        await wait(quietMs);
      }
      await onReading(await read(runner), authors.take());
    }
    return authors.overruns;
  } finally {
    signal.removeEventListener('abort', stop);
    authors.close();
  }
}
