// When a process beside netd that hangs is ended, so that it is started again: a Suricata that judges nothing, or a feeder that
// does not answer. Counts looks instead of time: a machine that slept, or was busy, has hung nobody.

export interface IdsHearing {
  /** Suricata's command socket is open. */
  readonly connected: boolean;
  /** Suricata answers the frames that ask it. */
  readonly heard: boolean;
}

export interface IdsWatchOptions {
  /** Asks the feeder; rejects, or resolves to undefined, where it does not answer in time. */
  readonly ask: () => Promise<IdsHearing | undefined>;
  /** Tells one run of the process from the next; undefined while there is none. */
  readonly runOf: (who: IdsProcessName) => number | undefined;
  readonly end: (who: IdsProcessName, why: string) => void;
  /** Between looks; default 5 s. */
  readonly lookMs?: number;
}

export type IdsProcessName = 'suricata' | 'ids';

/** Looks in a row at a Suricata that is there and judges nothing: a minute. */
const silentLooks = 12;
/** At one that does not open its socket, which large rule sets take long to; at a feeder, which yields to everybody: ten minutes. */
const patientLooks = 120;

export class IdsWatch {
  readonly #options: IdsWatchOptions;
  readonly #timer: NodeJS.Timeout;
  readonly #runs = new Map<IdsProcessName, number | undefined>();
  #silent = 0;
  #absent = 0;
  #mute = 0;
  #looking = false;

  constructor(options: IdsWatchOptions) {
    this.#options = options;
    this.#timer = setInterval(() => void this.look(), options.lookMs ?? 5000);
    this.#timer.unref();
  }

  /** Idempotent. */
  close(): void {
    clearInterval(this.#timer);
  }

  /** One at a time. Never throws. */
  async look(): Promise<void> {
    if (this.#looking) return;
    this.#looking = true;
    const hearing = await this.#options.ask().catch(() => undefined);
    this.#looking = false;
    if (this.#isAnother('ids') || hearing) this.#mute = 0;
    if (this.#isAnother('suricata') || hearing?.heard) this.#silent = this.#absent = 0;
    this.#remember();
    if (!hearing) {
      this.#mute += 1;
      if (this.#mute >= patientLooks) this.#end('ids', 'it does not answer');
      return;
    }
    if (hearing.heard) return;
    if (hearing.connected) this.#silent += 1;
    else this.#absent += 1;
    if (this.#silent >= silentLooks) this.#end('suricata', 'it judges nothing');
    else if (this.#absent >= patientLooks) this.#end('suricata', 'it does not open its command socket');
  }

  #isAnother(who: IdsProcessName): boolean {
    return this.#options.runOf(who) !== this.#runs.get(who);
  }

  #remember(): void {
    for (const who of ['suricata', 'ids'] as const) this.#runs.set(who, this.#options.runOf(who));
  }

  #end(who: IdsProcessName, why: string): void {
    if (who === 'ids') this.#mute = 0;
    else this.#silent = this.#absent = 0;
    if (this.#options.runOf(who) !== undefined) this.#options.end(who, why);
  }
}
