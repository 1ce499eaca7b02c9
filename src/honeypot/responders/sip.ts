// SIP and RTSP: requests framed by their headers, answered with the challenge that makes clients send credentials.
// The SIP answer is used over UDP too (datagrams/). Sources: RFC 3261, RFC 2326, RFC 2617.

import { randomBytes } from 'node:crypto';
import { clip, decodeBase64 } from '../line.ts';
import type { Conversation, Dialogue, Responder } from '../responder.ts';

interface Message {
  readonly method: string;
  readonly target: string;
  /** First of each name, lower case; compact SIP names spelled out. */
  readonly headers: ReadonlyMap<string, string>;
}

const compact: Readonly<Record<string, string>> = {
  v: 'via',
  f: 'from',
  t: 'to',
  i: 'call-id',
  l: 'content-length',
  m: 'contact',
};
/** Nothing of a header that could start a line of its own in the answer. */
const clean = (text: string): string => clip(text, 512).replaceAll(/[\r\n\0]/g, ' ');

/** The head of a request; undefined when its first line is none. */
export function parseMessage(text: string): Message | undefined {
  const lines = text.split(/\r?\n/, 128);
  const match = /^([A-Z_]{1,20}) (\S{1,1024}) (?:SIP|RTSP)\/\d/i.exec(lines[0] ?? '');
  if (!match) return undefined;
  const headers = new Map<string, string>();
  for (const line of lines.slice(1)) {
    const colon = line.indexOf(':');
    if (colon < 1) continue;
    const written = line.slice(0, colon).trim().toLowerCase();
    const name = Object.hasOwn(compact, written) ? compact[written] : written;
    const value = line.slice(colon + 1).trim();
    // Every Via goes back, top first.
    if (name === 'via' && headers.has('via')) headers.set('via', `${headers.get('via')}\r\nVia: ${clean(value)}`);
    else if (!headers.has(name)) headers.set(name, clean(value));
  }
  return { method: match[1].toUpperCase(), target: match[2], headers };
}

/** What the Authorization header gives away. */
export function authorization(header: string | undefined, find: Conversation['find']): void {
  if (header === undefined) return;
  const basic = /^basic +(\S+)/i.exec(header);
  if (basic) {
    const [user, ...rest] = (decodeBase64(basic[1]) ?? '').split(':');
    find({ userName: clip(user), password: clip(rest.join(':')) });
    return;
  }
  const digest = /username="([^"]{1,256})"/i.exec(header);
  if (digest) find({ userName: digest[1] });
}

/** The answer to a SIP request; undefined where none is due. `short` leaves out what is optional. */
export function answerSip(message: Message, find: Conversation['find'], server: string, short: boolean): string | undefined {
  if (message.method === 'ACK') return undefined;
  const { headers } = message;
  authorization(headers.get('authorization') ?? headers.get('proxy-authorization'), find);
  const from = /sips?:([^@>;\s]{1,128})@/i.exec(headers.get('from') ?? '');
  if (from && message.method === 'REGISTER') find({ userName: from[1] });
  const challenged = message.method === 'REGISTER' || message.method === 'INVITE' || message.method === 'SUBSCRIBE';
  const to = headers.get('to') ?? '';
  const tag = /;\s*tag=/i.test(to) ? '' : `;tag=${randomBytes(4).toString('hex')}`;
  const lines = [
    challenged ? 'SIP/2.0 401 Unauthorized' : 'SIP/2.0 200 OK',
    `Via: ${headers.get('via') ?? ''}`,
    `From: ${headers.get('from') ?? ''}`,
    `To: ${to}${tag}`,
    `Call-ID: ${headers.get('call-id') ?? ''}`,
    `CSeq: ${headers.get('cseq') ?? ''}`,
  ];
  if (challenged) lines.push(`WWW-Authenticate: Digest realm="asterisk",nonce="${randomBytes(4).toString('hex')}"`);
  if (!short)
    lines.push(
      `Server: ${server}`,
      'Allow: INVITE, ACK, CANCEL, OPTIONS, BYE, REFER, SUBSCRIBE, NOTIFY, INFO',
      'Accept: application/sdp',
    );
  lines.push('Content-Length: 0', '', '');
  return lines.join('\r\n');
}

function answerRtsp(message: Message, talk: Conversation): string {
  authorization(message.headers.get('authorization'), (findings) => talk.find(findings));
  const sequence = message.headers.get('cseq') ?? '1';
  const server = talk.persona.banners.rtsp ?? 'Rtsp Server/2.0';
  if (message.method === 'OPTIONS')
    return `RTSP/1.0 200 OK\r\nCSeq: ${sequence}\r\nServer: ${server}\r\nPublic: OPTIONS, DESCRIBE, SETUP, PLAY, PAUSE, TEARDOWN, GET_PARAMETER\r\n\r\n`;
  return `RTSP/1.0 401 Unauthorized\r\nCSeq: ${sequence}\r\nServer: ${server}\r\nWWW-Authenticate: Digest realm="IP Camera", nonce="${randomBytes(8).toString('hex')}"\r\nWWW-Authenticate: Basic realm="IP Camera"\r\n\r\n`;
}

class FramedDialogue implements Dialogue {
  readonly #protocol: 'sip' | 'rtsp';
  #skip = 0;
  #requests = 0;

  constructor(protocol: 'sip' | 'rtsp') {
    this.#protocol = protocol;
  }

  receive(bytes: Buffer, talk: Conversation): number {
    if (this.#skip > 0) {
      const used = Math.min(this.#skip, bytes.length);
      this.#skip -= used;
      return used;
    }
    if (bytes[0] === 13 || bytes[0] === 10) return 1;
    const crlf = bytes.indexOf('\r\n\r\n');
    const lf = bytes.indexOf('\n\n');
    const end = crlf >= 0 && (lf < 0 || crlf < lf) ? crlf + 4 : lf >= 0 ? lf + 2 : -1;
    if (end < 0) {
      if (bytes.length < 16_384) return 0;
      talk.end();
      return bytes.length;
    }
    const message = parseMessage(bytes.toString('latin1', 0, end));
    this.#requests += 1;
    if (!message || this.#requests > 1000) {
      talk.send(`${this.#protocol.toUpperCase()}/${this.#protocol === 'sip' ? '2' : '1'}.0 400 Bad Request\r\n\r\n`);
      talk.end();
      return bytes.length;
    }
    const length = Number(message.headers.get('content-length') ?? 0);
    this.#skip = Number.isInteger(length) && length > 0 ? Math.min(length, 1 << 24) : 0;
    const answer =
      this.#protocol === 'rtsp'
        ? answerRtsp(message, talk)
        : answerSip(message, (findings) => talk.find(findings), talk.persona.banners.sip ?? 'Asterisk PBX 16.28.0', false);
    if (answer !== undefined) talk.send(answer);
    return end;
  }
}

export const sip: Responder = { protocol: 'sip', open: () => new FramedDialogue('sip') };
export const rtsp: Responder = { protocol: 'rtsp', open: () => new FramedDialogue('rtsp') };
