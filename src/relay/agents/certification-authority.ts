// The gateway's own certification authority: its key and certificate on disk, certificates for agents, and the gateway's own.
// Knows nothing of who is allowed in (agent-registry.ts): an agent's certificate alone opens nothing.

import { createPrivateKey, generateKeyPairSync, type KeyObject, randomBytes, X509Certificate } from 'node:crypto';
import { join } from 'node:path';
import type { Micros } from '../../base/clock.ts';
import { readWhole, writeDurably } from '../../base/durable-file.ts';
import { WeirError } from '../../base/errors.ts';
import { parseAddress } from '../../model/address.ts';
import { gatewayNameOf } from './enrolment-token.ts';
import { renderCertificate, renderKey, renderPem, sha256Hex } from './render-certificate.ts';

const dayMs = 86_400_000;
const authorityMs = 3652 * dayMs;
const serverMs = 365 * dayMs;
const agentMs = 90 * dayMs;
/** Agents ask for a new certificate when this is left: a third. */
export const renewBeforeMs = agentMs / 3;
/** The same for all: a clock that was wrong for a day must not make certificates that begin later. */
const notBefore = new Date('2020-01-01T00:00:00Z');

/** PEM, of a key and its certificate. */
export interface KeyedCertificate {
  readonly key: string;
  readonly certificate: string;
}

export interface IssuedCertificate {
  /** PEM. */
  readonly certificate: string;
  /** SHA-256 of its DER, hex. */
  readonly fingerprint: string;
  /** ISO 8601. */
  readonly until: string;
}

function randomSerial(): Buffer {
  const serial = randomBytes(16);
  serial[0] = (serial[0] & 0x7f) | 0x40;
  return serial;
}

const newKey = (): KeyObject => generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
const dateAfter = (now: Micros, ms: number): Date => new Date(Math.floor((now / 1000 + ms) / 1000) * 1000);

/** A key and a certificate in one file can never belong to different ones. Undefined: they do not parse, or do not match. */
function parsePair(text: string): { key: KeyObject; certificate: X509Certificate } | undefined {
  try {
    const key = createPrivateKey(text);
    const certificate = new X509Certificate(text);
    return certificate.checkPrivateKey(key) ? { key, certificate } : undefined;
  } catch {
    return undefined;
  }
}

const authorityFile = (directory: string): string => join(directory, 'authority.pem');

/**
 * Reads the authority below `directory`, or makes one when there is none. Throws `identity-damaged` for one that does not
 * parse: a new one would shut out every agent, so that is for a person to decide.
 */
export async function openAuthority(directory: string, now: Micros): Promise<CertificationAuthority> {
  const path = authorityFile(directory);
  const text = await readWhole(path);
  if (text === undefined) return makeAuthority(directory, now);
  const pair = parsePair(text);
  if (!pair?.certificate.ca)
    throw new WeirError('identity-damaged', `${path} does not hold a key and its certificate`, {
      path,
      next: 'restore it from a backup; or move it away, and every agent must be added and enrol again',
    });
  return new CertificationAuthority(directory, pair.key, pair.certificate);
}

/** In place of any that is there. */
export async function makeAuthority(directory: string, now: Micros): Promise<CertificationAuthority> {
  const key = newKey();
  // Whoever connects is shown this name before he is known: it says nothing.
  const name = randomBytes(4).toString('hex');
  const certificate = renderCertificate(
    {
      subject: name,
      issuer: name,
      serial: randomSerial(),
      notBefore,
      notAfter: dateAfter(now, authorityMs),
      key,
      usage: 'authority',
    },
    key,
  );
  await writeDurably(authorityFile(directory), renderKey(key) + renderPem('CERTIFICATE', certificate));
  return new CertificationAuthority(directory, key, new X509Certificate(certificate));
}

export class CertificationAuthority {
  /** PEM. */
  readonly certificate: string;
  /** SHA-256 of its DER, hex: what tokens carry and agents pin. */
  readonly fingerprint: string;
  /** Microseconds. */
  readonly until: Micros;
  readonly #directory: string;
  readonly #key: KeyObject;
  readonly #name: string;

  constructor(directory: string, key: KeyObject, certificate: X509Certificate) {
    this.#directory = directory;
    this.#key = key;
    this.#name = certificate.subject.replace(/^CN=/, '');
    this.certificate = renderPem('CERTIFICATE', certificate.raw);
    this.fingerprint = sha256Hex(certificate.raw);
    this.until = Date.parse(certificate.validTo) * 1000;
  }

  /** For 90 days, or as long as the authority lasts. */
  issue(agent: string, key: KeyObject, now: Micros): IssuedCertificate {
    const end = dateAfter(now, agentMs);
    const notAfter = end.getTime() * 1000 > this.until ? new Date(this.until / 1000) : end;
    const certificate = renderCertificate(
      { subject: agent, issuer: this.#name, serial: randomSerial(), notBefore, notAfter, key, usage: 'client' },
      this.#key,
    );
    return {
      certificate: renderPem('CERTIFICATE', certificate),
      fingerprint: sha256Hex(certificate),
      until: notAfter.toISOString(),
    };
  }

  /**
   * The gateway's own certificate for these names, and for the one every agent knows (gatewayNameOf): the one on disk while
   * it has them all and more than a third of its time, else a new one.
   */
  async server(names: readonly string[], now: Micros): Promise<KeyedCertificate> {
    const path = join(this.#directory, 'server.pem');
    const all = [...new Set([gatewayNameOf(this.fingerprint), ...names])];
    const text = await readWhole(path);
    const pair = text === undefined ? undefined : parsePair(text);
    const wanted = all.map((name) => name.toLowerCase()).sort();
    const left = pair ? Date.parse(pair.certificate.validTo) - now / 1000 : 0;
    // More than a whole lifetime left: the clock has gone back, or had gone ahead when it was made.
    const timely = left > serverMs / 3 && left <= serverMs + dayMs;
    if (pair && timely && this.#signed(pair.certificate) && sameNames(pair.certificate, wanted))
      return { key: renderKey(pair.key), certificate: renderPem('CERTIFICATE', pair.certificate.raw) };
    const key = newKey();
    const certificate = renderPem(
      'CERTIFICATE',
      renderCertificate(
        {
          subject: all[0],
          issuer: this.#name,
          serial: randomSerial(),
          notBefore,
          notAfter: dateAfter(now, serverMs),
          key,
          usage: 'server',
          names: all,
        },
        this.#key,
      ),
    );
    await writeDurably(path, renderKey(key) + certificate);
    return { key: renderKey(key), certificate };
  }

  #signed(certificate: X509Certificate): boolean {
    return certificate.verify(new X509Certificate(this.certificate).publicKey);
  }
}

/** `wanted` is sorted and in lower case. */
function sameNames(certificate: X509Certificate, wanted: readonly string[]): boolean {
  const has = (certificate.subjectAltName ?? '').split(', ').length === wanted.length;
  return (
    has && wanted.every((name) => (parseAddress(name) ? certificate.checkIP(name) : certificate.checkHost(name)) !== undefined)
  );
}
