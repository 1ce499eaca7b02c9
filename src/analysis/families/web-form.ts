// The form of HTTP, RTSP and SIP requests. Method, path and names of parameters are the class: another path is another attack.
// Within it what stands in values, bodies and odd headers counts, and a little how the client writes its headers. Pure.

import { characterClass, skip, skipTo, splitWords } from '../facts/characters.ts';
import { decodePercent, foldLookups } from '../facts/decoding.ts';
import { headerOf, type WebRequest } from '../facts/web-requests.ts';
import type { PayloadForm } from './exact-form.ts';
import { normalPath, normalWord, tokenize } from './payload-tokens.ts';
import { hashText, SketchBuilder } from './sketch.ts';

const requestLimit = 8;
const parameterLimit = 16;
/** Values count this much more than the client's habits. */
const coreWeight = 3;
/** The same harmless request of another tool is another family. */
const agentWeight = 4;
const cookieWeight = 2;
const cookieLimit = 16;
/** A path goes on until something stands in it that no file is called by. */
const pathClass = characterClass('a-z', 'A-Z', '0-9', '/._~+@-', ':,');
const nameClass = characterClass('a-z', 'A-Z', '0-9', '._-');
const keyEnds = characterClass('=&');
/** Headers whose value says what is wanted, rather than who asks. */
const telling = new Set([
  'content-type',
  'soapaction',
  'destination',
  'upgrade',
  'x-forwarded-for',
  'translate',
  'depth',
  'next-action',
]);
/** What nobody writes into a header without intent. */
const marks = ['${', '() {', '(){', '%{', '../', '`', '$(', '<?', '<%', ';wget', '; wget', '|'];

export function webForm(requests: readonly WebRequest[]): PayloadForm {
  const sketch = new SketchBuilder();
  let name = '';
  for (const request of requests.slice(0, requestLimit)) {
    const kind = addRequest(request, sketch);
    if (name === '') name = kind;
  }
  const [first] = requests;
  return { class: `${first.protocol} ${name}`, groups: sketch.groups, threshold: 0.5, label: () => labelOf(first) };
}

function labelOf({ method, target, protocol, body, headers }: WebRequest): string {
  const hint = hintOf(`${target} ${body} ${headers.map(([, value]) => value).join(' ')}`);
  return `${protocol} ${method} ${target.slice(0, 80)}${hint === undefined ? '' : ` (${hint})`}`;
}

/** Adds what counts; gives what the class is called. */
function addRequest({ method, target, protocol, headers, body }: WebRequest, sketch: SketchBuilder): string {
  const question = target.indexOf('?');
  const decoded = decodePercent(decodePercent(question < 0 ? target : target.slice(0, question)));
  let name = `${method} `;
  if (protocol === 'SIP' || method === 'CONNECT') name += protocol;
  else if (target[0] !== '/' && decoded.indexOf('://') > 0) {
    const host = decoded.indexOf('://') + 3;
    const slash = decoded.indexOf('/', host);
    name += `proxy ${slash < 0 ? '' : normalPath(decoded.slice(slash))}`;
  } else {
    const end = skip(pathClass, decoded, 0);
    name += normalPath(decoded.slice(0, end));
    sketch.addTokens(tokenize(decoded.slice(end)), coreWeight);
  }
  if (question >= 0) name += addQuery(target.slice(question + 1), sketch);
  name += calledMethod(body);
  if (body !== '') sketch.addTokens(tokenize(body.includes('%') ? decodePercent(body, true) : body), coreWeight);
  for (const [header, value] of headers) {
    sketch.add(hashText(`header ${header}`));
    if (header === 'authorization') sketch.add(hashText(`login ${splitWords(value.slice(0, 32), 1)[0]}`), coreWeight);
    if (header === 'cookie') for (const cookie of cookieNames(value)) sketch.add(hashText(`cookie ${cookie}`), cookieWeight);
    if (telling.has(header) || marks.some((mark) => value.includes(mark)))
      sketch.addTokens([header, ...tokenize(foldLookups(decodePercent(value)), 256)], coreWeight);
  }
  const agent = headerOf(headers, 'user-agent');
  if (agent !== undefined) sketch.add(hashText(`agent ${agentKind(agent)}`), agentWeight);
  return name;
}

/** Names of parameters, each once, in the order of the alphabet; values are features. */
function addQuery(query: string, sketch: SketchBuilder): string {
  const names = new Set<string>();
  for (let at = 0, count = 0; at < query.length && count < 64; count += 1) {
    const keyEnd = skipTo(keyEnds, query, at);
    const isNamed = query[keyEnd] === '=';
    const found = query.indexOf('&', keyEnd);
    const end = found < 0 ? query.length : found;
    if (isNamed && names.size < parameterLimit) names.add(normalWord(decodePercent(query.slice(at, keyEnd)).slice(0, 32)));
    const value = decodePercent(decodePercent(query.slice(isNamed ? keyEnd + 1 : at, end), true));
    sketch.addTokens(tokenize(foldLookups(value), 512), coreWeight);
    at = end + 1;
  }
  return `?${[...names].sort().join('&')}`;
}

function cookieNames(value: string): string[] {
  return value.split(';', cookieLimit).map((pair) =>
    normalWord(
      pair
        .slice(0, Math.max(0, pair.indexOf('=')))
        .trim()
        .slice(0, 32),
    ),
  );
}

/** One address answers many questions: which one is the class. JSON-RPC's `method`, XML-RPC's `methodName`. */
export function calledMethod(body: string): string {
  const start = body.slice(0, 4096);
  for (const mark of ['"method"', '<methodName>']) {
    const at = start.indexOf(mark);
    if (at < 0) continue;
    const from = skipTo(nameClass, start, at + mark.length, at + mark.length + 4);
    const end = skip(nameClass, start, from, from + 48);
    if (end > from) return ` ${start.slice(from, end).toLowerCase()}`;
  }
  return '';
}

/** Words of browsers' agents that stand before a slash, as `Chrome/98.0`. */
const browserWords = new Set(
  'mozilla applewebkit chrome chromium safari firefox gecko version mobile build edge edg opr opera trident crios fxios like headlesschrome presto'.split(
    ' ',
  ),
);

/** `curl`, `python-requests`, `zgrab` also behind `Mozilla/5.0`, or `browser` for everything that says no more than that. */
function agentKind(agent: string): string {
  const words = splitWords(agent.slice(0, 512), 48);
  const product = (words[0] ?? '').split('/', 1)[0].toLowerCase().slice(0, 32);
  if (product !== 'mozilla' && product !== 'opera') return product;
  for (const [at, word] of words.entries()) {
    const from = skipTo(nameClass, word, 0);
    const end = skip(nameClass, word, from);
    const name = word.slice(from, end).toLowerCase();
    if (name === '' || browserWords.has(name)) continue;
    const isNamed = words[at - 1]?.endsWith('compatible;') && name !== 'msie';
    if (word[end] === '/' || isNamed) return name.slice(0, 32);
  }
  return 'browser';
}

/** What a reader would want to know first. */
function hintOf(text: string): string | undefined {
  const lower = foldLookups(decodePercent(text.slice(0, 8192))).toLowerCase();
  if (lower.includes('${jndi:')) return 'log4j look-up';
  for (const word of ['wget', 'curl', 'tftp', 'powershell', 'certutil'])
    if (lower.includes(`${word} `) || lower.includes(`${word}+`) || lower.includes(`${word}$`)) return `${word} command`;
  if (lower.includes('/etc/passwd')) return 'reads /etc/passwd';
  if (lower.includes('union select') || lower.includes('union+select')) return 'SQL injection';
  return undefined;
}
