// What a shell command names: where it would download from, whom it would call, what it would write. Pure; nothing is run, and
// no address is looked up or contacted.

import { characterClass, digitClass, skip, splitWords, trimBlanks } from './characters.ts';
import { decodeBase64 } from './decoding.ts';
import type { FactList } from './fact-list.ts';
import { addHost, addSchemeless, findUrls, isDomain, looksLikeHost } from './url-scan.ts';

const wordLimit = 64;
/** Stand before the command that counts. */
const wrappers = new Set('busybox sudo nohup exec eval env then do time timeout command start xargs'.split(' '));
const webClients = new Set('wget curl fetch axel aria2c lwp-download http'.split(' '));
/** Options of web clients whose next word is no address. */
const takesValue = new Set(
  (
    '-O -o -T -t -P -U -A -H -d -X -e -u -x -m -w --output --output-document --header --data --request --user --user-agent --proxy ' +
    '--timeout --connect-timeout --max-time --tries --retry --referer --cookie --limit-rate -b -F --directory-prefix --data-binary'
  ).split(' '),
);
const callers = new Set('nc ncat netcat telnet socat'.split(' '));
const lookers = new Set('ping ping6 nslookup dig host traceroute tracert'.split(' '));

/** Adds the command, one to a character, and what it names. */
export function addCommand(text: string, into: FactList): void {
  const command = withoutShell(text);
  if (command === '') return;
  into.addBytes('command', command);
  findUrls(command, into);
  addHashes(command, into);
  const words = splitWords(command, wordLimit).map(unquote);
  let at = 0;
  while (at < words.length && (isWrapper(words[at]) || words[at].includes('='))) at += 1;
  const name = baseName(words[at] ?? '').toLowerCase();
  const rest = words.slice(at + 1);
  if (webClients.has(name)) takeWebClient(name, rest, into);
  else if (name === 'tftp') takeTftp(rest, into);
  else if (name === 'ftpget' || name === 'ftpput') takeFtpGet(rest, into);
  else if (name === 'scp' || name === 'ssh' || name === 'rsync') takeRemoteShell(rest, into);
  else if (callers.has(name)) takeCaller(rest, into);
  else if (lookers.has(name)) {
    for (const word of rest) if (isDomain(word.toLowerCase()) || isQuad(word)) addHost(word, into);
  } else if (name === 'powershell' || name === 'powershell.exe' || name === 'pwsh') takePowerShell(rest, into);
  takeDevice(command, into);
}

const shells = new Set(['sh', 'bash', 'ash', 'dash', 'cmd', 'cmd.exe']);

/** `/bin/sh -c "wget …"` is about what it hands over. */
export function withoutShell(command: string): string {
  const [shell = '', option = ''] = splitWords(command, 2);
  if (!shells.has(baseName(shell).toLowerCase()) || !['-c', '/c', '-lc'].includes(option.toLowerCase())) return command;
  const inner = trimBlanks(command.slice(command.indexOf(option, shell.length) + option.length));
  return inner[0] === '"' || inner[0] === "'"
    ? inner.slice(1, inner.endsWith(inner[0]) && inner.length > 1 ? -1 : undefined)
    : inner;
}

const isWrapper = (word: string): boolean => wrappers.has(baseName(word).toLowerCase());
const baseName = (path: string): string => path.slice(path.lastIndexOf('/') + 1);
const isQuad = (word: string): boolean =>
  word.length > 6 && word.length < 16 && skip(digitClass, word, 0) > 0 && word.split('.').length === 4;

function unquote(word: string): string {
  let start = 0;
  let end = word.length;
  while (start < end && (word[start] === '"' || word[start] === "'" || word[start] === '(')) start += 1;
  while (end > start && (word[end - 1] === '"' || word[end - 1] === "'" || word[end - 1] === ')')) end -= 1;
  return word.slice(start, end);
}

function takeWebClient(name: string, words: readonly string[], into: FactList): void {
  const group = words.indexOf('-g') + 1;
  const remote = words.indexOf('-r') + 1;
  // A dialect of routers: `wget -g host -l local -r /remote`.
  if (group > 0 && remote > 0 && looksLikeHost(words[group] ?? '')) {
    addSchemeless('http', `${words[group]}/${withoutRoot(words[remote] ?? '')}`, into);
    return;
  }
  for (let index = 0; index < words.length; index += 1) {
    const word = words[index];
    if (word === '>' || word === '>>') break;
    // curl's `-O` takes the name from the URL.
    const isSwitch = name === 'curl' && word === '-O';
    if (!isSwitch && (word === '-O' || word === '-o' || word === '--output')) addFile(words[index + 1], into);
    if (!isSwitch && takesValue.has(word)) index += 1;
    else if (!word.includes('://') && looksLikeHost(word)) addSchemeless('http', word, into);
  }
}

const slashClass = characterClass('/');
const withoutRoot = (path: string): string => path.slice(skip(slashClass, path, 0));

