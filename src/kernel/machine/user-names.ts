// What this machine calls its users, from /etc/passwd alone: directories elsewhere would have to be asked over the network.
// Source: passwd(5).

import { readFileSync } from 'node:fs';
import { printable } from '../../base/printable.ts';

const maxUsers = 100_000;

/** By number, the first name wins. */
export function parseUserNames(text: string): Map<number, string> {
  const names = new Map<number, string>();
  for (const line of text.split('\n', maxUsers)) {
    const [name, , uid] = line.split(':', 3);
    const number = Number(uid);
    if (name && uid && Number.isInteger(number) && !names.has(number)) names.set(number, printable(name, 64));
  }
  return names;
}

/** Empty where there is no such file. */
export function readUserNames(): Map<number, string> {
  try {
    return parseUserNames(readFileSync('/etc/passwd', 'utf8'));
  } catch {
    return new Map();
  }
}
