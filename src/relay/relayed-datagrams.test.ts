import assert from 'node:assert/strict';
import dgram from 'node:dgram';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { until } from '../../test/support/namespace.ts';
import { bytesOf, openRelayBed, type RelayBed, type RelayBedOptions, relayedService } from '../../test/support/relay-bed.ts';
import { systemClock } from '../base/clock.ts';
import { parseProxyDatagram } from '../model/proxy-protocol.ts';
import type { RelayedService } from '../model/relayed-service.ts';
import type { ArrivedDatagram } from './arrival.ts';

interface Bed extends RelayBed {
  readonly service: RelayedService;
  readonly heard: Buffer[];
  /** What went back to the attacker. */
  readonly replies: string[];
  send(text: string, source?: { ip: string; port: number }): void;
}

async function inBed(
  options: RelayBedOptions & { answer?: (message: Buffer) => string | undefined; path?: 'proxy'; via?: string; dead?: boolean },
  body: (bed: Bed) => Promise<void>,
): Promise<void> {
  const server = dgram.createSocket('udp4');
  server.bind(0, '127.0.0.1');
  await once(server, 'listening');
  const heard: Buffer[] = [];
  const port = (server.address() as AddressInfo).port;
  server.on('message', (message, peer) => {
    heard.push(message);
    const text = options.answer?.(message);
    if (text !== undefined) server.send(text, peer.port, peer.address);
  });
  const bed = await openRelayBed(options);
  const service = relayedService(port, {
    ...(options.path ? { path: 'proxy', proxyVersion: 2 } : {}),
    ...(options.via ? { via: options.via } : {}),
  });
  const replies: string[] = [];
  if (options.dead) {
    server.close();
    await once(server, 'close');
  }
  try {
    await body({
      ...bed,
      service,
      heard,
      replies,
      send: (text, source = { ip: '192.0.2.7', port: 4711 }) => {
        const payload = Buffer.from(text);
        let left = payload.length;
        const reply = (bytes: Uint8Array): boolean => {
          assert.ok(bytes.length <= left, 'never more than came in');
          left -= bytes.length;
          replies.push(String(Buffer.from(bytes)));
          return true;
        };
        const arrived: ArrivedDatagram = {
          source,
          destination: { ip: '198.51.100.5', port: 53 },
          network: '',
          diversion: 'dmz',
          persona: { name: 'web', ttl: 64 } as ArrivedDatagram['persona'],
          at: systemClock(),
          payload,
          onLink: false,
          reply,
          replyOnLink: () => false,
        };
        bed.relay.datagram(arrived, service);
      },
    });
  } finally {
    await bed.close();
    if (!options.dead) server.close();
  }
}

test('datagrams of a five-tuple are one session, answered through the question they fit to', () =>
  inBed({ answer: (message) => `to ${message}`.slice(0, message.length) }, async (bed) => {
    bed.send('first question');
    await until('an answer', () => bed.replies.length === 1);
    bed.send('second, from the same port');
    bed.send('another', { ip: '192.0.2.8', port: 1 });
    await until('all answers', () => bed.replies.length === 3);
    assert.deepEqual(bed.replies.sort(), ['to anot', 'to first quest', 'to second, from the same p'].sort());
    assert.equal(bed.sink.sessions.length, 2);
    const [session] = bed.sink.sessions;
    assert.equal(String(bytesOf(session, 'in')), 'first questionsecond, from the same port');
    assert.equal(String(bytesOf(session, 'out')), 'to first questto second, from the same p');
    assert.deepEqual([session.start.transport, session.start.sourceReliable], ['udp', false]);
    const { udpOpen, udpSessions, udpIn, udpOut } = bed.relay.counters();
    assert.deepEqual([udpOpen, udpSessions, udpIn, udpOut], [2, 2, 3, 3]);
  }));

test('an answer larger than every question is withheld and counted', () =>
  inBed({ answer: () => 'much more than was asked for' }, async (bed) => {
    bed.send('a?');
    await until('it was withheld', () => bed.relay.counters().udpWithheld === 1);
    assert.deepEqual(bed.replies, []);
    assert.deepEqual(bed.sink.sessions[0].findings.tags, ['answer-withheld']);
  }));

test('a header goes in front of every datagram', () =>
  inBed({ path: 'proxy' }, async (bed) => {
    bed.send('one');
    bed.send('two');
    await until('both are there', () => bed.heard.length === 2);
    const parsed = bed.heard.map((bytes) => parseProxyDatagram(bytes));
    assert.deepEqual(
      parsed.map((one) => 'payload' in one && String(Buffer.from(one.payload))),
      ['one', 'two'],
    );
    assert.ok('header' in parsed[0]);
    assert.deepEqual(parsed[0].header.flow?.source, { ip: '192.0.2.7', port: 4711 });
  }));

test('a dead service is on record as such when the flow ends', () =>
  inBed({ dead: true, limits: { idleTimeoutMs: 200 } }, async (bed) => {
    bed.send('anybody?');
    await until('the kernel told', () => bed.sink.sessions[0].findings.tags?.includes('ECONNREFUSED'));
    await bed.sink.until(({ sessions }) => sessions[0].outcome !== 'open');
    assert.equal(bed.sink.sessions[0].outcome, 'service-unreachable');
    assert.equal(bed.relay.counters().udpOpen, 0);
  }));

test('a service that could not be dialled is tried again, however steadily it is asked', () =>
  inBed({ via: 'nobody', limits: { idleTimeoutMs: 200 } }, async (bed) => {
    await until('it was tried again', () => {
      bed.send('anybody?');
      return bed.relay.counters().udpSessions > 1;
    });
    assert.deepEqual(bed.sink.sessions[0].findings.tags, ['service-unreachable', 'no-gateway']);
    assert.equal(bed.sink.sessions[0].outcome, 'service-unreachable');
  }));

test('a flood of forged sources takes no more than the bound, oldest first; one source has its share', () =>
  inBed({ limits: { sessions: 16, sessionsPerSource: 4 } }, async (bed) => {
    for (let index = 0; index < 100; index += 1) bed.send('x', { ip: `192.0.2.${index}`, port: 9 });
    for (let index = 0; index < 10; index += 1) bed.send('x', { ip: '192.0.2.200', port: index + 1 });
    const { udpOpen, udpShed, udpRefusedBySource } = bed.relay.counters();
    assert.deepEqual([udpOpen, udpShed, udpRefusedBySource], [16, 88, 6]);
    assert.equal(bed.sink.sessions.filter(({ outcome }) => outcome === 'shed').length, 88);
  }));
