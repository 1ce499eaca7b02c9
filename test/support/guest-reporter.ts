// What node:test says inside a guest, as lines that the test outside reads: `outcome {"name":...}` for each test that ended.
// The default export is node:test's own demand on a reporter (nodejs.org/api/test.html, custom reporters).

import type { TestEvent } from 'node:test/reporters';

/** A test of the guest: what became of it. */
export interface GuestOutcome {
  readonly name: string;
  readonly ms: number;
  /** The message and stack of what it failed with; absent: it passed. */
  readonly error?: string;
  /** A test inside a guest has all it needs; one that skips itself is a failure outside. */
  readonly skipped: boolean;
}

const mark = 'outcome ';
/** Of a long message, at its beginning and at its end: the end of a program's output is where it says why. */
const keptBytes = 6 << 10;

export function parseGuestOutput(text: string): { outcomes: GuestOutcome[]; said: string } {
  const lines = text.split('\n');
  return {
    outcomes: lines.filter((line) => line.startsWith(mark)).map((line) => JSON.parse(line.slice(mark.length)) as GuestOutcome),
    said: lines.filter((line) => !line.startsWith(mark) && line !== '').join('\n'),
  };
}

export default async function* report(source: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  for await (const { type, data } of source) {
    if (type !== 'test:pass' && type !== 'test:fail') continue;
    const outcome: GuestOutcome = {
      name: data.name,
      ms: Math.round(data.details.duration_ms),
      skipped: data.skip !== undefined && data.skip !== false,
      ...(type === 'test:fail' ? { error: describe(data.details.error) } : {}),
    };
    yield `${mark}${JSON.stringify(outcome)}\n`;
  }
}

function describe(error: Error): string {
  const cause = error.cause instanceof Error ? error.cause : error;
  const text = cause.stack ?? cause.message;
  return text.length <= 2 * keptBytes ? text : `${text.slice(0, keptBytes)}\n[...]\n${text.slice(-keptBytes)}`;
}
