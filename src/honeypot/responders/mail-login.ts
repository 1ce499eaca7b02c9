// SASL as mail protocols carry it: PLAIN and LOGIN, with and without an initial response. Used by SMTP, POP3 and IMAP.
// Sources: RFC 4616 (PLAIN), draft-murchison-sasl-login.

import { clip, decodeBase64 } from '../line.ts';
import type { Conversation } from '../responder.ts';

export interface SaslExchange {
  /** The next challenge in base64, or undefined when the exchange is over and the credentials are found. */
  next(line: string | undefined, talk: Conversation): string | undefined;
}

function plain(text: string, talk: Conversation): void {
  const [, user = '', password = ''] = (decodeBase64(text) ?? '').split('\0');
  if (user !== '' || password !== '') talk.find({ userName: clip(user), password: clip(password) });
}

/** Undefined for mechanisms we do not know. `initial` is the response sent with the command, if any. */
export function openSasl(mechanism: string): SaslExchange | undefined {
  let user: string | undefined;
  if (mechanism === 'PLAIN')
    return {
      next(line, talk) {
        if (line === undefined) return '';
        plain(line, talk);
        return undefined;
      },
    };
  if (mechanism === 'LOGIN')
    return {
      next(line, talk) {
        if (line === undefined) return 'VXNlcm5hbWU6';
        if (user === undefined) {
          user = clip(decodeBase64(line) ?? line);
          talk.find({ userName: user });
          return 'UGFzc3dvcmQ6';
        }
        talk.find({ userName: user, password: clip(decodeBase64(line) ?? line) });
        return undefined;
      },
    };
  return undefined;
}
