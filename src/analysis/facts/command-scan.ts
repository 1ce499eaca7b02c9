// Shell commands in attackers' text: what was typed into a shell, and what was slipped into a request. And what such commands
// name: download hosts, call-backs, files. Pure and linear; nothing is run.

import { blankClass, characterClass, isIn, letterClass, skip, skipTo, splitLines, trimBlanks, wordClass } from './characters.ts';
import { addCommand, withoutShell } from './command-facts.ts';
import type { FactList } from './fact-list.ts';

/** Nobody writes these into a request for another reason, when an argument follows. */
const certain = new Set(
  (
    'wget curl tftp ftpget ftpput busybox chmod chown nohup certutil bitsadmin powershell pwsh cmd cmd.exe powershell.exe ' +
    'mshta regsvr32 rundll32 ncat netcat crontab insmod iptables systemctl setenforce lwp-download xmrig'
  ).split(' '),
);
/** English words too, or so short that they are part of anything: where a shell would read a command, with a sign of an argument. */
const ambiguous = new Set(
  (
    'id ls cat cd rm echo ping uname whoami pwd ps env nc sleep kill pkill killall mkdir mv cp touch python python2 python3 perl php ' +
    'ruby node sh bash ash dash zsh ksh gcc cc make tar gzip unzip dd mount umount find sed awk grep head tail tee xargs type dir ver ' +
    'ipconfig ifconfig netstat net tasklist nslookup dig host telnet ssh scp ftp fetch export set printf history unset eval exec ' +
    'base64 sudo su passwd useradd service reboot halt shutdown ulimit nproc lscpu free df du date w who last hostname ip route arp test'
  ).split(' '),
);
/** Of `ambiguous`: say enough alone. */
const inquisitive = new Set('id whoami uname ifconfig ipconfig pwd ls ps env netstat hostname ver dir nproc'.split(' '));

const textLimit = 65_536;
const commandLimit = 48;
const lineLimit = 512;
const opening = characterClass(' \t\r\n\v\f\0"\'([{!');
/** Escapes of whatever the call is written into. */
const callLead = characterClass('\\ ');
const cronClass = characterClass('0-9', '*/,-');
/** What may follow the letters of a program's name: a blank, or the rest of `cmd.exe` and `lwp-download`. */
const wordEnds = characterClass(' \t\r\n\v\f\0', '.-');
const boundaries = characterClass('"\'(=>,:{[@');
const argumentMarks = characterClass('-/.$~<>*\'"\\0-9');
for (const digit of '0123456789') argumentMarks[digit.charCodeAt(0)] = 1;

/** What a shell reads otherwise than as a part of a word. */
const shellMarks = characterClass(';|&\n\r\0`$"\'');

interface Segment {
  readonly text: string;
  /** Where it begins in what was split. */
  readonly from: number;
  /** What it follows: nothing, a new line, or one of the shell's separators. */
  readonly after: '' | '\n' | ';' | '|' | '&' | '`' | '$';
}

/** Every line is for a shell, as in a Telnet session: each is split where a shell would, and once more inside `sh -c "…"`. */
export function takeShellLines(text: string, into: FactList): void {
  let count = 0;
  for (const line of splitLines(text, lineLimit))
    for (const part of shellParts(line)) {
      const inner = withoutShell(part);
      for (const command of inner === part ? [part] : shellParts(inner)) {
        addCommand(command, into);
        count += 1;
        if (count === commandLimit) return;
      }
    }
}

/** The commands of one line, without blanks around them; quotes that are closed keep together what is in them. */
export const shellParts = (line: string): string[] =>
  splitShell(unblank(line), false)
    .map(({ text }) => trimBlanks(text))
    .filter((part) => part !== '');

/** `whole`: the text is one value, such as a parameter's, so that its start is where a command may stand. */
export function findCommands(text: string, into: FactList, whole = false): void {
  let chained = false;
  let count = 0;
  const plain = unblank(text.length > textLimit ? text.slice(0, textLimit) : text);
  const codes = codesOf(plain);
  for (const segment of splitShell(plain, true)) {
    if (count === commandLimit) return;
    if (segment.after === '' || segment.after === '\n') chained = false;
    const command = commandIn(segment, codes, chained, whole);
    chained = command !== undefined;
    if (command === undefined) continue;
    addCommand(command, into);
    count += 1;
  }
}

const calls = ['exec(', 'system(', 'passthru(', 'popen(', 'execute(', 'cmdshell '];
const callLimit = 16;

