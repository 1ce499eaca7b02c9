// Holds on a set of named network namespaces, so that none dies while its name is gone; says which names it had to put back.
// One hold for each; making and deleting namespaces is netns.ts.

import { NamespaceHandle, readNamespaceIdentity } from './namespace-handle.ts';

export class NamespaceHolds {
  readonly #handles = new Map<string, NamespaceHandle>();

  /** Holds exactly these paths from now on. Those that lead nowhere are passed over, until the next call. */
  keep(paths: readonly string[]): void {
    const wanted = new Set(paths);
    for (const path of [...this.#handles.keys()]) if (!wanted.has(path)) this.release(path);
    for (const path of wanted) {
      const identity = readNamespaceIdentity(path);
      if (identity === undefined || this.#handles.get(path)?.identity === identity) continue;
      this.release(path);
      this.#handles.set(path, new NamespaceHandle(path));
    }
  }

  /** Puts back the names that are gone or lead elsewhere; which those were. Throws `system-call` or `not-permitted`. */
  restoreNames(): string[] {
    const lost = [...this.#handles.values()].filter(({ named }) => !named);
    for (const handle of lost) handle.restoreName();
    return lost.map(({ name }) => name);
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
