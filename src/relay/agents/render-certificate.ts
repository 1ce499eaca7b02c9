// Writes the certificates of gateway and agents, and an agent's request for one. Pure: the same facts and an Ed25519 key give
// the same bytes, which is how a token stands for a certificate. Keys are P-256 or Ed25519, nothing else.

import { createHash, createPrivateKey, createPublicKey, type KeyObject, sign } from 'node:crypto';
import { addressBytes, parseAddress } from '../../model/address.ts';
import { bits, der, integer, octets, oid, sequence, set, time, utf8 } from '../../model/der.ts';

export type AgentKeyKind = 'p256' | 'ed25519';

/** Undefined: a key that is neither. */
export function keyKindOf(key: KeyObject): AgentKeyKind | undefined {
  if (key.asymmetricKeyType === 'ed25519') return 'ed25519';
  return key.asymmetricKeyType === 'ec' && key.asymmetricKeyDetails?.namedCurve === 'prime256v1' ? 'p256' : undefined;
}

/** RFC 5758 3.2, RFC 8410 3. */
const algorithmOf = (key: KeyObject): Buffer =>
  sequence(oid(key.asymmetricKeyType === 'ed25519' ? '1.3.101.112' : '1.2.840.10045.4.3.2'));

/** The digest that goes with it, as node:crypto's sign and verify want it. */
export const digestOf = (key: KeyObject): 'sha256' | null => (key.asymmetricKeyType === 'ed25519' ? null : 'sha256');

const spkiOf = (key: KeyObject): Buffer =>
  (key.type === 'private' ? createPublicKey(key) : key).export({ type: 'spki', format: 'der' });

/** RFC 7093 2.4: of the whole SubjectPublicKeyInfo. */
const keyIdentifier = (key: KeyObject): Buffer => createHash('sha256').update(spkiOf(key)).digest().subarray(0, 20);

/** SHA-256 in hex, lower case. */
export const sha256Hex = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

/** Tells keys apart: SHA-256 of the SubjectPublicKeyInfo, hex. */
export const keyFingerprint = (key: KeyObject): string => sha256Hex(spkiOf(key));

export const renderPem = (label: string, bytes: Uint8Array): string =>
  `-----BEGIN ${label}-----\n${(
    Buffer.from(bytes)
      .toString('base64')
      .match(/.{1,64}/g) ?? []
  ).join('\n')}\n-----END ${label}-----\n`;

export const renderKey = (key: KeyObject): string => key.export({ type: 'pkcs8', format: 'pem' }) as string;

/** RFC 8410 7: an Ed25519 private key is its seed of 32 bytes. */
export const ed25519Key = (seed: Uint8Array): KeyObject =>
  createPrivateKey({
    key: Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), seed]),
    format: 'der',
    type: 'pkcs8',
  });

const commonName = (text: string): Buffer => sequence(set(sequence(oid('2.5.4.3'), utf8(text))));

/** RFC 5280 4.2.1: basicConstraints, keyUsage (keyCertSign and cRLSign, or digitalSignature), extKeyUsage. */
const basicConstraints = '2.5.29.19';
const keyUsage = '2.5.29.15';
const extendedKeyUsage = '2.5.29.37';
const critical = der(0x01, Buffer.from([0xff]));

export interface CertificateFacts {
  /** Common names; at most 64 characters. */
  readonly subject: string;
  readonly issuer: string;
  /** Positive: the first bit is 0. At most 20 bytes. */
  readonly serial: Uint8Array;
  readonly notBefore: Date;
  readonly notAfter: Date;
  /** Whose certificate it is; the public half is taken of either. */
  readonly key: KeyObject;
  /** An `authority` may sign others, but no further authority. */
  readonly usage: 'authority' | 'server' | 'client';
  /** Host names and addresses of a server. */
  readonly names?: readonly string[];
}

function extensionsOf({ usage, names, key }: CertificateFacts, issuerKey: KeyObject): Buffer {
  const authority = usage === 'authority';
  const alternatives = (names ?? []).map((name) => {
    const address = parseAddress(name);
    return address ? der(0x87, addressBytes(address)) : der(0x82, Buffer.from(name, 'latin1'));
  });
  const purpose = usage === 'server' ? '1.3.6.1.5.5.7.3.1' : '1.3.6.1.5.5.7.3.2';
  return sequence(
    sequence(
      oid(basicConstraints),
      critical,
      octets(authority ? sequence(der(0x01, Buffer.from([0xff])), integer(0)) : sequence()),
    ),
    sequence(oid(keyUsage), critical, octets(authority ? bits(Buffer.from([0x06]), 1) : bits(Buffer.from([0x80]), 7))),
    ...(authority ? [] : [sequence(oid(extendedKeyUsage), octets(sequence(oid(purpose))))]),
    ...(alternatives.length > 0 ? [sequence(oid('2.5.29.17'), octets(sequence(...alternatives)))] : []),
    sequence(oid('2.5.29.14'), octets(octets(keyIdentifier(key)))),
    sequence(oid('2.5.29.35'), octets(sequence(der(0x80, keyIdentifier(issuerKey))))),
  );
}

/** A version 3 certificate in DER (RFC 5280 4.1), signed with the issuer's private key. */
export function renderCertificate(facts: CertificateFacts, issuerKey: KeyObject): Buffer {
  const body = sequence(
    der(0xa0, integer(2)),
    integer(facts.serial),
    algorithmOf(issuerKey),
    commonName(facts.issuer),
    sequence(time(facts.notBefore), time(facts.notAfter)),
    commonName(facts.subject),
    spkiOf(facts.key),
    der(0xa3, extensionsOf(facts, issuerKey)),
  );
  return sequence(body, algorithmOf(issuerKey), bits(sign(digestOf(issuerKey), body, issuerKey)));
}

/** A PKCS #10 request in PEM (RFC 2986) that proves possession of the key and asks for nothing: the signer decides. */
export function renderRequest(key: KeyObject): string {
  const body = sequence(integer(0), commonName('agent'), spkiOf(key), der(0xa0));
  return renderPem('CERTIFICATE REQUEST', sequence(body, algorithmOf(key), bits(sign(digestOf(key), body, key))));
}
