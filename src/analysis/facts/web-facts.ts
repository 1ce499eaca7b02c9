// What requests of HTTP, RTSP and SIP hold: paths, agents, logins, uploads, and every place in them where an attacker puts a
// command or a URL, decoded. Pure and linear.

import { createHash } from 'node:crypto';
import { trimBlanks } from './characters.ts';
import { decodeEntities, decodeEscapes, decodePercent } from './decoding.ts';
import type { FactList } from './fact-list.ts';
import { type HiddenText, takeText } from './hidden-text.ts';
import { addCredential, addFieldLogins, addWebLogins, parseForm } from './login-scan.ts';
import { addHost, findUrls } from './url-scan.ts';
import { headerOf, type WebRequest } from './web-requests.ts';

/** Names places by habit, not by intent; call-backs in them use other schemes than the web's. */
const descriptive = new Set(['user-agent', 'referer', 'origin', 'from', 'via', 'contact', 'to', 'call-id', 'route', 'host']);
/** Say nothing but what a client can do. */
const formal = new Set(
  'accept accept-encoding accept-language connection content-length content-type cache-control date'.split(' '),
);
/** Parameters whose value is a command as it stands. */
const commandFields = new Set('cmd command exec execute system shell run c cmdline ping_addr ipaddr'.split(' '));
const shells = new Set(['sh', 'bash', '/bin/sh', '/bin/bash', 'cmd', 'cmd.exe']);
const partLimit = 32;
const jsonLimit = 512;
const jsonDepth = 32;

/** `complete`: nothing of the request was cut off, so what was uploaded can be hashed. */
export function addWebFacts(request: WebRequest, complete: boolean, into: FactList, texts: HiddenText): void {
  const { method, target, protocol, headers } = request;
  const agent = headerOf(headers, 'user-agent');
  if (agent !== undefined) into.addBytes('user-agent', agent);
  addWebLogins(request, into);
  if (protocol === 'HTTP') addTarget(method, target, into, texts);
  else if (protocol === 'SIP') addCredential(sipUser(headers), '', into);
  for (const [name, value] of headers) {
    if (formal.has(name) && !value.includes('${') && !value.includes('%{')) continue;
    takeText(descriptive.has(name) ? 'described' : 'value', value, into, texts);
  }
  if (request.body !== '') addBody(request, complete, into, texts);
}

function addTarget(method: string, target: string, into: FactList, texts: HiddenText): void {
  if (method === 'CONNECT') {
    addHost(target, into);
    return;
  }
  const question = target.indexOf('?');
  const path = question < 0 ? target : target.slice(0, question);
  // A proxy is asked with a whole URL.
  if (path.includes('://')) findUrls(target, into);
  else into.addBytes('path', path);
  takeText('value', decodePercent(path), into, texts);
  if (question >= 0) addFields(parseForm(target.slice(question + 1)), into, texts);
}

function addFields(fields: readonly (readonly [name: string, value: string])[], into: FactList, texts: HiddenText): void {
  addFieldLogins(fields, into);
  for (const [name, value] of fields) {
    takeText(commandFields.has(name.toLowerCase()) ? 'command' : 'value', value, into, texts);
    if (name.length > 8) takeText('value', name, into, texts);
  }
}

function addBody(request: WebRequest, complete: boolean, into: FactList, texts: HiddenText): void {
  const { body, headers } = request;
  const type = (headerOf(headers, 'content-type') ?? '').toLowerCase();
  const start = trimBlanks(body.slice(0, 64));
  if (type.startsWith('multipart/')) addParts(body, headerOf(headers, 'content-type') ?? '', complete, into, texts);
  else if (isProgram(body) || request.method === 'PUT') {
    if (complete) addUpload(body, into);
    takeText('value', body, into, texts);
  } else if (start[0] === '{' || start[0] === '[') addJson(body, into, texts);
  else if (start[0] === '<') addMarkup(body, into, texts);
  else if (type.includes('urlencoded') || looksLikeForm(body)) addFields(parseForm(body), into, texts);
  else takeText('value', body, into, texts);
}

/** ELF, Windows, a script. */
const isProgram = (bytes: string): boolean => bytes.startsWith('\x7fELF') || bytes.startsWith('MZ') || bytes.startsWith('#!');

const looksLikeForm = (body: string): boolean => {
  const equals = body.indexOf('=');
  return equals > 0 && equals < 64 && !body.slice(0, equals).includes(' ') && !body.slice(0, equals).includes('<');
};

function addUpload(bytes: string, into: FactList): void {
  if (bytes.length > 0) into.add('hash', createHash('sha256').update(bytes, 'latin1').digest('hex'));
}

