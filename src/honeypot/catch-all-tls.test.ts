// TLS on any port over real handshakes: every version, failures, pieces, STARTTLS.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { describe, test } from 'node:test';
import { connect as connectTls } from 'node:tls';

import { ended, only, onStage, readUntil } from './loopback-stage.ts';

/** A ClientHello as a real client writes it. */
async function openingBytes(): Promise<Buffer> {
  const { Duplex } = await import('node:stream');
  return new Promise((resolve) => {
    const pipe = new Duplex({ read() {}, write: (chunk: Buffer) => resolve(chunk) });
    connectTls({ socket: pipe }).on('error', () => {});
  });
}

describe('TLS on any port', () => {
  test('terminated, fingerprinted, and detected again inside', () =>
    onStage({}, async ({ listener, sink, catchAll }) => {
      const socket = connectTls({
        port: listener.port,
        host: '127.0.0.1',
        servername: 'mail.example.org',
        rejectUnauthorized: false,
      });
      await once(socket, 'secureConnect');
      assert.equal(socket.getPeerCertificate().subject.CN, 'mail.example.org');
      socket.write('GET /secret HTTP/1.1\r\nHost: mail.example.org\r\n\r\n');
      assert.match(await readUntil(socket, /html/), /404 Not Found/);
      socket.end();
      await sink.until(ended);
      const session = only(sink);
      assert.equal(session.findings.protocol, 'http');
      assert.equal(session.findings.tls?.serverName, 'mail.example.org');
      assert.match(session.findings.tls?.ja4 ?? '', /^t13d\d{4}00_[0-9a-f]{12}_[0-9a-f]{12}$/);
      assert.match(session.findings.tls?.ja3 ?? '', /^[0-9a-f]{32}$/);
      const [hello, request] = session.chunks;
      assert.equal(hello.bytes[0], 0x16, 'the ClientHello is the first chunk');
      assert.match(Buffer.from(request.bytes).toString(), /^GET \/secret/);
      assert.equal(catchAll.counters().tlsHandshakes, 1);
      assert.equal(session.outcome, 'client-closed');
    }));

  for (const [version, kind] of [
    ['TLSv1', 'rsa'],
    ['TLSv1.1', 'ec'],
    ['TLSv1.2', 'rsa'],
    ['TLSv1.3', 'ec'],
  ] as const)
    test(`${version} with ${kind} keys`, () =>
      onStage({}, async ({ listener, sink }) => {
        const socket = connectTls({
          port: listener.port,
          host: '127.0.0.1',
          rejectUnauthorized: false,
          minVersion: version,
          maxVersion: version,
          ciphers: kind === 'rsa' ? 'AES128-SHA:AES256-SHA:AES128-GCM-SHA256:@SECLEVEL=0' : 'ALL:@SECLEVEL=0',
        });
        await once(socket, 'secureConnect');
        assert.equal(socket.getProtocol(), version);
        socket.end('PING\r\n');
        await sink.until(ended);
        assert.equal(only(sink).findings.protocol, 'redis');
      }));

  test('a failed handshake is on record with its hello', () =>
    onStage({}, async ({ listener, sink, catchAll }) => {
      const socket = connectTls({
        port: listener.port,
        host: '127.0.0.1',
        servername: 'x.example',
        maxVersion: 'TLSv1.2',
        ciphers: 'eNULL:@SECLEVEL=0',
      });
      const [error] = (await once(socket, 'error').catch((reason) => [reason])) as [NodeJS.ErrnoException];
      assert.match(error.code ?? '', /ALERT|RESET/);
      await sink.until(ended);
      const { findings, chunks, outcome } = only(sink);
      assert.equal(findings.tls?.serverName, 'x.example');
      assert.equal(findings.protocol, 'tls');
      assert.ok(findings.tags?.includes('tls-handshake-failed'));
      assert.equal(chunks[0].bytes[0], 0x16);
      assert.notEqual(outcome, 'open');
      assert.equal(catchAll.counters().tlsFailures, 1);
    }));

  test('a client that leaves in the handshake too', () =>
    onStage({}, async ({ dial, sink, catchAll }) => {
      const sent = await openingBytes();
      const socket = dial();
      socket.write(sent);
      await once(socket, 'data');
      socket.destroy();
      await sink.until(ended);
      assert.ok(only(sink).findings.tags?.includes('tls-handshake-failed'));
      assert.match(only(sink).outcome, /^client-/);
      assert.equal(catchAll.counters().tlsFailures, 1);
    }));

  test('a hello that cannot be read ends with an alert', () =>
    onStage({}, async ({ dial, sink }) => {
      const socket = dial();
      socket.write(Buffer.concat([Buffer.from('160301000901000005', 'hex'), Buffer.alloc(5, 7)]));
      const [alert] = (await once(socket, 'data')) as [Buffer];
      assert.equal(alert.toString('hex'), '15030100020228');
      await sink.until(() => (sink.sessions[0].findings.tags ?? []).includes('tls-hello-broken'));
    }));

  test('a hello in pieces of one byte', () =>
    onStage({}, async ({ listener, sink }) => {
      const raw = connect(listener.port, '127.0.0.1');
      raw.setNoDelay(true);
      const { Duplex } = await import('node:stream');
      // Every write of the client goes out byte by byte.
      const pieces = new Duplex({
        read() {},
        write(chunk: Buffer, _encoding, done) {
          for (const byte of chunk) raw.write(Buffer.from([byte]));
          done();
        },
      });
      raw.on('data', (chunk) => pieces.push(chunk));
      const socket = connectTls({ socket: pieces, rejectUnauthorized: false });
      await once(socket, 'secureConnect');
      socket.write('PING\r\n');
      assert.match(await readUntil(socket, /PONG/), /PONG/);
      raw.destroy();
      await sink.until(ended);
      assert.equal(only(sink).findings.protocol, 'redis');
    }));

  test('STARTTLS goes on inside', () =>
    onStage({ port: 21, bannerDelayMs: 20 }, async ({ dial, sink }) => {
      const plain = dial();
      await readUntil(plain, /^220 /);
      plain.write('AUTH TLS\r\n');
      await readUntil(plain, /^234 /);
      const socket = connectTls({ socket: plain, rejectUnauthorized: false });
      await once(socket, 'secureConnect');
      socket.write('USER admin\r\nPASS hunter2\r\n');
      assert.match(await readUntil(socket, /530/), /^331 [\s\S]*530 /);
      const { findings } = only(sink);
      assert.equal(findings.protocol, 'ftp');
      assert.equal(findings.userName, 'admin');
      assert.equal(findings.password, 'hunter2');
      assert.ok(findings.tls);
    }));
});
