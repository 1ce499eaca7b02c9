// What one session held that is worth knowing again: where it would have downloaded from, what it would have run, as whom it
// logged in, what it calls itself. Pure, linear in the session's bytes, bounded; attackers' addresses are read, never used.

import { parseDnsQuery } from '../../model/dns-message.ts';
import type { Fact, SignatureHit } from '../../model/insight.ts';
import { type SessionView, viewBytes } from '../session-view.ts';
import { takeShellLines } from './command-scan.ts';
import { readBridge } from './device-bridge.ts';
import { FactList } from './fact-list.ts';
import { type HiddenText, takeText, textBudget } from './hidden-text.ts';
import { addCredential, findLineLogins, findRedisLogins, readDialogue, withoutOptions } from './login-scan.ts';
import { parseSshHello } from './ssh-hello.ts';
import { addHost, findUrls, isDomain } from './url-scan.ts';
import { addWebFacts } from './web-facts.ts';
import { parseWebRequests } from './web-requests.ts';

const noFacts: readonly Fact[] = [];

/** Distinct, at most 64, each at most 2,048 characters and safe to show; the same view and hits give the same facts. */
export function extractFacts(view: SessionView, hits: readonly SignatureHit[]): readonly Fact[] {
  const { session } = view;
  if (view.input.length === 0 && hits.length === 0 && isBare(session)) return noFacts;
  const into = new FactList(session.destination.ip);
  for (const { kind, value } of session.facts ?? noFacts) into.add(kind, value);
  addFindings(session, into);
  for (const { captures } of hits) addCaptures(captures, into);
  if (view.input.length > 0) addInput(view, into);
  return into.facts();
}

const isBare = (session: SessionView['session']): boolean =>
  session.userName === undefined &&
  session.password === undefined &&
  session.credentials === undefined &&
  session.tls === undefined &&
  session.facts === undefined;

function addFindings(session: SessionView['session'], into: FactList): void {
  const { tls, credentials, userName, password } = session;
  if (tls) {
    if (tls.ja3 !== '') into.add('ja3', tls.ja3);
    if (tls.ja4 !== '') into.add('ja4', tls.ja4);
    if (tls.serverName !== undefined) into.add('tls-name', tls.serverName);
  }
  for (const attempt of credentials ?? []) addCredential(attempt.userName, attempt.password, into);
  addCredential(userName, password, into);
}

/** What rules captured, by the name of the capture. */
function addCaptures(captures: SignatureHit['captures'], into: FactList): void {
  for (const [name, value] of Object.entries(captures))
    switch (name) {
      case 'url':
        if (value.includes('://')) findUrls(value, into);
        else addHost(value.split('/', 1)[0], into);
        break;
      case 'command':
        takeShellLines(value, into);
        break;
      case 'host':
      case 'domain':
      case 'address':
        // A shell names its port behind a slash.
        addHost(value.split('/', 1)[0], into);
        break;
      case 'file':
        into.add('file', value);
        break;
      case 'credential':
        into.add('credential', value);
        break;
    }
}

function addInput(view: SessionView, into: FactList): void {
  const { session } = view;
  const bytes = Buffer.from(view.input.buffer, view.input.byteOffset, view.input.length);
  const text = bytes.toString('latin1');
  const texts = textBudget();
  if (session.transport === 'udp' && addDatagram(session, bytes, into)) return;
  const ssh = parseSshHello(bytes);
  if (ssh) {
    into.addBytes('client', ssh.client);
    if (ssh.hassh !== undefined) into.add('hassh', ssh.hassh);
    // What another honeypot saw inside the tunnel follows as lines; of forwarded connections it may be requests.
    else if (isText(text, ssh.next)) {
      const inside = text.slice(ssh.next);
      const forwarded = session.tags?.includes('direct-tcpip') ? parseWebRequests(inside) : [];
      for (const request of forwarded) addWebFacts(request, !session.truncated, into, texts);
      if (forwarded.length === 0) addShell(inside, into, texts);
    }
    return;
  }
  const requests = parseWebRequests(text);
  if (requests.length > 0) {
    const complete = !session.truncated && view.input.length < viewBytes;
    for (const request of requests) addWebFacts(request, complete, into, texts);
    return;
  }
  addByProtocol(view, bytes, text, into, texts);
}