/** RFC 7578: files are named and hashed, other parts are fields. */
function addParts(body: string, type: string, complete: boolean, into: FactList, texts: HiddenText): void {
  const marker = parameter(type, 'boundary');
  if (marker === undefined) {
    takeText('value', body, into, texts);
    return;
  }
  const fields: [string, string][] = [];
  const separator = `--${marker}`;
  let at = body.indexOf(separator);
  for (let parts = 0; at >= 0 && parts < partLimit; parts += 1) {
    const start = at + separator.length;
    const end = body.indexOf(separator, start);
    const part = body.slice(start, end < 0 ? body.length : end);
    const blank = part.indexOf('\r\n\r\n');
    if (blank >= 0) {
      const head = part.slice(0, blank);
      const content = part.slice(blank + 4, part.endsWith('\r\n') ? part.length - 2 : part.length);
      const file = parameter(head, 'filename');
      if (file !== undefined) {
        into.addBytes('file', file);
        if (complete && end >= 0) addUpload(content, into);
      }
      takeText('value', content, into, texts);
      fields.push([parameter(head, 'name') ?? '', content]);
    }
    at = end;
  }
  addFieldLogins(fields, into);
}

/** `name="value"` or `name=value` of a header. */
function parameter(text: string, name: string): string | undefined {
  const lower = text.toLowerCase();
  for (let at = lower.indexOf(`${name}=`); at >= 0; at = lower.indexOf(`${name}=`, at + 1)) {
    // `name=` is also the end of `filename=`.
    if (at > 0 && lower[at - 1] !== ' ' && lower[at - 1] !== ';' && lower[at - 1] !== '\t') continue;
    const start = at + name.length + 1;
    if (text[start] === '"') {
      const end = text.indexOf('"', start + 1);
      return end < 0 ? undefined : text.slice(start + 1, end);
    }
    let end = start;
    while (end < text.length && text[end] !== ';' && text[end] !== '\r' && text[end] !== ' ') end += 1;
    return end > start ? text.slice(start, end) : undefined;
  }
  return undefined;
}

/** Its strings; where it is broken, the whole of it without escapes. */
function addJson(body: string, into: FactList, texts: HiddenText): void {
  let value: unknown;
  try {
    value = JSON.parse(body);
  } catch {
    takeText('value', decodeEscapes(body), into, texts);
    return;
  }
  const fields: [string, string][] = [];
  const walk = (name: string, node: unknown, depth: number): void => {
    if (fields.length >= jsonLimit || depth > jsonDepth) return;
    if (typeof node === 'string') fields.push([name, node]);
    else if (Array.isArray(node)) {
      // `["/bin/sh", "-c", "…"]` is a command in pieces.
      const words = node.length > 1 && node.length < 16 && node.every((one) => typeof one === 'string');
      if (words && shells.has(node[0])) takeText('command', node.join(' '), into, texts);
      for (const one of node) walk(name, one, depth + 1);
    } else if (typeof node === 'object' && node !== null)
      for (const [key, one] of Object.entries(node)) walk(key, one, depth + 1);
  };
  walk('', value, 0);
  addFields(fields, into, texts);
}

/** The text between tags, entities decoded; and attributes, where expressions of Java hide. */
function addMarkup(body: string, into: FactList, texts: HiddenText): void {
  const strings: string[] = [];
  for (let at = 0; at < body.length; ) {
    const open = body.indexOf('<', at);
    const end = open < 0 ? body.length : open;
    const text = trimBlanks(body.slice(at, end));
    if (text !== '') {
      const decoded = decodeEntities(text);
      takeText('value', decoded, into, texts);
      strings.push(decoded);
    }
    if (open < 0) break;
    const close = body.startsWith('<![CDATA[', open) ? body.indexOf(']]>', open) : body.indexOf('>', open);
    const tag = body.slice(open, close < 0 ? body.length : close);
    if (tag.startsWith('<![CDATA[')) takeText('value', tag.slice(9), into, texts);
    else if (tag.startsWith('<?') || tag.startsWith('<%')) takeText('value', tag, into, texts);
    else if (tag.includes('=')) takeText('value', decodeEntities(tag), into, texts);
    at = close < 0 ? body.length : close + 1;
  }
  // WordPress asks by XML-RPC who somebody is: method, user, password.
  if (strings[0]?.startsWith('wp.') && strings.length > 2) into.addBytes('credential', `${strings.at(-2)}:${strings.at(-1)}`);
}

/** Who registers: the name in `From: <sip:name@host>`. */
function sipUser(headers: WebRequest['headers']): string | undefined {
  const from = headerOf(headers, 'authorization') === undefined ? undefined : headerOf(headers, 'from');
  const at = from?.indexOf('sip:') ?? -1;
  const end = from?.indexOf('@', at) ?? -1;
  return from !== undefined && at >= 0 && end > at ? from.slice(at + 4, end) : undefined;
}
