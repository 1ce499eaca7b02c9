// What the first bytes of a raw session tell: which protocol they speak, and of a TLS client its fingerprints. For logs and
// captures that hold bytes alone. How protocols are recognised is the context's.

import { describeHello, parseClientHello } from '../../model/client-hello.ts';
import type { Chunk, TlsDetails, Transport } from '../../model/session.ts';
import type { ImportContext } from './importer.ts';

/** Nothing is recognised by what comes later. */
const lookedAt = 8192;

export interface FirstBytes {
  readonly protocol?: string;
  readonly tls?: TlsDetails;
}

const nothing: FirstBytes = {};

function inputOf(chunks: readonly Chunk[]): Buffer | undefined {
  const parts: Uint8Array[] = [];
  let length = 0;
  for (const { direction, bytes } of chunks) {
    if (direction !== 'in') continue;
    parts.push(bytes);
    length += bytes.length;
    if (length >= lookedAt) break;
  }
  if (length === 0) return undefined;
  if (parts.length > 1) return Buffer.concat(parts).subarray(0, lookedAt);
  const [{ buffer, byteOffset }] = parts;
  return Buffer.from(buffer, byteOffset, Math.min(length, lookedAt));
}

export function firstBytes(context: ImportContext, chunks: readonly Chunk[], port: number, transport: Transport): FirstBytes {
  const input = inputOf(chunks);
  if (!input) return nothing;
  const protocol = context.protocolOf(input, port, transport);
  const found = protocol === undefined ? nothing : { protocol };
  if (transport !== 'tcp' || input[0] !== 0x16) return found;
  const reading = parseClientHello(input);
  return reading.verdict === 'hello' ? { ...found, tls: describeHello(reading.hello) } : found;
}
