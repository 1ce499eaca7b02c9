// URLs in attackers' text, and the hosts they name. They are read, never fetched. Pure and linear.

import { parseAddress, parseIpv4Number, renderAddress } from '../../model/address.ts';
import { blankClass, characterClass, digitClass, hexClass, hostClass, letterClass, skip, skipTo } from './characters.ts';
import type { FactList } from './fact-list.ts';

/** What is worth knowing where it points: downloads, call-backs, look-ups, tunnels, mining pools. */
const schemes = [
  'http',
  'https',
  'hxxp',
  'hxxps',
  'ftp',
  'ftps',
  'tftp',
  'sftp',
  'ldap',
  'ldaps',
  'rmi',
  'dns',
  'iiop',
  'corba',
  'nis',
  'smb',
  'git',
  'ws',
  'wss',
  'gopher',
  'dict',
  'redis',
  'mysql',
  'socks4',
  'socks5',
  'stratum+tcp',
  'stratum+ssl',
];
const known = new Set(schemes);
const longestScheme = Math.max(...schemes.map((scheme) => scheme.length));
const schemeClass = characterClass('a-z', 'A-Z', '0-9', '+');

/** Ends a URL in any text. */
const urlEnds = characterClass(' \t\r\n\v\f\0"\'<>`\\^{}|;');
for (let code = 0; code < 33; code += 1) urlEnds[code] = 1;
urlEnds.fill(1, 127, 161);
const trailing = characterClass('.,:!?)]*-$(');
const authorityEnds = characterClass('/?#');
const urlLimit = 2048;
const urlsPerText = 64;

/** Names of vocabularies, not of places: `xmlns` and the like. */
const vocabularies = new Set([
  'www.w3.org',
  'schemas.xmlsoap.org',
  'schemas.microsoft.com',
  'schemas.openxmlformats.org',
  'java.sun.com',
  'xmlns.oracle.com',
  'purenetworks.com',
  'www.onvif.org',
  'docs.oasis-open.org',
  'xml.apache.org',
  'www.springframework.org',
  'ns.adobe.com',
  'www.bea.com',
]);

/** Adds the URLs of a text and their hosts; `webToo` false: without the harmless kinds, as browsers put them into headers. */
export function findUrls(text: string, into: FactList, webToo = true): void {
  let found = 0;
  for (let at = text.indexOf('://'); at >= 0 && found < urlsPerText; at = text.indexOf('://', at + 3)) {
    const scheme = schemeBefore(text, at);
    if (scheme === undefined || (!webToo && scheme.startsWith('http'))) continue;
    found += 1;
    addUrl(scheme, text, at + 3, into);
  }
  for (let at = text.indexOf('jndi:'); at >= 0 && found < urlsPerText; at = text.indexOf('jndi:', at + 5)) {
    const colon = skip(letterClass, text, at + 5, at + 5 + longestScheme);
    const scheme = text.slice(at + 5, colon).toLowerCase();
    if (text[colon] !== ':' || !known.has(scheme)) continue;
    let start = colon + 1;
    while (text[start] === '/' && start < colon + 8) start += 1;
    found += 1;
    addUrl(scheme, text, start, into);
  }
}

/** The longest scheme we know that the characters before `at` end in: `xxhttp` is one too, where a word runs into it. */
function schemeBefore(text: string, at: number): string | undefined {
  let start = at;
  while (start > 0 && at - start < longestScheme && schemeClass[text.charCodeAt(start - 1)] === 1) start -= 1;
  const run = text.slice(start, at).toLowerCase();
  for (let from = 0; from < run.length; from += 1) if (known.has(run.slice(from))) return run.slice(from);
  return undefined;
}

function addUrl(scheme: string, text: string, start: number, into: FactList): void {
  const end = urlEnd(text, start);
  const rest = text.slice(start, end);
  const authorityEnd = skipTo(authorityEnds, rest, 0);
  const host = parseHost(rest.slice(0, authorityEnd));
  if (host === undefined || into.isOwn(host.name) || vocabularies.has(host.name)) return;
  const web = scheme === 'hxxp' ? 'http' : scheme === 'hxxps' ? 'https' : scheme;
  into.addBytes('url', `${web}://${rest}`);
  into.addBytes(host.kind, host.name);
}

