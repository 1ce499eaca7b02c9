// One line of trace_pipe as data. Pure. The kernel prints events by their own formats, which differ between kernels: what is
// relied on is `name=value`, and which names an event has is read from its format file.
// Source: Documentation/trace/ftrace.rst (the header of `trace`), kernel/trace/trace_output.c.

import type { Micros } from '../../base/clock.ts';

export interface TraceEvent {
  /** Without its system: `tcp_send_reset`. */
  readonly name: string;
  /** Microseconds of the trace's own clock; TraceSession makes wall-clock time of it. */
  readonly at: Micros;
  /** Who had the processor. Whoever caused it only where `inTask`; `<...>` where the kernel has forgotten. */
  readonly comm: string;
  readonly pid: number;
  readonly cpu: number;
  /** Not in an interrupt or softirq, where the process is whoever was interrupted. */
  readonly inTask: boolean;
  readonly fields: Readonly<Record<string, string>>;
}

/** comm may hold anything but NUL; what follows is the kernel's alone, hence the greedy beginning. */
const linePattern = /^\s*(.*)-(\d+)\s+\[(\d+)\] (\S+)\s+(\d+)\.(\d{6}): (\w+): (.*)$/;
/** A name, `=` or `: `, and a value without spaces. */
const fieldPattern = /(\w+)(?:=|: )(\S*)/g;

/** Undefined for lines that hold no event. */
export function parseTraceLine(line: string): TraceEvent | undefined {
  const match = linePattern.exec(line);
  if (!match) return undefined;
  const [, comm, pid, cpu, flags, seconds, fraction, name, text] = match;
  const fields: Record<string, string> = {};
  for (const [, field, value] of text.matchAll(fieldPattern)) fields[field] = value;
  return {
    name,
    at: Number(seconds) * 1e6 + Number(fraction),
    comm,
    pid: Number(pid),
    cpu: Number(cpu),
    // The third flag: `.` a task, `s` softirq, `h` and `H` interrupts, `z` and `Z` NMIs.
    inTask: flags[2] === '.',
    fields,
  };
}

/** `CPU:1 [LOST 42 EVENTS]`: how many; 0 for any other line. */
export function lostOfLine(line: string): number {
  const match = /^CPU:\d+ \[LOST (?:(\d+) )?EVENTS\]/.exec(line);
  return match ? Number(match[1] ?? 1) : 0;
}

/** Names of the fields in an event's `format` file, the common ones left out. */
export const parseTraceFormat = (text: string): string[] =>
  [...text.matchAll(/^\s*field:[^;]*?(\w+)(?:\[\d*\])?;/gm)]
    .map(([, name]) => name)
    .filter((name) => !name.startsWith('common_'));
