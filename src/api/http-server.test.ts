// The API over real sockets: what each resource gives, what a browser must go through, what hostile requests meet.

import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { hostileText, sampleEvents, sampleId, sampleSession } from '../../test/support/sample-records.ts';
import { parseMicros } from '../base/clock.ts';
import { silentLog } from '../base/log.ts';
import type { WeirEvent } from '../model/event.ts';
import { MemoryStore } from '../record/memory-store.ts';
import { openCertificate } from './certificate.ts';
import { HttpServer, isLoopback } from './http-server.ts';

const now = parseMicros('2026-03-04T05:06:07.000000Z');
const packageRoot = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../..');

interface Answer {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: string;
  readonly bytes: Buffer;
}

function send(options: http.RequestOptions & { secure?: boolean; rejectUnauthorized?: boolean; ca?: string }): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = (options.secure ? https : http).request({ ...options, agent: false }, (response) => {
      const pieces: Buffer[] = [];
      response.on('data', (piece: Buffer) => pieces.push(piece));
      response.on('error', reject);
      response.on('end', () => {
        const bytes = Buffer.concat(pieces);
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body: bytes.toString(), bytes });
      });
    });
    request.on('error', reject);
    request.end();
  });
}

describe('the API', () => {
  let directory = '';
  let socketPath = '';
  let server: HttpServer;
  let port = 0;
  const listeners = new Set<(events: readonly WeirEvent[]) => void>();
  const store = new MemoryStore();

  const local = (target: string, method = 'GET'): Promise<Answer> => send({ socketPath, path: target, method });
  // biome-ignore lint/suspicious/noExplicitAny: the shape of each answer is what the assertions check
  const json = async (target: string): Promise<any> => JSON.parse((await local(target)).body);
  const web = (target: string, headers: http.OutgoingHttpHeaders = {}, method = 'GET'): Promise<Answer> =>
    send({ host: '127.0.0.1', port, path: target, headers, method });
  const signIn = async (): Promise<string> => {
    const { url } = JSON.parse((await local('/api/sign-in-links', 'POST')).body);
    const answer = await web(url.slice(url.indexOf('/sign-in')));
    assert.equal(answer.status, 200);
    return answer.headers['set-cookie']?.[0] ?? '';
  };

  before(async () => {
    await store.apply(sampleEvents(now), {});
    directory = mkdtempSync(path.join(tmpdir(), 'weir-api-'));
    socketPath = path.join(directory, 'r.sock');
    server = new HttpServer({
      store,
      live: (listener) => {
        listeners.add(listener);
        return () => listeners.delete(listener);
      },
      status: async () => ({ health: 'good' }),
      socket: { path: socketPath, mode: 0o600 },
      console: { address: '127.0.0.1', port: 0, tlsDirectory: path.join(directory, 'tls'), packageRoot },
      log: silentLog,
      clock: () => now,
    });
    await server.listen();
    port = Number(new URL(server.origin ?? '').port);
  });
  after(async () => {
    await server.close();
    assert.equal(listeners.size, 0);
    assert.equal(existsSync(socketPath), false);
    rmSync(directory, { recursive: true });
  });

  it('lists sessions as ECS documents with a cursor', async () => {
    const first = await json('/api/sessions?limit=2');
    assert.equal(first.items.length, 2);
    assert.equal(first.items[0]['@timestamp'], '2026-03-04T05:06:05.000000Z');
    assert.equal(first.items[0].weir.session.source_reliable, false);
    const second = await json(`/api/sessions?limit=10&before=${first.next}`);
    assert.equal(second.items.length, 3);
    assert.equal(second.next, undefined);
    const all = [...first.items, ...second.items].map(({ event }) => event.id);
    assert.deepEqual(all, [...all].sort().reverse());
  });

  it('filters by every parameter and refuses those it does not know', async () => {
    const count = async (query: string): Promise<number> => (await json(`/api/sessions?${query}`)).items.length;
    assert.equal(await count('port=22'), 1);
    assert.equal(await count('source=2001:db8::/32'), 1);
    assert.equal(await count('destination=10.66.3.4'), 3);
    assert.equal(await count('since=2m'), 3);
    assert.equal(await count('transport=udp&protocol=dns'), 1);
    assert.equal(await count('diversion=dmz&service=catch-all'), 5);
    assert.equal(await count('diversion=other'), 0);
    for (const query of ['port=x', 'limit=0', 'prot=22', 'since=soon', `before=${encodeURIComponent("' OR 1=1")}`]) {
      const answer = await local(`/api/sessions?${query}`);
      assert.equal(answer.status, 400, query);
      assert.equal(JSON.parse(answer.body).error.code, 'bad-request');
    }
  });

  it('gives one session with its bytes, as JSON, as a capture and raw', async () => {
    const id = sampleId(now - 12e6, 1);
    const { session, chunks } = await json(`/api/sessions/${id}`);
    assert.equal(session.event.id, id);
    assert.deepEqual(
      chunks.map((chunk: { direction: string; bytes: string }) => [
        chunk.direction,
        Buffer.from(chunk.bytes, 'base64').toString(),
      ]),
      [
        ['out', 'SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n'],
        ['in', 'SSH-2.0-libssh2_1.9.0\r\n'],
      ],
    );
    const capture = await local(`/api/sessions/${id}/capture`);
    assert.equal(capture.bytes.readUInt32LE(0), 0xa1b2c3d4);
    const payload = await local(`/api/sessions/${id}/payload`);
    assert.equal(payload.body, 'SSH-2.0-libssh2_1.9.0\r\n');
    assert.match(String(payload.headers['content-disposition']), /^attachment; filename="\w{19}-in\.bin"$/);
    assert.equal((await local(`/api/sessions/${sampleId(1)}`)).status, 404);
    assert.equal((await local('/api/sessions/..%2f..%2fetc')).status, 400);
  });

  it('gives probes, alerts, system events, rankings, counts, series and status', async () => {
    const [probe] = (await json('/api/probes')).items;
    assert.equal(probe.source.packets, 4);
    assert.equal((await json('/api/probes?port=161/udp')).items.length, 1);
    assert.equal((await json('/api/alerts')).items[0].weir.alert.name, 'address-conflict');
    assert.equal((await json('/api/system')).items[0].weir.system.name, 'process-started');
    const top = await json('/api/top?subject=ports&by=sources&limit=3');
    assert.equal(top.items.length, 3);
    assert.deepEqual(
      (await json('/api/top?subject=credentials')).items.map(({ key }: { key: string }) => key.length > 0),
      [true, true],
    );
    assert.equal((await json('/api/counts?since=1m')).sessions, 3);
    assert.equal((await json('/api/counts')).openSessions, 1);
    const series = await json('/api/series?span=60&step=10');
    assert.equal(series.stepSeconds, 10);
    assert.ok(series.points.length >= 6);
    assert.equal((await json('/api/status')).health, 'good');
    assert.equal((await local('/api/top?subject=nobody')).status, 400);
    assert.equal((await local('/api/series?span=99999')).status, 400);
    assert.equal((await local('/api/nothing')).status, 404);
  });

  it('exports every matching session as lines', async () => {
    const { body, headers } = await local('/api/export/jsonl');
    assert.equal(headers['content-type'], 'application/x-ndjson');
    assert.equal(
      body
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line)).length,
      5,
    );
    assert.equal((await local('/api/export/jsonl?limit=2')).body.trim().split('\n').length, 2);
    const flow = JSON.parse((await local('/api/export/tcppc?port=22')).body);
    assert.equal(flow.flow.dport, 22);
    assert.equal((await local('/api/export/nonsense')).status, 404);
  });

  it('opens the console to a one-time link, once', async () => {
    assert.equal((await web('/')).headers.location, '/sign-in');
    for (const target of [
      '/api/sessions',
      '/api/live',
      '/api/status',
      `/api/sessions/${sampleId(now)}/payload`,
      '/api/export/jsonl',
    ])
      assert.equal((await web(target)).status, 401, target);
    const { url } = JSON.parse((await local('/api/sign-in-links', 'POST')).body);
    const target = url.slice(url.indexOf('/sign-in'));
    const answer = await web(target);
    const [cookie] = answer.headers['set-cookie'] ?? [];
    assert.match(cookie, new RegExp(`^weir-${port}=[\\w-]{43}; Max-Age=604800; Path=/; HttpOnly; SameSite=Strict$`));
    const [value] = cookie.split(';');
    assert.equal((await web('/', { cookie: value })).status, 200);
    assert.equal((await web('/api/sessions', { cookie: value })).status, 200);
    const again = await web(target);
    assert.equal(again.status, 403);
    assert.equal(again.headers['set-cookie'], undefined);
    assert.match(again.body, /works once/);
    assert.equal((await web('/api/sessions', { cookie: `${value}x` })).status, 401);
    assert.equal((await web('/api/sign-in-links', { cookie: value }, 'POST')).status, 404);
    const out = await web('/sign-out', { cookie: value, origin: `http://127.0.0.1:${port}` }, 'POST');
    assert.equal(out.status, 303);
    assert.equal((await web('/api/sessions', { cookie: value })).status, 401);
  });

  it('refuses rebinding, other sites and framing', async () => {
    const cookie = (await signIn()).split(';')[0];
    assert.equal((await web('/api/sessions', { cookie, host: 'evil.example' })).status, 421);
    assert.equal((await web('/sign-in?token=x', { host: 'evil.example' })).status, 421);
    assert.equal((await web('/api/sessions', { cookie, 'sec-fetch-site': 'cross-site' })).status, 403);
    assert.equal((await web('/api/sessions', { cookie, 'sec-fetch-site': 'same-site' })).status, 403);
    assert.equal((await web('/sign-out', { cookie, origin: 'http://evil.example' }, 'POST')).status, 403);
    assert.equal((await web('/sign-out', { cookie, origin: 'null' }, 'POST')).status, 403);
    assert.equal((await web('/', { cookie, 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate' })).status, 200);
    for (const target of ['/', '/sign-in', '/main.js', '/api/sessions', '/api/nothing', '/nothing']) {
      const { headers } = await web(target, { cookie });
      assert.match(String(headers['content-security-policy']), /script-src 'self';.*frame-ancestors 'none'/, target);
      assert.doesNotMatch(String(headers['content-security-policy']), /unsafe/);
      assert.equal(headers['x-content-type-options'], 'nosniff', target);
      assert.equal(headers['access-control-allow-origin'], undefined, target);
    }
  });

  it('serves its own files and nothing else', async () => {
    const types: Record<string, RegExp> = {
      '/main.js': /^text\/javascript/,
      '/style.css': /^text\/css/,
      '/uplot.js': /^text\/javascript/,
      '/icon.svg': /^image\/svg\+xml/,
    };
    for (const [target, type] of Object.entries(types)) {
      const answer = await web(target);
      assert.equal(answer.status, 200, target);
      assert.match(String(answer.headers['content-type']), type);
      assert.equal((await web(target, { 'if-none-match': answer.headers.etag })).status, 304);
    }
    for (const target of [
      '/index.html',
      '/../package.json',
      '/..%2fpackage.json',
      '/%2e%2e/package.json',
      '/main.ts',
      '/tsconfig.json',
      '/.tsbuildinfo',
      '//etc/passwd',
      '/main.js.map',
    ])
      assert.equal((await web(target)).status, 404, target);
  });

  it('brakes guessing without keeping the owner out', async () => {
    for (let attempt = 0; attempt < 12; attempt += 1)
      await send({ host: '127.0.0.1', port, path: `/sign-in?token=guess${attempt}`, localAddress: '127.0.0.66' });
    const braked = await send({ host: '127.0.0.1', port, path: '/sign-in?token=guess', localAddress: '127.0.0.66' });
    assert.equal(braked.status, 429);
    assert.ok(Number(braked.headers['retry-after']) > 0);
    assert.match(await signIn(), /^weir-/);
  });

  it("streams what happens, in the follower's own filter", async () => {
    const cookie = (await signIn()).split(';')[0];
    const text = await new Promise<string>((resolve, reject) => {
      const request = http.get(
        { host: '127.0.0.1', port, path: '/api/live?port=22&rows=5', headers: { cookie }, agent: false },
        (response) => {
          assert.match(String(response.headers['content-type']), /^text\/event-stream/);
          let received = '';
          response.on('data', (piece) => {
            received += piece;
            if (received.includes('data: ')) {
              resolve(received);
              request.destroy();
            } else
              for (const listener of listeners)
                listener([
                  { kind: 'session', session: sampleSession(now, 50, { destination: { ip: '10.66.3.4', port: 23 } }) },
                  { kind: 'session', session: sampleSession(now, 51) },
                ]);
          });
        },
      );
      request.on('error', reject);
    });
    const message = JSON.parse(/^data: (.*)$/m.exec(text)?.[1] ?? '');
    assert.deepEqual(
      message.sessions.map(({ event }: { event: { id: string } }) => event.id),
      [sampleId(now, 51)],
    );
    assert.equal(message.skipped, 0);
  });

  it('keeps hostile text inside JSON', async () => {
    const answer = await local('/api/sessions?port=8080');
    assert.equal(JSON.parse(answer.body).items[0].user.name, hostileText);
    assert.match(String(answer.headers['content-type']), /^application\/json/);
    assert.ok(!answer.body.includes('\u001b'));
  });

  it('outlives broken requests', async () => {
    const raw = (bytes: string): Promise<string> =>
      new Promise((resolve) => {
        let text = '';
        const socket = net.connect({ host: '127.0.0.1', port });
        socket.on('data', (piece) => {
          text += piece;
        });
        socket.on('error', () => resolve(text));
        socket.on('close', () => resolve(text));
        socket.end(bytes);
      });
    await raw('\u0016\u0003\u0001\u0002\u0000\u0001');
    await raw(`GET / HTTP/1.1\r\nHost: x\r\nX: ${'a'.repeat(40_000)}\r\n\r\n`);
    await raw('GET /%ff%00 HTTP/1.1\r\nHost: localhost\r\n\r\n');
    await raw('GET http:// HTTP/1.1\r\nHost: localhost\r\n\r\n');
    await raw('POST /sign-out HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n');
    assert.equal((await web('/sign-in')).status, 200);
  });

  it('answers 503 with a code while the store cannot', async () => {
    const failing = new MemoryStore();
    failing.sessions = () => Promise.reject(Object.assign(new Error('x'), {}));
    const socket = path.join(directory, 'f.sock');
    const other = new HttpServer({
      store: failing,
      live: () => () => {},
      status: async () => ({}),
      socket: { path: socket, mode: 0o600 },
      log: silentLog,
    });
    await other.listen();
    const answer = await send({ socketPath: socket, path: '/api/sessions' });
    assert.equal(answer.status, 500);
    assert.equal(JSON.parse(answer.body).error.code, 'fault');
    assert.equal((await send({ socketPath: socket, path: '/api/sign-in-links', method: 'POST' })).status, 503);
    await other.close();
  });

  it('speaks TLS off loopback, with a certificate that it keeps', async () => {
    const socket = path.join(directory, 't.sock');
    const options = {
      store,
      live: () => () => {},
      status: async () => ({}),
      socket: { path: socket, mode: 0o600 },
      console: { address: '0.0.0.0', port: 0, tlsDirectory: path.join(directory, 'tls'), packageRoot },
      log: silentLog,
    };
    const other = new HttpServer(options);
    await other.listen();
    const state = other.consoleState();
    assert.match(state.url ?? '', /^https:/);
    const securePort = Number(new URL(state.url ?? '').port);
    const ca = readFileSync(path.join(directory, 'tls', 'console.crt'), 'utf8');
    const answer = await send({ secure: true, host: '127.0.0.1', port: securePort, path: '/sign-in', ca });
    assert.equal(answer.status, 200);
    const { url } = other.createSignInLink();
    const signedIn = await send({
      secure: true,
      host: '127.0.0.1',
      port: securePort,
      path: url.slice(url.indexOf('/sign-in')),
      ca,
    });
    assert.match(signedIn.headers['set-cookie']?.[0] ?? '', /^__Host-weir-\d+=.*; Secure/);
    await other.close();
    const again = new HttpServer(options);
    await again.listen();
    assert.equal(again.consoleState().fingerprint, state.fingerprint);
    await again.close();
    assert.equal(isLoopback('127.0.0.53') && isLoopback('::1') && !isLoopback('10.0.0.1') && !isLoopback('::'), true);
  });

  it('records on when the console cannot listen, and says why', async () => {
    const socket = path.join(directory, 'busy.sock');
    const other = new HttpServer({
      store,
      live: () => () => {},
      status: async () => ({ health: 'good' }),
      socket: { path: socket, mode: 0o600 },
      console: { address: '127.0.0.1', port, tlsDirectory: directory, packageRoot },
      log: silentLog,
    });
    await other.listen();
    const status = JSON.parse((await send({ socketPath: socket, path: '/api/status' })).body);
    assert.match(status.console.error, /cannot listen on 127\.0\.0\.1 port \d+: .*EADDRINUSE/);
    await other.close();
  });
});

describe('the certificate', () => {
  it('is minted anew when names change, it is damaged or it ends soon; the key is private', async () => {
    const directory = mkdtempSync(path.join(tmpdir(), 'weir-tls-'));
    const tls = path.join(directory, 'tls');
    mkdirSync(tls);
    const present = Date.now();
    const first = await openCertificate(tls, ['10.0.0.5', 'sensor'], present);
    assert.equal(statSync(path.join(tls, 'console.key')).mode & 0o777, 0o600);
    assert.equal((await openCertificate(tls, ['sensor'], present)).fingerprint, first.fingerprint);
    const other = await openCertificate(tls, ['10.0.0.6'], present);
    assert.notEqual(other.fingerprint, first.fingerprint);
    writeFileSync(path.join(tls, 'console.crt'), 'garbage');
    const repaired = await openCertificate(tls, ['10.0.0.6'], present);
    assert.notEqual(repaired.fingerprint, other.fingerprint);
    writeFileSync(path.join(tls, 'console.key'), first.key);
    assert.notEqual((await openCertificate(tls, ['10.0.0.6'], present)).key, first.key);
    const late = await openCertificate(tls, ['10.0.0.6'], present + 370 * 86_400_000);
    assert.notEqual(late.fingerprint, repaired.fingerprint);
    rmSync(directory, { recursive: true });
  });
});
