// How far the centre has acknowledged a spool, in one small file next to it. Written whole or not at all; a file that is none
// means the beginning: what the centre has already it does not take twice.

import { join } from 'node:path';
import { ensureDirectory, readWhole, writeDurably } from '../base/durable-file.ts';
import type { Log } from '../base/log.ts';
import { decodeSpoolBatch, SpoolBatch } from './spool-batch.ts';
import type { OpenSession } from './spool-open.ts';

export interface SpoolPosition {
  readonly segment: number;
  readonly offset: number;
  /** Since the agent's first start. */
  readonly droppedRecords: number;
  /** Open at this point, as far as their records say. */
  readonly open: readonly OpenSession[];
}

const pathOf = (directory: string): string => join(directory, 'position.json');
const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

/** Makes the directory when it is not there. */
export async function readPosition(directory: string, log: Log): Promise<SpoolPosition> {
  await ensureDirectory(directory);
  const text = await readWhole(pathOf(directory));
  if (text !== undefined) {
    const position = parsePosition(text);
    if (position) return position;
    log.warn('the position in the spool is damaged: it is sent from the beginning', { path: pathOf(directory) });
  }
  return { segment: 0, offset: 0, droppedRecords: 0, open: [] };
}

export async function writePosition(directory: string, position: SpoolPosition): Promise<void> {
  const { segment, offset, droppedRecords, open } = position;
  await writeDurably(pathOf(directory), `${JSON.stringify({ segment, offset, droppedRecords, open: encodeOpen(open) })}\n`);
}

function parsePosition(text: string): SpoolPosition | undefined {
  try {
    const { segment, offset, droppedRecords, open } = JSON.parse(text) as Record<string, unknown>;
    if (!isCount(segment) || !isCount(offset) || !isCount(droppedRecords) || !Array.isArray(open)) return undefined;
    return { segment, offset, droppedRecords, open: open.flatMap((batch) => decodeOpen(String(batch))) };
  } catch {
    return undefined;
  }
}

/** In base64, as the batches they would be sent in. */
function encodeOpen(open: readonly OpenSession[]): string[] {
  const texts: string[] = [];
  const batch = new SpoolBatch();
  const seal = (): void => {
    if (batch.records > 0) texts.push(Buffer.from(batch.bytes()).toString('base64'));
    batch.clear();
  };
  for (const session of open) {
    if (batch.add({ kind: 'session', session })) continue;
    seal();
    batch.add({ kind: 'session', session });
  }
  seal();
  return texts;
}

const decodeOpen = (text: string): OpenSession[] =>
  (decodeSpoolBatch(Buffer.from(text, 'base64')) ?? []).flatMap(({ event, recordedAt }) =>
    event.kind === 'session' ? [{ ...event.session, recordedAt }] : [],
  );
