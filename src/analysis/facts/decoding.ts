// Ways to hide text that every attacker uses: percent signs, base64, escapes, entities, log4j's nested look-ups. Each decoder
// takes a text with one byte to a character, gives one, and costs its length. Pure.

import { characterClass, isIn, skip, skipTo, wordClass } from './characters.ts';

const hexValues = new Int8Array(256).fill(-1);
for (const [value, digit] of [...'0123456789abcdef'].entries()) {
  hexValues[digit.charCodeAt(0)] = value;
  hexValues[digit.toUpperCase().charCodeAt(0)] = value;
}

/** What so many hexadecimal digits say; -1 when there are fewer. */
function hex(text: string, at: number, digits: number): number {
  let value = 0;
  for (let index = at; index < at + digits; index += 1) {
    const digit = hexValues[text.charCodeAt(index)];
    if (!(digit >= 0)) return -1;
    value = value * 16 + digit;
  }
  return digits > 0 ? value : -1;
}

const percentClass = characterClass('%');
const formClass = characterClass('%+');

/** `%41` and IIS's `%u0041`; `+` is a blank in forms. The same string when there is nothing to decode. */
export function decodePercent(text: string, form = false): string {
  if (!text.includes('%') && !(form && text.includes('+'))) return text;
  const marks = form ? formClass : percentClass;
  let out = '';
  let from = 0;
  for (let at = skipTo(marks, text, 0); at < text.length; at = skipTo(marks, text, at + 1))
    if (text[at] === '+') {
      out += `${text.slice(from, at)} `;
      from = at + 1;
    } else {
      const wide = text[at + 1] === 'u' || text[at + 1] === 'U';
      const code = wide ? hex(text, at + 2, 4) : hex(text, at + 1, 2);
      if (code < 0) continue;
      out += text.slice(from, at) + String.fromCharCode(code > 255 ? 63 : code);
      at += wide ? 5 : 2;
      from = at + 1;
    }
  return out + text.slice(from);
}

/** `\u0041`, `\x41` and octal `\101`, as JSON, JavaScript and `printf` write them. */
export function decodeEscapes(text: string): string {
  if (!text.includes('\\')) return text;
  let out = '';
  let from = 0;
  for (let at = text.indexOf('\\'); at >= 0 && at + 1 < text.length; at = text.indexOf('\\', at + 1)) {
    const kind = text[at + 1];
    const digits = kind === 'u' ? 4 : kind === 'x' ? 2 : 0;
    const code = digits > 0 ? hex(text, at + 2, digits) : -1;
    const plain =
      kind === '"' || kind === '/' ? kind.charCodeAt(0) : kind === 'n' ? 10 : kind === 'r' ? 13 : kind === 't' ? 9 : -1;
    if (code < 0 && plain < 0) continue;
    out += text.slice(from, at) + String.fromCharCode(code >= 0 ? (code > 255 ? 63 : code) : plain);
    at += code >= 0 ? digits + 1 : 1;
    from = at + 1;
  }
  return out + text.slice(from);
}

const entities: Readonly<Record<string, string>> = { lt: '<', gt: '>', amp: '&', quot: '"', apos: "'" };

/** HTML's and XML's five names, and numbers. */
export function decodeEntities(text: string): string {
  if (!text.includes('&')) return text;
  let out = '';
  let from = 0;
  for (let at = text.indexOf('&'); at >= 0; at = text.indexOf('&', at + 1)) {
    const nameAt = at + (text[at + 1] === '#' ? 2 : 1);
    const end = skip(wordClass, text, nameAt, nameAt + 8);
    if (text[end] !== ';' || end === nameAt) continue;
    const name = text.slice(nameAt, end);
    let decoded: string | undefined = entities[name];
    if (text[at + 1] === '#') {
      const code = name[0] === 'x' || name[0] === 'X' ? hex(name, 1, name.length - 1) : Number(name);
      decoded = code >= 0 && code < 256 ? String.fromCharCode(code) : undefined;
    }
    if (decoded === undefined) continue;
    out += text.slice(from, at) + decoded;
    at = end;
    from = end + 1;
  }
  return out + text.slice(from);
}

const nesting = 64;
const lookupMarks = characterClass('$}');

/**
 * log4j's look-ups worked out as far as a stranger can: `${lower:J}`, `${::-j}`, `${env:NONE:-j}`, nested. Those whose value is
 * the victim's stay, and so does `${jndi:…}`.
 */
