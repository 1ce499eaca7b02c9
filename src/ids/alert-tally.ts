// How many alerts of each rule a session has so far, and up to where Suricata has answered for: what it has not is shown to it
// again when it was killed, and then is the same alert again, with the same number. Pure.

/** Tallies of rules kept for one session; beyond, a rule's alerts are counted as those of rule 0. */
const maxRules = 256;

interface Count {
  told: number;
  settled: number;
}

export class AlertTally {
  /**
   * The session's chunk at which its numbers begin: 0, unless a process that does not know the session's earlier alerts saw it
   * from its middle on.
   */
  readonly since: number;
  readonly #counts = new Map<number, Count>();

  constructor(since: number) {
    this.since = since;
  }

  /** The number of this alert of the rule, from 0. */
  next(rule: number): number {
    const key = this.#counts.has(rule) || this.#counts.size < maxRules ? rule : 0;
    const count = this.#counts.get(key);
    if (!count) {
      this.#counts.set(key, { told: 1, settled: 0 });
      return 0;
    }
    count.told += 1;
    return count.told - 1;
  }

  /** What was counted so far does not come again. */
  settle(): void {
    for (const count of this.#counts.values()) count.settled = count.told;
  }

  /** For the session shown again: as it was when last settled. */
  again(): AlertTally {
    const tally = new AlertTally(this.since);
    for (const [rule, { settled }] of this.#counts) if (settled > 0) tally.#counts.set(rule, { told: settled, settled });
    return tally;
  }
}
