// What Suricata says of its rules and of what it gave up, out of its answers to commands: checked, since it reads attackers'
// bytes, and added up over its restarts, at which it counts from 0 again.
// Source: Suricata 7 user guide, "Interacting via Unix Socket" and "Statistics".

import { printable } from '../base/printable.ts';

export interface RuleCounts {
  readonly loaded: number;
  readonly failed: number;
  /** File, line and beginning of the first that failed. */
  readonly firstFailed?: string;
}

const fieldOf = (value: unknown, name: string): unknown =>
  typeof value === 'object' && value !== null ? (value as Readonly<Record<string, unknown>>)[name] : undefined;
const firstOf = (value: unknown): unknown => (Array.isArray(value) ? (value as unknown[])[0] : undefined);
const count = (value: unknown): number | undefined =>
  Number.isSafeInteger(value) && (value as number) >= 0 ? (value as number) : undefined;

/** Answers to `ruleset-stats` and `ruleset-failed-rules`. Pure. */
export function parseRuleCounts(stats: unknown, failures: unknown): RuleCounts | undefined {
  const first = firstOf(stats);
  const loaded = count(fieldOf(first, 'rules_loaded'));
  const failed = count(fieldOf(first, 'rules_failed'));
  if (loaded === undefined || failed === undefined) return undefined;
  const failure = failed > 0 ? firstOf(failures) : undefined;
  const [file, rule] = [fieldOf(failure, 'filename'), fieldOf(failure, 'rule')];
  if (typeof file !== 'string' || typeof rule !== 'string') return { loaded, failed };
  // Files are copies, numbered in order.
  const name = (file.split('/').at(-1) ?? '').replace(/^\d{3}-/, '');
  return { loaded, failed, firstFailed: printable(`${name}:${count(fieldOf(failure, 'line')) ?? '?'}: ${rule}`, 160) };
}

/** What it counts when a bound of its own is met, in the answer to `dump-counters`, and what a person is told it is. */
const bounds: readonly (readonly [path: readonly string[], name: string])[] = [
  [['tcp', 'ssn_memcap_drop'], 'connections it had no memory for'],
  [['tcp', 'segment_memcap_drop'], 'segments it had no memory for'],
  [['flow', 'memcap'], 'flows it had no memory for'],
  [['flow', 'emerg_mode_entered'], 'times it ended flows early'],
  [['defrag', 'max_frag_hits'], 'fragments it had no room for'],
  [['http', 'memcap'], 'HTTP it had no memory for'],
  [['detect', 'alert_queue_overflow'], 'alerts of one packet beyond what it tells'],
];

/** The answer to `dump-counters`. Pure. */
export function parseBounds(answer: unknown): Record<string, number> {
  const found: Record<string, number> = {};
  for (const [path, name] of bounds) {
    const value = count(path.reduce<unknown>(fieldOf, answer));
    if (value !== undefined) found[name] = value;
  }
  return found;
}

/** Sums of counters that begin at 0 again whenever their owner does. */
export class RestartingCounts {
  readonly #counts = new Map<string, { before: number; last: number }>();

  /** What is not named is as it was. */
  take(now: Readonly<Record<string, number>>): void {
    for (const [name, value] of Object.entries(now)) {
      const known = this.#counts.get(name) ?? { before: 0, last: 0 };
      if (value < known.last) known.before += known.last;
      known.last = value;
      this.#counts.set(name, known);
    }
  }

  /** Those that are not 0. */
  sums(): Record<string, number> {
    const sums = [...this.#counts].map(([name, { before, last }]) => [name, before + last] as const);
    return Object.fromEntries(sums.filter(([, sum]) => sum > 0));
  }
}