function addByProtocol(view: SessionView, bytes: Buffer, text: string, into: FactList, texts: HiddenText): void {
  const { session } = view;
  const known = session.credentials !== undefined || session.userName !== undefined || session.password !== undefined;
  switch (session.protocol) {
    case 'telnet': {
      const output = Buffer.from(view.output.buffer, view.output.byteOffset, view.output.length).toString('latin1');
      const dialogue = readDialogue(text, output);
      if (!known) for (const [user, password] of dialogue.attempts) into.addBytes('credential', `${user}:${password}`);
      addShell(dialogue.commands.join('\n'), into, texts);
      return;
    }
    case 'ssh':
    case 'shell':
      addShell(withoutOptions(text), into, texts);
      return;
    case 'adb': {
      const use = readBridge(bytes);
      if (!use) addShell(text, into, texts);
      for (const command of use?.commands ?? []) addShell(command, into, texts);
      for (const { path, sha256 } of use?.files ?? []) {
        into.addBytes('file', path);
        if (sha256 !== undefined) into.add('hash', sha256);
      }
      return;
    }
    case 'ftp':
    case 'pop3':
    case 'imap':
    case 'smtp':
      if (!known) findLineLogins(text, into);
      if (session.protocol === 'ftp') addTransfers(text, into);
      break;
    case 'redis':
      if (!known) findRedisLogins(text, into);
      break;
    case 'socks4':
    case 'socks5':
      addProxied(bytes, into);
      break;
  }
  takeText('stream', text, into, texts);
}

/** Lines for a shell; what their base64 hides is looked at too. */
function addShell(text: string, into: FactList, texts: HiddenText): void {
  takeShellLines(text, into);
  takeText('shell', text, into, texts);
}

function isText(text: string, from: number): boolean {
  const end = Math.min(text.length, from + 256);
  for (let at = from; at < end; at += 1) {
    const code = text.charCodeAt(at);
    if (code < 9 || (code > 13 && code < 27)) return false;
  }
  return end > from;
}

/** FTP's STOR and RETR, RFC 959. */
function addTransfers(text: string, into: FactList): void {
  for (const line of text.slice(0, 16_384).split('\n', 256)) {
    const verb = line.slice(0, 5).toUpperCase();
    if (verb === 'STOR ' || verb === 'RETR ' || verb === 'APPE ') into.addBytes('file', line.slice(5).trim());
  }
}

/** True when the datagram is of a kind that was read whole. */
function addDatagram(session: SessionView['session'], bytes: Buffer, into: FactList): boolean {
  if (session.protocol === 'dns' || session.protocol === 'mdns' || session.protocol === 'llmnr') {
    for (const { labels } of parseDnsQuery(bytes)?.questions ?? []) {
      const name = labels.join('.').toLowerCase();
      if (isDomain(name)) into.add('domain', name);
    }
    return true;
  }
  // RFC 1350: read or write request, a name, a mode.
  if (session.protocol === 'tftp' && bytes[0] === 0 && (bytes[1] === 1 || bytes[1] === 2)) {
    const end = bytes.indexOf(0, 2);
    if (end > 2) into.addBytes('file', bytes.toString('latin1', 2, end));
    return true;
  }
  return false;
}

/** Whom a SOCKS proxy is asked to call. Sources: the SOCKS 4 and 4A memos, RFC 1928 sections 3 to 5, RFC 1929. */
function addProxied(bytes: Buffer, into: FactList): void {
  if (bytes[0] === 4 && bytes.length >= 9) {
    const userEnd = bytes.indexOf(0, 8);
    const nameEnd = userEnd < 0 ? -1 : bytes.indexOf(0, userEnd + 1);
    const isName = bytes[4] === 0 && bytes[5] === 0 && bytes[6] === 0 && bytes[7] !== 0;
    addHost(isName && nameEnd > 0 ? bytes.toString('latin1', userEnd + 1, nameEnd) : bytes.subarray(4, 8).join('.'), into);
    return;
  }
  if (bytes[0] !== 5 || bytes.length < 3) return;
  let at = 2 + bytes[1];
  if (bytes[at] === 1) {
    at += 2 + bytes[at + 1];
    at += 1 + (bytes[at] ?? 0);
  }
  if (bytes[at] !== 5 || bytes[at + 2] !== 0) return;
  if (bytes[at + 3] === 1 && bytes.length >= at + 8) addHost(bytes.subarray(at + 4, at + 8).join('.'), into);
  else if (bytes[at + 3] === 3) addHost(bytes.toString('latin1', at + 5, at + 5 + bytes[at + 4]), into);
}
