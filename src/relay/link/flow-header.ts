// What an agent says of a flow in the PROXY header in front of it: rendering for the agent, strict reading for the gateway.
// Pure.

import { z } from 'zod';
import { printable } from '../../base/printable.ts';
import { identifierTime } from '../../model/identifier.ts';
import { type ProxyHeader, type ProxyTlv, renderProxyV2, tlvType } from '../../model/proxy-protocol.ts';
import type { SynDetails } from '../../model/session.ts';
import { uniqueIdOf } from '../proxy-header-text.ts';
import type { FlowRequest } from './link-client-options.ts';

export interface FlowFacts {
  readonly uniqueId?: string;
  readonly sourceMac?: string;
  /** Empty: the agent's own machine. */
  readonly network: string;
  readonly syn?: SynDetails;
  /** What the agent would call the session. */
  readonly session?: string;
}

/** Longest header taken: 52 bytes of addresses, a unique id, a MAC, a name, a SYN. */
export const maxFlowHeaderBytes = 1024;

const number = (most: number) => z.number().int().min(0).max(most);
const synSchema = z.strictObject({
  ttl: number(255),
  ipId: number(65535),
  doNotFragment: z.boolean(),
  window: number(65535),
  sequence: number(0xffff_ffff),
  options: z.string().regex(/^[a-z0-9,?+-]{0,120}$/i),
  mss: number(65535).optional(),
  windowScale: number(255).optional(),
  system: z
    .string()
    .max(64)
    .transform((text) => printable(text, 64))
    .optional(),
});

/** With a checksum. Throws RangeError for what no header can carry. */
export function renderFlowHeader({ flow, tlvs, syn, session }: FlowRequest): Uint8Array {
  const all: ProxyTlv[] = [...(tlvs ?? [])];
  if (syn) all.push({ type: tlvType.syn, value: Buffer.from(JSON.stringify(syn)) });
  if (session !== undefined) all.push({ type: tlvType.session, value: Buffer.from(session) });
  return renderProxyV2(flow, all, { checksum: true });
}

/** Undefined: not as our agents write it (no checksum, a type twice, a value that is none). */
export function readFlowFacts(header: ProxyHeader): FlowFacts | undefined {
  const seen = new Map<number, Uint8Array>();
  for (const { type, value } of header.tlvs) {
    if (seen.has(type)) return undefined;
    seen.set(type, value);
  }
  if (!seen.has(tlvType.crc32c)) return undefined;
  const mac = seen.get(tlvType.linkLayer);
  const network = seen.get(tlvType.netns);
  const synText = seen.get(tlvType.syn);
  const uniqueId = uniqueIdOf(header);
  const sessionText = seen.get(tlvType.session);
  const session = sessionText && asciiText(sessionText, 19);
  const name = network && asciiText(network, 64);
  const syn = synText && parseSynText(synText);
  if ((network && name === undefined) || (synText && !syn) || (mac && mac.length !== 6)) return undefined;
  if (sessionText && !(session !== undefined && Number.isFinite(identifierTime(session)))) return undefined;
  return {
    network: name ?? '',
    ...(uniqueId === undefined ? {} : { uniqueId }),
    ...(mac ? { sourceMac: [...mac].map((byte) => byte.toString(16).padStart(2, '0')).join(':') } : {}),
    ...(syn ? { syn } : {}),
    ...(session === undefined ? {} : { session }),
  };
}

function asciiText(value: Uint8Array, most: number): string | undefined {
  if (value.length === 0 || value.length > most) return undefined;
  for (const byte of value) if (byte <= 0x20 || byte >= 0x7f) return undefined;
  return Buffer.from(value).toString('latin1');
}

function parseSynText(value: Uint8Array): SynDetails | undefined {
  try {
    return synSchema.safeParse(JSON.parse(Buffer.from(value).toString('utf8'))).data;
  } catch {
    return undefined;
  }
}
