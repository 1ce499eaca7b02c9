import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import net from 'node:net';
import { test } from 'node:test';
import { openListener } from '../../test/support/loopback-listener.ts';
import { until } from '../../test/support/namespace.ts';
import {
  bytesOf,
  endOf,
  heardFrom,
  openRelayBed,
  type RelayBed,
  type RelayBedOptions,
  relayedService,
} from '../../test/support/relay-bed.ts';
import { closeDescriptor, listenSocket } from '../kernel/libc.ts';
import { ProxyHeaderReader } from '../model/proxy-header-reader.ts';

async function inBed(options: RelayBedOptions, body: (bed: RelayBed) => Promise<void>): Promise<void> {
  const bed = await openRelayBed(options);
  try {
    await body(bed);
  } finally {
    await bed.close();
  }
}

const over = (bed: RelayBed): Promise<void> =>
  bed.sink.until(({ sessions }) => sessions.length > 0 && sessions.every(({ outcome }) => outcome !== 'open'));

for (const asStreams of [false, true]) {
  const how = asStreams ? 'streams' : 'descriptors';

  test(`${how}: much both ways at once arrives whole, and the session has its beginning and all counts`, () =>
    inBed({ asStreams }, async (bed) => {
      const client = await bed.connect();
      const service = await bed.accepted();
      const up = randomBytes(24 << 20);
      const down = randomBytes(16 << 20);
      const hashes = [heardFrom(service), heardFrom(client)].map(async (heard) =>
        createHash('sha256')
          .update(await heard)
          .digest('hex'),
      );
      client.end(up);
      service.end(down);
      assert.deepEqual(
        await Promise.all(hashes),
        [up, down].map((bytes) => createHash('sha256').update(bytes).digest('hex')),
      );
      await over(bed);
      const [session] = bed.sink.sessions;
      const recorded = { in: bytesOf(session, 'in'), out: bytesOf(session, 'out') };
      assert.equal(recorded.in.length + recorded.out.length, 1 << 20, 'up to the cap');
      assert.deepEqual(recorded.in, up.subarray(0, recorded.in.length));
      assert.deepEqual(recorded.out, down.subarray(0, recorded.out.length));
      assert.equal(recorded.in.length + session.skipped.in, up.length);
      assert.equal(recorded.out.length + session.skipped.out, down.length);
      assert.equal(session.start.service, 'real');
      assert.ok((session.findings.connectMicros ?? -1) >= 0);
      assert.ok((session.findings.firstByteMicros ?? -1) >= 0);
      const counters = bed.relay.counters();
      assert.deepEqual([counters.bytesIn, counters.bytesOut, counters.open], [up.length, down.length, 0]);
    }));

  test(`${how}: a half-close is passed on and the other half goes on`, () =>
    inBed({ asStreams }, async (bed) => {
      const client = await bed.connect();
      client.end('question');
      const service = await bed.accepted();
      assert.equal(String(await heardFrom(service)), 'question');
      const answer = heardFrom(client);
      service.end('answer after the end');
      assert.equal(String(await answer), 'answer after the end');
      await over(bed);
      assert.equal(bed.sink.sessions[0].outcome, 'client-closed');
    }));

  for (const side of ['client', 'service'] as const)
    test(`${how}: a RST of the ${side} reaches the other end as a RST`, () =>
      inBed({ asStreams }, async (bed) => {
        const client = await bed.connect();
        const service = await bed.accepted();
        client.write('x');
        await once(service.resume(), 'data');
        const [from, to] = side === 'client' ? [client, service] : [service, client];
        const end = endOf(to);
        from.resume().resetAndDestroy();
        assert.equal(await end, 'ECONNRESET');
        await over(bed);
        assert.equal(bed.sink.sessions[0].outcome, side === 'client' ? 'client-reset' : 'server-closed');
      }));

  test(`${how}: who does not read is not read for, and what waits goes on when it does`, () =>
    inBed({ asStreams, limits: { idleTimeoutMs: 600_000 } }, async (bed) => {
      const client = await bed.connect();
      const service = await bed.accepted();
      const chunk = Buffer.alloc(1 << 20, 'a');
      let written = 0;
      while (written < 64) {
        written += 1;
        if (client.write(chunk)) continue;
        const more = await Promise.race([
          once(client, 'drain').then(() => true),
          new Promise<false>((resolve) => setTimeout(resolve, 500, false)),
        ]);
        if (!more) break;
      }
      assert.ok(written < 64, 'the sender is held up');
      client.end();
      assert.equal((await heardFrom(service)).length, written << 20);
    }));

  test(`${how}: a dead service resets the client, and the session says why`, () =>
    inBed({ asStreams, service: () => relayedService(1) }, async (bed) => {
      const client = await bed.connect();
      assert.equal(await endOf(client), 'ECONNRESET');
      await over(bed);
      const [session] = bed.sink.sessions;
      assert.equal(session.outcome, 'service-unreachable');
      assert.deepEqual(session.findings.tags, ['service-unreachable', 'ECONNREFUSED']);
      const counters = bed.relay.counters();
      assert.deepEqual([counters.unreachable, counters.dials.refused, counters.open], [1, 1, 0]);
    }));

  test(`${how}: silence, silence after a half-close and age end it, each by its own name`, async () => {
    await inBed({ asStreams, limits: { idleTimeoutMs: 80 } }, async (bed) => {
      const client = await bed.connect();
      assert.equal(await endOf(client), 'end');
      await over(bed);
      assert.equal(bed.sink.sessions[0].outcome, 'idle');
    });
    await inBed({ asStreams, lingerMs: 80 }, async (bed) => {
      const client = await bed.connect();
      client.end('question');
      await bed.sink.until(({ sessions }) => sessions[0]?.chunks.length === 1);
      await over(bed);
      assert.equal(bed.relay.counters().open, 0);
    });
    await inBed({ asStreams, limits: { totalTimeoutMs: 150 } }, async (bed) => {
      const client = await bed.connect();
      const talk = setInterval(() => client.write('x'), 10);
      await over(bed);
      clearInterval(talk);
      assert.equal(bed.sink.sessions[0].outcome, 'time-limit');
    });
  });

  test(`${how}: a header goes in front, with the session's identifier, and is on nobody's record`, () =>
    inBed({ asStreams, service: (port) => relayedService(port, { path: 'proxy', proxyVersion: 2 }) }, async (bed) => {
      const client = await bed.connect();
      client.end('hello');
      const service = await bed.accepted();
      const reading = new ProxyHeaderReader().push(await heardFrom(service));
      assert.ok(reading.state === 'done');
      assert.equal(String(Buffer.from(reading.rest)), 'hello');
      const [session] = bed.sink.sessions;
      assert.deepEqual(reading.header.flow, {
        transport: 'tcp',
        source: session.start.source,
        destination: session.start.destination,
      });
      const text = (type: number): string =>
        String(Buffer.from(reading.header.tlvs.find((tlv) => tlv.type === type)?.value ?? []));
      assert.equal(text(0x05), session.id);
      assert.equal(reading.header.tlvs[0].type, 0x03);
      assert.equal(String(bytesOf(session, 'in')), 'hello');
      service.end();
      await over(bed);
    }));
}

