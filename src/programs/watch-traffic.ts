// `weir who`: opens a watch on the traffic, reads it again and again until whoever shows it has enough, and closes it.

import { setTimeout as pause } from 'node:timers/promises';
import type { ActionContext, WhoWish } from '../cli/actions.ts';
import { TrafficWatch, type WhoReading } from '../netops/who/traffic-watch.ts';

/** Also ends, in order, with Ctrl-C. Throws `not-found` for a device or namespace that is not there. */
export async function watchTraffic(
  { rows, intervalMs, ...options }: WhoWish,
  onReading: (reading: WhoReading) => Promise<boolean>,
  { environment }: ActionContext,
): Promise<void> {
  const { signal } = environment;
  const watch = await TrafficWatch.open(options);
  try {
    for (;;) {
      await pause(intervalMs, undefined, { signal }).catch(() => {});
      const ended = signal.aborted;
      if (!(await onReading(await watch.read(rows))) || ended) return;
    }
  } finally {
    watch.close();
  }
}