/** A URL that a program would complete by itself, such as the argument of `wget`: `192.0.2.1/x`. False when it names no host. */
export function addSchemeless(scheme: string, text: string, into: FactList): boolean {
  const end = urlEnd(text, 0);
  const rest = text.slice(0, end);
  const host = parseHost(rest.slice(0, skipTo(authorityEnds, rest, 0)));
  if (host === undefined || into.isOwn(host.name)) return false;
  into.addBytes('url', `${scheme}://${rest}`);
  into.addBytes(host.kind, host.name);
  return true;
}

/** Adds what `text` names, when it is a host: an address or a domain. */
export function addHost(text: string, into: FactList): boolean {
  const host = parseHost(text);
  if (!host || into.isOwn(host.name)) return false;
  into.addBytes(host.kind, host.name);
  return true;
}

/** `${…}` belongs to it: log4j's look-ups leak values through names. */
function urlEnd(text: string, start: number): number {
  const limit = Math.min(text.length, start + urlLimit - 16);
  let at = start;
  let question = false;
  let open = 0;
  while (at < limit) {
    const code = text.charCodeAt(at);
    if (code === 36 && text[at + 1] === '{') {
      const close = text.indexOf('}', at);
      // Shell's way to write a blank ends it.
      if (close < 0 || close > limit || text.startsWith('${IFS', at)) break;
      at = close + 1;
      continue;
    }
    if (code === 36 && text.startsWith('$IFS', at)) break;
    if (code === 63) question = true;
    if (code === 38 && (!question || text[at + 1] === '&')) break;
    if (code === 40) open += 1;
    if (code === 41) {
      if (open === 0) break;
      open -= 1;
    }
    if (code > 255 || urlEnds[code] === 1) break;
    at += 1;
  }
  while (at > start && trailing[text.charCodeAt(at - 1)] === 1) at -= 1;
  return at;
}

export interface Host {
  readonly kind: 'address' | 'domain';
  readonly name: string;
}

/** Of `user:password@host:port`; undefined when there is neither an address nor a name that could be one. */
export function parseHost(authority: string): Host | undefined {
  const at = authority.lastIndexOf('@');
  let host = authority.slice(at + 1);
  if (host[0] === '[') {
    const address = parseAddress(host.slice(1, host.indexOf(']')));
    return address && { kind: 'address', name: renderAddress(address) };
  }
  // Look-ups in front of a name: what is behind them is whose it is.
  const brace = host.lastIndexOf('}');
  if (brace >= 0) host = host.slice(host[brace + 1] === '.' ? brace + 2 : brace + 1);
  const colon = host.indexOf(':');
  if (colon >= 0) {
    if (skip(digitClass, host, colon + 1) !== host.length) return undefined;
    host = host.slice(0, colon);
  }
  if (parseIpv4Number(host) >= 0) return { kind: 'address', name: host };
  const number = hostNumber(host);
  if (number !== undefined) return { kind: 'address', name: renderAddress({ family: 4, value: BigInt(number) }) };
  const name = (host.endsWith('.') ? host.slice(0, -1) : host).toLowerCase();
  return isDomain(name) ? { kind: 'domain', name } : undefined;
}

/** An IPv4 address written as one number, as inet_aton(3) reads it. */
function hostNumber(host: string): number | undefined {
  const isHex = host.startsWith('0x') || host.startsWith('0X');
  if (host.length > 10 || host.length < 8) return undefined;
  if (isHex ? skip(hexClass, host, 2) !== host.length : skip(digitClass, host, 0) !== host.length) return undefined;
  const value = Number(host);
  return value >= 2 ** 24 && value <= 0xffffffff ? value : undefined;
}

/** Two labels or more (RFC 1035), the last one of letters or `xn--…`. */
export function isDomain(name: string): boolean {
  if (name.length > 253 || name.length < 4 || skip(hostClass, name, 0) !== name.length) return false;
  const labels = name.split('.');
  if (labels.length < 2 || labels.some((label) => label === '' || label.length > 63 || label[0] === '-')) return false;
  const last = labels[labels.length - 1];
  return last.length > 1 && (skip(letterClass, last, 0) === last.length || last.startsWith('xn--'));
}

/** Whether a word could be a host with or without a path, before anybody tries to read it as one. */
export const looksLikeHost = (word: string): boolean =>
  word.length > 3 && hostClass[word.charCodeAt(0)] === 1 && word[0] !== '-' && skip(blankClass, word, 0) === 0;
