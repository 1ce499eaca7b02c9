// Credentials in protocols of lines: FTP, POP3, IMAP, SMTP, NNTP, IRC, Redis; and in telnet's dialogue of prompts. Pure.
// Sources: RFC 959, RFC 1939, RFC 9051, RFC 4954, RFC 4643, RFC 2812, RFC 854, the Redis serialization protocol.

import type { Micros } from '../../base/clock.ts';
import {
  type Credential,
  type CredentialReader,
  type CredentialSink,
  cut,
  decodeBase64,
  decodeText,
  Lines,
  parsePlain,
} from './credential.ts';

type Line = (line: string, at: Micros) => void;

const ofLines = (client: Line, server: Line = () => {}): CredentialReader => {
  const [mine, theirs] = [new Lines(client), new Lines(server)];
  return { client: (bytes, at) => mine.push(bytes, at), server: (bytes, at) => theirs.push(bytes, at) };
};

/** USER and PASS, as FTP, POP3 and NNTP have them; AUTH PLAIN and LOGIN, as POP3 and SMTP have them. */
export function openCommandReader(protocol: string, sink: CredentialSink): CredentialReader {
  let user: string | undefined;
  /** What the next line of the client is. */
  let expected: 'plain' | 'login-user' | 'login-secret' | undefined;
  const tell = (at: Micros, secret: string, kind: Credential['kind'] = 'password'): void => {
    sink({ protocol, kind, ...(user === undefined ? {} : { user }), secret: cut(secret), at });
    user = undefined;
  };
  return ofLines((line, at) => {
    const now = expected;
    expected = undefined;
    if (now === 'plain') {
      const found = parsePlain(line);
      user = found?.user;
      if (found) tell(at, found.secret);
      return;
    }
    if (now === 'login-user') {
      user = cut(decodeBase64(line) ?? line);
      expected = 'login-secret';
      return;
    }
    if (now === 'login-secret') {
      tell(at, decodeBase64(line) ?? line);
      return;
    }
    const [, command = '', rest = ''] = /^\s*(\S+)(?: (.*))?$/.exec(line) ?? [];
    switch (command.toUpperCase()) {
      case 'USER':
        user = cut(rest);
        break;
      case 'PASS':
        tell(at, rest);
        break;
      case 'AUTHINFO': {
        const [, what = '', value = ''] = /^(\S+) (.*)$/.exec(rest) ?? [];
        if (/^user$/i.test(what)) user = cut(value);
        else if (/^pass$/i.test(what)) tell(at, value);
        break;
      }
      case 'APOP': {
        const [name, digest = ''] = rest.split(' ');
        user = cut(name);
        tell(at, digest, 'digest');
        break;
      }
      case 'AUTH': {
        const [mechanism = '', initial] = rest.split(' ');
        if (/^plain$/i.test(mechanism)) {
          const found = initial === undefined ? undefined : parsePlain(initial);
          if (initial === undefined) expected = 'plain';
          user = found?.user;
          if (found) tell(at, found.secret);
        } else if (/^login$/i.test(mechanism)) {
          expected = initial === undefined ? 'login-user' : 'login-secret';
          if (initial !== undefined) user = cut(decodeBase64(initial) ?? initial);
        } else if (/^(xoauth2|oauthbearer)$/i.test(mechanism) && initial !== undefined) tell(at, initial, 'token');
        break;
      }
    }
  });
}

const imapString = /^(?:"((?:[^"\\]|\\.)*)"|([^\s"{]+))/;

export function openImapReader(sink: CredentialSink): CredentialReader {
  let plain = false;
  /** Literals (`{5}`) come on a line of their own. */
  let pending: { parts: string[]; at: Micros } | undefined;
  const unquote = (quoted: string | undefined, bare: string | undefined): string => quoted?.replace(/\\(.)/g, '$1') ?? bare ?? '';
  /** Arguments of LOGIN as far as they are on this line; true when another line follows. */
  const collect = (text: string, parts: string[]): boolean => {
    let rest = text.trimStart();
    while (rest !== '' && parts.length < 2) {
      if (/^\{\d+\+?\}$/.test(rest)) return true;
      const match = imapString.exec(rest);
      if (!match) return false;
      parts.push(unquote(match[1], match[2]));
      rest = rest.slice(match[0].length).trimStart();
    }
    return false;
  };
  const tell = ({ parts: [user, secret], at }: { parts: string[]; at: Micros }): void => {
    if (secret !== undefined) sink({ protocol: 'imap', kind: 'password', user: cut(user), secret: cut(secret), at });
  };
  return ofLines((line, at) => {
    if (plain) {
      plain = false;
      const found = parsePlain(line);
      if (found) sink({ protocol: 'imap', kind: 'password', ...found, at });
      return;
    }
    if (pending) {
      const one = pending;
      pending = undefined;
      // A literal's text is the line's beginning, another literal may follow it.
      const follows = /^(.*?) \{\d+\+?\}$/.exec(line);
      one.parts.push(follows ? follows[1] : line);
      if (follows && one.parts.length < 2) pending = one;
      else tell(one);
      return;
    }
    const match = /^\S+ (LOGIN|AUTHENTICATE) (.*)$/i.exec(line);
    if (!match) return;
    if (/^login$/i.test(match[1])) {
      const one = { parts: [] as string[], at };
      if (collect(match[2], one.parts)) pending = one;
      else tell(one);
    } else {
      const [, initial] = /^plain(?: (\S+))?$/i.exec(match[2]) ?? [];
      if (!/^plain/i.test(match[2])) return;
      const found = initial === undefined ? undefined : parsePlain(initial);
      if (initial === undefined) plain = true;
      else if (found) sink({ protocol: 'imap', kind: 'password', ...found, at });
    }
  });
}

