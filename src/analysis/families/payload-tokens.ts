// Text as a row of tokens in which what changes from one copy of an attack to the next is gone: numbers, hosts, URLs, random
// words. Pure, one walk over the text, bounded.

import { blankClass, characterClass, digitClass, hexClass, isIn, letterClass, skip, skipTo } from '../facts/characters.ts';

/** Stands for what changes: a whole URL, an address with its port and path, a random word, a number. */
export const urlToken = '<url>';
export const hostToken = '<host>';
export const randomToken = '<random>';
export const numberToken = '0';

const wordClass = characterClass('a-z', 'A-Z', '0-9');
const urlEnds = characterClass(' \t\r\n"\'<>`;|\\^)}');
const vowels = characterClass('aeiouyAEIOUY');
const wordLimit = 64;
const tokenLimit = 2048;

/** Of one byte to a character, lower case; blanks separate and are no tokens themselves. */
export function tokenize(text: string, limit = tokenLimit): string[] {
  const tokens: string[] = [];
  let at = 0;
  while (at < text.length && tokens.length < limit) {
    if (isIn(blankClass, text, at)) {
      at += 1;
      continue;
    }
    if (!isIn(wordClass, text, at)) {
      const character = text[at];
      at += 1;
      // A row of the same mark is as good as one.
      while (text[at] === character) at += 1;
      tokens.push(text.charCodeAt(at - 1) > 127 ? '<byte>' : character);
      continue;
    }
    const host = hostEnd(text, at);
    if (host > at) {
      tokens.push(text[host] === '/' ? urlToken : hostToken);
      at = text[host] === '/' ? skipTo(urlEnds, text, host) : host;
      continue;
    }
    const end = skip(wordClass, text, at);
    if (text.startsWith('://', end)) {
      tokens.push(urlToken);
      at = skipTo(urlEnds, text, end + 3);
      continue;
    }
    tokens.push(normalWord(text.slice(at, Math.min(end, at + wordLimit))));
    at = end;
  }
  return tokens;
}

/** Behind a dotted quad and its port, or `at`. */
function hostEnd(text: string, at: number): number {
  let index = at;
  for (let part = 0; part < 4; part += 1) {
    const end = skip(digitClass, text, index, index + 3);
    if (end === index) return at;
    if (part < 3) {
      if (text[end] !== '.') return at;
      index = end + 1;
    } else index = end;
  }
  if (isIn(wordClass, text, index) || text[index] === '.') return at;
  const port = text[index] === ':' ? skip(digitClass, text, index + 1, index + 6) : index;
  return port > index + 1 ? port : index;
}

/** Lower case; digits that stand in a word are one `0`; a word nobody would read aloud is `<random>`. */
export function normalWord(word: string): string {
  const digitsEnd = skip(digitClass, word, 0);
  if (digitsEnd === word.length) return numberToken;
  if (isRandomWord(word)) return randomToken;
  let out = '';
  for (let at = 0; at < word.length; ) {
    const end = skip(digitClass, word, at);
    if (end > at) {
      out += '0';
      at = end;
    } else {
      out += word[at];
      at += 1;
    }
  }
  return out.toLowerCase();
}

/** Hex with digits in it, letters and digits in turns, case in turns, no vowels: by counting, with the thresholds beside each. */
function isRandomWord(word: string): boolean {
  const length = word.length;
  if (length < 6) return false;
  let digits = 0;
  let letters = 0;
  let vowelCount = 0;
  let kindTurns = 0;
  let caseTurns = 0;
  let consonants = 0;
  let longestConsonants = 0;
  for (let at = 0; at < length; at += 1) {
    const code = word.charCodeAt(at);
    const digit = code < 58;
    const upper = !digit && code < 91;
    if (at > 0) {
      const before = word.charCodeAt(at - 1);
      if (digit !== before < 58) kindTurns += 1;
      else if (!digit && upper !== before < 91) caseTurns += 1;
    }
    if (digit) digits += 1;
    else {
      letters += 1;
      if (isIn(vowels, word, at)) {
        vowelCount += 1;
        consonants = 0;
      } else {
        consonants += 1;
        longestConsonants = Math.max(longestConsonants, consonants);
      }
    }
  }
  if (length >= 8 && digits > 0 && skip(hexClass, word, 0) === length) return true;
  // `utf8`, `x86` and `sha256sum` turn at most twice.
  if (digits > 0 && kindTurns + caseTurns >= 3 && (kindTurns + caseTurns) * 5 >= length) return true;
  if (digits > 0) return length >= 24 && letters > 0;
  // `XWebPageName` turns at fewer than four places in ten.
  if (caseTurns * 20 >= length * 9) return true;
  if (length >= 40) return true;
  return length >= 8 && (longestConsonants >= 6 || vowelCount * 8 < letters || vowelCount === letters);
}

/** `/cgi-bin/9f3a21bc77/a.php` -> `/cgi-bin/<random>/a.php`; traversal of any depth is one step. */
export function normalPath(path: string): string {
  const steps: string[] = [];
  for (const segment of path.slice(0, 512).split('/', 24)) {
    if (segment === '' && steps.length > 0) continue;
    const normal = isWordy(segment) ? segment.toLowerCase() : tokenize(segment, 16).join('');
    if (normal !== steps.at(-1)) steps.push(normal);
  }
  return steps.join('/').slice(0, 160);
}

const wordy = characterClass('a-z', 'A-Z', '-._~');

/** Nothing in it to make equal, and readable: stays as it is. */
function isWordy(segment: string): boolean {
  if (skip(wordy, segment, 0) !== segment.length) return false;
  for (let at = 0; at < segment.length; ) {
    const end = skip(letterClass, segment, at);
    if (end - at >= 6 && isRandomWord(segment.slice(at, end))) return false;
    at = end + 1;
  }
  return true;
}
