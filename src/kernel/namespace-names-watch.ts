// Tells when a name of a network namespace appears or goes below /run/netns (inotify). What is behind a name is
// namespace-handle.ts. A name that is only unmounted tells nothing: whoever must know looks from time to time.

import { type FSWatcher, watch } from 'node:fs';
import { join } from 'node:path';
import { namespaceDirectory } from './namespace-handle.ts';

export class NamespaceNamesWatch {
  readonly #watcher: FSWatcher;

  private constructor(watcher: FSWatcher) {
    this.#watcher = watcher;
  }

  /** Undefined when it cannot be had: there is no such directory yet, or no inotify watch is left. `onChange` gets paths. */
  static open(onChange: (path: string) => void): NamespaceNamesWatch | undefined {
    try {
      const watcher = watch(namespaceDirectory, { persistent: false }, (_event, name) => {
        if (typeof name === 'string') onChange(join(namespaceDirectory, name));
      });
      watcher.on('error', () => {});
      return new NamespaceNamesWatch(watcher);
    } catch {
      return undefined;
    }
  }

  /** Idempotent. */
  close(): void {
    this.#watcher.close();
  }
}