export function openIrcReader(sink: CredentialSink): CredentialReader {
  let secret: string | undefined;
  return ofLines((line, at) => {
    const [, command, rest] = /^(PASS|NICK|OPER) :?(.*)$/i.exec(line) ?? [];
    if (/^pass$/i.test(command ?? '')) secret = cut(rest);
    else if (/^nick$/i.test(command ?? '') && secret !== undefined) {
      sink({ protocol: 'irc', kind: 'password', user: cut(rest), secret, at });
      secret = undefined;
    } else if (/^oper$/i.test(command ?? '')) {
      const [user, word = ''] = rest.split(' ');
      sink({ protocol: 'irc', kind: 'password', user: cut(user), secret: cut(word), context: 'OPER', at });
    }
  });
}

/** AUTH, HELLO .. AUTH and CONFIG SET requirepass, inline or as an array of strings without line ends in them. */
export function openRedisReader(sink: CredentialSink): CredentialReader {
  let wanted = 0;
  let words: string[] = [];
  const command = (parts: readonly string[], at: Micros): void => {
    const [verb, first, second] = parts;
    const hello = parts.findIndex((part) => /^auth$/i.test(part));
    const tell = (user: string | undefined, secret: string): void =>
      sink({ protocol: 'redis', kind: 'password', ...(user === undefined ? {} : { user: cut(user) }), secret: cut(secret), at });
    if (/^auth$/i.test(verb ?? '') && first !== undefined) tell(second === undefined ? undefined : first, second ?? first);
    else if (/^hello$/i.test(verb ?? '') && hello > 0 && parts[hello + 2] !== undefined) tell(parts[hello + 1], parts[hello + 2]);
    else if (
      /^config$/i.test(verb ?? '') &&
      /^set$/i.test(first ?? '') &&
      /^requirepass$/i.test(second ?? '') &&
      parts[3] !== undefined
    )
      tell(undefined, parts[3]);
  };
  return ofLines((line, at) => {
    if (wanted === 0) {
      const count = /^\*(\d{1,2})$/.exec(line);
      if (count) {
        wanted = Number(count[1]);
        words = [];
      } else command(line.trim().split(/\s+/), at);
      return;
    }
    if (/^\$\d+$/.test(line)) return;
    words.push(line);
    if (words.length < wanted) return;
    wanted = 0;
    command(words, at);
  });
}

const [iac, subnegotiation, subnegotiationEnd] = [255, 250, 240];
const userPrompt = /(?:log ?in|user ?name|user|account|name)\s*:\s*$/i;
const secretPrompt = /(?:pass(?:word|code|wd)?|pin|kennwort|mot de passe)[^:\n]{0,30}:\s*$/i;
const promptTail = 200;

/** What is typed at a prompt for a name or a password, letter by letter; option negotiation left out. */
export function openTelnetReader(sink: CredentialSink): CredentialReader {
  const strip = [new TelnetText(), new TelnetText()];
  let tail = '';
  let typed = '';
  let user: string | undefined;
  return {
    server(bytes) {
      tail = (tail + strip[1].text(bytes)).slice(-promptTail);
    },
    client(bytes, at) {
      for (const letter of strip[0].text(bytes)) {
        if (letter === '\b' || letter === '\x7f') typed = typed.slice(0, -1);
        else if (letter === '\x15') typed = '';
        else if (letter === '\r' || letter === '\n') {
          // CR is followed by LF or NUL: the second ends no line.
          if (typed === '' && letter === '\n') continue;
          if (secretPrompt.test(tail)) {
            sink({ protocol: 'telnet', kind: 'password', ...(user === undefined ? {} : { user }), secret: cut(typed), at });
            user = undefined;
          } else if (userPrompt.test(tail.slice(0, tail.length - echoed(tail, typed)))) user = cut(typed);
          tail = '';
          typed = '';
        } else if (letter !== '\0' && typed.length < 512) typed += letter;
      }
    },
  };
}

/** How much of the server's last words is the echo of what is typed. */
const echoed = (tail: string, typed: string): number => (typed !== '' && tail.endsWith(typed) ? typed.length : 0);

class TelnetText {
  #state: 'text' | 'command' | 'option' | 'inside' | 'inside-command' = 'text';

  text(bytes: Uint8Array): string {
    const out: number[] = [];
    for (const byte of bytes)
      switch (this.#state) {
        case 'text':
          if (byte === iac) this.#state = 'command';
          else out.push(byte);
          break;
        case 'command':
          if (byte === iac) out.push(byte);
          this.#state = byte === subnegotiation ? 'inside' : byte >= 251 && byte <= 254 ? 'option' : 'text';
          break;
        case 'option':
          this.#state = 'text';
          break;
        case 'inside':
          if (byte === iac) this.#state = 'inside-command';
          break;
        case 'inside-command':
          this.#state = byte === subnegotiationEnd ? 'text' : 'inside';
      }
    return decodeText(Uint8Array.from(out));
  }
}
