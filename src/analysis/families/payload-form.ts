// What a payload is, apart from what changes from copy to copy: a class (only payloads of one class are compared), features, and
// a label for people. Pure and linear. Told by the bytes alone, so that the same bytes on another port are the same.

import { parseClientHello, renderJa4 } from '../../model/client-hello.ts';
import { parseDnsQuery } from '../../model/dns-message.ts';
import { splitLines, splitWords, trimBlanks } from '../facts/characters.ts';
import { shellParts } from '../facts/command-scan.ts';
import { foldLookups } from '../facts/decoding.ts';
import { withoutOptions } from '../facts/login-scan.ts';
import { parseSshHello } from '../facts/ssh-hello.ts';
import { parseWebRequests } from '../facts/web-requests.ts';
import { bytesForm } from './bytes-form.ts';
import { exactForm, type PayloadForm } from './exact-form.ts';
import { normalWord, tokenize } from './payload-tokens.ts';
import { SketchBuilder } from './sketch.ts';
import { calledMethod, webForm } from './web-form.ts';

/** Text and words from their start; what follows adds nothing new to a family. */
export const formBytes = 16_384;

export function payloadForm(bytes: Buffer): PayloadForm {
  const start = bytes.length > formBytes ? bytes.subarray(0, formBytes) : bytes;
  return helloForm(start) ?? dnsForm(start) ?? textForms(start) ?? bytesForm(start);
}

function helloForm(bytes: Buffer): PayloadForm | undefined {
  if (bytes[0] !== 0x16 || bytes[1] !== 3) return undefined;
  const reading = parseClientHello(bytes);
  if (reading.verdict !== 'hello') return undefined;
  const ja4 = renderJa4(reading.hello);
  return exactForm(`tls ${ja4}`, `TLS hello ${ja4}`);
}

/** Only a whole question and nothing behind it but additional records, as over UDP. */
function dnsForm(bytes: Buffer): PayloadForm | undefined {
  if (bytes.length > 512) return undefined;
  const query = parseDnsQuery(bytes);
  const question = query?.questions[0];
  if (!query || !question || query.questions.length > 4 || query.operation > 5 || question.type > 260) return undefined;
  const isWord = (label: string): boolean => splitWords(label, 2).length === 1;
  if (!question.labels.every(isWord) || (query.records === 0 && query.firstEnd !== bytes.length)) return undefined;
  // What stands in front of a domain is chance, or the address that was asked for.
  const domain = question.labels
    .slice(-2)
    .map((label) => label.toLowerCase())
    .join('.');
  const name = question.labels.length > 2 ? `*.${domain}` : domain;
  return exactForm(`dns ${question.type} ${question.class & 0x7fff} ${name}`, `DNS ${name} type ${question.type}`);
}

function textForms(bytes: Buffer): PayloadForm | undefined {
  const ssh = parseSshHello(bytes);
  const text = bytes.toString('latin1');
  if (ssh) {
    const rest = ssh.hassh === undefined ? text.slice(ssh.next) : '';
    if (!isMostlyText(rest)) return exactForm(`ssh ${ssh.client}`, ssh.client);
    return rest === '' || ssh.hassh !== undefined
      ? exactForm(`ssh ${ssh.client} ${ssh.hassh ?? ''}`, ssh.client)
      : shellForm(splitLines(rest, 256), 'SSH shell');
  }
  const requests = parseWebRequests(text);
  if (requests.length > 0) return webForm(requests);
  const plain = withoutOptions(text);
  return plain !== '' && isMostlyText(plain) ? linesForm(plain) : undefined;
}

/** Nineteen in twenty characters are printable ASCII, or what text is laid out with. */
function isMostlyText(text: string): boolean {
  let odd = 0;
  const end = Math.min(text.length, 4096);
  for (let at = 0; at < end; at += 1) {
    const code = text.charCodeAt(at);
    if (code > 126 || (code < 32 && code !== 9 && code !== 10 && code !== 13 && code !== 0)) odd += 1;
    else if (code === 0 && text.charCodeAt(at - 1) !== 13 && at + 1 < text.length) odd += 1;
  }
  return odd * 20 <= end;
}

