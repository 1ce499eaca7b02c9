// Telnet: negotiation, a login that gives in after some tries, and a shell that answers bots' first questions from a table.
// Nothing is executed. Sources: RFC 854, RFC 857, RFC 858, RFC 1184.

import { clip } from '../line.ts';
import type { Conversation, Dialogue, Responder } from '../responder.ts';
import { shellAnswer } from './shell-answers.ts';

const iac = 255;
const subnegotiation = 250;
const subnegotiationEnd = 240;
/** What BusyBox asks first: DO ECHO, DO WINDOW SIZE, DO FLOW CONTROL, WILL ECHO, WILL SUPPRESS GO AHEAD. */
const opening = Buffer.from([255, 253, 1, 255, 253, 31, 255, 253, 33, 255, 251, 1, 255, 251, 3]);
const ours = new Set([1, 3]);
const theirs = new Set([1, 3, 31, 33]);

const lineLimit = 1024;
/** Logins refused before one is let in. */
const refusals = 2;

type Step = 'user' | 'password' | 'shell';

class TelnetDialogue implements Dialogue {
  #step: Step = 'user';
  #user = '';
  #tries = 0;
  #commands = 0;
  #afterReturn = false;
  #partial = '';
  #answered = 0;

  greet(talk: Conversation): void {
    const banner = talk.persona.banners.telnet;
    talk.send(
      Buffer.concat([opening, Buffer.from(banner === undefined ? '\r\r\n' : `\r\n${banner.replaceAll(/\r?\n/g, '\r\n')}\r\n`)]),
    );
    this.#prompt(talk);
  }

  receive(bytes: Buffer, talk: Conversation): number {
    if (bytes[0] === iac) return this.#negotiate(bytes, talk);
    if (this.#afterReturn) {
      this.#afterReturn = false;
      if (bytes[0] === 10 || bytes[0] === 0) return 1;
    }
    let end = 0;
    while (end < bytes.length && end < lineLimit && bytes[end] !== 10 && bytes[end] !== 13 && bytes[end] !== iac) end += 1;
    const room = lineLimit - this.#partial.length;
    if (end > room) end = room;
    if (end === bytes.length && end < room) return 0;
    const text = this.#partial + bytes.toString('latin1', 0, end);
    if (bytes[end] === iac && end < room) {
      // Options may stand in the middle of a line.
      this.#partial = text;
      return end;
    }
    this.#partial = '';
    this.#line(text, talk);
    if (end >= room) return Math.max(end, 1);
    if (bytes[end] === 13) this.#afterReturn = true;
    return end + 1;
  }

  #negotiate(bytes: Buffer, talk: Conversation): number {
    if (bytes.length < 2) return 0;
    const command = bytes[1];
    if (command === subnegotiation) {
      const end = bytes.indexOf(Buffer.from([iac, subnegotiationEnd]), 2);
      if (end >= 0) return end + 2;
      return bytes.length > 512 ? bytes.length : 0;
    }
    if (command < 251 || command === iac) return 2;
    if (bytes.length < 3) return 0;
    const option = bytes[2];
    // Refuse what was not offered, once per request and never without end.
    if (this.#answered < 64) {
      if (command === 253 && !ours.has(option)) talk.send(Buffer.from([iac, 252, option]));
      else if (command === 251 && !theirs.has(option)) talk.send(Buffer.from([iac, 254, option]));
      this.#answered += 1;
    }
    return 3;
  }

  #prompt(talk: Conversation): void {
    if (this.#step === 'user') talk.send(`${talk.host} login: `);
    else if (this.#step === 'password') talk.send('Password: ');
    else
      talk.send(
        this.#user === 'root' ? `root@${talk.host}:~# ` : `${clip(this.#user, 32).replace(/[^\w.-]/g, '')}@${talk.host}:~$ `,
      );
  }

  #line(text: string, talk: Conversation): void {
    if (this.#step === 'user') {
      talk.send(`${clip(text)}\r\n`);
      if (text !== '') {
        this.#user = clip(text);
        talk.find({ userName: this.#user });
        this.#step = 'password';
      }
    } else if (this.#step === 'password') {
      talk.find({ userName: this.#user, password: clip(text) });
      this.#tries += 1;
      if (this.#tries > refusals) {
        this.#step = 'shell';
        talk.send('\r\n\r\n');
      } else {
        this.#step = 'user';
        talk.send('\r\nLogin incorrect\r\n');
      }
    } else {
      this.#commands += 1;
      const answer = shellAnswer(text, talk);
      talk.send(`${clip(text, lineLimit)}\r\n${answer === '' ? '' : `${answer.replaceAll(/\r?\n/g, '\r\n')}\r\n`}`);
      if (this.#commands > 500 || /^\s*(exit|logout|quit)\s*$/.test(text)) {
        talk.end();
        return;
      }
    }
    this.#prompt(talk);
  }
}

export const telnet: Responder = { protocol: 'telnet', serverFirst: true, takesAnything: true, open: () => new TelnetDialogue() };
