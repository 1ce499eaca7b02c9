// What verbs that look at packets ask for: capturing, filtering files, compiling expressions. programs/ does it; a test has its own.

import type { FilterProgram } from '../kernel/capture/filter-program.ts';
import type { CaptureOutcome, CaptureScreen, CaptureWish, SessionSource } from '../netops/capture/run-capture.ts';

/** `netns` as typed: a name of /run/netns, a path, an inode, `pid:123`. */
export interface PacketActions {
  /** Throws `bad-request` (the expression), `not-permitted`, `not-found` (interface, namespace), `tool-missing`. */
  capture(
    wish: CaptureWish,
    screen: CaptureScreen,
    signal: AbortSignal,
    sessions: SessionSource | undefined,
  ): Promise<CaptureOutcome>;
  /** `input`: a file's name, `-` for standard input, or the bytes themselves. */
  filterFile(
    wish: CaptureWish,
    input: string | Uint8Array,
    screen: CaptureScreen,
    comments: readonly string[],
  ): Promise<CaptureOutcome>;
  /** For Ethernet. Throws `bad-request`, `tool-missing`. */
  compile(expression: string): Promise<FilterProgram>;
}
