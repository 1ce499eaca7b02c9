// What AppArmor or SELinux kept programs from doing with sockets lately, from the kernel's log. Reads only.
// Sources: Documentation/ABI/testing/dev-kmsg, apparmor(7), audit records of type 1400.

import { closeSync, constants, existsSync, openSync, readFileSync, readSync } from 'node:fs';
import { printable } from '../base/printable.ts';

export interface Denial {
  readonly by: 'AppArmor' | 'SELinux';
  readonly comm: string;
  /** `bind`, `name_bind`, `listen`, ... */
  readonly operation: string;
  /** Where the record says it. */
  readonly port?: number;
  /** As the kernel wrote it; printable. */
  readonly text: string;
  /** Microseconds since the machine started, as the record says; absent where it does not. */
  readonly at?: number;
}

const operations = /\b(bind|name_bind|node_bind|listen|accept|create|connect|name_connect|sendmsg|recvmsg)\b/;
/** Records looked at, and the longest one. */
const mostRecords = 50_000;
const recordBytes = 8192;

/** One record of the log; undefined for what is no denial of something with sockets. Pure. */
export function parseDenial(line: string): Denial | undefined {
  const text = printable(line.slice(line.indexOf(';') + 1).split('\n')[0], 500);
  // priority,sequence,microseconds,flags;text
  const since = /^\d+,\d+,(\d+),/.exec(line)?.[1];
  const at = since === undefined ? {} : { at: Number(since) };
  const comm = /\bcomm="([^"]*)"/.exec(text)?.[1] ?? '?';
  const appArmor = /apparmor="DENIED" operation="(\w+)"/.exec(text)?.[1];
  if (appArmor !== undefined)
    return operations.test(appArmor) ? { by: 'AppArmor', comm, operation: appArmor, text, ...at } : undefined;
  const wanted = /avc:\s+denied\s+\{ ([^}]+) \}/.exec(text)?.[1];
  const operation = wanted && operations.exec(wanted)?.[1];
  if (!operation || !/tclass=\w*socket/.test(text)) return undefined;
  const port = /\b(?:src|dest)=(\d+)/.exec(text)?.[1];
  return { by: 'SELinux', comm, operation, ...(port && { port: Number(port) }), text, ...at };
}

/** Which of the two is in force here. */
export function activeSecurityModule(): 'AppArmor' | 'SELinux' | undefined {
  try {
    if (readFileSync('/sys/module/apparmor/parameters/enabled', 'utf8').startsWith('Y')) return 'AppArmor';
  } catch {
    // Not built into this kernel.
  }
  return existsSync('/sys/fs/selinux/enforce') ? 'SELinux' : undefined;
}

/** Those of the last so many microseconds; one that does not say when it was is not known to be one. Pure. */
export const denialsSince = (denials: readonly Denial[], now: number, withinMicros: number): readonly Denial[] =>
  denials.filter(({ at }) => at !== undefined && now - at <= withinMicros);

/** Microseconds on the clock records are stamped by: like them it stands still while the machine sleeps, as /proc/uptime does not. clock_gettime(2) */
export const readLogClock = (): number => Number(process.hrtime.bigint() / 1000n);

/** Newest last; undefined where the log may not be read. */
export function readDenials(): readonly Denial[] | undefined {
  let fd: number;
  try {
    fd = openSync('/dev/kmsg', constants.O_RDONLY | constants.O_NONBLOCK);
  } catch {
    return undefined;
  }
  const denials: Denial[] = [];
  const buffer = Buffer.alloc(recordBytes);
  try {
    for (let count = 0; count < mostRecords; count += 1) {
      let length: number;
      try {
        length = readSync(fd, buffer);
      } catch (error) {
        // EPIPE: records were overwritten meanwhile; the next read goes on behind them. EAGAIN: that was all.
        if ((error as NodeJS.ErrnoException).code === 'EPIPE') continue;
        break;
      }
      const denial = parseDenial(buffer.toString('utf8', 0, length));
      if (denial) denials.push(denial);
    }
  } finally {
    closeSync(fd);
  }
  return denials;
}
