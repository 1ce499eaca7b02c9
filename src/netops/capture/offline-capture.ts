// Runs an expression over a capture file: the same program, the same answer as on the wire. Reading is by pieces, memory is bounded; a
// damaged file gives what was readable of it, and why no more.

import type { Readable } from 'node:stream';
import { WeirError } from '../../base/errors.ts';
import { compileFilter, type FilterProgram, linkTypeName } from '../../kernel/capture/filter-program.ts';
import { runFilter } from '../../kernel/capture/run-filter.ts';
import { createCommandRunner } from '../../kernel/command.ts';
import { type CapturedFrame, CaptureReader } from '../../record/importers/capture-reader.ts';

export interface OfflineAccount {
  readonly packets: number;
  readonly matched: number;
  readonly filters: readonly FilterProgram[];
  /** Packets that could not be judged, by reason. */
  readonly bad: Readonly<Record<string, number>>;
}

/** Kinds of frames an unknown file may have; the program for each is made before it is read. */
const linkTypes = [1, 101, 113, 276, 0, 12, 108, 228, 229];
const maxReasons = 32;

/** `bytes`: a pcap or pcapng file. Throws `bad-request` for the expression; a frame is valid during the call, `stop` makes it the last. */
export async function filterCapture(
  bytes: Readable | AsyncIterable<Uint8Array>,
  expression: string,
  onMatch: (frame: CapturedFrame, stop: () => void) => void,
): Promise<OfflineAccount> {
  const programs = new Map<number, FilterProgram | WeirError>();
  const runner = createCommandRunner();
  for (const linkType of linkTypes)
    try {
      programs.set(linkType, await compileFilter(runner, expression, linkType));
    } catch (error) {
      // `ether host` is nothing for frames without Ethernet; what is wrong for Ethernet is wrong.
      if (!(error instanceof WeirError) || error.code !== 'bad-request' || linkType === 1) throw error;
      programs.set(linkType, error);
    }
  const used = new Set<FilterProgram>();
  const bad: Record<string, number> = {};
  let packets = 0;
  let matched = 0;
  let over = false;
  const stop = (): void => {
    over = true;
  };
  const refuse = (reason: string): void => {
    const key = Object.hasOwn(bad, reason) || Object.keys(bad).length < maxReasons ? reason : 'of other kinds';
    bad[key] = (bad[key] ?? 0) + 1;
  };
  const reader = new CaptureReader(
    {
      bad: (reason) => {
        if (!over) refuse(reason);
      },
      frame(frame) {
        if (over) return;
        packets += 1;
        const program = programs.get(frame.linkType);
        if (program === undefined) refuse(`link type ${frame.linkType} is not read`);
        else if (program instanceof WeirError) refuse(`${linkTypeName(frame.linkType)}: ${program.message}`);
        else {
          used.add(program);
          if (runFilter(program.instructions, frame.bytes, frame.start, frame.end, frame.wireLength) === 0) return;
          matched += 1;
          onMatch(frame, stop);
        }
      },
    },
    Date.now() * 1000,
  );
  for await (const piece of bytes) {
    reader.push(piece);
    if (over) break;
  }
  reader.finish();
  return { packets, matched, filters: [...used], bad };
}
