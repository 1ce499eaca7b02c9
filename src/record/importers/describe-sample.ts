// Says what the beginning of a file that nobody recognised looks like, so that a person can tell why. Pure.

import { printable, printableBytes } from '../../base/printable.ts';
import type { Sample } from './importer.ts';

/** `JSON lines with the keys a, b, c`; `text: "..."`; `bytes: \x7fELF...`. */
export function describeSample({ bytes, lines, objects }: Sample): string {
  if (objects.length > 0) {
    const keys = [...new Set(objects.flatMap((object) => Object.keys(object)))];
    const shown = keys.slice(0, 12).map((key) => printable(key, 40));
    return `JSON lines with the keys ${shown.join(', ')}${keys.length > shown.length ? ', …' : ''}`;
  }
  const start = bytes.subarray(0, 1024);
  if (Buffer.from(start).toString('latin1', 0, 15) === 'SQLite format 3')
    return "a database of SQLite: import the sensor's log of JSON lines instead (Dionaea: its handler log_json)";
  const odd = start.filter((byte) => byte < 9 || (byte > 13 && byte < 32) || byte === 127).length;
  if (lines.length === 0 || odd > start.length / 20) return `bytes that begin with ${printableBytes(start, 16)}`;
  return `text: "${printable(lines[0], 80)}"`;
}
