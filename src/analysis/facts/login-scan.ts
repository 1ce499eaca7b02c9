// Attempts to log in that stand in the bytes: of sessions that a service answered rather than a responder of ours, and of
// imported ones. Pure, linear. What a session's record says by itself needs no reading.

import { splitLines, splitWords, trimBlanks } from './characters.ts';
import { decodePercent } from './decoding.ts';
import type { FactList } from './fact-list.ts';
import { headerOf, type WebRequest } from './web-requests.ts';

const lineLimit = 256;
const attemptLimit = 64;
const textBytes = 16_384;

/** `user:password`; either may be unknown. */
export function addCredential(user: string | undefined, password: string | undefined, into: FactList): void {
  if (user || password) into.add('credential', `${user ?? ''}:${password ?? ''}`);
}

const addBytes = (user: string, password: string, into: FactList): void => {
  if (user !== '' || password !== '') into.addBytes('credential', `${user}:${password}`);
};

/** Standard base64 as RFC 4616 and RFC 7617 use it; undefined for what is none. */
function decoded(text: string): string | undefined {
  const bytes = Buffer.from(text, 'base64');
  return bytes.length > 0 ? bytes.toString('latin1') : undefined;
}

/** FTP's and POP3's USER and PASS, POP3's and SMTP's AUTH, IMAP's LOGIN and AUTHENTICATE. */
export function findLineLogins(text: string, into: FactList): void {
  let user: string | undefined;
  let asked: 'user' | 'password' | 'plain' | undefined;
  let attempts = 0;
  for (const line of splitLines(text.slice(0, textBytes), lineLimit)) {
    if (attempts === attemptLimit) return;
    if (asked !== undefined) {
      const said = decoded(trimBlanks(line)) ?? '';
      if (asked === 'plain') addPlain(said, into);
      else if (asked === 'password') addBytes(user ?? '', said, into);
      else user = said;
      attempts += asked === 'user' ? 0 : 1;
      asked = asked === 'user' ? 'password' : undefined;
      continue;
    }
    const words = splitWords(line, 5);
    // IMAP puts a tag in front.
    const tagged = (words[1] ?? '').toUpperCase();
    const verb = (words[0] ?? '').toUpperCase();
    if (verb === 'USER') user = trimBlanks(line.slice(5));
    else if (verb === 'PASS') {
      addBytes(user ?? '', trimBlanks(line.slice(5)), into);
      attempts += 1;
    } else if (verb === 'AUTH' || tagged === 'AUTHENTICATE') {
      const [kind, initial] = verb === 'AUTH' ? [words[1], words[2]] : [words[2], words[3]];
      const mechanism = (kind ?? '').toUpperCase();
      if (mechanism === 'PLAIN') {
        if (initial === undefined) asked = 'plain';
        else addPlain(decoded(initial) ?? '', into);
      } else if (mechanism === 'LOGIN') {
        user = initial === undefined ? undefined : decoded(initial);
        asked = initial === undefined ? 'user' : 'password';
      }
      attempts += 1;
    } else if (tagged === 'LOGIN' && words.length > 3) {
      addBytes(unquote(words[2]), unquote(words[3]), into);
      attempts += 1;
    }
  }
}

const unquote = (word: string): string => (word[0] === '"' && word.length > 1 && word.endsWith('"') ? word.slice(1, -1) : word);

/** RFC 4616: authorisation NUL user NUL password. */
function addPlain(said: string, into: FactList): void {
  const parts = said.split('\0', 3);
  if (parts.length === 3) addBytes(parts[1], parts[2], into);
}

/** Redis's AUTH, inline or as an array of bulk strings. */
export function findRedisLogins(text: string, into: FactList): void {
  const lines = splitLines(text.slice(0, textBytes), lineLimit);
  for (const [index, line] of lines.entries()) {
    const words = splitWords(line, 4);
    if ((words[0] ?? '').toUpperCase() !== 'AUTH') continue;
    if (words.length > 1) addBytes(words.length > 2 ? words[1] : '', words[words.length - 1], into);
    else {
      // `*3 $4 AUTH $n user $n password`: every other line is a length.
      const count = lines[index - 2] === '*3' ? 2 : 1;
      const values = [lines[index + 2], lines[index + 4]].slice(0, count);
      if (values[0] !== undefined && lines[index + 1]?.[0] === '$')
        addBytes(count === 2 ? values[0] : '', values.at(-1) ?? '', into);
    }
  }
}

/** The words bots send first once they believe to be in. */
const shellWords = new Set(['enable', 'system', 'shell', 'sh', 'linuxshell', '/bin/busybox', 'cat', 'cd', 'wget']);
const dialogueLines = 1024;

