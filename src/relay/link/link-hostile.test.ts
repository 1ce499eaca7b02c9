// Agents that were taken over, strangers without a certificate, gateways that are not well: what they try ends at a bound, is
// counted, and nobody else notices. Raw HTTP/2 over real TLS on loopback.

import assert from 'node:assert/strict';
import { type EventEmitter, once } from 'node:events';
import http2, { type ClientHttp2Session, type ClientHttp2Stream, constants } from 'node:http2';
import net from 'node:net';
import { buffer } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, it } from 'node:test';
import tls from 'node:tls';
import { flowTo, LinkBed, Watched, within } from '../../../test/support/link-bed.ts';
import { renderProxyV2, tlvType } from '../../model/proxy-protocol.ts';
import type { AgentIdentity } from '../agents/agent-identity.ts';
import { parseToken } from '../agents/enrolment-token.ts';
import { renderFlowHeader } from './flow-header.ts';
import { cutSession } from './link-flow.ts';
import type { LinkServerCounters } from './link-server-options.ts';

const until = (what: string, holds: () => boolean): Promise<void> =>
  within(
    new Promise((resolve) => {
      const look = (): void => (holds() ? resolve() : void setTimeout(look, 2));
      look();
    }),
    what,
  );

/** Whatever errors come before it. */
const closeOf = (thing: EventEmitter): Promise<void> => new Promise((resolve) => thing.once('close', () => resolve()));

const hello = {
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
};

