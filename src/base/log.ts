// Diagnostics of the programs: one line per message on standard error, safe to show on a terminal.
// Not for attacker events: those go to the journal.

import { renderMicros, systemClock } from './clock.ts';
import { printable } from './printable.ts';

export type LogLevel = 'debug' | 'info' | 'warn' | 'error';

export interface Log {
  debug(message: string, fields?: Record<string, unknown>): void;
  info(message: string, fields?: Record<string, unknown>): void;
  warn(message: string, fields?: Record<string, unknown>): void;
  error(message: string, fields?: Record<string, unknown>): void;
}

const order: Record<LogLevel, number> = { debug: 0, info: 1, warn: 2, error: 3 };

/** `write` gets whole lines, newline included. Field values are JSON, control characters escaped. */
export function openLog(
  program: string,
  level: LogLevel = 'info',
  write: (line: string) => void = (line) => void process.stderr.write(line),
): Log {
  const emit = (at: LogLevel, message: string, fields?: Record<string, unknown>): void => {
    if (order[at] < order[level]) return;
    const rest = fields
      ? Object.entries(fields)
          .map(
            ([key, value]) =>
              ` ${key}=${printable(typeof value === 'string' ? value : (JSON.stringify(value) ?? 'undefined'), 512)}`,
          )
          .join('')
      : '';
    write(`${renderMicros(systemClock())} ${at.padEnd(5)} ${program}: ${printable(message, 1024)}${rest}\n`);
  };
  return {
    debug: (message, fields) => emit('debug', message, fields),
    info: (message, fields) => emit('info', message, fields),
    warn: (message, fields) => emit('warn', message, fields),
    error: (message, fields) => emit('error', message, fields),
  };
}

/** A log that keeps nothing, for tests and pure callers. */
export const silentLog: Log = { debug() {}, info() {}, warn() {}, error() {} };
