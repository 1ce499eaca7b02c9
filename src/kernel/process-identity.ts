// Whether a process seen earlier still lives, told apart from a later one with the same number by its start time; and whom it descends from.
// Reads /proc/PID/stat, fields 4 and 22 (proc_pid_stat(5)); needs no privilege.

import { readFileSync } from 'node:fs';

/** Start time in clock ticks since boot as text, or undefined when there is no such process or only its zombie is left. */
export function readProcessStart(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // The second field is the command in parentheses and may hold spaces: count from the last one.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' || fields[0] === 'X' ? undefined : fields[19];
  } catch {
    return undefined;
  }
}

/** A process and those it descends from, nearest first; the first process of all left out. Needs no privilege. */
export function readAncestors(pid: number): number[] {
  const found: number[] = [];
  for (let one = pid; one > 1 && found.length < 128 && !found.includes(one); ) {
    found.push(one);
    try {
      const stat = readFileSync(`/proc/${one}/stat`, 'latin1');
      one = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
    } catch {
      break;
    }
  }
  return found;
}
