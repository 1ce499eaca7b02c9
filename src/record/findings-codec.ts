// The parts of a session's record that few sessions have: attempts to log in, and facts other programs found. Their place in
// the record is event-codec.ts.

import type { Fact, FactKind } from '../model/fact.ts';
import { type Credential, maxCarriedFacts, maxCredentials, type SessionFindings } from '../model/session.ts';
import { type ByteReader, type ByteWriter, DecodeError } from './byte-cursor.ts';

/** Positions in this list are part of the format: append only. */
const factKinds: readonly FactKind[] = [
  'url',
  'domain',
  'address',
  'hash',
  'command',
  'credential',
  'user-agent',
  'path',
  'hassh',
  'ja3',
  'ja4',
  'tls-name',
  'client',
  'file',
  'alert',
];

const maxCredentialLength = 1024;
const maxFactLength = 2048;
const bound = (text: string | undefined, most: number): number => (text === undefined ? 0 : 5 + 3 * Math.min(text.length, most));
const cut = (text: string, most: number): string => (text.length > most ? text.slice(0, most) : text);

/** Bytes `writeExtras` may write, at most. */
export function extrasBound({ credentials, facts }: SessionFindings): number {
  let total = 8;
  for (const one of credentials ?? [])
    total += 1 + bound(one.userName, maxCredentialLength) + bound(one.password, maxCredentialLength);
  for (const fact of facts ?? []) total += 1 + bound(fact.value, maxFactLength);
  return total;
}

export const hasExtras = ({ credentials, facts }: SessionFindings): boolean =>
  (credentials !== undefined && credentials.length > 0) || (facts !== undefined && facts.length > 0);

export function writeExtras(writer: ByteWriter, { credentials = [], facts = [] }: SessionFindings): void {
  const attempts = Math.min(credentials.length, maxCredentials);
  writer.varint(attempts);
  for (let index = 0; index < attempts; index += 1) {
    const { userName, password, accepted } = credentials[index];
    writer.u8(
      (userName === undefined ? 0 : 1) | (password === undefined ? 0 : 2) | (accepted === undefined ? 0 : accepted ? 12 : 4),
    );
    if (userName !== undefined) writer.text(cut(userName, maxCredentialLength));
    if (password !== undefined) writer.text(cut(password, maxCredentialLength));
  }
  const carried = facts.slice(0, maxCarriedFacts).filter(({ kind }) => factKinds.includes(kind));
  writer.varint(carried.length);
  for (const { kind, value } of carried) {
    writer.u8(factKinds.indexOf(kind));
    writer.text(cut(value, maxFactLength));
  }
}

export interface Extras {
  readonly credentials?: readonly Credential[];
  readonly facts?: readonly Fact[];
}

/** Throws DecodeError for what `writeExtras` never writes. */
export function readExtras(reader: ByteReader): Extras {
  const attempts = reader.varint();
  if (attempts > maxCredentials) throw new DecodeError('too many attempts');
  const credentials: Credential[] = [];
  for (let index = 0; index < attempts; index += 1) {
    const flags = reader.u8();
    credentials.push({
      ...(flags & 1 ? { userName: reader.text() } : undefined),
      ...(flags & 2 ? { password: reader.text() } : undefined),
      ...(flags & 4 ? { accepted: (flags & 8) !== 0 } : undefined),
    });
  }
  const count = reader.varint();
  if (count > maxCarriedFacts) throw new DecodeError('too many facts');
  const facts: Fact[] = [];
  for (let index = 0; index < count; index += 1) {
    const kind = factKinds[reader.u8()];
    if (kind === undefined) throw new DecodeError('unknown kind of fact');
    facts.push({ kind, value: reader.text() });
  }
  return { ...(credentials.length > 0 && { credentials }), ...(facts.length > 0 && { facts }) };
}