/** BusyBox: `tftp -g -l local -r remote host [port]`, in any order; also `tftp host -c get file` and Windows's `tftp -i host get file`. */
function takeTftp(words: readonly string[], into: FactList): void {
  let remote: string | undefined;
  let host: string | undefined;
  for (let index = 0; index < words.length; index += 1) {
    const word = words[index];
    const lower = word.toLowerCase();
    if (word === '-r') remote = words[++index];
    else if (word === '-l') addFile(words[++index], into);
    else if (word === '-b' || word === '-B') index += 1;
    else if (lower === 'get' || lower === 'put') remote ??= words[++index];
    else if (word[0] !== '-' && host === undefined && looksLikeHost(word)) host = word;
  }
  if (host === undefined) return;
  if (remote === undefined) addHost(host, into);
  else addSchemeless('tftp', `${host}/${withoutRoot(remote)}`, into);
}

/** BusyBox: `ftpget [-u user] [-p password] [-P port] host [local] remote`. */
function takeFtpGet(words: readonly string[], into: FactList): void {
  const plain: string[] = [];
  let port = '';
  for (let index = 0; index < words.length; index += 1) {
    const word = words[index];
    if (word === '-P') port = words[++index] ?? '';
    else if (word === '-u' || word === '-p') index += 1;
    else if (word[0] !== '-') plain.push(word);
  }
  const [host, local, remote = local] = plain;
  if (host === undefined) return;
  if (remote !== local) addFile(local, into);
  const colon = port !== '' && skip(digitClass, port, 0) === port.length ? `:${port}` : '';
  if (remote === undefined) addHost(host, into);
  else addSchemeless('ftp', `${host}${colon}/${withoutRoot(remote)}`, into);
}

/** `user@host:path`, or a host alone. */
function takeRemoteShell(words: readonly string[], into: FactList): void {
  for (const word of words) {
    const at = word.indexOf('@');
    const colon = word.indexOf(':', at + 1);
    if (at > 0) addHost(word.slice(at + 1, colon < 0 ? word.length : colon), into);
  }
}

/** `nc [options] host port`: what looks like a host and is followed by a port, or socat's `tcp:host:port`. */
function takeCaller(words: readonly string[], into: FactList): void {
  for (const [index, word] of words.entries()) {
    const port = words[index + 1] ?? '';
    if (word[0] !== '-' && port !== '' && skip(digitClass, port, 0) === port.length && looksLikeHost(word)) addHost(word, into);
    const parts = word.split(':', 3);
    if (parts.length === 3 && parts[0].toLowerCase().startsWith('tcp')) addHost(parts[1], into);
  }
}

/** `-enc BASE64`: UTF-16, as PowerShell wants it. What is in it is a command again, one level deep. */
function takePowerShell(words: readonly string[], into: FactList): void {
  for (const [index, word] of words.entries()) {
    const option = word.toLowerCase();
    if (option.length < 2 || !'-encodedcommand'.startsWith(option)) continue;
    const decoded = decodeBase64(words[index + 1] ?? '');
    if (decoded === undefined) continue;
    into.addBytes('command', decoded);
    findUrls(decoded, into);
  }
}

/** Bash's `/dev/tcp/host/port`. */
function takeDevice(command: string, into: FactList): void {
  for (const device of ['/dev/tcp/', '/dev/udp/'])
    for (let at = command.indexOf(device); at >= 0; at = command.indexOf(device, at + device.length)) {
      const start = at + device.length;
      const end = command.indexOf('/', start);
      if (end > start && end - start < 254) addHost(command.slice(start, end), into);
    }
}

/** What was written to: a name or a path, no option and no device. */
function addFile(path: string | undefined, into: FactList): void {
  if (path === undefined || path === '' || path[0] === '-' || path.startsWith('/dev/')) return;
  into.addBytes('file', path);
}

const hashNames: readonly (readonly [name: string, digits: number])[] = [
  ['md5', 32],
  ['sha1', 40],
  ['sha256', 64],
];

/** Hashes that are named as such within a few characters: `md5sum … d41d8…`, `sha256=e3b0c…`. */
export function addHashes(text: string, into: FactList): void {
  let lower: string | undefined;
  for (const [name, digits] of hashNames) {
    lower ??= text.toLowerCase();
    for (let at = lower.indexOf(name); at >= 0; at = lower.indexOf(name, at + name.length)) {
      const end = Math.min(lower.length, at + name.length + 16);
      // The name itself ends in a digit: what follows it at once is no hash.
      for (let start = at + name.length + hexRun(lower, at + name.length, 16); start < end; ) {
        const run = hexRun(lower, start, digits + 1);
        if (run === digits) {
          into.add('hash', lower.slice(start, start + digits));
          break;
        }
        start += run + 1;
      }
    }
  }
}

/** How many hex digits follow, up to `limit`. */
function hexRun(text: string, at: number, limit: number): number {
  let count = 0;
  while (count < limit) {
    const code = text.charCodeAt(at + count);
    if (!((code >= 48 && code <= 57) || (code >= 97 && code <= 102))) break;
    count += 1;
  }
  return count;
}
