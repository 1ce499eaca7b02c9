// The catch-all over real loopback connections: what is recorded, answered, and how each ending is told apart.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { describe, test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { listenOnLoopback, plainPersona } from './loopback-listener.ts';
import { ended, gone, only, onStage, readUntil, turnsUntil } from './loopback-stage.ts';
import { bytesOf } from './memory-sink.ts';

describe('recording', () => {
  test('bytes of both directions with true ends, in order', () =>
    onStage({}, async ({ dial, sink }) => {
      const socket = dial();
      socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
      assert.match(await readUntil(socket, /<\/html>/), /^HTTP\/1\.1 200 OK\r\nServer: nginx/);
      const session = only(sink);
      assert.equal(session.start.source.port, socket.localPort);
      assert.equal(session.start.destination.port, 4444);
      assert.equal(session.start.sourceReliable, true);
      socket.end();
      await sink.until(ended);
      assert.equal(session.outcome, 'client-closed');
      assert.equal(session.findings.protocol, 'http');
      assert.equal(bytesOf(session, 'in').toString(), 'GET / HTTP/1.1\r\nHost: x\r\n\r\n');
      assert.match(bytesOf(session, 'out').toString(), /^HTTP\/1\.1 200/);
      assert.deepEqual(
        session.chunks.map(({ direction }) => direction),
        ['in', 'out'],
      );
      assert.ok(session.chunks[0].at <= session.chunks[1].at);
    }));

  test('a client that never speaks is a session', () =>
    onStage({}, async ({ dial, sink }) => {
      const socket = dial();
      await once(socket, 'connect');
      socket.end();
      await sink.until(ended);
      assert.equal(only(sink).outcome, 'client-closed');
      assert.equal(only(sink).chunks.length, 0);
    }));

  test('bytes nobody knows are kept', () =>
    onStage({}, async ({ dial, sink }) => {
      const socket = dial();
      socket.end(Buffer.from('f0f1f2f3f4f5f6f7', 'hex'));
      await sink.until(ended);
      assert.equal(bytesOf(only(sink), 'in').toString('hex'), 'f0f1f2f3f4f5f6f7');
      assert.equal(only(sink).findings.protocol, undefined);
    }));

  test('unknown first bytes do not hide a known protocol behind them', () =>
    onStage({}, async ({ dial, sink }) => {
      const socket = dial();
      socket.write(Buffer.from('f0f1f2f3f4f5f6f7', 'hex'));
      await sink.until(() => sink.sessions[0]?.chunks.length === 1);
      socket.write('GET / HTTP/1.0\r\n\r\n');
      assert.match(await readUntil(socket, /html/), /^HTTP\/1\.1 200/);
      await sink.until(ended);
      assert.equal(only(sink).findings.protocol, 'http');
    }));
});

describe('endings', () => {
  test('a reset is not a close', () =>
    onStage({}, async ({ dial, sink }) => {
      const socket = dial();
      socket.write('\x16');
      await sink.until(() => sink.sessions[0]?.chunks.length === 1);
      socket.resetAndDestroy();
      await sink.until(ended);
      assert.equal(only(sink).outcome, 'client-reset');
    }));

  test('a half-closed client still gets its answer', () =>
    onStage({}, async ({ dial, sink }) => {
      const socket = dial();
      socket.end('GET / HTTP/1.0\r\n\r\n');
      assert.match(await readUntil(socket, /<\/html>\n$/), /200 OK[\s\S]*<\/html>\n$/);
      await sink.until(ended);
      assert.match(only(sink).outcome, /^(client|server)-closed$/);
    }));

  test('bytes that need more are decided when the client half-closes', () =>
    onStage({ port: 6379 }, async ({ dial, sink }) => {
      const socket = dial();
      socket.end('GET /\r\n');
      assert.match(await readUntil(socket, /html/), /html/);
      await sink.until(ended);
      assert.equal(only(sink).findings.protocol, 'http');
    }));

  test('the service that says goodbye first is told', () =>
    onStage({}, async ({ dial, sink }) => {
      const socket = dial();
      socket.write('GET / HTTP/1.0\r\n\r\n');
      await readUntil(socket, /never/);
      socket.end();
      await sink.until(ended);
      assert.equal(only(sink).outcome, 'server-closed');
    }));

  test('idle', () =>
    onStage({ idleTimeoutMs: 200 }, async ({ dial, sink }) => {
      const socket = dial();
      await gone(socket);
      await sink.until(ended);
      assert.equal(only(sink).outcome, 'idle');
    }));

  test('total time, however busy', () =>
    onStage({ totalTimeoutMs: 300, idleTimeoutMs: 10_000 }, async ({ dial, sink }) => {
      const socket = dial();
      socket.write('PING\r\n');
      socket.on('data', () => socket.write('PING\r\n'));
      await gone(socket);
      await sink.until(ended);
      assert.equal(only(sink).outcome, 'time-limit');
    }));

  test('too many bytes', () =>
    onStage({ sessionBytes: 1000 }, async ({ dial, sink }) => {
      const socket = dial();
      socket.write(Buffer.alloc(9000, 0xf1));
      await gone(socket);
      await sink.until(ended);
      assert.equal(only(sink).outcome, 'byte-limit');
    }));

  test('shutdown closes what is open and records what still comes', async () => {
    await onStage({}, async ({ dial, sink, catchAll }) => {
      const socket = dial();
      await sink.until(() => sink.sessions.length === 1);
      await catchAll.close();
      assert.equal(only(sink).outcome, 'shutdown');
      assert.equal(catchAll.sessionsOpen, 0);
      const late = dial();
      await gone(late);
      await sink.until(() => sink.sessions.length === 2);
      assert.equal(sink.sessions[1].outcome, 'shutdown');
      socket.destroy();
    });
  });
});

