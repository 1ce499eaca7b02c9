// A link that breaks between what the gateway did and what its agent heard of it: whoever answers the attacker in the end, the visit
// is on record once. A real link over a wire that is cut, a real catch-all at both ends, and a real spool.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import net, { type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { AgentCentre } from '../../test/support/agent-centre.ts';
import { acceptText } from '../../test/support/configuration-text.ts';
import { LinkGate } from '../../test/support/link-gate.ts';
import { until } from '../../test/support/namespace.ts';
import { systemClock } from '../base/clock.ts';
import { silentLog } from '../base/log.ts';
import { openCertificateMint } from '../honeypot/certificate-mint.ts';
import { Spool } from '../record/spool.ts';
import { SpoolReplay } from '../record/spool-replay.ts';
import type { SessionSummary } from '../record/store.ts';
import { AgentIdentity } from '../relay/agents/agent-identity.ts';
import { parseToken } from '../relay/agents/enrolment-token.ts';
import { enrolOverLink } from '../relay/link/enrol.ts';
import { LinkClient } from '../relay/link/link-client.ts';
import { AgentHouse } from './agent-house.ts';

const request = 'GET /once HTTP/1.0\r\n\r\n';
const closed = (socket: net.Socket): Promise<unknown> => new Promise((resolve) => socket.once('close', resolve));
const destination = { ip: '10.1.1.1', port: 8000 };

