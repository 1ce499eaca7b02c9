// The seam between the command line and what the programs do: verbs that change the machine or start processes are
// functions passed in. Verbs that only read (sessions, top, ...) are this room's own.

import type { Micros } from '../base/clock.ts';
import type { AgentReport, AgentRollOut, AgentToken, AgentTouches, AgentUpgradeOrder } from '../model/agent.ts';
import type { Status } from '../model/status.ts';
import type { RowWish, WatchOptions, WhoReading } from '../netops/who/traffic-watch.ts';
import type { FileResult, ImportProgress } from '../record/importers/import-run.ts';
import type { BaselineActions } from './baseline-actions.ts';
import type { DoctorActions } from './doctor-actions.ts';
import type { CommandEnvironment } from './environment.ts';
import type { ExposureActions } from './exposure-actions.ts';
import type { PacketActions } from './packet-actions.ts';

export interface ActionContext {
  /** What the user meant: -c, else ./weir.yaml, else /etc/weir/weir.yaml, else undefined: the defaults. */
  readonly configurationFile: string | undefined;
  readonly json: boolean;
  readonly environment: CommandEnvironment;
}

/** What a finished action shows: `text` for people, `json` for --json. Faults are thrown as WeirError instead. */
export interface ActionResult {
  readonly text: string;
  readonly json: unknown;
  /** 0 when absent. */
  readonly exitCode?: number;
}

export interface ApplyOptions {
  /** Do not ask. */
  readonly yes: boolean;
  /** Without a `weir confirm` within this time the change is rolled back; undefined: it stands at once. */
  readonly confirmWithinMs: number | undefined;
}

export interface DemoOptions {
  /** Leave the lab running until Ctrl-C, so that the console can be looked at. */
  readonly keep: boolean;
}

/** Of benchmarks that can be run longer or otherwise; each says which it has. */
export interface BenchSettings {
  /** Rows of it; absent: all. */
  readonly only?: readonly string[] | undefined;
  readonly headers?: number;
  readonly events?: number;
  readonly seed?: number;
}

/** As AgentUpgradeOrder, with the program as a file instead of its name. */
export interface AgentUpgradeWish extends Omit<AgentUpgradeOrder, 'sha256'> {
  /** What `weir agent build` makes; absent: made now. */
  readonly program?: string;
}

/** Asked of the running gateway; root. Throw `not-running`, `not-permitted`, or what the gateway says. */
export interface AgentActions {
  report(context: ActionContext): Promise<AgentReport>;
  /** A token for each, or none. Without a time: the gateway's default, a day. */
  add(names: readonly string[], expiresInMs: number | undefined, context: ActionContext): Promise<readonly AgentToken[]>;
  remove(name: string, context: ActionContext): Promise<'revoked' | 'withdrawn' | 'forgotten'>;
  /** The agent connects to decoys of its own; whether that is on record is for the caller to look up. */
  touch(name: string, context: ActionContext): Promise<AgentTouches>;
  /**
   * Rolls a program out and follows that to its end; `onProgress` with each change. Going away meanwhile leaves the gateway at it.
   * Throws `bad-request` (no file that `weir agent build` makes), `tool-missing` (none can be built here), `already-running`.
   */
  upgrade(wish: AgentUpgradeWish, onProgress: (rollOut: AgentRollOut) => void, context: ActionContext): Promise<AgentRollOut>;
  /** Nobody more is asked. Throws `not-found` when none is under way. */
  stopUpgrade(context: ActionContext): Promise<AgentRollOut>;
}

/** As typed; what is absent is as it was kept. */
export interface AgentText {
  readonly gateway?: string;
  readonly token?: string;
  readonly data?: string;
  readonly proxy?: string;
  readonly spool?: string;
  /** Root on Linux: whole ranges and packets, by a netd of its own. */
  readonly privileged?: boolean;
}

/** As typed; `format` is `auto` or one that is known. */
export interface ImportText {
  readonly format: string;
  readonly files: readonly string[];
  /** East of UTC, of times without a zone. */
  readonly zoneMinutes: number;
  readonly year?: number;
  readonly bootedAt?: Micros;
  readonly joinWindowMs?: number;
}

export interface ImportOutcome {
  readonly files: readonly FileResult[];
  readonly seconds: number;
  /** Whether a recorder took the records that was running before. */
  readonly running: boolean;
}

/** What `weir who` watches, and what it wants of each reading. */
export interface WhoWish extends WatchOptions {
  readonly rows: RowWish;
  readonly intervalMs: number;
}

/** Those that give a number run in the foreground, print for themselves, and give the exit code. */
export interface Actions {
  up(options: ApplyOptions, context: ActionContext): Promise<number>;
  down(context: ActionContext): Promise<ActionResult>;
  /** `exitCode` 10 when changes are pending. */
  plan(context: ActionContext): Promise<ActionResult>;
  apply(options: ApplyOptions, context: ActionContext): Promise<ActionResult>;
  confirm(context: ActionContext): Promise<ActionResult>;
  rollback(context: ActionContext): Promise<ActionResult>;
  demo(options: DemoOptions, context: ActionContext): Promise<number>;
  bench(name: string | undefined, settings: BenchSettings, context: ActionContext): Promise<number>;
  test(patterns: readonly string[], context: ActionContext): Promise<number>;
  /** What is known when the recorder does not answer; undefined when nothing of Weir runs. */
  status(context: ActionContext): Promise<Status | undefined>;
  readonly agents: AgentActions;
  /**
   * Who makes the traffic: a reading each interval, until `onReading` gives false or Ctrl-C. Throws `not-found` (device,
   * namespace).
   */
  who(wish: WhoWish, onReading: (reading: WhoReading) => Promise<boolean>, context: ActionContext): Promise<void>;
  /** The far end, on this machine. */
  agent(options: AgentText, context: ActionContext): Promise<number>;
  agentStatus(options: AgentText, context: ActionContext): Promise<ActionResult>;
  agentBuild(output: string, context: ActionContext): Promise<ActionResult>;
  /** Why something is not reached. */
  readonly doctor: DoctorActions;
  /** Who may reach what, and settings as they were. */
  readonly baseline: BaselineActions;
  /** Packets of the wire and of files. */
  readonly packets: PacketActions;
  /** What listens, and who may reach it. */
  readonly exposure: ExposureActions;
  /** Files that cannot be read or are not recognised are told with their reason; the others are imported. */
  import(wish: ImportText, onProgress: (progress: ImportProgress) => void, context: ActionContext): Promise<ImportOutcome>;
}
