// Holds on a set of named network namespaces, so that none dies while its name is gone. One descriptor for each; making and
// deleting namespaces is netns.ts.

import { NamespaceHandle, readNamespaceIdentity } from './namespace-handle.ts';

export class NamespaceHolds {
  readonly #handles = new Map<string, NamespaceHandle>();

  /** Holds exactly these paths from now on, each as it leads now. Those that lead nowhere are passed over, until the next call. */
  keep(paths: readonly string[]): void {
    const wanted = new Set(paths);
    for (const path of [...this.#handles.keys()]) if (!wanted.has(path)) this.release(path);
    for (const path of wanted) {
      const identity = readNamespaceIdentity(path);
      if (identity === undefined || this.#handles.has(path)) continue;
      this.#handles.set(path, new NamespaceHandle(path));
    }
  }

  /** Whether this path should lead to what is held here, but is gone or leads elsewhere. */
  isLost(path: string): boolean {
    const handle = this.#handles.get(path);
    return handle !== undefined && !handle.named;
  }

  /** Puts a name back. Throws `system-call` or `not-permitted`. */
  restore(path: string): void {
    this.#handles.get(path)?.restoreName();
  }

  /** Before the namespace itself is to go. */
  release(path: string): void {
    this.#handles.get(path)?.close();
    this.#handles.delete(path);
  }

  /** Idempotent. */
  close(): void {
    this.keep([]);
  }
}
