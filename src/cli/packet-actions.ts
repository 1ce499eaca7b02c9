// What verbs that look at packets ask for: capturing, filtering files, compiling expressions. programs/ does it; a test has its own.

import type { FilterProgram } from '../kernel/capture/filter-program.ts';
import type { OfflineAccount } from '../netops/capture/offline-capture.ts';
import type { CaptureOutcome, CaptureScreen, CaptureWish } from '../netops/capture/run-capture.ts';

import type { KillOptions, KillReport } from '../netops/kill/kill-connections.ts';
import type { ResetFinding } from '../netops/resets/reset-finding.ts';
import type { WatchOptions, WatchOutcome } from '../netops/resets/watch-resets.ts';

/** `netns` as typed: a name of /run/netns, a path, an inode, `pid:123`. */
export interface PacketActions {
  /**
   * `recorder`: socket of one that may know the sessions packets are of. Throws `bad-request` (the expression), `not-permitted`, `not-found`
   * (interface, namespace), `tool-missing`.
   */
  capture(wish: CaptureWish, screen: CaptureScreen, signal: AbortSignal, recorder: string | undefined): Promise<CaptureOutcome>;
  /** `input`: a file's name, `-` for standard input, or the bytes themselves. `signal`: what was read until then counts. */
  filterFile(
    wish: CaptureWish,
    input: string | Uint8Array,
    screen: CaptureScreen,
    comments: readonly string[],
    signal: AbortSignal,
  ): Promise<CaptureOutcome>;
  /** Throws as `capture` does. What could not be measured is in the outcome. */
  watchResets(
    wish: WatchOptions,
    onFinding: (finding: ResetFinding) => void,
    onListening: (interfaces: readonly string[]) => void,
  ): Promise<WatchOutcome>;
  readResets(
    input: string,
    expression: string,
    onFinding: (finding: ResetFinding) => void,
    signal: AbortSignal,
  ): Promise<OfflineAccount & { readonly findings: number }>;
  /** `netns` as typed. Throws `not-found` (namespace). */
  kill(
    options: Omit<KillOptions, 'netns' | 'sshConnection'>,
    netns: string | undefined,
    sshConnection: string | undefined,
  ): Promise<KillReport>;
  /** For Ethernet. Throws `bad-request`, `tool-missing`. */
  compile(expression: string): Promise<FilterProgram>;
}
