// Makes certificates that look like the decoy's own, for whatever name a client asks, from two keys kept in a directory.
// Bounded: a fixed number of ready contexts, least recently used out first. TLS itself is tls-terminator.ts.

import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createSecureContext, type SecureContext } from 'node:tls';
import type { Log } from '../base/log.ts';
import { addressBytes, parseAddress } from '../model/address.ts';
import { bits, der, integer, octets, oid, sequence, set, time, utf8 } from '../model/der.ts';

export type KeyKind = 'ec' | 'rsa';

/** RFC 5758 3.2, RFC 8017 A.2.4. */
const signatureAlgorithm: Readonly<Record<KeyKind, Buffer>> = {
  ec: sequence(oid('1.2.840.10045.4.3.2')),
  rsa: sequence(oid('1.2.840.113549.1.1.11'), der(0x05)),
};

const dayMs = 86_400_000;

/** A self-signed version 3 certificate in DER for a host name or an address (RFC 5280 section 4.1). */
export function renderCertificate(name: string, key: KeyObject, kind: KeyKind, notBefore: Date, notAfter: Date): Buffer {
  const serial = randomBytes(16);
  serial[0] = (serial[0] & 0x7f) | 0x40;
  const subject = sequence(set(sequence(oid('2.5.4.3'), utf8(name.slice(0, 64)))));
  const address = parseAddress(name);
  const alternative = address ? der(0x87, addressBytes(address)) : der(0x82, Buffer.from(name, 'latin1'));
  const extensions = sequence(
    sequence(oid('2.5.29.15'), der(0x01, Buffer.from([0xff])), octets(bits(Buffer.from([0xa0]), 5))),
    sequence(oid('2.5.29.37'), octets(sequence(oid('1.3.6.1.5.5.7.3.1')))),
    sequence(oid('2.5.29.17'), octets(sequence(alternative))),
  );
  const body = sequence(
    der(0xa0, integer(2)),
    integer(serial),
    signatureAlgorithm[kind],
    subject,
    sequence(time(notBefore), time(notAfter)),
    subject,
    createPublicKey(key).export({ type: 'spki', format: 'der' }),
    der(0xa3, extensions),
  );
  return sequence(body, signatureAlgorithm[kind], bits(sign('sha256', body, key)));
}

const pem = (label: string, bytes: Buffer): string =>
  `-----BEGIN ${label}-----\n${(bytes.toString('base64').match(/.{1,64}/g) ?? []).join('\n')}\n-----END ${label}-----\n`;

/** Contexts for SNI names and host names; open it with `openCertificateMint`. */
export class CertificateMint {
  readonly #keys: Readonly<Record<KeyKind, KeyObject>>;
  readonly #pems: Readonly<Record<KeyKind, string>>;
  readonly #capacity: number;
  readonly #ready = new Map<string, SecureContext>();
  readonly #notBefore: Date;
  readonly #notAfter: Date;
  minted = 0;

  constructor(keys: Readonly<Record<KeyKind, KeyObject>>, capacity: number, now: Date) {
    this.#keys = keys;
    const text = (kind: KeyKind): string => keys[kind].export({ type: 'pkcs8', format: 'pem' }) as string;
    this.#pems = { ec: text('ec'), rsa: text('rsa') };
    this.#capacity = capacity;
    // A certificate made the minute it is asked for would give the decoy away.
    this.#notBefore = new Date(now.getTime() - 97 * dayMs);
    this.#notAfter = new Date(now.getTime() + 633 * dayMs);
  }

  /** Contexts ready now; never above the capacity. */
  get size(): number {
    return this.#ready.size;
  }

  /** About a millisecond when the name is new. */
  context(name: string, kind: KeyKind): SecureContext {
    const key = `${kind} ${name}`;
    let context = this.#ready.get(key);
    if (context) this.#ready.delete(key);
    else {
      context = this.#mint(name, kind);
      if (this.#ready.size >= this.#capacity) {
        const [oldest] = this.#ready.keys();
        this.#ready.delete(oldest);
      }
    }
    this.#ready.set(key, context);
    return context;
  }

  #mint(name: string, kind: KeyKind): SecureContext {
    this.minted += 1;
    return createSecureContext({
      key: this.#pems[kind],
      cert: pem('CERTIFICATE', renderCertificate(name, this.#keys[kind], kind, this.#notBefore, this.#notAfter)),
      minVersion: 'TLSv1',
      maxVersion: 'TLSv1.3',
      // Old scanners and bots speak nothing better; nothing secret passes here.
      ciphers: 'ALL:!aNULL:!eNULL:@SECLEVEL=0',
      dhparam: 'auto',
    });
  }
}

const generate = (kind: KeyKind): KeyObject =>
  kind === 'ec'
    ? generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey
    : generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey;

async function openKey(directory: string, kind: KeyKind, log: Log): Promise<KeyObject> {
  const path = join(directory, `decoy-${kind}.pem`);
  try {
    const key = createPrivateKey(await readFile(path));
    if (key.asymmetricKeyType === kind) return key;
  } catch {
    // Absent, or not a key of ours any more: a new one takes its place.
  }
  const key = generate(kind);
  try {
    await mkdir(directory, { recursive: true, mode: 0o700 });
    await writeFile(`${path}.new`, key.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });
    await rename(`${path}.new`, path);
  } catch (error) {
    log.warn('a TLS key of the decoys cannot be kept; it changes with every start', {
      path,
      error: error instanceof Error ? error.message : String(error),
    });
  }
  return key;
}

/**
 * Reads the keys of `directory` or makes them (mode 0600). `capacity` bounds the contexts kept.
 * A directory that cannot be written is said, and the keys live as long as the process. Never rejects.
 */
export async function openCertificateMint(directory: string, log: Log, capacity = 256): Promise<CertificateMint> {
  const [ec, rsa] = await Promise.all([openKey(directory, 'ec', log), openKey(directory, 'rsa', log)]);
  return new CertificateMint({ ec, rsa }, capacity, new Date());
}
