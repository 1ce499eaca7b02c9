// The messages of model/agent.ts as they arrive from the other end: checked, bounded, text made harmless to show. And three that
// never leave the link. Pure.

import { z } from 'zod';
import { printable } from '../../base/printable.ts';
import { type AgentMessage, type GatewayMessage, linkProtocol, maxTakenBack } from '../../model/agent.ts';

/** Of a flow, named by its HTTP/2 stream: why these are not RST_STREAM is in link-flow.ts. */
export type FlowMessage =
  | { readonly kind: 'reset'; readonly stream: number; readonly bytes: number }
  | { readonly kind: 'abandon'; readonly stream: number }
  /** The agent has heard that the gateway took these: see flow-claims.ts. */
  | { readonly kind: 'taken'; readonly streams: readonly number[] };

/** Streams of one message. */
export const maxTakenStreams = 1024;

const count = z.number().int().min(0).max(Number.MAX_SAFE_INTEGER);
/** Longer ones and longer lists are cut off: a machine may have much to say, and a link is not ended for that. */
const text = (most: number) => z.string().transform((value) => printable(value, most));
const list = <Entry extends z.ZodType>(entry: Entry, most: number) =>
  z.array(entry).transform((entries) => entries.slice(0, most));
const rulesName = z.string().regex(/^[0-9a-f]{12}$/);
const versionName = z.string().regex(/^[0-9A-Za-z.+-]{1,64}$/);
const pem = z.string().max(16_384);
const identifier = z.string().regex(/^[0-9a-z]{19}$/);
const stream = z.number().int().min(1).max(0x7fff_ffff);

const spool = z.object({
  records: count,
  bytes: count,
  droppedRecords: count,
  diskFull: z.boolean(),
  oldest: text(40).optional(),
});
const refused = list(
  z.object({ transport: z.enum(['tcp', 'udp']), port: z.number().int().min(0).max(65535), why: text(200) }),
  256,
);

// What a newer program says beside is left out: one protocol number holds for many versions.
const agentMessage = z.discriminatedUnion('kind', [
  z.object({
    kind: z.literal('hello'),
    protocol: count,
    version: versionName,
    platform: text(32),
    arch: text(32),
    node: text(32),
    hostname: text(255),
    capabilities: z
      .array(z.enum(['tcp', 'udp', 'low-ports', 'host', 'network', 'transparent', 'vxlan', 'wireguard']).catch('tcp'))
      .max(32),
    clock: count,
    rules: rulesName.optional(),
    spool,
    takenBack: list(identifier, maxTakenBack).optional(),
  }),
  z.object({ kind: z.literal('applied'), rules: rulesName, refused, addresses: list(text(64), 256) }),
  z.object({
    kind: z.literal('health'),
    health: z.enum(['good', 'degraded', 'bad']),
    reasons: list(text(300), 32),
    memoryBytes: count,
    openFlows: count,
    flows: count,
    answeredAlone: count,
    spool,
    skewMicros: z.number().int(),
  }),
  z.object({
    kind: z.literal('touched'),
    id: z.string().max(64),
    from: text(64).optional(),
    error: text(300).optional(),
  }),
  z.object({ kind: z.literal('renew'), request: pem }),
  z.object({
    kind: z.literal('upgrade'),
    version: versionName,
    state: z.enum(['staged', 'committed', 'failed']),
    reason: text(300).optional(),
  }),
  z.object({ kind: z.literal('reset'), stream, bytes: count }),
  z.object({ kind: z.literal('abandon'), stream }),
  z.object({ kind: z.literal('taken'), streams: z.array(stream).max(maxTakenStreams) }),
]);

const gatewayMessage = z.discriminatedUnion('kind', [
  z.object({
    kind: z.literal('welcome'),
    protocol: count,
    version: versionName,
    agent: z.string().max(255),
    clock: count,
    claims: z.boolean().optional(),
  }),
  z.object({ kind: z.literal('rules'), rules: rulesName, configuration: z.string() }),
  z.object({
    kind: z.literal('touch'),
    id: z.string().max(64),
    transport: z.enum(['tcp', 'udp']),
    ip: z.string().max(64),
    port: z.number().int().min(1).max(65535),
    payload: z.string().max(4096),
  }),
  z.object({ kind: z.literal('certificate'), certificate: pem }),
  z.object({
    kind: z.literal('upgrade'),
    version: versionName,
    sha256: z.string().regex(/^[0-9a-f]{64}$/),
    bytes: count,
  }),
  z.object({ kind: z.literal('goodbye'), reason: text(200) }),
]);

const parseJson = (line: string): unknown => {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
};

const foreignHello = z.object({ kind: z.literal('hello'), protocol: count, version: versionName.optional().catch(undefined) });

/** A hello of another protocol, of which nothing but that is known; undefined: anything else. */
export function parseForeignHello(line: string): { readonly protocol: number; readonly version?: string } | undefined {
  const hello = foreignHello.safeParse(parseJson(line)).data;
  if (!hello || hello.protocol === linkProtocol) return undefined;
  return { protocol: hello.protocol, ...(hello.version === undefined ? {} : { version: hello.version }) };
}

/** Undefined: not a message an agent sends. */
export function parseAgentMessage(line: string): AgentMessage | FlowMessage | undefined {
  return agentMessage.safeParse(parseJson(line)).data;
}

/** Undefined: not a message a gateway sends, or a newer gateway's. */
export function parseGatewayMessage(line: string): GatewayMessage | undefined {
  return gatewayMessage.safeParse(parseJson(line)).data;
}
