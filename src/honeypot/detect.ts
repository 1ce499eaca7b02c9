// Names the protocol of a connection by the client's first bytes, whatever the port. Pure; one table per first byte.
// What is then answered is responders/; datagrams are told apart in datagrams/.

import type { Signature } from './signature.ts';
import { databaseSignatures } from './signatures/databases.ts';
import { industrialSignatures } from './signatures/industrial.ts';
import { javaSignatures } from './signatures/java.ts';
import { lineSignatures } from './signatures/lines.ts';
import { networkSignatures } from './signatures/network.ts';
import { tlsSignatures } from './signatures/tls.ts';
import { webSignatures } from './signatures/web.ts';
import { windowsSignatures } from './signatures/windows.ts';

export type Detection =
  | { readonly verdict: 'match'; readonly protocol: string }
  | { readonly verdict: 'more' }
  | { readonly verdict: 'none' };

/** Nobody is waited for beyond this many bytes. */
export const detectionLimit = 8192;

/** In order of precedence: exact beginnings and whole structures first, single words after them. */
export const signatures: readonly Signature[] = [
  ...tlsSignatures,
  ...windowsSignatures,
  ...javaSignatures,
  ...databaseSignatures,
  ...networkSignatures,
  ...webSignatures,
  ...lineSignatures,
  ...industrialSignatures,
];

const byFirst: Signature[][] = Array.from({ length: 256 }, () => []);
for (const signature of signatures) for (const byte of new Set(signature.first)) byFirst[byte].push(signature);

const more: Detection = { verdict: 'more' };
const none: Detection = { verdict: 'none' };
const matches = new Map<string, Detection>(signatures.map(({ protocol }) => [protocol, { verdict: 'match', protocol }]));

/** Every name detection can give. */
export const detectable: readonly string[] = [...matches.keys()];

/**
 * The first signature in order that does not say no decides; with `complete` (the client waits or has ended) those that
 * ask for more bytes are passed over. Empty input asks for more. Line ends before the first word are skipped.
 */
export function detect(bytes: Buffer, hint: string | undefined, complete: boolean): Detection {
  let start = 0;
  while (start < bytes.length && start < 16 && (bytes[start] === 13 || bytes[start] === 10)) start += 1;
  if (start === bytes.length) return complete && bytes.length > 0 ? none : more;
  // A leading 0x0a or 0x0d byte can only be a line end when text follows it.
  const view = start > 0 && isWordByte(bytes[start]) ? bytes.subarray(start) : bytes;
  const enough = complete || view.length >= detectionLimit;
  for (const signature of byFirst[view[0]]) {
    const verdict = signature.test(view, hint);
    if (verdict === 'match') return matches.get(signature.protocol) as Detection;
    if (verdict === 'more' && !enough) return more;
  }
  return none;
}

const isWordByte = (byte: number): boolean =>
  (byte >= 0x30 && byte <= 0x39) || (byte >= 0x41 && byte <= 0x5a) || (byte >= 0x61 && byte <= 0x7a);