describe('an agent that was taken over', () => {
  let bed: LinkBed;
  let identity: AgentIdentity;
  let session: ClientHttp2Session;
  let control: ClientHttp2Stream;
  let closed = false;

  const start = async (greeting: object | string | 'nothing' = hello): Promise<void> => {
    closed = false;
    const { key, certificate } = identity.credentials();
    const socket = tls.connect({
      port: bed.port,
      host: '127.0.0.1',
      key,
      cert: certificate,
      rejectUnauthorized: false,
      ALPNProtocols: ['h2'],
    });
    socket.on('error', () => {});
    await once(socket, 'secureConnect');
    session = http2.connect('https://x', { createConnection: () => socket, maxOutstandingPings: 1e6, maxSessionMemory: 1000 });
    session.on('error', () => {});
    session.once('close', () => {
      closed = true;
    });
    if (greeting === 'nothing') return;
    control = session.request({ ':method': 'POST', ':path': '/control' }, { endStream: false });
    control.on('error', () => {});
    control.write(typeof greeting === 'string' ? greeting : `${JSON.stringify(greeting)}\n`);
    control.resume();
  };
  const linked = async (): Promise<void> => {
    await start();
    await until('it is linked', () => bed.server.statuses()[0].state === 'linked');
  };
  const counters = (): LinkServerCounters => bed.server.counters;
  const flow = (...pieces: (Uint8Array | string)[]): ClientHttp2Stream => {
    const stream = session.request({ ':method': 'POST', ':path': '/flow' }, { endStream: false });
    stream.on('error', () => {});
    for (const piece of pieces) stream.write(piece);
    stream.resume();
    return stream;
  };
  const gone = (): Promise<void> => until('the link was ended', () => closed && bed.server.open.links === 0);

  beforeEach(async () => {
    bed = await LinkBed.open({ limits: { headerMs: 200, helloMs: 500, flowsPerAgent: 100 } });
    identity = await bed.enrolled('branch-1');
  });
  afterEach(async () => {
    if (session) cutSession(session, 'the test is over');
    await bed.close();
  });

  it('hands in flows of its own diversions only, each behind a good header', async () => {
    let arrivals = 0;
    bed.onConnection = ({ socket }) => {
      arrivals += 1;
      socket.on('error', () => {}).resume();
    };
    await linked();
    const good = flowTo();
    const foreign = { ...good, destination: { ip: '10.9.9.9', port: 445 } };
    const bad = renderFlowHeader({ flow: good });
    bad[20] ^= 1;
    const headers: (readonly [string, keyof LinkServerCounters, ...(Uint8Array | string)[]])[] = [
      ['a foreign destination', 'placesRefused', renderFlowHeader({ flow: foreign })],
      ['a foreign port', 'placesRefused', renderFlowHeader({ flow: flowTo(65_000) })],
      [
        'a foreign segment',
        'placesRefused',
        renderFlowHeader({ flow: good, tlvs: [{ type: tlvType.netns, value: Buffer.from('floor-4') }] }),
      ],
      ['UDP of a foreign port', 'placesRefused', renderFlowHeader({ flow: flowTo(65_000, 'udp') })],
      ['a wrong checksum', 'headersRefused', bad],
      ['no checksum', 'headersRefused', renderProxyV2(good)],
      ['nobody', 'headersRefused', renderProxyV2(undefined, [], { checksum: true })],
      ['version 1', 'headersRefused', 'PROXY TCP4 203.0.113.7 10.1.1.1 40000 445\r\n'],
      ['no header', 'headersRefused', 'GET / HTTP/1.1\r\n\r\n'],
      [
        'a MAC of five bytes',
        'headersRefused',
        renderFlowHeader({ flow: good, tlvs: [{ type: tlvType.linkLayer, value: Buffer.alloc(5) }] }),
      ],
      [
        'two networks',
        'headersRefused',
        renderFlowHeader({ flow: good, tlvs: ['a', 'a'].map((name) => ({ type: tlvType.netns, value: Buffer.from(name) })) }),
      ],
      [
        'a SYN that is none',
        'headersRefused',
        renderFlowHeader({ flow: good, tlvs: [{ type: tlvType.syn, value: Buffer.from('{"ttl":-1}') }] }),
      ],
      ['too much', 'headersRefused', renderFlowHeader({ flow: good, tlvs: [{ type: tlvType.noop, value: Buffer.alloc(1100) }] })],
      ['half a header, then silence', 'headersRefused', renderFlowHeader({ flow: good }).subarray(0, 20)],
      ['silence', 'headersRefused'],
    ];
    for (const [what, counter, ...pieces] of headers) {
      const before = counters()[counter];
      const stream = flow(...pieces);
      await within(closeOf(stream), what);
      assert.equal(counters()[counter], before + 1, what);
    }
    assert.equal(arrivals, 0);
    const header = renderFlowHeader({ flow: good });
    const slow = flow();
    for (const byte of header) slow.write(Uint8Array.of(byte));
    await until('a header that comes byte by byte is one', () => arrivals === 1);
    await until('refused streams are gone', () => bed.server.open.flows === 1);
    assert.equal(bed.server.statuses()[0].state, 'linked');
  });

  it('opens no more flows than it may', async () => {
    bed.onConnection = ({ socket }) => void socket.on('error', () => {}).resume();
    await linked();
    const header = renderFlowHeader({ flow: flowTo() });
    const streams = Array.from({ length: 120 }, () => flow(header));
    await until('they came', () => counters().flows + counters().flowsShed === 120);
    assert.deepEqual([counters().flows, counters().flowsShed, bed.server.open.flows], [100, 20, 100]);
    for (const stream of streams) stream.end();
  });

  it('does not fill our memory with what nobody reads', async () => {
    await bed.server.close();
    bed.limits = { bufferedBytesPerAgent: 8 << 20 };
    await bed.startServer();
    bed.onConnection = ({ socket }) => void socket.on('error', () => {}).pause();
    await linked();
    const header = renderFlowHeader({ flow: flowTo() });
    const fill = Buffer.alloc(2 << 20);
    for (let index = 0; index < 64; index += 1) flow(header, fill);
    await until('most were reset', () => counters().flowsOverBudget >= 48);
    assert.equal(bed.server.statuses()[0].state, 'linked');
  });

  it('is ended for what no agent says', async () => {
    const said: (readonly [string, () => Promise<void> | void])[] = [
      ['a line without an end', () => void control.write('x'.repeat(70_000))],
      ['not JSON', () => void control.write('hello?\n')],
      ['not a message', () => void control.write('{"kind":"become","agent":"branch-2"}\n')],
      ['hello again', () => void control.write(`${JSON.stringify(hello)}\n`)],
      ['a flood of messages', () => void control.write('{"kind":"touched","id":"x"}\n'.repeat(1000))],
      [
        'requests for what there is not',
        () => {
          for (let index = 0; index < 30 && !session.closed && !session.destroyed; index += 1)
            session.request({ ':path': '/etc/passwd' }).on('error', () => {});
        },
      ],
      [
        'a flood of pings',
        () => {
          for (let index = 0; index < 2000; index += 1) session.ping(() => {});
        },
      ],
      [
        'a flood of settings',
        async () => {
          for (let index = 0; index < 200 && !session.destroyed; index += 1)
            await Promise.race([
              new Promise((resolve) => session.settings({ initialWindowSize: 65_535 + index }, resolve)),
              closeOf(session),
            ]);
        },
      ],
      [
        'a flood of resets',
        async () => {
          for (let round = 0; round < 60 && !session.closed && !session.destroyed; round += 1) {
            const streams: ClientHttp2Stream[] = [];
            while (streams.length < 50 && !session.closed && !session.destroyed)
              streams.push(session.request({ ':method': 'POST', ':path': '/flow' }, { endStream: false }));
            await Promise.all(
              streams.map((stream) => {
                stream.on('error', () => {});
                stream.close(constants.NGHTTP2_CANCEL);
                return closeOf(stream);
              }),
            );
          }
        },
      ],
    ];
    for (const [what, say] of said) {
      await linked();
      const before = counters().misbehaved;
      await say();
      await within(gone(), what);
      // nghttp2 ends a session that resets too much by itself, and Node says no more of it than that it has ended.
      assert.equal(counters().misbehaved, what === 'a flood of resets' ? before : before + 1, what);
    }
  });

  it('says hello, in time and first', async () => {
    for (const greeting of ['nothing', '{"kind":"abandon","stream":1}\n{"kind":"renew","request":"x"}\n']) {
      const before = counters().misbehaved;
      await start(greeting);
      await gone();
      assert.equal(counters().misbehaved, before + 1);
    }
    await start('nothing');
    const stream = flow(renderFlowHeader({ flow: flowTo() }));
    await within(closeOf(stream), 'a flow before hello');
    assert.equal(counters().flows, 0);
    await gone();
    await start({ ...hello, protocol: 99 });
    await gone();
    assert.equal(counters().links, 0);
  });

  it('has headers of a size, and may not hold more than a few links that say nothing', async () => {
    await linked();
    const before = counters().misbehaved;
    const stream = session.request({ ':method': 'POST', ':path': '/flow', 'x-long': 'y'.repeat(60_000) });
    stream.on('error', () => {});
    await within(closeOf(stream), 'it is refused');
    assert.equal(counters().flows, 0);
    assert.ok(counters().misbehaved - before <= 1);
    cutSession(session, 'again');
    await until('it is gone', () => bed.server.open.links === 0);
    for (let index = 0; index < 5; index += 1) await start('nothing');
    await until('two were turned away', () => counters().notAdmitted === 2);
    assert.equal(bed.server.open.links, 3);
  });
});

