// Everything a command touches outside itself, as one value: a whole command runs in a test with a value of its own.
// Only programs/ builds the real one.

import type { Clock } from '../base/clock.ts';
import type { Configuration } from '../model/configuration.ts';
import type { Store } from '../record/store.ts';
import type { Actions } from './actions.ts';

export interface CommandOutput {
  readonly isTerminal: boolean;
  /** Width of the terminal in characters; asked again for each table. */
  columns(): number;
  /** Resolves when the reader can take more; never rejects: once the reader is gone, `closed` is true. */
  write(data: string | Uint8Array): Promise<void>;
  readonly closed: boolean;
}

export interface CommandEnvironment {
  readonly version: string;
  readonly stdout: CommandOutput;
  readonly stderr: CommandOutput;
  readonly cwd: string;
  /** Environment variables. */
  readonly variables: Readonly<Record<string, string | undefined>>;
  readonly clock: Clock;
  /** Fires on Ctrl-C: a command that follows ends in order. */
  readonly signal: AbortSignal;
  /** With undefined: the defaults. Throws `config-invalid` with `details.mistakes`, or `config-unreadable`. */
  readonly readConfiguration: (file: string | undefined) => Configuration | Promise<Configuration>;
  /** Of the signatures that come with Weir. */
  readonly rulesDirectory: string;
  /** The store of a data directory no recorder has open. Throws `not-found` when there is none. */
  readonly openStore: (dataDirectory: string) => Promise<Store>;
  readonly actions: Actions;
}

/** A process stream as CommandOutput. A closed pipe (`| head`) sets `closed` and is not a fault. */
export function outputOf(stream: NodeJS.WriteStream): CommandOutput {
  let closed = false;
  stream.on('error', () => {
    closed = true;
  });
  return {
    isTerminal: stream.isTTY === true,
    columns: () => stream.columns ?? 80,
    get closed() {
      return closed;
    },
    write(data) {
      if (closed) return Promise.resolve();
      return new Promise((resolve) => stream.write(data, () => resolve()));
    },
  };
}
