// More than is usual, of an agent that was taken over or of an honest one: single bytes, long lists, a certificate that was
// replaced while its link had said nothing. Frames by hand over real TLS, as no HTTP/2 library writes them.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { afterEach, beforeEach, describe, it } from 'node:test';
import tls from 'node:tls';
import { flowTo, LinkBed, within } from '../../../test/support/link-bed.ts';
import type { AgentIdentity } from '../agents/agent-identity.ts';
import { deriveEnrolment, parseToken } from '../agents/enrolment-token.ts';
import { renderFlowHeader } from './flow-header.ts';
import { parseAgentMessage } from './link-messages.ts';

const frame = (type: number, flags: number, stream: number, body: Uint8Array = new Uint8Array(0)): Buffer => {
  const head = Buffer.alloc(9);
  head.writeUIntBE(body.length, 0, 3);
  head.set([type, flags], 3);
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, body]);
};
/** RFC 7541: POST and https by index, the path and the authority as they are. */
const post = (stream: number, path: string): Buffer => {
  const text = (index: number, value: string): Buffer => Buffer.from([index, value.length, ...Buffer.from(value)]);
  return frame(1, 4, stream, Buffer.concat([Buffer.from([0x83, 0x87]), text(4, path), text(1, 'x')]));
};
const data = (stream: number, body: string | Uint8Array): Buffer => frame(0, 0, stream, Buffer.from(body));
const preface = Buffer.concat([Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), frame(4, 0, 0), frame(4, 1, 0)]);
const hello = `${JSON.stringify({
  kind: 'hello',
  protocol: 1,
  version: '1.2.3',
  platform: 'linux',
  arch: 'x64',
  node: 'v20',
  hostname: 'far',
  capabilities: [],
  clock: 1,
  spool: { records: 0, bytes: 0, droppedRecords: 0, diskFull: false },
})}\n`;

const until = (what: string, holds: () => boolean): Promise<void> =>
  within(
    new Promise((resolve) => {
      const look = (): void => (holds() ? resolve() : void setTimeout(look, 2));
      look();
    }),
    what,
  );

describe('a link', () => {
  let bed: LinkBed;
  let identity: AgentIdentity;
  const sockets: tls.TLSSocket[] = [];

  const connect = async (credentials = identity.credentials()): Promise<tls.TLSSocket> => {
    const { key, certificate } = credentials;
    const socket = tls.connect({ port: bed.port, key, cert: certificate, rejectUnauthorized: false, ALPNProtocols: ['h2'] });
    sockets.push(socket.on('error', () => {}).resume());
    await once(socket, 'secureConnect');
    return socket;
  };
  const linked = (): boolean => bed.server.statuses()[0].state === 'linked';

  beforeEach(async () => {
    bed = await LinkBed.open({ limits: { bufferedBytesPerAgent: 1_000_000 } });
    identity = await bed.enrolled('branch-1');
  });
  afterEach(async () => {
    for (const socket of sockets.splice(0)) socket.destroy();
    await bed.close();
  });

  it('counts what single bytes cost, not what they weigh', async () => {
    bed.onConnection = ({ socket }) => void socket.on('error', () => {});
    const socket = await connect();
    socket.write(Buffer.concat([preface, post(1, '/control'), data(1, hello)]));
    await until('it is linked', linked);
    socket.write(Buffer.concat([post(3, '/flow'), data(3, renderFlowHeader({ flow: flowTo() }))]));
    await until('the flow is there', () => bed.server.open.flows === 1);
    for (let turn = 0; turn < 60; turn += 1) socket.write(Buffer.concat(Array.from({ length: 1000 }, () => data(3, 'x'))));
    await until('it goes, with 60,000 bytes of a million', () => bed.server.counters.flowsOverBudget === 1);
    assert.ok(linked());
  });

  it("is nobody's whose certificate was replaced before it said hello", async () => {
    const thief = await connect();
    thief.write(Buffer.concat([preface, post(1, '/control')]));
    await until('its link waits', () => bed.server.open.links === 1);
    const { token } = await bed.registry.add('branch-1');
    const { request } = await identity.beginEnrolment(parseToken(token));
    const { certificate } = await bed.registry.enrol(deriveEnrolment(parseToken(token)).id, request);
    await identity.accept(certificate);
    const agent = await connect();
    agent.write(Buffer.concat([preface, post(1, '/control'), data(1, hello)]));
    await until('the agent is linked', linked);
    const { peer } = bed.server.statuses()[0];
    thief.write(data(1, hello));
    await until('the other one is gone', () => bed.server.open.links === 1 && bed.server.counters.notAdmitted === 1);
    assert.equal(bed.server.statuses()[0].peer, peer);
    assert.equal(bed.server.counters.replaced, 0);
  });

  it('is not ended for how much there is to say', async () => {
    const client = await bed.linked('branch-2');
    const refused = Array.from({ length: 700 }, (_, port) => ({ transport: 'tcp' as const, port, why: 'E'.repeat(30) }));
    client.send({ kind: 'applied', rules: '0123456789ab', refused, addresses: Array.from({ length: 300 }, () => '192.0.2.1') });
    const reasons = Array.from({ length: 40 }, () => 'r'.repeat(1000));
    const spool = { records: 0, bytes: 0, droppedRecords: 0, diskFull: false };
    client.send({
      kind: 'health',
      health: 'degraded',
      reasons,
      memoryBytes: 1,
      openFlows: 0,
      flows: 7,
      answeredAlone: 0,
      spool,
      skewMicros: 0,
    });
    const status = () => bed.server.statuses().find(({ name }) => name === 'branch-2');
    await until('the gateway heard both', () => status()?.flows === 7);
    assert.equal(bed.server.counters.misbehaved, 0);
    const told = parseAgentMessage(JSON.stringify({ kind: 'applied', rules: '0123456789ab', refused, addresses: [] }));
    assert.equal(told?.kind === 'applied' && told.refused.length, 256);
    assert.ok((status()?.reasons.length ?? 99) < 40);
    assert.ok((status()?.reasons[0].length ?? 999) <= 301);
  });
});
