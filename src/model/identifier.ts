// Identifiers that sort by time and are unique over processes: 11 characters of microseconds, 8 of a walk that begins and
// steps by chance, so that one process never makes the same twice.

import { hash, randomBytes } from 'node:crypto';
import type { Micros } from '../base/clock.ts';

const alphabet = '0123456789abcdefghjkmnpqrstvwxyz';

/** 8 characters of base 32. */
const walk = 2 ** 40;
const chance = (): number => randomBytes(6).readUIntBE(0, 5);
/** Odd, so that the walk meets every number before it meets one again. */
const step = 2 * Math.floor(chance() / 2) + 1;
let place = chance();

/** 19 characters of lower-case Crockford base 32, `<11 time><8 walk>`; text order is time order. */
export function createIdentifier(at: Micros): string {
  place = (place + step) % walk;
  return digits(at, 11) + digits(place, 8);
}

/**
 * The same for what is the same: an identifier of a record that can be made again from what it tells. `about` names the kind
 * first, so that records of different kinds never share one.
 */
export function derivedIdentifier(at: Micros, about: string): string {
  return digits(at, 11) + digits(Number.parseInt(hash('sha256', about, 'hex').slice(0, 10), 16), 8);
}

function digits(value: number, count: number): string {
  let text = '';
  let rest = value;
  for (let index = 0; index < count; index += 1) {
    const digit = rest % 32;
    text = alphabet[digit] + text;
    rest = (rest - digit) / 32;
  }
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