describe('a flow that the gateway took when the link broke', { timeout: 60_000 }, () => {
  let directory = '';
  let centre: AgentCentre;
  let gate: LinkGate;
  let spool: Spool;
  let house: AgentHouse;
  let link: LinkClient;
  let replay: SpoolReplay;
  const { limits, personas } = acceptText('version: 1\n');
  const persona = personas.get('all-open');
  assert.ok(persona);
  /** Closed in this order at the end. */
  let left: (() => unknown)[] = [];

  beforeEach(async () => {
    directory = mkdtempSync(path.join(tmpdir(), 'weir-taken-back-'));
    centre = await AgentCentre.open();
    gate = await LinkGate.open(centre.port);
    centre.setRules('branch-1', '{ ports: [8000], udp-ports: [8000] }');
    spool = await Spool.open({ directory, maxBytes: 2 ** 24, clock: systemClock, log: silentLog });
    const identity = await AgentIdentity.open(path.join(directory, 'identity.json'));
    const enrolment = await identity.beginEnrolment(parseToken((await centre.registry.add('branch-1')).token));
    const gateway = { host: '127.0.0.1', port: gate.port };
    const { certificate } = await enrolOverLink({ gateway, ...enrolment });
    await identity.accept(certificate);
    link = new LinkClient({
      gateway,
      serverName: identity.serverName,
      credentials: () => identity.credentials(),
      hello: () => ({
        version: '1.2.3',
        platform: 'linux',
        arch: 'x64',
        node: process.version,
        hostname: 'far',
        capabilities: ['tcp', 'udp'],
        clock: systemClock(),
        spool: spool.state(),
        takenBack: house.takenBack,
      }),
      onRules: () => {},
      onTouch: () => {},
      onUpgrade: () => {},
      onCertificate: () => {},
      onStateChange: ({ state }) => {
        if (state !== 'linked') return;
        house.linked();
        replay.wake();
      },
      log: silentLog,
      clock: systemClock,
      limits: { backOffMs: 20, pingEveryMs: 50, deadAfterMs: 600 },
    });
    const certificates = await openCertificateMint(path.join(directory, 'tls'), silentLog);
    house = new AgentHouse({ link, spool, certificates, limits, maxOpen: 1000, clock: systemClock, log: silentLog });
    replay = new SpoolReplay({
      spool,
      send: (batch) => link.sendSpool(batch),
      ready: () => link.state.state === 'linked',
      busy: () => false,
      log: silentLog,
      pollMs: 50,
    });
    left = [
      () => link.close(),
      () => house.close(),
      () => replay.close(),
      () => spool.close(),
      () => gate.close(),
      () => centre.close(),
    ];
    link.start();
    replay.start();
    await until('the link', () => link.state.state === 'linked');
  });
  afterEach(async () => {
    for (const close of left) await close();
    rmSync(directory, { recursive: true });
  });

  const onRecord = (): Promise<SessionSummary[]> => centre.store.sessions({ limit: 10 });

  /** All that is on record, once nothing of it is open and nothing waits to be said. */
  async function settled(): Promise<SessionSummary[]> {
    await until('the link is back', () => link.state.state === 'linked');
    await until('the records are through', async () => {
      const found = await onRecord();
      return spool.state().records === 0 && found.length > 0 && found.every(({ outcome }) => outcome !== 'open');
    });
    return onRecord();
  }

  /** An attacker's connection that has come to the agent. */
  async function arrive(): Promise<net.Socket> {
    const server = net.createServer({ allowHalfOpen: true });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const attacker = net.connect((server.address() as AddressInfo).port, '127.0.0.1');
    attacker.on('error', () => {});
    const [socket] = (await once(server, 'connection')) as [net.Socket];
    server.close();
    left.unshift(() => attacker.destroy());
    const source = { ip: '203.0.113.7', port: attacker.localPort ?? 0 };
    house.arrive({
      socket,
      source,
      destination,
      network: '',
      diversion: 'of-branch-1',
      persona: persona as never,
      acceptedAt: systemClock(),
    });
    return attacker;
  }

  it('and of which the answer was lost is the one that the agent answered', async () => {
    gate.cut('down');
    const attacker = await arrive();
    attacker.write(request);
    await until('the gateway has it on record', async () => (await onRecord()).some(({ bytesOut }) => bytesOut > 0));
    let answer = '';
    attacker.on('data', (bytes) => {
      answer += bytes;
    });
    await closed(attacker);
    assert.match(answer, /^HTTP\/1/, 'the agent answered it');
    const [one, ...more] = await settled();
    assert.deepEqual([more.length, one.bytesIn, one.bytesOut], [0, request.length, Buffer.byteLength(answer)]);
    assert.deepEqual(
      (await centre.store.session(one.id))?.chunks.map(({ direction }) => direction).filter((each) => each === 'in').length,
      1,
    );
    await until('nothing waits at the gateway', () => centre.server.claims.waiting === 0 && centre.unsettled === 0);
  });

  it('goes on at the agent with what the attacker says only there', async () => {
    gate.cut('down');
    const attacker = await arrive();
    attacker.write('USER');
    await until('the gateway has it on record', async () => (await onRecord()).some(({ bytesIn }) => bytesIn === 4));
    await until('the agent took it back', () => house.counters.answeredAlone === 1);
    await until('the link is back', () => link.state.state === 'linked');
    // The gateway's is over by now, and its end waits.
    await until('the old link is given up', () => centre.server.open.links === 1);
    attacker.end(' root\r\n');
    const [one, ...more] = await settled();
    assert.deepEqual([more.length, one.bytesIn], [0, 'USER root\r\n'.length]);
  });

  it('is still the one that the agent answered when the link breaks again before its records are in', async () => {
    const { counters } = centre.server;
    centre.beforeSpool = async () => {
      throw new Error('not yet');
    };
    gate.cut('down');
    const attacker = await arrive();
    attacker.write('USER');
    await until('the gateway has it on record', async () => (await onRecord()).some(({ bytesIn }) => bytesIn === 4));
    await until('the agent took it back', () => house.counters.answeredAlone === 1);
    await until('the link is back', () => counters.links === 2 && link.state.state === 'linked');
    gate.cut('down');
    await until('the link is back again', () => counters.links === 3 && link.state.state === 'linked');
    assert.deepEqual(house.takenBack, []);
    centre.beforeSpool = undefined;
    attacker.end(' root\r\n');
    const [one, ...more] = await settled();
    assert.deepEqual([more.length, one.bytesIn], [0, 'USER root\r\n'.length]);
    await until('nothing waits at the gateway', () => centre.server.claims.waiting === 0 && centre.unsettled === 0);
  });

  it('and of which the agent heard, but could not say so, is what the gateway saw', async () => {
    centre.beforeConnection = () => gate.cut('up');
    const attacker = await arrive();
    await until('the gateway has it on record', async () => (await onRecord()).length > 0);
    attacker.resume().write('lost');
    await closed(attacker);
    assert.equal(house.counters.answeredAlone, 0);
    const [one, ...more] = await settled();
    assert.deepEqual([more.length, one.agent, one.source.port], [0, 'branch-1', attacker.localPort ?? one.source.port]);
    assert.equal(centre.unsettled, 0);
  });

  it('is the same for datagrams', async () => {
    gate.cut('down');
    const source = { ip: '203.0.113.7', port: 5353 };
    const at = systemClock();
    const arrived = { source, destination, network: '', diversion: 'of-branch-1', persona, at, onLink: false };
    house.datagram({ ...arrived, payload: Buffer.from('once'), reply: () => true, replyOnLink: () => false });
    await until('the gateway has it on record', async () => (await onRecord()).some(({ bytesIn }) => bytesIn === 4));
    await until('the agent took it back', () => house.counters.answeredAlone === 1);
    await until('the link is back', () => link.state.state === 'linked');
    house.datagram({
      ...arrived,
      at: systemClock(),
      source: { ...source, port: 5354 },
      payload: Buffer.from('more'),
      reply: () => true,
      replyOnLink: () => false,
    });
    await until('both are on record', async () => (await onRecord()).length >= 2 && spool.state().records === 0);
    assert.deepEqual((await onRecord()).map((one) => [one.source.port, one.bytesIn]).sort(), [
      [5353, 4],
      [5354, 4],
    ]);
  });
});
