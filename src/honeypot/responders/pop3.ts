// POP3 up to the login, which never succeeds. Sources: RFC 1939, RFC 2595, RFC 5034.

import { clip, splitCommand, takeLine } from '../line.ts';
import type { Conversation, Dialogue, Responder } from '../responder.ts';
import { openSasl, type SaslExchange } from './mail-login.ts';

class Pop3Dialogue implements Dialogue {
  #user = '';
  #tries = 0;
  #sasl: SaslExchange | undefined = undefined;

  greet(talk: Conversation): void {
    const banner = talk.persona.banners.pop3 ?? 'Dovecot ready.';
    talk.send(banner.startsWith('+OK') ? `${banner}\r\n` : `+OK ${banner}\r\n`);
  }

  receive(bytes: Buffer, talk: Conversation): number {
    const line = takeLine(bytes);
    if (!line) return 0;
    if (this.#sasl) this.#challenge(line.text, talk);
    else this.#command(line.text, talk);
    if (this.#tries > 5) talk.end();
    return line.used;
  }

  #refused(talk: Conversation): void {
    this.#tries += 1;
    talk.send('-ERR [AUTH] Authentication failed.\r\n');
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
    const { verb, rest } = splitCommand(text);
    if (verb === 'CAPA')
      talk.send(
        `+OK\r\nCAPA\r\nTOP\r\nUIDL\r\nRESP-CODES\r\nPIPELINING\r\nAUTH-RESP-CODE\r\n${talk.encrypted ? '' : 'STLS\r\n'}USER\r\nSASL PLAIN LOGIN\r\n.\r\n`,
      );
    else if (verb === 'USER') {
      this.#user = clip(rest);
      talk.find({ userName: this.#user });
      talk.send('+OK\r\n');
    } else if (verb === 'PASS') {
      talk.find({ userName: this.#user, password: clip(rest) });
      this.#refused(talk);
    } else if (verb === 'APOP') {
      talk.find({ userName: clip(rest.split(' ', 1)[0] ?? '') });
      this.#refused(talk);
    } else if (verb === 'AUTH') {
      const [mechanism = '', initial] = rest.split(/\s+/);
      this.#sasl = openSasl(mechanism.toUpperCase());
      if (this.#sasl) this.#challenge(initial, talk);
      else talk.send(rest === '' ? '+OK\r\nPLAIN\r\nLOGIN\r\n.\r\n' : '-ERR Unsupported authentication mechanism.\r\n');
    } else if (verb === 'STLS' && !talk.encrypted) {
      talk.send('+OK Begin TLS negotiation now.\r\n');
      talk.startTls();
    } else if (verb === 'NOOP') talk.send('+OK\r\n');
    else if (verb === 'QUIT') {
      talk.send('+OK Logging out\r\n');
      talk.end();
    } else talk.send('-ERR Unknown command.\r\n');
  }
}

export const pop3: Responder = { protocol: 'pop3', serverFirst: true, takesAnything: true, open: () => new Pop3Dialogue() };
