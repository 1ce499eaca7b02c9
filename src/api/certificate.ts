// The console's own TLS certificate: minted once, kept in the data directory, renewed before it ends or when the
// addresses it stands for change. Self-signed: its fingerprint is shown by `weir status` for comparison.

import { createPrivateKey, X509Certificate as NodeCertificate, webcrypto } from 'node:crypto';
import { chmodSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { parseAddress } from '../model/address.ts';

export interface Certificate {
  readonly certificate: string;
  readonly key: string;
  /** SHA-256 over the certificate, `AB:CD:..`. */
  readonly fingerprint: string;
}

const lifetimeMs = 397 * 86_400_000;
const renewBeforeMs = 30 * 86_400_000;
const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;

async function mint(names: readonly string[], nowMs: number): Promise<{ certificate: string; key: string }> {
  // Loaded only when a certificate is minted: it is large, and needs its polyfill first.
  await import('reflect-metadata');
  const x509 = await import('@peculiar/x509');
  const keys = (await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])) as webcrypto.CryptoKeyPair;
  const certificate = await x509.X509CertificateGenerator.createSelfSigned(
    {
      name: 'CN=Weir console',
      notBefore: new Date(nowMs - 3_600_000),
      notAfter: new Date(nowMs + lifetimeMs),
      signingAlgorithm: algorithm,
      keys,
      extensions: [
        new x509.BasicConstraintsExtension(false, undefined, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
        new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
        new x509.SubjectAlternativeNameExtension(
          names.map((name) => ({ type: parseAddress(name) ? 'ip' : 'dns', value: name }) as const),
        ),
      ],
    },
    webcrypto,
  );
  const key = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey)).toString('base64');
  const lines = key.match(/.{1,64}/g)?.join('\n') ?? '';
  return {
    certificate: `${certificate.toString('pem')}\n`,
    key: `-----BEGIN PRIVATE KEY-----\n${lines}\n-----END PRIVATE KEY-----\n`,
  };
}

function usable(certificate: string, key: string, names: readonly string[], nowMs: number): boolean {
  const parsed = new NodeCertificate(certificate);
  if (!parsed.checkPrivateKey(createPrivateKey(key))) return false;
  if (Date.parse(parsed.validTo) - nowMs < renewBeforeMs) return false;
  return names.every((name) => (parseAddress(name) ? parsed.checkIP(name) : parsed.checkHost(name)) !== undefined);
}

/** Reads `console.crt` and `console.key` below `directory`, minting them when absent, unreadable, old or for other names. */
export async function openCertificate(directory: string, names: readonly string[], nowMs: number): Promise<Certificate> {
  const certificateFile = path.join(directory, 'console.crt');
  const keyFile = path.join(directory, 'console.key');
  const withFingerprint = (certificate: string, key: string): Certificate => ({
    certificate,
    key,
    fingerprint: new NodeCertificate(certificate).fingerprint256,
  });
  try {
    const certificate = readFileSync(certificateFile, 'utf8');
    const key = readFileSync(keyFile, 'utf8');
    if (usable(certificate, key, names, nowMs)) return withFingerprint(certificate, key);
  } catch {
    // Absent or damaged: a new one replaces it.
  }
  const minted = await mint(names, nowMs);
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const write = (file: string, text: string, mode: number): void => {
    writeFileSync(`${file}.new`, text, { mode });
    chmodSync(`${file}.new`, mode);
    renameSync(`${file}.new`, file);
  };
  write(keyFile, minted.key, 0o600);
  write(certificateFile, minted.certificate, 0o644);
  return withFingerprint(minted.certificate, minted.key);
}
