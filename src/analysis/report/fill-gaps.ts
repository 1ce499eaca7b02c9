// Time in which nothing was recorded is time too: a gap has to show as one. Pure.

import type { Micros } from '../../base/clock.ts';
import type { RollupRow } from '../../record/analysis-store.ts';

/** More would make a report of two sensors ten years apart too large to read. */
const mostBuckets = 20_000;

export const emptyBucket = (start: Micros): RollupRow => ({
  start,
  hits: 0,
  sessions: 0,
  probes: 0,
  sources: 0,
  ports: 0,
  destinations: 0,
  newSources: 0,
});

/**
 * `rows` ascending, `step` apart or more, with what lies between them. Where that would be more than 20,000 in all, a gap is one
 * empty bucket at its beginning.
 */
export function fillGaps(rows: readonly RollupRow[], step: Micros): RollupRow[] {
  const filled: RollupRow[] = [];
  let room = mostBuckets - rows.length;
  for (const [index, row] of rows.entries()) {
    const before = rows[index - 1];
    const missing = before ? Math.round((row.start - before.start) / step) - 1 : 0;
    const shown = missing <= Math.max(0, room) ? missing : 1;
    for (let each = 1; before && each <= shown; each += 1) filled.push(emptyBucket(before.start + each * step));
    room -= Math.max(0, shown);
    filled.push(row);
  }
  return filled;
}