describe('a stranger', () => {
  let bed: LinkBed;
  beforeEach(async () => {
    bed = await LinkBed.open({ limits: { handshakeMs: 200, handshakes: 20, handshakesPerSource: 10, handshakesPerSecond: 50 } });
  });
  afterEach(() => bed.close());

  it('without a certificate, or with one of its own making, gets no byte of HTTP/2 in or out', async () => {
    const other = await LinkBed.open();
    const { key, certificate } = (await other.enrolled('branch-1')).credentials();
    for (const credentials of [{}, { key, cert: certificate }]) {
      const heard: Buffer[] = [];
      const socket = tls.connect({
        port: bed.port,
        host: '127.0.0.1',
        rejectUnauthorized: false,
        ALPNProtocols: ['h2'],
        ...credentials,
      });
      socket.on('error', () => {});
      socket.on('data', (bytes: Buffer) => heard.push(bytes));
      socket.on('secureConnect', () => socket.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'));
      await within(closeOf(socket), 'it is over');
      assert.equal(Buffer.concat(heard).length, 0);
    }
    assert.equal(bed.server.counters.handshakesFailed, 2);
    assert.equal(bed.server.open.links, 0);
    await other.close();
  });

  it('who begins handshakes and leaves them is bounded, and agents still get in', async () => {
    const identity = await bed.enrolled('branch-1');
    const { counters } = bed.server;
    const silent = Array.from({ length: 30 }, () => net.connect(bed.port, '127.0.0.1').on('error', () => {}));
    await until('all were seen', () => counters.handshakesShed + bed.server.open.handshakes >= 30);
    assert.deepEqual([bed.server.open.handshakes, counters.handshakesShed], [10, 20]);
    await until('the others were given up', () => counters.handshakesTimedOut === 10 && bed.server.open.handshakes === 0);
    await Promise.all(silent.map((socket) => (socket.closed ? undefined : once(socket.destroy(), 'close'))));
    const garbage = net.connect(bed.port, '127.0.0.1').on('error', () => {});
    garbage.write('GET / HTTP/1.1\r\n\r\n');
    await within(closeOf(garbage), 'who does not speak TLS');
    assert.equal(counters.handshakesFailed, 1);
    const watched = new Watched((onStateChange) => bed.client(identity, { onStateChange }));
    await watched.reach('linked');
  });

  it('with a token may ask for a certificate, once, and for nothing else', async () => {
    const { token } = await bed.registry.add('branch-1');
    const identity = await bed.enrolled('branch-2');
    const { credentials, request } = await identity.beginEnrolment(parseToken(token));
    const open = async (): Promise<ClientHttp2Session> => {
      const socket = tls.connect({
        port: bed.port,
        host: '127.0.0.1',
        key: credentials.key,
        cert: credentials.certificate,
        rejectUnauthorized: false,
        ALPNProtocols: ['h2'],
      });
      socket.on('error', () => {});
      await once(socket, 'secureConnect');
      const session = http2.connect('https://x', { createConnection: () => socket });
      session.on('error', () => {});
      return session;
    };
    for (const path of ['/flow', '/control', '/spool', '/program/1.2.3']) {
      const session = await open();
      const ended = within(closeOf(session), path);
      session.request({ ':method': 'POST', ':path': path }, { endStream: false }).on('error', () => {});
      await ended;
    }
    const long = await open();
    const ended = within(closeOf(long), 'too long a request');
    long
      .request({ ':method': 'POST', ':path': '/enrol' })
      .on('error', () => {})
      .end('x'.repeat(60_000));
    await ended;
    await until('each of them was counted', () => bed.server.counters.enrolmentsRefused === 5);
    const wrong = await open();
    const stream = wrong.request({ ':method': 'POST', ':path': '/enrol' });
    stream.on('error', () => {}).end('not a request');
    assert.match((await buffer(stream)).toString(), /"code":"bad-request"/);
    const right = await open();
    const twice = ['a', 'b'].map(() => right.request({ ':method': 'POST', ':path': '/enrol' }));
    for (const one of twice) one.on('error', () => {}).end(request);
    await within(closeOf(right), 'only one');
    assert.ok(bed.server.counters.enrolled <= 2);
    assert.equal(bed.server.counters.flows, 0);
  });
});

describe('a gateway that is not well', () => {
  it('cannot make its agent hold more than a line, or wait for ever', async () => {
    const bed = await LinkBed.open();
    const identity = await bed.enrolled('branch-1');
    await bed.server.close();
    const options = bed.registry.tlsOptions();
    let answer: (stream: http2.ServerHttp2Stream) => void = () => {};
    const server = http2.createSecureServer({ ...options, ALPNProtocols: ['h2'] });
    const sessions = new Set<http2.ServerHttp2Session>();
    server.on('session', (session) => void sessions.add(session.on('error', () => {})));
    server.on('stream', (stream) => {
      stream.on('error', () => {});
      stream.respond({ ':status': 200 });
      answer(stream);
    });
    server.listen(bed.port, '127.0.0.1');
    await once(server, 'listening');
    const welcome = `${JSON.stringify({ kind: 'welcome', protocol: 1, version: '1.2.3', agent: 'branch-1', clock: 1 })}\n`;
    for (const [say, why] of [
      [() => {}, /no welcome/],
      [(stream: http2.ServerHttp2Stream) => void stream.write(`${welcome}${'x'.repeat(200_000)}`), /too long/],
      [(stream: http2.ServerHttp2Stream) => void stream.end(welcome), /control stream ended/],
      [
        (stream: http2.ServerHttp2Stream) => void stream.write(welcome.replace('"protocol":1', '"protocol":99')),
        /link protocol 99 \(version 1\.2\.3\), this agent 1/,
      ],
      [(stream: http2.ServerHttp2Stream) => void stream.session?.goaway(2), /HTTP\/2/],
      [(stream: http2.ServerHttp2Stream) => void stream.write(`${welcome}{"kind":"goodbye","reason":"\\u001b[2J"}\n`), /x1b/],
    ] as const) {
      answer = say;
      const watched = new Watched((onStateChange) =>
        bed.client(identity, {
          onStateChange,
          limits: { connectMs: 400, controlLineBytes: 100_000, backOffMs: 60_000, backOffMaxMs: 60_000 },
        }),
      );
      const state = await watched.reach('away');
      assert.match('reason' in state ? (state.reason ?? '') : '', why);
      await watched.client.close();
    }
    answer = (stream) => void stream.write(`nonsense\n{"kind":"explode"}\n${welcome}`);
    const watched = new Watched((onStateChange) => bed.client(identity, { onStateChange }));
    await watched.reach('linked');
    assert.equal(watched.client.counters.badMessages, 2);
    await watched.client.close();
    for (const session of sessions) session.destroy();
    server.close();
    await bed.close();
  });
});
