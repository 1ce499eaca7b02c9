// SMTP that takes every message and delivers none: EHLO, STARTTLS, AUTH, an envelope, DATA.
// Sources: RFC 5321, RFC 3207, RFC 4954.

import { splitCommand, takeLine } from '../line.ts';
import type { Conversation, Dialogue, Responder } from '../responder.ts';
import { withCode } from './ftp.ts';
import { openSasl, type SaslExchange } from './mail-login.ts';

const plain: Readonly<Record<string, string>> = {
  RSET: '250 2.0.0 Ok',
  NOOP: '250 2.0.0 Ok',
  VRFY: '252 2.0.0 Cannot VRFY user',
  EXPN: '502 5.5.1 VRFY command is disabled',
  ETRN: '459 4.7.0 Unable to queue messages',
  HELP: '214 2.0.0 See RFC 5321',
};

class SmtpDialogue implements Dialogue {
  #sasl: SaslExchange | undefined = undefined;
  #inData = false;
  #recipients = 0;
  #sender = false;
  #commands = 0;

  greet(talk: Conversation): void {
    talk.send(`${withCode('220', talk.persona.banners.smtp ?? `${talk.host} ESMTP Postfix`)}\r\n`);
  }

  receive(bytes: Buffer, talk: Conversation): number {
    if (this.#inData) return this.#data(bytes, talk);
    const line = takeLine(bytes, 4096);
    if (!line) return 0;
    this.#commands += 1;
    if (this.#sasl) this.#authenticate(line.text, talk);
    else this.#command(line.text, talk);
    if (this.#commands > 1000) {
      talk.send(`421 4.7.0 ${talk.host} Error: too many commands\r\n`);
      talk.end();
    }
    return line.used;
  }

  #data(bytes: Buffer, talk: Conversation): number {
    const end = bytes.indexOf(10);
    if (end < 0) return bytes.length > 8192 ? bytes.length : 0;
    if (bytes[0] === 0x2e && (end === 1 || (end === 2 && bytes[1] === 13))) {
      this.#inData = false;
      this.#recipients = 0;
      this.#sender = false;
      talk.send(
        `250 2.0.0 Ok: queued as 4${talk.source.port.toString(16).toUpperCase()}A0${this.#commands.toString(16).toUpperCase()}\r\n`,
      );
      return end + 1;
    }
    // Everything up to the line that may be the last is taken at once.
    const dot = bytes.indexOf('\n.');
    if (dot >= 0) return dot + 1;
    const last = bytes.lastIndexOf(10);
    return last + 1;
  }

  #authenticate(line: string, talk: Conversation): void {
    const challenge = line === '*' ? undefined : this.#sasl?.next(line, talk);
    if (challenge !== undefined) talk.send(`334 ${challenge}\r\n`);
    else {
      this.#sasl = undefined;
      talk.send(
        line === '*' ? '501 5.7.0 Authentication aborted\r\n' : '535 5.7.8 Error: authentication failed: UGFzc3dvcmQ6\r\n',
      );
    }
  }

  #command(text: string, talk: Conversation): void {
    const { verb, rest } = splitCommand(text);
    switch (verb) {
      case 'HELO':
        talk.send(`250 ${talk.host}\r\n`);
        return;
      case 'EHLO':
      case 'LHLO':
        talk.send(
          `250-${talk.host}\r\n250-PIPELINING\r\n250-SIZE 10240000\r\n250-VRFY\r\n250-ETRN\r\n${talk.encrypted ? '' : '250-STARTTLS\r\n'}250-AUTH PLAIN LOGIN\r\n250-ENHANCEDSTATUSCODES\r\n250-8BITMIME\r\n250 DSN\r\n`,
        );
        return;
      case 'STARTTLS':
        if (talk.encrypted) talk.send('554 5.5.1 Error: TLS already active\r\n');
        else {
          talk.send('220 2.0.0 Ready to start TLS\r\n');
          talk.startTls();
        }
        return;
      case 'AUTH': {
        const [mechanism = '', initial] = rest.split(/\s+/);
        this.#sasl = openSasl(mechanism.toUpperCase());
        if (!this.#sasl) talk.send('535 5.7.8 Error: authentication failed: Invalid authentication mechanism\r\n');
        else if (initial !== undefined) this.#authenticate(initial, talk);
        else talk.send(`334 ${this.#sasl.next(undefined, talk) ?? ''}\r\n`);
        return;
      }
      case 'MAIL':
        this.#sender = true;
        talk.send('250 2.1.0 Ok\r\n');
        return;
      case 'RCPT':
        if (!this.#sender) talk.send('503 5.5.1 Error: need MAIL command\r\n');
        else if (this.#recipients >= 100) talk.send('452 4.5.3 Error: too many recipients\r\n');
        else {
          this.#recipients += 1;
          talk.send('250 2.1.5 Ok\r\n');
        }
        return;
      case 'DATA':
        if (this.#recipients === 0) talk.send('503 5.5.1 Error: need RCPT command\r\n');
        else {
          this.#inData = true;
          talk.send('354 End data with <CR><LF>.<CR><LF>\r\n');
        }
        return;
      case 'QUIT':
        talk.send('221 2.0.0 Bye\r\n');
        talk.end();
        return;
      default:
        talk.send(`${Object.hasOwn(plain, verb) ? plain[verb] : '502 5.5.2 Error: command not recognized'}\r\n`);
    }
  }
}

export const smtp: Responder = { protocol: 'smtp', serverFirst: true, takesAnything: true, open: () => new SmtpDialogue() };
