// LDAP: anonymous binds succeed, others give their name and password and fail; the root entry; StartTLS.
// Sources: RFC 4511 (messages), RFC 4512 5.1 (root DSE), RFC 4513.

import { der, integer, octets, sequence, set } from '../../model/der.ts';
import { clip } from '../line.ts';
import type { Conversation, Dialogue, Responder } from '../responder.ts';

interface Element {
  readonly tag: number;
  readonly body: Buffer;
  readonly end: number;
}

/** The BER element at `at`, definite lengths up to 64 KiB; 'more' when cut, undefined when it is none. */
export function readElement(bytes: Buffer, at: number): Element | 'more' | undefined {
  if (bytes.length < at + 2) return 'more';
  let length = bytes[at + 1];
  let start = at + 2;
  if (length & 0x80) {
    const count = length & 0x7f;
    if (count < 1 || count > 4) return undefined;
    if (bytes.length < start + count) return 'more';
    length = bytes.readUIntBE(start, count);
    start += count;
  }
  if (length > 60_000) return undefined;
  if (bytes.length < start + length) return 'more';
  return { tag: bytes[at], body: bytes.subarray(start, start + length), end: start + length };
}

/** The elements inside a body, as far as they parse; at most 32. */
export function readElements(body: Buffer): Element[] {
  const elements: Element[] = [];
  let at = 0;
  while (at < body.length && elements.length < 32) {
    const element = readElement(body, at);
    if (!element || element === 'more') break;
    elements.push(element);
    at = element.end;
  }
  return elements;
}

const result = (tag: number, code: number, text = ''): Buffer => der(tag, integer(code, 0x0a), octets(''), octets(text));

const startTlsName = '1.3.6.1.4.1.1466.20037';

function rootEntry(talk: Conversation): Buffer {
  const domain = 'DC=corp,DC=local';
  const attribute = (name: string, ...values: string[]): Buffer =>
    sequence(octets(name), set(...values.map((value) => octets(value))));
  return der(
    0x64,
    octets(''),
    sequence(
      attribute('objectClass', 'top'),
      attribute('namingContexts', domain, `CN=Configuration,${domain}`),
      attribute('defaultNamingContext', domain),
      attribute('dnsHostName', `${talk.host}.corp.local`),
      attribute('supportedLDAPVersion', '3', '2'),
      attribute('supportedExtension', startTlsName),
      attribute('supportedSASLMechanisms', 'GSSAPI', 'GSS-SPNEGO', 'EXTERNAL', 'DIGEST-MD5'),
    ),
  );
}

const dialogue: Dialogue = {
  receive(bytes, talk) {
    const message = readElement(bytes, 0);
    if (message === 'more') return 0;
    if (message?.tag !== 0x30) {
      talk.end();
      return bytes.length;
    }
    const [id, operation] = readElements(message.body);
    if (id?.tag !== 2 || id.body.length < 1 || id.body.length > 4 || !operation) {
      talk.end();
      return bytes.length;
    }
    const reply = (...bodies: Buffer[]): void => talk.send(Buffer.concat(bodies.map((body) => sequence(der(2, id.body), body))));
    const parts = readElements(operation.body);
    switch (operation.tag) {
      case 0x60: {
        const name = clip(parts[1]?.body.toString('utf8', 0, 512) ?? '');
        const secret = parts[2]?.tag === 0x80 ? clip(parts[2].body.toString('utf8', 0, 512)) : '';
        if (name === '' && secret === '') reply(result(0x61, 0));
        else {
          talk.find({ userName: name, password: secret });
          reply(result(0x61, 49, '80090308: LdapErr: DSID-0C090446, comment: AcceptSecurityContext error, data 52e, v3839'));
        }
        break;
      }
      case 0x63:
        if (parts[0]?.body.length === 0 && parts[1]?.body[0] === 0) reply(rootEntry(talk), result(0x65, 0));
        else
          reply(
            result(
              0x65,
              1,
              '000004DC: LdapErr: DSID-0C090A5C, comment: In order to perform this operation a successful bind must be completed.',
            ),
          );
        break;
      case 0x77:
        if (parts[0]?.body.toString('latin1') === startTlsName && !talk.encrypted) {
          reply(der(0x78, integer(0, 0x0a), octets(''), octets(''), der(0x8a, Buffer.from(startTlsName))));
          talk.startTls();
        } else reply(result(0x78, 2, 'Unknown extended request'));
        break;
      case 0x66:
        reply(result(0x67, 50));
        break;
      case 0x68:
        reply(result(0x69, 50));
        break;
      case 0x4a:
        reply(result(0x6b, 50));
        break;
      case 0x6c:
        reply(result(0x6d, 50));
        break;
      case 0x6e:
        reply(result(0x6f, 50));
        break;
      case 0x50:
        break;
      default:
        talk.end();
    }
    return message.end;
  },
};

export const ldap: Responder = { protocol: 'ldap', open: () => dialogue };
