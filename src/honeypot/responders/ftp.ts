// FTP's control connection: names, passwords, AUTH TLS, and a login that gives in. No data connection is ever made.
// Sources: RFC 959, RFC 2389, RFC 4217.

import { clip, splitCommand, takeLine } from '../line.ts';
import type { Conversation, Dialogue, Responder } from '../responder.ts';

/** The banner's text with its code; personas may give it with or without. */
export const withCode = (code: string, text: string): string => (text.startsWith(code) ? text : `${code} ${text}`);

const plain: Readonly<Record<string, string>> = {
  SYST: '215 UNIX Type: L8',
  NOOP: '200 NOOP ok.',
  TYPE: '200 Switching to Binary mode.',
  MODE: '200 Mode set to S.',
  STRU: '200 Structure set to F.',
  PBSZ: '200 PBSZ set to 0.',
  PROT: '200 PROT now Private.',
  OPTS: '200 Always in UTF8 mode.',
  ALLO: '202 ALLO command ignored.',
  HELP: '214 The following commands are recognized: CWD FEAT HELP LIST NOOP PASS PASV PORT PWD QUIT RETR STOR SYST TYPE USER',
  FEAT: '211-Features:\r\n AUTH TLS\r\n EPRT\r\n EPSV\r\n MDTM\r\n PASV\r\n PBSZ\r\n PROT\r\n REST STREAM\r\n SIZE\r\n TVFS\r\n UTF8\r\n211 End',
};

const afterLogin: Readonly<Record<string, string>> = {
  PWD: '257 "/" is the current directory',
  XPWD: '257 "/" is the current directory',
  CWD: '250 Directory successfully changed.',
  CDUP: '250 Directory successfully changed.',
  SIZE: '550 Could not get file size.',
  MDTM: '550 Could not get file modification time.',
  DELE: '550 Delete operation failed.',
  MKD: '550 Create directory operation failed.',
  RMD: '550 Remove directory operation failed.',
  RNFR: '550 RNFR command failed.',
  SITE: '550 Permission denied.',
  PORT: '500 Illegal PORT command.',
  EPRT: '500 Illegal EPRT command.',
  PASV: '425 Failed to establish connection.',
  EPSV: '425 Failed to establish connection.',
  LIST: '425 Use PORT or PASV first.',
  NLST: '425 Use PORT or PASV first.',
  RETR: '425 Use PORT or PASV first.',
  STOR: '425 Use PORT or PASV first.',
  APPE: '425 Use PORT or PASV first.',
  REST: '350 Restart position accepted (0).',
  ABOR: '225 No transfer to ABOR.',
  STAT: '211 End of status',
};

class FtpDialogue implements Dialogue {
  #user = '';
  #tries = 0;
  #loggedIn = false;

  greet(talk: Conversation): void {
    talk.send(`${withCode('220', talk.persona.banners.ftp ?? '(vsFTPd 3.0.3)')}\r\n`);
  }

  receive(bytes: Buffer, talk: Conversation): number {
    const line = takeLine(bytes);
    if (!line) return 0;
    const { verb, rest } = splitCommand(line.text);
    talk.send(`${this.#answer(verb, rest, talk)}\r\n`);
    if (verb === 'QUIT' || this.#tries > 6) talk.end();
    else if (verb === 'AUTH' && /^(TLS|SSL|TLS-C)$/i.test(rest)) talk.startTls();
    return line.used;
  }

  #answer(verb: string, rest: string, talk: Conversation): string {
    if (verb === 'USER') {
      this.#user = clip(rest);
      talk.find({ userName: this.#user });
      return '331 Please specify the password.';
    }
    if (verb === 'PASS') {
      if (this.#user === '') return '503 Login with USER first.';
      talk.find({ userName: this.#user, password: clip(rest) });
      this.#tries += 1;
      this.#loggedIn = this.#loggedIn || /^(anonymous|ftp)$/i.test(this.#user) || this.#tries > 2;
      return this.#loggedIn ? '230 Login successful.' : '530 Login incorrect.';
    }
    if (verb === 'AUTH') return /^(TLS|SSL|TLS-C)$/i.test(rest) ? '234 Proceed with negotiation.' : '504 Unknown AUTH type.';
    if (verb === 'QUIT') return '221 Goodbye.';
    if (Object.hasOwn(plain, verb)) return plain[verb];
    if (!this.#loggedIn) return '530 Please login with USER and PASS.';
    return Object.hasOwn(afterLogin, verb) ? afterLogin[verb] : '500 Unknown command.';
  }
}

export const ftp: Responder = { protocol: 'ftp', serverFirst: true, takesAnything: true, open: () => new FtpDialogue() };