export interface Dialogue {
  readonly attempts: readonly (readonly [user: string, password: string])[];
  /** What was typed after it. */
  readonly commands: readonly string[];
}

/** Telnet's login: as many attempts as `output` asked for passwords; without output as many as the first lines look like. */
export function readDialogue(input: string, output: string): Dialogue {
  const lines = splitLines(withoutOptions(input), dialogueLines);
  let expected = countPrompts(output);
  if (output === '') {
    const first = lines.filter((line) => trimBlanks(line) !== '');
    const shell = first.findIndex((line) => shellWords.has(splitWords(line, 1)[0] ?? ''));
    expected =
      shell > 0 && shell < 7 && shell % 2 === 0 && first.slice(0, shell).every((line) => !line.includes(' ')) ? shell / 2 : 0;
  }
  const attempts: [string, string][] = [];
  const commands: string[] = [];
  let user: string | undefined;
  for (const line of lines) {
    if (attempts.length < Math.min(expected, attemptLimit)) {
      if (user === undefined) {
        if (line !== '') user = line;
      } else {
        attempts.push([user, line]);
        user = undefined;
      }
    } else if (line !== '') commands.push(line);
  }
  if (user !== undefined) attempts.push([user, '']);
  return { attempts, commands };
}

function countPrompts(output: string): number {
  let count = 0;
  const lower = output.slice(0, 65_536).toLowerCase();
  for (let at = lower.indexOf('password:'); at >= 0; at = lower.indexOf('password:', at + 9)) count += 1;
  return count;
}

/** RFC 854: IAC and what it commands; a doubled IAC is the byte itself. */
export function withoutOptions(text: string): string {
  if (!text.includes('\xff')) return text;
  let out = '';
  let from = 0;
  for (let at = text.indexOf('\xff'); at >= 0; at = text.indexOf('\xff', from)) {
    out += text.slice(from, at);
    const command = text.charCodeAt(at + 1);
    if (command === 250) {
      const end = text.indexOf('\xff\xf0', at + 2);
      from = end < 0 ? text.length : end + 2;
    } else if (command >= 251 && command <= 254) from = at + 3;
    else {
      if (command === 255) out += '\xff';
      from = at + 2;
    }
  }
  return out + text.slice(from);
}

/** Basic and Digest, and the fields of a form, of JSON or of WordPress's XML-RPC that are called like a login's. */
export function addWebLogins(request: WebRequest, into: FactList): void {
  for (const name of ['authorization', 'proxy-authorization']) {
    const value = headerOf(request.headers, name);
    if (value === undefined) continue;
    const scheme = value.slice(0, 7).toLowerCase();
    if (scheme.startsWith('basic ')) {
      const said = decoded(trimBlanks(value.slice(6)));
      const colon = said?.indexOf(':') ?? -1;
      if (said !== undefined && colon >= 0) addBytes(said.slice(0, colon), said.slice(colon + 1), into);
    } else if (scheme === 'digest ') {
      const at = value.indexOf('username="');
      const end = at < 0 ? -1 : value.indexOf('"', at + 10);
      if (end > 0) addBytes(value.slice(at + 10, end), '', into);
    }
  }
}

const userFields = new Set(
  'user username login userid uid email name account log usr uname j_username luser usernm f_user'.split(' '),
);
const passwordFields = new Set(
  'pass password passwd pwd psd psw pw userpass j_password lpassword passw f_pass syspasswd'.split(' '),
);

/** Of a form's or an object's fields: the user is the last one before the password, or the first. */
export function addFieldLogins(fields: readonly (readonly [name: string, value: string])[], into: FactList): void {
  let user: string | undefined;
  for (const [name, value] of fields) {
    const lower = name.toLowerCase();
    if (userFields.has(lower)) user = value;
    else if (passwordFields.has(lower)) {
      user ??= fields.find(([other]) => userFields.has(other.toLowerCase()))?.[1];
      addBytes(user ?? '', value, into);
    }
  }
}

const fieldLimit = 128;

/** `a=b&c=d`, decoded. */
export function parseForm(text: string): [string, string][] {
  const fields: [string, string][] = [];
  for (let at = 0; at < text.length && fields.length < fieldLimit; ) {
    const found = text.indexOf('&', at);
    const end = found < 0 ? text.length : found;
    const equals = text.indexOf('=', at);
    const split = equals < 0 || equals > end ? end : equals;
    fields.push([decodePercent(text.slice(at, split), true), decodePercent(text.slice(Math.min(end, split + 1), end), true)]);
    at = end + 1;
  }
  return fields;
}
