// Reads and writes network sysctls of one namespace. Which ones must change, and putting them back, is plan/.

import { WeirError } from '../base/errors.ts';
import type { CommandRunner } from './command.ts';

/** A path below /proc/sys such as `net/ipv4/conf/eth0/arp_ignore`. */
export type SysctlKey = string;

const keyPattern = /^net\/[A-Za-z0-9_./@:-]+$/;

/** Undefined when this kernel or namespace has no such key. */
export async function readSysctl(runner: CommandRunner, key: SysctlKey): Promise<string | undefined> {
  return (await runner.readProc(pathOf(key)))?.trim();
}

/** Several of one namespace, without those it has not; cheap, no program is run. */
export async function readSysctls(runner: CommandRunner, keys: Iterable<SysctlKey>): Promise<Record<string, string>> {
  const values: Record<string, string> = {};
  for (const key of keys) {
    const value = await readSysctl(runner, key);
    if (value !== undefined) values[key] = value;
  }
  return values;
}

/** Throws `kernel-refused`. Needs CAP_NET_ADMIN in the namespace's owner. */
export async function writeSysctl(runner: CommandRunner, key: SysctlKey, value: string): Promise<void> {
  await runner.writeProc(pathOf(key), value);
}

function pathOf(key: SysctlKey): string {
  if (!keyPattern.test(key) || key.includes('..')) throw new WeirError('fault', `not a network sysctl: ${key}`);
  return `/proc/sys/${key}`;
}
