// Has a running Suricata read its rules again, and remembers until it did: one that starts, or is still at the change before,
// refuses. When it is asked again is the owner's.

import { asWeirError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { commandSuricata } from './suricata-command.ts';

export class RulesReload {
  readonly #path: string;
  readonly #log: Log;
  #since: number | undefined;

  /** `path` of the command socket. */
  constructor(path: string, log: Log) {
    this.#path = path;
    this.#log = log;
  }

  /** For how long changed rules have not been taken; undefined when there are none. */
  get waitMs(): number | undefined {
    return this.#since === undefined ? undefined : performance.now() - this.#since;
  }

  /** True when Suricata took it. Never throws. */
  async ask(): Promise<boolean> {
    this.#since ??= performance.now();
    try {
      await commandSuricata(this.#path, 'ruleset-reload-nonblocking');
      this.#since = undefined;
      return true;
    } catch (error) {
      this.#log.warn('Suricata does not take changed rules yet; it is asked again', { error: asWeirError(error).message });
      return false;
    }
  }

  /** Asks again where it was refused. */
  async again(): Promise<void> {
    if (this.#since !== undefined) await this.ask();
  }
}
