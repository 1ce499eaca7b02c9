// `weir who`: opens a watch on the traffic, reads it again and again until whoever shows it has enough, and closes it. From where the
// services on each way can be reached is read beside it, now and then.

import { setTimeout as pause } from 'node:timers/promises';
import { asWeirError } from '../base/errors.ts';
import type { ActionContext, WhoWish } from '../cli/actions.ts';
import type { Unseen } from '../model/machine.ts';
import type { ExposedService } from '../netops/exposure/exposure-report.ts';
import { exposureOf } from '../netops/who/flow-exposure.ts';
import { TrafficWatch, type WhoReading } from '../netops/who/traffic-watch.ts';
import { readExposure } from './exposure-actions.ts';

/** Rules change seldom and reading them all takes a moment. */
const exposureAgeMs = 15_000;
const exposureLimitMs = 3000;

/** Also ends, in order, with Ctrl-C. Throws `not-found` for a device or namespace that is not there. */
export async function watchTraffic(
  { rows, intervalMs, ...options }: WhoWish,
  onReading: (reading: WhoReading) => Promise<boolean>,
  { environment }: ActionContext,
): Promise<void> {
  const { signal } = environment;
  const engine = /^unix:\/\/(\/.+)$/.exec(environment.variables.DOCKER_HOST ?? '')?.[1];
  const watch = await TrafficWatch.open(engine === undefined ? options : { ...options, dockerSocket: engine });
  let exposed = { services: [] as readonly ExposedService[], unseen: [] as readonly Unseen[] };
  let exposedAt = Number.NEGATIVE_INFINITY;
  try {
    for (;;) {
      await pause(intervalMs, undefined, { signal }).catch(() => {});
      const ended = signal.aborted;
      const reading = await watch.read(rows);
      if (performance.now() - exposedAt > exposureAgeMs) {
        exposed = await readExposed();
        exposedAt = performance.now();
      }
      const withExposure = {
        ...reading,
        rows: reading.rows.map((row) => ({ ...row, exposure: exposureOf(row.path, exposed.services) })),
        unseen: [...reading.unseen, ...exposed.unseen],
      };
      if (!(await onReading(withExposure)) || ended) return;
    }
  } finally {
    watch.close();
  }
}

/** What is not known of exposure does not keep anybody from being told who makes the traffic. */
async function readExposed(): Promise<{ services: readonly ExposedService[]; unseen: readonly Unseen[] }> {
  try {
    const { report } = await readExposure([], exposureLimitMs);
    return {
      services: report.services,
      unseen: report.notMeasured.map((what) => ({ what, why: 'exposure was not judged by it' })),
    };
  } catch (error) {
    return { services: [], unseen: [{ what: 'from where services can be reached', why: asWeirError(error).message }] };
  }
}
