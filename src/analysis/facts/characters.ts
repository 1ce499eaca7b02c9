// Classes of characters as tables, and steps over them. All scanners of this folder go forward over attackers' text with these,
// so that no input costs more than its length: none of them uses a regular expression.

/** One flag for each of the first 256 characters. */
export type CharacterClass = Uint8Array;

export function characterClass(...parts: readonly string[]): CharacterClass {
  const flags = new Uint8Array(256);
  for (const part of parts)
    if (part.length === 3 && part[1] === '-') flags.fill(1, part.charCodeAt(0), part.charCodeAt(2) + 1);
    else for (const character of part) flags[character.charCodeAt(0)] = 1;
  return flags;
}

export const digitClass = characterClass('0-9');
export const hexClass = characterClass('0-9', 'a-f', 'A-F');
export const letterClass = characterClass('a-z', 'A-Z');
export const wordClass = characterClass('a-z', 'A-Z', '0-9', '_');
export const hostClass = characterClass('a-z', 'A-Z', '0-9', '-._');
export const blankClass = characterClass(' \t\r\n\v\f\0');

export const isIn = (flags: CharacterClass, text: string, at: number): boolean => flags[text.charCodeAt(at)] === 1;

/** The first place from `at` on, before `end`, that is not of the class; `end` when all are. */
export function skip(flags: CharacterClass, text: string, at: number, end = text.length): number {
  let index = at;
  while (index < end && flags[text.charCodeAt(index)] === 1) index += 1;
  return index;
}

/** The first place from `at` on, before `end`, that is of the class; `end` when none is. */
export function skipTo(flags: CharacterClass, text: string, at: number, end = text.length): number {
  let index = at;
  while (index < end && flags[text.charCodeAt(index)] !== 1) index += 1;
  return index;
}

/** Without blanks at both ends. */
export function trimBlanks(text: string): string {
  const start = skip(blankClass, text, 0);
  let end = text.length;
  while (end > start && blankClass[text.charCodeAt(end - 1)] === 1) end -= 1;
  return text.slice(start, end);
}

/** Words between blanks, at most `limit` of them. */
export function splitWords(text: string, limit: number): string[] {
  const words: string[] = [];
  for (let at = skip(blankClass, text, 0); at < text.length && words.length < limit; ) {
    const end = skipTo(blankClass, text, at);
    words.push(text.slice(at, end));
    at = skip(blankClass, text, end);
  }
  return words;
}

const lineEnds = characterClass('\r\n\0');

/** Lines between any of CR, LF and NUL; empty ones too where `CR LF` and `CR NUL` count as one end. At most `limit`. */
export function splitLines(text: string, limit: number): string[] {
  const lines: string[] = [];
  for (let at = 0; at < text.length && lines.length < limit; ) {
    const end = skipTo(lineEnds, text, at);
    lines.push(text.slice(at, end));
    at = end + (text[end] === '\r' && (text[end + 1] === '\n' || text[end + 1] === '\0') ? 2 : 1);
  }
  return lines;
}