/** `getRuntime().exec("id")`: what a function that runs commands is given, where that is a string. */
export function findCalls(text: string, into: FactList): void {
  let count = 0;
  for (const call of calls)
    for (let at = text.indexOf(call); at >= 0 && count < callLimit; at = text.indexOf(call, at + call.length)) {
      const quoteAt = skip(callLead, text, at + call.length, at + call.length + 4);
      const quote = text[quoteAt];
      if (quote !== '"' && quote !== "'") continue;
      const close = text.indexOf(quote, quoteAt + 1);
      count += 1;
      if (close > quoteAt + 1 && close - quoteAt < commandBytes) takeShellLines(text.slice(quoteAt + 1, close), into);
    }
}

/** Looked up one by one they cost less than those of a string. */
function codesOf(text: string): Uint16Array {
  const bytes = Buffer.from(text, 'utf16le');
  // Short ones share memory at any offset.
  return bytes.byteOffset % 2 === 0
    ? new Uint16Array(bytes.buffer, bytes.byteOffset, text.length)
    : new Uint16Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
}

/** `${IFS}` and `$IFS$9` are blanks without a blank. */
function unblank(text: string): string {
  if (!text.includes('IFS')) return text;
  return text.replaceAll(`\${IFS}`, ' ').replaceAll('$IFS$9', ' ').replaceAll('$IFS', ' ');
}

/**
 * At `;`, `|`, `&` (not of a redirection) and new lines. `injected`: somebody put it into something else, so that quotes need not be
 * the shell's, and backticks and `$(` begin a command as well.
 */
function splitShell(text: string, injected: boolean): Segment[] {
  const segments: Segment[] = [];
  let from = 0;
  let after: Segment['after'] = '';
  const cut = (at: number, length: number, mark: Segment['after']): void => {
    if (at > from) segments.push({ text: text.slice(from, at), from, after });
    // Blank lines end a chain; two separators in a row are one.
    after = mark;
    from = at + length;
  };
  for (
    let at = skipTo(shellMarks, text, 0);
    at < text.length && segments.length < 4 * commandLimit;
    at = skipTo(shellMarks, text, at + 1)
  )
    switch (text[at]) {
      case ';':
        cut(at, 1, ';');
        break;
      case '|':
        cut(at, 1, '|');
        break;
      case '&':
        if (text[at - 1] !== '>' && text[at + 1] !== '>') cut(at, 1, '&');
        break;
      case '\n':
      case '\r':
      case '\0':
        cut(at, 1, '\n');
        break;
      case '`':
        if (injected) cut(at, 1, '`');
        break;
      case '$':
        if (injected && text[at + 1] === '(') cut(at, 2, '$');
        break;
      case '"':
      case "'": {
        // Where one is never closed no later one is looked for in vain: this was the last.
        const close = injected ? -1 : text.indexOf(text[at], at + 1);
        if (close > 0) at = close;
        break;
      }
    }
  cut(text.length, 0, '');
  return segments;
}

/** `codes`: of the characters of the text that was split. */
function commandIn(segment: Segment, codes: Uint16Array, chained: boolean, whole: boolean): string | undefined {
  const { text, after } = segment;
  const start = skipLead(text);
  const wordEnd = skipTo(blankClass, text, start);
  const name = programName(text.slice(start, wordEnd));
  const argument = skip(blankClass, text, wordEnd);
  const hasArgument = argument < text.length;
  if (certain.has(name) && hasArgument && (name === 'busybox' || isArgument(text, argument))) return tidy(text.slice(start));
  const stands = after === ';' || after === '|' || after === '&' || after === '`' || after === '$';
  if (chained && stands && isCommandLike(text, start)) return tidy(text.slice(start));
  if (ambiguous.has(name)) {
    const marked = hasArgument && argumentMarks[text.charCodeAt(argument)] === 1;
    if ((stands || whole) && (marked || (inquisitive.has(name) && argument >= text.length))) return tidy(text.slice(start));
  } else if (isPath(text, start, wordEnd) && (stands || whole) && hasArgument) return tidy(text.slice(start));
  return commandInside(segment, codes, start);
}

/** For each first letter of a certain program's name a bit for each length that its letters have. */
const stemLengths = new Uint16Array(256);
const longestCertain = Math.max(...[...certain].map((name) => name.length));
for (const name of certain) stemLengths[name.charCodeAt(0)] |= 1 << skip(wordClass, name, 0);

