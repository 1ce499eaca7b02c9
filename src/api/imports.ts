// POST /api/import: a batch of imported records, on the unix socket alone. Acknowledged when it is durable.

import { Hono } from 'hono';
import { WeirError } from '../base/errors.ts';
import { maxSpoolBatchBytes } from '../record/spool-batch.ts';
import type { ApiEnvironment } from './guard.ts';

/** As ImportIntake.take. */
export type TakeImport = (batch: Uint8Array) => Promise<readonly number[]>;

export interface ImportAnswer {
  /** Positions in the batch of records that were there already. */
  readonly known: readonly number[];
}

export function importRoutes(take: TakeImport): Hono<ApiEnvironment> {
  const routes = new Hono<ApiEnvironment>();
  routes.post('/import', async (context) => {
    const length = Number(context.req.header('content-length') ?? Number.NaN);
    if (!(length >= 0 && length <= maxSpoolBatchBytes))
      throw new WeirError('bad-request', `a batch has a length, of at most ${maxSpoolBatchBytes} bytes`);
    const answer: ImportAnswer = { known: await take(new Uint8Array(await context.req.arrayBuffer())) };
    return context.json(answer);
  });
  return routes;
}
