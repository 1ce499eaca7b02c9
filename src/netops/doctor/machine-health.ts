// What a machine's clock, disk and limits say of themselves. Reads only; what cannot be read is absent.
// Sources: adjtimex(2), statfs(2), proc_pid_limits(5).

import { readdirSync, readFileSync, statfsSync } from 'node:fs';
import { readClock } from '../../kernel/clock-state.ts';

export interface MachineHealth {
  readonly clock?: { readonly synchronised: boolean; readonly errorMs: number };
  readonly disk?: { readonly path: string; readonly freeBytes: number; readonly sizeBytes: number };
  readonly openFiles?: { readonly open: number; readonly limit: number };
  readonly tracked?: { readonly count: number; readonly limit: number };
}

const attempt = <T>(body: () => T): T | undefined => {
  try {
    return body();
  } catch {
    return undefined;
  }
};

const number = (path: string): number | undefined => {
  const value = attempt(() => Number(readFileSync(path, 'utf8')));
  return value === undefined || Number.isNaN(value) ? undefined : value;
};

/** `Max open files   1024   524288   files`: the soft one. */
export const parseOpenFilesLimit = (limits: string): number | undefined => {
  const soft = /^Max open files\s+(\d+|unlimited)/m.exec(limits)?.[1];
  return soft === undefined ? undefined : soft === 'unlimited' ? Number.MAX_SAFE_INTEGER : Number(soft);
};

/** `pid` is the gateway's. */
export function readMachineHealth(directory: string, pid: number | undefined): MachineHealth {
  const clock = attempt(readClock);
  const disk = attempt(() => {
    const { bavail, blocks, bsize } = statfsSync(directory);
    return { path: directory, freeBytes: bavail * bsize, sizeBytes: blocks * bsize };
  });
  const open = pid === undefined ? undefined : attempt(() => readdirSync(`/proc/${pid}/fd`).length);
  const limit = pid === undefined ? undefined : attempt(() => parseOpenFilesLimit(readFileSync(`/proc/${pid}/limits`, 'utf8')));
  const [count, most] = ['count', 'max'].map((what) => number(`/proc/sys/net/netfilter/nf_conntrack_${what}`));
  return {
    ...(clock && { clock }),
    ...(disk && { disk }),
    ...(open !== undefined && limit !== undefined && { openFiles: { open, limit } }),
    ...(count !== undefined && most !== undefined && { tracked: { count, limit: most } }),
  };
}