describe('bounds', () => {
  test('sessions in all: the oldest idle one makes room, and is on record as shed', () =>
    onStage({ sessions: 3 }, async ({ dial, sink, catchAll }) => {
      const first = dial();
      await sink.until(() => sink.sessions.length === 1);
      const second = dial();
      await sink.until(() => sink.sessions.length === 2);
      dial();
      await sink.until(() => sink.sessions.length === 3);
      first.write('hello, I am not idle\r\n');
      await sink.until(() => sink.sessions[0].chunks.length === 1);
      dial();
      await gone(second);
      await sink.until(() => sink.sessions.length === 4);
      assert.deepEqual(
        sink.sessions.map(({ outcome }) => outcome),
        ['open', 'shed', 'open', 'open'],
      );
      assert.equal(catchAll.counters().shed, 1);
      assert.equal(catchAll.sessionsOpen, 3);
    }));

  test('the same address in two networks is two sources', () =>
    onStage({ sessionsPerSource: 2 }, async ({ dial, sink, catchAll }) => {
      dial();
      dial();
      await sink.until(() => sink.sessions.length === 2);
      const other = await listenOnLoopback(catchAll, { network: 'floor-3' });
      const socket = connect(other.port, '127.0.0.1');
      socket.on('error', () => {});
      await sink.until(() => sink.sessions.length === 3);
      assert.equal(catchAll.counters().refusedBySource, 0);
      assert.equal(catchAll.sessionsOpen, 3);
      socket.destroy();
      await sink.until(() => sink.sessions[2].outcome !== 'open');
      await other.close();
      // What ended in the one network left no room in the other.
      await gone(dial());
      assert.equal(catchAll.counters().refusedBySource, 1);
    }));

  test('sessions per source: the next is recorded and refused', () =>
    onStage({ sessionsPerSource: 2 }, async ({ dial, sink, catchAll }) => {
      dial();
      dial();
      await sink.until(() => sink.sessions.length === 2);
      const third = dial();
      await gone(third);
      assert.equal(sink.sessions.filter(({ outcome }) => outcome === 'shed').length, 1);
      assert.equal(catchAll.counters().refusedBySource, 1);
      assert.equal(catchAll.counters().visits, 3);
    }));

  test('the owner may shed for descriptors', () =>
    onStage({}, async ({ dial, sink, catchAll }) => {
      dial();
      dial();
      await sink.until(() => sink.sessions.length === 2);
      assert.equal(catchAll.shedOldestIdle(5), 2);
      assert.equal(catchAll.sessionsOpen, 0);
    }));

  test('a client that asks and never reads is stopped from asking', () =>
    onStage({ sessionBytes: 1 << 24, sessionsPerSource: 10 }, async ({ dial, sink, catchAll }) => {
      const socket = dial();
      socket.pause();
      const request = Buffer.from('INFO\r\n'.repeat(10_000));
      for (let round = 0; round < 50; round += 1) socket.write(request);
      // The kernel's buffers fill, then nothing moves: 50 x 10,000 answers of 600 bytes would be 300 MB.
      let before = -1;
      await sink.until(() => sink.sessions[0]?.chunks.length > 100);
      for (let quiet = 0; quiet < 3; ) {
        await new Promise((resolve) => setImmediate(resolve));
        const now = catchAll.counters().bytesOut;
        quiet = now === before ? quiet + 1 : 0;
        before = now;
      }
      assert.ok(catchAll.counters().bytesOut < 32 << 20, `sent ${catchAll.counters().bytesOut}`);
      assert.equal(only(sink).outcome, 'open');
    }));

  test('nothing of a session is held after its end', () =>
    onStage({ port: 22 }, async ({ dial, sink, listener }) => {
      const accepted: WeakRef<Socket>[] = [];
      listener.server.on('connection', (socket) => accepted.push(new WeakRef(socket)));
      for (let round = 0; round < 5; round += 1) {
        const socket = dial();
        socket.end('SSH-2.0-x\r\n');
        await sink.until(() => sink.sessions.length === round + 1 && ended(sink));
      }
      setFlagsFromString('--expose-gc');
      const collect = runInNewContext('gc') as () => void;
      await turnsUntil(() => {
        collect();
        return accepted.filter((reference) => reference.deref() !== undefined).length <= 1;
      }, 200);
      assert.equal(accepted.length, 5);
    }));

  test('a message without end is given up, not kept', () =>
    onStage({ sessionBytes: 1 << 20 }, async ({ dial, sink, catchAll }) => {
      const socket = dial();
      socket.write(`*3\r\n$3\r\nSET\r\n$50000\r\n${'a'.repeat(40_000)}`);
      await turnsUntil(() => catchAll.pendingBytes >= 40_000);
      socket.write(`${'a'.repeat(10_000)}\r\n$50000\r\n${'a'.repeat(30_000)}`);
      await turnsUntil(() => (only(sink).findings.tags ?? []).includes('message-too-long'));
      assert.equal(catchAll.pendingBytes, 0);
    }));
});

