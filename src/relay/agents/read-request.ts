// Reads an agent's request for a certificate (PKCS #10, RFC 2986): its public key, once it is proven that the sender has the
// private one. Everything else in it is the sender's wish and is not looked at. Hostile input: bounded, then parsed.

import { createPublicKey, type KeyObject, verify } from 'node:crypto';
import { WeirError } from '../../base/errors.ts';
import { digestOf, keyKindOf } from './render-certificate.ts';

/** A request with a P-256 key has 350 characters. */
const maxCharacters = 4096;

const refused = (why: string): WeirError => new WeirError('bad-request', `not a request for a certificate: ${why}`);

/** The first element of a DER sequence, with its header. `bytes` has been parsed: its lengths fit. */
function firstElement(bytes: Buffer): Buffer {
  const headerOf = (at: number): { start: number; end: number } => {
    const first = bytes[at + 1];
    if (first < 0x80) return { start: at + 2, end: at + 2 + first };
    const count = first & 0x7f;
    const start = at + 2 + count;
    return { start, end: start + bytes.readUIntBE(at + 2, count) };
  };
  const { start } = headerOf(0);
  return bytes.subarray(start, headerOf(start).end);
}

/** PEM in, the public key out: P-256 or Ed25519. Throws `bad-request`. */
export async function readRequest(pem: string): Promise<KeyObject> {
  if (pem.length > maxCharacters) throw refused(`longer than ${maxCharacters} characters`);
  const body = /^\s*-----BEGIN CERTIFICATE REQUEST-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE REQUEST-----\s*$/.exec(pem)?.[1];
  if (body === undefined) throw refused('no PEM');
  const raw = Buffer.from(body, 'base64');
  // Loaded when the first agent enrols: it is large, and needs its polyfill first.
  await import('reflect-metadata');
  const x509 = await import('@peculiar/x509');
  let key: KeyObject;
  let proven: boolean;
  try {
    const request = new x509.Pkcs10CertificateRequest(raw);
    key = createPublicKey({ key: Buffer.from(request.publicKey.rawData), format: 'der', type: 'spki' });
    if (keyKindOf(key) === undefined) throw refused('the key is neither P-256 nor Ed25519');
    proven = verify(digestOf(key), firstElement(raw), key, Buffer.from(request.signature));
  } catch (error) {
    throw error instanceof WeirError ? error : refused('it does not parse');
  }
  if (!proven) throw refused('its signature is wrong');
  return key;
}
