// A one-time token: 16 secret bytes and the SHA-256 of the gateway's CA certificate. From the secret follow, always the same, an
// Ed25519 key and its self-signed certificate: the gateway keeps that certificate alone, and the TLS handshake proves the secret.

import { createHash, hkdfSync, type KeyObject, randomBytes } from 'node:crypto';
import { WeirError } from '../../base/errors.ts';
import { ed25519Key, renderCertificate } from './render-certificate.ts';

export interface EnrolmentToken {
  readonly secret: Uint8Array;
  /** SHA-256 of the DER of the gateway's CA certificate, hex. */
  readonly authority: string;
}

export interface EnrolmentIdentity {
  /** What the gateway calls this token; not secret, and says nothing to whoever sees it in a handshake. */
  readonly id: string;
  readonly key: KeyObject;
  /** DER. */
  readonly certificate: Buffer;
}

const prefix = 'weir1.';
const secretBytes = 16;
const authorityBytes = 32;
const checkBytes = 4;

/** Of people's mistakes, not of forgers': a token is checked by the handshake. */
const checkOf = (body: Uint8Array): Buffer => createHash('sha256').update(prefix).update(body).digest().subarray(0, checkBytes);

export const makeToken = (authority: string): EnrolmentToken => ({ secret: randomBytes(secretBytes), authority });

/** One line of 76 characters, all of which survive a shell unquoted. */
export function renderToken({ secret, authority }: EnrolmentToken): string {
  const body = Buffer.concat([secret, Buffer.from(authority, 'hex')]);
  return prefix + Buffer.concat([body, checkOf(body)]).toString('base64url');
}

const wrong = (why: string): WeirError =>
  new WeirError('bad-request', `this is not a token: ${why}`, {
    next: 'copy the whole line that `weir agents add NAME` printed on the gateway',
  });

/** White space (a line that a terminal wrapped) is left out. Throws `bad-request` that says what is wrong with it. */
export function parseToken(text: string): EnrolmentToken {
  const token = text.replaceAll(/\s/g, '');
  if (!token.startsWith(prefix)) {
    if (/^weir\d+\./.test(token)) throw wrong('it is of another version of Weir');
    throw wrong(`it does not begin with ${prefix}`);
  }
  const encoded = token.slice(prefix.length);
  const bytes = Buffer.from(encoded, 'base64url');
  const length = secretBytes + authorityBytes + checkBytes;
  if (bytes.length < length) throw wrong('its end is missing');
  if (bytes.length > length) throw wrong('it is too long');
  if (bytes.toString('base64url') !== encoded) throw wrong('it has characters no token has');
  const body = bytes.subarray(0, -checkBytes);
  if (!checkOf(body).equals(bytes.subarray(-checkBytes))) throw wrong('a character of it is not as it was printed');
  return { secret: body.subarray(0, secretBytes), authority: body.subarray(secretBytes).toString('hex') };
}

/**
 * The name every gateway's certificate carries beside the configured ones; it follows from the authority alone, so an agent
 * knows it before it ever connected, and needs no other however it reaches the gateway. Says nothing of Weir.
 */
export const gatewayNameOf = (authority: string): string => `${authority.slice(0, 16)}.internal`;

/** The same on both ends, byte for byte. Its dates never matter: the gateway's list says until when a token is good. */
export function deriveEnrolment({ secret, authority }: EnrolmentToken): EnrolmentIdentity {
  const derive = (label: string, bytes: number): Buffer =>
    Buffer.from(hkdfSync('sha256', secret, Buffer.from(authority, 'hex'), label, bytes));
  const key = ed25519Key(derive('weir enrolment key', 32));
  const serial = derive('weir enrolment serial', 16);
  serial[0] = (serial[0] & 0x7f) | 0x40;
  const id = derive('weir enrolment name', 8).toString('hex');
  const certificate = renderCertificate(
    {
      subject: id,
      issuer: id,
      serial,
      notBefore: new Date('2000-01-01T00:00:00Z'),
      notAfter: new Date('9999-12-31T23:59:59Z'),
      key,
      usage: 'client',
    },
    key,
  );
  return { id, key, certificate };
}