test('version 1 is a line; a server that speaks first gets it before the client says anything', () =>
  inBed({ service: (port) => relayedService(port, { path: 'proxy', proxyVersion: 1 }) }, async (bed) => {
    const client = await bed.connect();
    const service = await bed.accepted();
    const [line] = await once(service.resume(), 'data');
    const { localPort } = client;
    assert.equal(String(line), `PROXY TCP4 127.0.0.1 127.0.0.1 ${localPort} ${bed.port}\r\n`);
  }));

test('a service that does not answer is given up in time', async () => {
  // Its queue holds one connection; the kernel drops SYNs beyond.
  const { fd, port } = openListener();
  listenSocket(fd, 0);
  const first = net.connect(port, '127.0.0.1');
  await once(first, 'connect');
  try {
    await inBed({ dialTimeoutMs: 300, service: () => relayedService(port) }, async (bed) => {
      const client = await bed.connect();
      assert.equal(await endOf(client), 'ECONNRESET');
      await over(bed);
      assert.deepEqual(bed.sink.sessions[0].findings.tags, ['service-unreachable', 'ETIMEDOUT']);
      assert.deepEqual([bed.dialer.pending, bed.dialer.counters.timedOut], [0, 1]);
    });
  } finally {
    first.destroy();
    closeDescriptor(fd);
  }
});

test('one source has so many, all together so many: the oldest idle give way, and each is on record', () =>
  inBed({ limits: { sessions: 3, sessionsPerSource: 3 } }, async (bed) => {
    const clients: net.Socket[] = [];
    for (let index = 0; index < 3; index += 1) {
      clients.push(await bed.connect());
      await bed.accepted();
    }
    const refused = await bed.connect();
    assert.equal(await endOf(refused), 'ECONNRESET');
    assert.equal(bed.relay.counters().refusedBySource, 1);
    const end = endOf(clients[0]);
    assert.equal(bed.relay.shedOldestIdle(1), 1);
    assert.equal(await end, 'ECONNRESET');
    await bed.sink.until(({ sessions }) => sessions.filter(({ outcome }) => outcome === 'shed').length === 2);
    assert.equal(bed.relay.counters().open, 2);
    bed.relay.close();
    assert.equal(bed.sink.sessions.filter(({ outcome }) => outcome === 'shutdown').length, 2);
  }));

test('an inner hop is relayed and counted, and has no session of its own', () =>
  inBed({ arrival: (arrival) => ({ ...arrival, service: 'real', uniqueId: 'of-the-edge' }) }, async (bed) => {
    const client = await bed.connect();
    client.end('through');
    const service = await bed.accepted();
    assert.equal(String(await heardFrom(service)), 'through');
    service.end();
    await until('it ends', () => bed.relay.counters().open === 0);
    assert.deepEqual([bed.sink.sessions.length, bed.relay.counters().inner, bed.relay.counters().bytesIn], [0, 1, 7]);
  }));
