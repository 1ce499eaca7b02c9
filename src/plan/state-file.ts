// What Weir applied, what to go back to, and what to restore, on disk before the kernel is touched. Written whole:
// a crash leaves the old file or the new one. When it is lost, the kernel's own marks suffice for `down`.

import { mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Micros } from '../base/clock.ts';
import { WeirError } from '../base/errors.ts';
import type { AddressRange } from '../model/address.ts';
import { type DesiredState, decodeState, encodeState } from './desired-state.ts';
import type { SavedValues } from './difference.ts';

/** Of one segment. */
export interface StoredNetwork {
  readonly withheld: readonly AddressRange[];
  /** SHA-256 of the text that made its tables. */
  readonly textHash: string;
  /** Namespace, link and generation of the ruleset right after our last change: the same again means nobody touched it. */
  readonly fingerprint: string;
  /** Of our tables, for when the generation has moved; empty when unknown. See readOwnDigest. */
  readonly digest: string;
}

export interface StoredState {
  readonly version: 2;
  /** `applying`: the kernel may hold a part of `current`. `pending`: applied, not confirmed. */
  readonly phase: 'applying' | 'pending' | 'applied';
  readonly current?: DesiredState;
  /** Where a rollback leads; absent means to a machine without Weir. */
  readonly previous?: DesiredState;
  /** Of `pending` and `applying`. */
  readonly deadline?: Micros;
  readonly saved: SavedValues;
  readonly withheld: readonly AddressRange[];
  /** The kernel's listing of our tables right after the last change. */
  readonly listing: string;
  /** Whether the listing has the elements of sets: where they are few enough to read each time. */
  readonly detailed: boolean;
  /** SHA-256 of the text that made it. */
  readonly textHash: string;
  /** By the segment's name. What stands above is the machine's own namespace. */
  readonly networks: Readonly<Record<string, StoredNetwork>>;
}

/** A file of version 1 knew one network only. */
function adopt(value: unknown): StoredState | undefined {
  const state = value as Omit<StoredState, 'version' | 'networks'> & { version?: number; networks?: StoredState['networks'] };
  if (typeof state?.saved !== 'object' || !Array.isArray(state.withheld)) return undefined;
  if (state.version === 2 && typeof state.networks === 'object') return state as StoredState;
  if (state.version !== 1) return undefined;
  const whole = (desired: DesiredState): DesiredState => ({ ...desired, segments: [], services: [], bindings: [] });
  return {
    ...state,
    version: 2,
    networks: {},
    ...(state.current ? { current: whole(state.current) } : {}),
    ...(state.previous ? { previous: whole(state.previous) } : {}),
  };
}

export class StateFile {
  readonly path: string;
  readonly #directory: string;

  constructor(directory: string) {
    this.#directory = directory;
    this.path = join(directory, 'plan.json');
  }

  /** Undefined when there is none or it does not parse (`damaged` is called then). */
  async read(damaged: (reason: string) => void): Promise<StoredState | undefined> {
    let text: string;
    try {
      text = await readFile(this.path, 'utf8');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw new WeirError('not-permitted', `cannot read ${this.path}`, { path: this.path }, error);
    }
    try {
      const state = adopt(decodeState(text));
      if (state) return state;
      damaged('it is of another version');
    } catch (error) {
      damaged(error instanceof Error ? error.message : String(error));
    }
    return undefined;
  }

  /** Mode 0600, synced with its directory. Throws `disk-full` or `not-permitted`; the old file is then still there. */
  async write(state: StoredState): Promise<void> {
    const temporary = `${this.path}.new`;
    try {
      await mkdir(this.#directory, { recursive: true, mode: 0o700 });
      const file = await open(temporary, 'w', 0o600);
      try {
        await file.writeFile(encodeState(state));
        await file.sync();
      } finally {
        await file.close();
      }
      await rename(temporary, this.path);
      await this.#syncDirectory();
    } catch (error) {
      await rm(temporary, { force: true }).catch(() => {});
      const code = (error as NodeJS.ErrnoException).code;
      throw new WeirError(
        code === 'ENOSPC' || code === 'EDQUOT' ? 'disk-full' : 'not-permitted',
        `cannot write ${this.path}: nothing was changed`,
        { path: this.path },
        error,
      );
    }
  }

  async remove(): Promise<void> {
    await rm(this.path, { force: true });
  }

  async #syncDirectory(): Promise<void> {
    const directory = await open(this.#directory, 'r');
    try {
      await directory.sync();
    } finally {
      await directory.close();
    }
  }
}