const namesShown = 5;
const shellWords = new Set(
  'enable system shell sh linuxshell bah busybox cat cd wget uname echo ls ps rm chmod tftp curl export'.split(' '),
);
/** What is said after these is a secret or a name, and differs from try to try. */
const secretVerbs = new Set(['user', 'pass', 'login', 'auth', 'authenticate']);

function linesForm(text: string): PayloadForm {
  const lines = splitLines(text, 256).filter((line) => line !== '');
  const firstWords = lines.map((line) => (splitWords(line.slice(0, 80), 1)[0] ?? '').toLowerCase());
  const shell = firstWords.findIndex((word) => shellWords.has(word) || word.startsWith('/bin/') || word.startsWith('./'));
  if (shell >= 0 && shell < 9) return shellForm(lines.slice(shell), 'Shell');
  const single = (text.includes('\n') || text.includes('\r')) && lines.every((line) => !line.includes(' ') && line.length < 64);
  if (single && lines.length > 1 && lines.length < 12 && !isProtocolLine(lines[0])) return exactForm('login', 'Login attempt');
  if (isProtocolLine(lines[0] ?? '')) return redisForm(lines);
  const sketch = new SketchBuilder();
  const verb = `${normalWord(firstWords[0]?.slice(0, 32) ?? '')}${calledMethod(text)}`;
  for (const line of lines) {
    const words = splitWords(line, 3);
    const secret = words.findIndex((word) => secretVerbs.has(word.toLowerCase()));
    // A look-up where a name should be is no secret.
    const hidden = secret >= 0 && secret < 2 && !line.includes('${');
    sketch.addTokens(tokenize(hidden ? words.slice(0, secret + 1).join(' ') : foldLookups(line), 512));
  }
  return { class: `text ${verb}`, groups: sketch.groups, threshold: 0.45, label: () => linesLabel(lines) };
}

/** Arrays of strings: the commands are the class, what they say counts, lengths do not. */
function redisForm(lines: readonly string[]): PayloadForm {
  const sketch = new SketchBuilder();
  const commands = new Set<string>();
  let isFirst = false;
  for (const line of lines) {
    if (line[0] === '*' && isProtocolLine(line)) isFirst = true;
    else if (!isProtocolLine(line)) {
      if (isFirst && commands.size < 12) commands.add(line.slice(0, 24).toLowerCase());
      isFirst = false;
      sketch.addTokens(tokenize(line, 256));
    }
  }
  const name = [...commands].sort().join(' ');
  return { class: `redis ${name}`, groups: sketch.groups, threshold: 0.3, label: () => linesLabel(lines) };
}

function linesLabel(lines: readonly string[]): string {
  const shown = trimBlanks((lines[0] ?? '').slice(0, 60));
  return isProtocolLine(shown) ? redisLabel(lines) : shown === '' ? 'Blank lines' : `Text ${shown}`;
}

/** Redis and its kin: `*3`, `$5`. */
const isProtocolLine = (line: string): boolean => (line[0] === '*' || line[0] === '$') && line[1] >= '0' && line[1] <= '9';

function redisLabel(lines: readonly string[]): string {
  const words = lines.filter((line) => !isProtocolLine(line)).slice(0, 4);
  return `Redis ${words.join(' ').slice(0, 60)}`;
}

/** Commands, in any order: bots mix and repeat them. */
function shellForm(lines: readonly string[], label: string): PayloadForm {
  const sketch = new SketchBuilder();
  for (const line of lines) sketch.addTokens(tokenize(line, 256));
  return { class: 'shell', groups: sketch.groups, threshold: 0.4, label: () => `${label}: ${programNames(lines).join(', ')}` };
}

/** The first ones, each once. */
function programNames(lines: readonly string[]): string[] {
  const names: string[] = [];
  for (const line of lines)
    for (const part of shellParts(line.slice(0, 512))) {
      const [word = '', second = ''] = splitWords(part.slice(0, 160), 2);
      const name = (word.endsWith('busybox') ? `busybox ${second}` : word).slice(0, 24);
      if (!names.includes(name)) names.push(name);
      if (names.length === namesShown) return names;
    }
  return names;
}
