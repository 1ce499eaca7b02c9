// IMAP up to the login, which never succeeds: LOGIN with atoms, quoted strings and literals, AUTHENTICATE, STARTTLS.
// Sources: RFC 3501, RFC 7888.

import { clip, takeLine } from '../line.ts';
import type { Conversation, Dialogue, Responder } from '../responder.ts';
import { openSasl, type SaslExchange } from './mail-login.ts';

const literalLimit = 4096;

class ImapDialogue implements Dialogue {
  #tries = 0;
  #tag = '*';
  #sasl: SaslExchange | undefined = undefined;
  /** Text of a command that goes on behind a literal. */
  #begun = '';
  #literal = 0;

  #capabilities(talk: Conversation): string {
    return `IMAP4rev1 SASL-IR LOGIN-REFERRALS ID ENABLE IDLE LITERAL+ ${talk.encrypted ? '' : 'STARTTLS '}AUTH=PLAIN AUTH=LOGIN`;
  }

  greet(talk: Conversation): void {
    const banner = talk.persona.banners.imap ?? 'Dovecot ready.';
    talk.send(banner.startsWith('*') ? `${banner}\r\n` : `* OK [CAPABILITY ${this.#capabilities(talk)}] ${banner}\r\n`);
  }

  receive(bytes: Buffer, talk: Conversation): number {
    if (this.#literal > 0) {
      if (bytes.length < this.#literal) return 0;
      const used = this.#literal;
      this.#begun += `"${bytes.toString('latin1', 0, used).replaceAll(/["\\]/g, '\\$&')}"`;
      this.#literal = 0;
      return used;
    }
    const line = takeLine(bytes, 4096);
    if (!line) return 0;
    const literal = /\{(\d{1,6})(\+?)\}$/.exec(line.text);
    if (this.#sasl) this.#challenge(line.text, talk);
    else if (literal && Number(literal[1]) > 0 && Number(literal[1]) + this.#begun.length <= literalLimit) {
      this.#begun += line.text.slice(0, literal.index);
      this.#literal = Number(literal[1]);
      if (literal[2] === '') talk.send('+ OK\r\n');
    } else {
      const text = this.#begun + line.text;
      this.#begun = '';
      this.#command(text, talk);
    }
    if (this.#tries > 5) talk.end();
    return line.used;
  }

  #refused(talk: Conversation): void {
    this.#tries += 1;
    talk.send(`${this.#tag} NO [AUTHENTICATIONFAILED] Authentication failed.\r\n`);
  }

  #challenge(line: string | undefined, talk: Conversation): void {
    const challenge = line === '*' ? undefined : this.#sasl?.next(line, talk);
    if (challenge !== undefined) talk.send(`+ ${challenge}\r\n`);
    else {
      this.#sasl = undefined;
      this.#refused(talk);
    }
  }

  #command(text: string, talk: Conversation): void {
    const words = astrings(text);
    this.#tag = (words[0] ?? '*').replaceAll(/[^\w.+-]/g, '').slice(0, 32) || '*';
    const verb = (words[1] ?? '').toUpperCase();
    const done = `${this.#tag} OK`;
    switch (verb) {
      case 'CAPABILITY':
        talk.send(
          `* CAPABILITY ${this.#capabilities(talk)}\r\n${done} Pre-login capabilities listed, post-login capabilities have more.\r\n`,
        );
        return;
      case 'LOGIN':
        talk.find({ userName: clip(words[2] ?? ''), password: clip(words[3] ?? '') });
        this.#refused(talk);
        return;
      case 'AUTHENTICATE':
        this.#sasl = openSasl((words[2] ?? '').toUpperCase());
        if (this.#sasl) this.#challenge(words[3], talk);
        else talk.send(`${this.#tag} NO [ALERT] Unsupported authentication mechanism.\r\n`);
        return;
      case 'STARTTLS':
        if (talk.encrypted) talk.send(`${this.#tag} BAD TLS is already active.\r\n`);
        else {
          talk.send(`${done} Begin TLS negotiation now.\r\n`);
          talk.startTls();
        }
        return;
      case 'ID':
        talk.send(`* ID ("name" "Dovecot")\r\n${done} ID completed.\r\n`);
        return;
      case 'NOOP':
        talk.send(`${done} NOOP completed.\r\n`);
        return;
      case 'LOGOUT':
        talk.send(`* BYE Logging out\r\n${done} Logout completed.\r\n`);
        talk.end();
        return;
      default:
        talk.send(`${this.#tag} BAD Error in IMAP command received by server.\r\n`);
    }
  }
}

/** Words and quoted strings, escapes undone; at most eight. */
function astrings(text: string): string[] {
  const words: string[] = [];
  let at = 0;
  while (at < text.length && words.length < 8) {
    if (text[at] === ' ') {
      at += 1;
    } else if (text[at] === '"') {
      let word = '';
      at += 1;
      while (at < text.length && text[at] !== '"') {
        if (text[at] === '\\') at += 1;
        word += text[at] ?? '';
        at += 1;
      }
      at += 1;
      words.push(word);
    } else {
      const end = text.indexOf(' ', at);
      words.push(text.slice(at, end < 0 ? text.length : end));
      at = end < 0 ? text.length : end;
    }
  }
  return words;
}

export const imap: Responder = { protocol: 'imap', serverFirst: true, takesAnything: true, open: () => new ImapDialogue() };
