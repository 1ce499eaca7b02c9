// What tells imported records from our own, and when they were imported: retention counts from then. Pure.

import type { Micros } from '../base/clock.ts';
import type { WeirEvent } from '../model/event.ts';

/** The diversion of records that were imported. */
export const importDiversion = 'import';

/** When this batch's imported records were imported: when the journal got them, else now. */
export function importTime(events: readonly WeirEvent[], now: Micros): Micros {
  let newest = 0;
  for (const event of events) {
    if (event.kind !== 'session' || event.session.diversion !== importDiversion) continue;
    const { recordedAt } = event.session;
    if (recordedAt !== undefined && recordedAt > newest) newest = recordedAt;
  }
  return newest === 0 ? now : newest;
}
