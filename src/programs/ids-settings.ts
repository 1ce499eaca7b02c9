// What netd tells the feeder at its start, as JSON; descriptors come beside it: the TAP as 3, the pipe of
// alerts as 4, then hops, then legs.

import type { FaceSettings } from '../ids/decoy-faces.ts';

export interface IdsHopSettings {
  readonly interface: string;
  readonly ports: readonly number[];
  readonly tag: number;
  readonly diversion?: string;
  readonly withoutHeader: 'pass' | 'drop';
}

export interface IdsSettings {
  readonly commandSocket: string;
  readonly token: string;
  /** By diversion. */
  readonly tags: Readonly<Record<string, number>>;
  readonly faces: FaceSettings;
  readonly hops: readonly IdsHopSettings[];
  /** Interfaces behind which services have a TCP/IP stack of their own. */
  readonly legs: readonly string[];
  /** Decoys such services answer; ranges as text. */
  readonly native: readonly { readonly diversion: string; readonly service: string; readonly ranges: readonly string[] }[];
}

export const tapDescriptor = 3;
export const eveDescriptor = 4;