describe('greetings', () => {
  for (const [port, pattern] of [
    [22, /^SSH-2\.0-OpenSSH/],
    [21, /^220 /],
    [23, /login: $/],
  ] as const)
    test(`port ${port} speaks to a silent client`, () =>
      onStage({ port, bannerDelayMs: 20 }, async ({ dial, sink }) => {
        const socket = dial();
        assert.match(await readUntil(socket, pattern), pattern);
        socket.end();
        await sink.until(ended);
        assert.equal(only(sink).outcome, 'client-closed');
      }));

  test('a client that ignores the greeting gets its own protocol', () =>
    onStage({ port: 21, bannerDelayMs: 20 }, async ({ dial, sink }) => {
      const socket = dial();
      await readUntil(socket, /^220 /);
      socket.write('GET / HTTP/1.0\r\n\r\n');
      assert.match(await readUntil(socket, /html/), /HTTP\/1\.1 200/);
      assert.equal(only(sink).findings.protocol, 'http');
    }));

  test('a persona that picks its ports answers a known port in its own protocol, and records what came', () =>
    onStage({}, async ({ catchAll, sink }) => {
      const persona = { ...plainPersona, tcp: { open: [{ first: 3306, last: 3306 }], otherwise: 'closed' as const } };
      const listener = await listenOnLoopback(catchAll, { destinationPort: 3306, persona });
      const socket = connect(listener.port, '127.0.0.1');
      socket.write('GET / HTTP/1.0\r\n\r\n');
      const answer = await readUntil(socket, /handshake/);
      assert.match(answer, /mysql_native_password[\s\S]*Bad handshake$/);
      await sink.until(ended);
      assert.equal(only(sink).findings.protocol, 'http');
      await listener.close();
    }));

  test('the persona names the service of a port', () =>
    onStage({}, async ({ catchAll, sink }) => {
      const listener = await listenOnLoopback(catchAll, {
        destinationPort: 9999,
        persona: { ...plainPersona, services: { 9999: 'ssh' }, banners: { ssh: 'SSH-2.0-dropbear_2019.78' } },
      });
      const socket = connect(listener.port, '127.0.0.1');
      assert.match(await readUntil(socket, /\n/), /^SSH-2\.0-dropbear_2019\.78\r\n/);
      socket.end();
      await sink.until(ended);
      await listener.close();
    }));
});
