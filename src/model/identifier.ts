// Identifiers that sort by time and are unique over processes: 11 characters of microseconds, 8 of chance.

import { randomBytes } from 'node:crypto';
import type { Micros } from '../base/clock.ts';

const alphabet = '0123456789abcdefghjkmnpqrstvwxyz';

let pool = Buffer.alloc(0);
let used = 0;

/** 19 characters of lower-case Crockford base 32, `<11 time><8 random>`; text order is time order. */
export function createIdentifier(at: Micros): string {
  let text = '';
  let rest = at;
  for (let index = 0; index < 11; index += 1) {
    const digit = rest % 32;
    text = alphabet[digit] + text;
    rest = (rest - digit) / 32;
  }
  if (used + 8 > pool.length) {
    pool = randomBytes(4096);
    used = 0;
  }
  for (let index = 0; index < 8; index += 1) text += alphabet[pool[used + index] & 31];
  used += 8;
  return text;
}

/** The time inside an identifier, or NaN when it is not one. */
export function identifierTime(id: string): Micros {
  if (id.length !== 19) return Number.NaN;
  let at = 0;
  for (let index = 0; index < 11; index += 1) {
    const digit = alphabet.indexOf(id[index]);
    if (digit < 0) return Number.NaN;
    at = at * 32 + digit;
  }
  return at;
}
