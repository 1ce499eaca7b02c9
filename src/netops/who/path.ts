// The way of a flow as `weir who` tells it: one hop after the other, each with what joined it to the one before and how sure that is.

import type { MachineContainer } from '../../model/machine.ts';
import type { Flow } from './flow.ts';

/** `wire`: seen on a device. `nat`: as connection tracking rewrote it. `link`: into another namespace. `process`: who holds the socket.
 * `proxy`: the other connection of the same process. `tunnel`: inside of what the process carries. */
export type HopKind = 'wire' | 'nat' | 'link' | 'process' | 'proxy' | 'tunnel';

export interface PathHop {
  readonly kind: HopKind;
  /** Inode, and name for people. */
  readonly netns: string;
  readonly netnsName: string;
  readonly flow: Flow;
  readonly device?: string;
  readonly pid?: number;
  readonly comm?: string;
  readonly exe?: string;
  readonly uid?: number;
  readonly user?: string;
  readonly fd?: number;
  readonly container?: MachineContainer;
  /** Where it is a service that accepted: the port it listens at. */
  readonly listens?: number;
  /** How it was joined: what was read. */
  readonly join: string;
  /** 1: by identity; below: inferred. */
  readonly score: number;
}

export interface TracedFlow {
  readonly path: readonly PathHop[];
  /** A process is at its end, or the kernel itself by name. */
  readonly attributed: boolean;
  /** Why not. */
  readonly reason?: string;
}