export function foldLookups(text: string): string {
  if (!text.includes('${')) return text;
  const open: { readonly before: string; readonly from: number; readonly at: number }[] = [];
  // What was folded so far at this depth, and where in the text what follows it begins.
  let folded = '';
  let from = 0;
  // The last `:-` before the place that is looked at, and the one after it.
  let fallback = -1;
  let nextFallback = text.indexOf(':-');
  for (let at = skipTo(lookupMarks, text, 0); at < text.length; at = skipTo(lookupMarks, text, at + 1)) {
    const isEnd = text[at] === '}';
    if (!isEnd && text[at + 1] === '{' && open.length < nesting) {
      open.push({ before: folded, from, at });
      folded = '';
      at += 1;
      from = at + 1;
    } else if (isEnd && open.length > 0) {
      const outer = open.pop() as (typeof open)[number];
      for (; nextFallback >= 0 && nextFallback + 1 < at; nextFallback = text.indexOf(':-', nextFallback + 2))
        fallback = nextFallback;
      if (from === outer.at + 2 && fallback < from && !isNamedLookup(text, from)) {
        // Most stay as they are: they are a part of the text around them.
        folded = outer.before;
        from = outer.from;
        continue;
      }
      folded = `${outer.before}${text.slice(outer.from, outer.at)}${foldLookup(folded + text.slice(from, at))}`;
      from = at + 1;
    }
  }
  // What was never closed stays as it was written.
  let tail = folded + text.slice(from);
  for (let outer = open.pop(); outer !== undefined; outer = open.pop())
    tail = `${outer.before}${text.slice(outer.from, outer.at)}\${${tail}`;
  return tail;
}

const lookupNames = ['jndi:', 'lower:', 'upper:', "date:'", 'base64:'];

/** Whether one that begins there may become something else by its name, in either case. */
function isNamedLookup(text: string, at: number): boolean {
  const first = text.charCodeAt(at) | 0x20;
  for (const name of lookupNames)
    if (name.charCodeAt(0) === first && text.slice(at, at + name.length).toLowerCase() === name)
      return name !== 'jndi:' || !text.startsWith(name, at);
  return false;
}

function foldLookup(inner: string): string {
  const colon = inner.indexOf(':');
  const name = colon < 0 || colon > 16 ? '' : inner.slice(0, colon).toLowerCase();
  if (name === 'jndi') return `\${jndi${inner.slice(4)}}`;
  if (name === 'lower') return inner.slice(colon + 1).toLowerCase();
  if (name === 'upper') return inner.slice(colon + 1).toUpperCase();
  if (name === 'date' && inner[colon + 1] === "'" && inner.endsWith("'")) return inner.slice(colon + 2, -1);
  if (name === 'base64') return decodeBase64(inner.slice(colon + 1)) ?? `\${${inner}}`;
  const fallback = inner.lastIndexOf(':-');
  return fallback < 0 ? `\${${inner}}` : inner.slice(fallback + 2);
}

const leastWide = 6;
const zeroClass = characterClass('\0');

/** The texts in UTF-16 (low byte first) that stand among other bytes, a line each; empty when there are none. */
export function findWideText(text: string): string {
  if (!text.includes('\0')) return '';
  let out = '';
  for (let at = 0; ; ) {
    at = skipTo(zeroClass, text, at + 1) - 1;
    if (at + 1 >= text.length) break;
    let end = at;
    while (end + 1 < text.length && text.charCodeAt(end + 1) === 0 && isPrintable(text.charCodeAt(end))) end += 2;
    if (end - at >= 2 * leastWide) {
      for (let index = at; index < end; index += 2) out += text[index];
      out += '\n';
    }
    at = Math.max(at + 1, end);
  }
  return out;
}

const isPrintable = (code: number): boolean => code >= 32 && code < 127;

const base64Class = characterClass('a-z', 'A-Z', '0-9', '+/_-=');
const leastBase64 = 16;
const runLimit = 32;

/** What the runs of base64 in a text say, where that is text (also in UTF-16, as PowerShell wants it). */
export function findBase64(text: string): string[] {
  const found: string[] = [];
  let tries = 0;
  for (let at = 0; at + leastBase64 <= text.length && tries < runLimit; ) {
    if (!isIn(base64Class, text, at)) {
      at += 1;
      continue;
    }
    const end = skip(base64Class, text, at);
    if (end - at >= leastBase64) {
      tries += 1;
      const run = text.slice(at, end);
      const whole = decodeBase64(run);
      if (whole !== undefined) found.push(whole);
      else
        for (const piece of run.split('/', runLimit)) {
          const part = piece.length >= leastBase64 && piece.length < run.length ? decodeBase64(piece) : undefined;
          if (part !== undefined) found.push(part);
        }
    }
    at = end + 1;
  }
  return found;
}

/** Undefined when it is not the base64 of readable text. */
export function decodeBase64(run: string): string | undefined {
  const bytes = Buffer.from(run, 'base64');
  if (bytes.length < 3) return undefined;
  if (bytes.length >= 8 && bytes[1] === 0 && bytes[3] === 0 && bytes[5] === 0) {
    const narrow = Buffer.from(bytes.filter((_, index) => index % 2 === 0));
    return isReadable(narrow) ? narrow.toString('latin1') : undefined;
  }
  return isReadable(bytes) ? bytes.toString('latin1') : undefined;
}

/** Nine in ten are printable ASCII or line ends; none is a control character that text never has. */
function isReadable(bytes: Uint8Array): boolean {
  let odd = 0;
  for (const byte of bytes) {
    if (byte < 9 || (byte > 13 && byte < 32 && byte !== 27)) return false;
    if (byte > 126) odd += 1;
  }
  return bytes.length > 0 && odd * 10 <= bytes.length;
}