/** `system('wget http://…')`: a certain word in the middle, behind a bracket, a quote or the like. */
function commandInside({ text, from }: Segment, codes: Uint16Array, start: number): string | undefined {
  const end = from + text.length;
  for (let at = from + start; at < end; ) {
    if (letterClass[codes[at]] !== 1) {
      at += 1;
      continue;
    }
    const word = at;
    while (at < end && wordClass[codes[at]] === 1) at += 1;
    // Most words are none, which shows by their letters and what stands around them.
    if ((stemLengths[codes[word] | 0x20] & (1 << Math.min(15, at - word))) === 0 || at === end || wordEnds[codes[at]] !== 1)
      continue;
    if (word > from && !standsBehind(codes[word - 1])) continue;
    let nameEnd = at;
    while (nameEnd < end && nameEnd - word <= longestCertain && blankClass[codes[nameEnd]] !== 1) nameEnd += 1;
    if (nameEnd - word > longestCertain || !certain.has(text.slice(word - from, nameEnd - from).toLowerCase())) continue;
    const argument = skip(blankClass, text, nameEnd - from);
    if (argument === text.length || argument === nameEnd - from || !isArgument(text, argument)) continue;
    const path = pathStart(text, word - from);
    const quote = text[path - 1];
    const close = quote === '"' || quote === "'" ? text.indexOf(quote, word - from) : -1;
    return tidy(text.slice(path, close < 0 ? text.length : close));
  }
  return undefined;
}

const slash = 0x2f;
const standsBehind = (code: number): boolean => code === slash || boundaries[code] === 1 || blankClass[code] === 1;

/** An option, a path, a quote, a number, or a word with a dot: prose has none of them behind a program's name. */
function isArgument(text: string, from: number): boolean {
  if (argumentMarks[text.charCodeAt(from)] === 1) return true;
  for (let at = from; at < from + 64 && at < text.length && !isIn(blankClass, text, at); at += 1)
    if (text[at] === '.') return true;
  return false;
}

const pathClass = characterClass('a-z', 'A-Z', '0-9', '/._-');

/** Back to where `/usr/bin/` began. */
function pathStart(text: string, at: number): number {
  let start = at;
  while (start > 0 && text[at - 1] === '/' && pathClass[text.charCodeAt(start - 1)] === 1) start -= 1;
  return start;
}

/** Over brackets, assignments, a crontab's five fields and its user. */
function skipLead(text: string): number {
  let at = skip(opening, text, 0);
  for (let words = 0; words < 12; words += 1) {
    const end = skipTo(blankClass, text, at);
    if (end === at || end === text.length) return at;
    const cron = skip(cronClass, text, at, end) === end;
    const name = text.slice(at, end);
    const assignment = skip(wordClass, text, at, end) < end && text[skip(wordClass, text, at, end)] === '=';
    if (!cron && !assignment && !(words > 4 && name === 'root') && name !== 'sudo' && name !== 'then' && name !== 'do') return at;
    at = skip(opening, text, end);
  }
  return at;
}

/** `/usr/bin/wget` -> `wget`. */
function programName(word: string): string {
  let end = word.length;
  while (end > 0 && (word[end - 1] === ')' || word[end - 1] === '"' || word[end - 1] === "'")) end -= 1;
  return word.slice(word.lastIndexOf('/', end - 1) + 1, end).toLowerCase();
}

const isPath = (text: string, start: number, end: number): boolean =>
  end - start > 3 && (text.startsWith('./', start) || text.startsWith('/bin/', start) || text.startsWith('/tmp/', start));

/** What may follow in a chain: begins like a program's name or a path, and is no header's parameter. */
function isCommandLike(text: string, start: number): boolean {
  if (start >= text.length) return false;
  const end = skip(pathClass, text, start);
  return end > start && text[end] !== '=' && text[end] !== ':';
}

const commandBytes = 4096;
const trims = 16;

/** Without closing quotes and brackets that were opened outside. Rows of them cost no more than a few. */
function tidy(text: string): string {
  let command = trimBlanks(text.slice(0, commandBytes));
  for (let trim = 0; trim < trims; trim += 1) {
    const last = command[command.length - 1];
    const unmatched =
      last === '"' || last === "'"
        ? count(command, last) % 2 === 1
        : last === ')'
          ? count(command, ')') > count(command, '(')
          : last === '}'
            ? count(command, '}') > count(command, '{')
            : last === ']' && count(command, ']') > count(command, '[');
    if (!unmatched) break;
    command = trimBlanks(command.slice(0, -1));
  }
  return command;
}

function count(text: string, character: string): number {
  let found = 0;
  for (let at = text.indexOf(character); at >= 0; at = text.indexOf(character, at + 1)) found += 1;
  return found;
}
