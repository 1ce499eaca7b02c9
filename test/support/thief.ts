// Whoever took an agent's `identity.json`, or has nothing at all, and speaks HTTP/2 with the gateway from somewhere else: raw
// streams, nothing of our own client. The caller ends it.

import { once } from 'node:events';
import http2, { type ClientHttp2Session, type ClientHttp2Stream } from 'node:http2';
import net from 'node:net';
import tls from 'node:tls';
import { AF_INET, insideNetns, openSocket, SOCK_STREAM } from '../../src/kernel/libc.ts';
import type { TestNamespace } from './namespace.ts';

export interface ThiefPlace {
  readonly from: TestNamespace;
  readonly to: { readonly host: string; readonly port: number };
}

export interface Stolen {
  readonly key: string;
  readonly certificate: string;
}

/** The end of a TLS handshake and what the gateway said behind it: bytes heard until it closed. */
export async function knock({ from, to }: ThiefPlace, stolen?: Stolen): Promise<{ readonly heardBytes: number }> {
  const socket = await connect({ from, to }, stolen);
  let heardBytes = 0;
  socket.on('data', (bytes: Buffer) => {
    heardBytes += bytes.length;
  });
  socket.on('secureConnect', () => socket.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'));
  await new Promise((resolve) => socket.once('close', resolve));
  return { heardBytes };
}

async function connect({ from, to }: ThiefPlace, stolen?: Stolen): Promise<tls.TLSSocket> {
  const fd = insideNetns(from.path, () => openSocket(AF_INET, SOCK_STREAM, 0));
  const socket = new net.Socket({ fd, manualStart: true } as net.SocketConstructorOpts);
  socket.on('error', () => {});
  socket.connect(to);
  await once(socket, 'connect');
  const secure = tls.connect({
    socket,
    rejectUnauthorized: false,
    ALPNProtocols: ['h2'],
    ...(stolen ? { key: stolen.key, cert: stolen.certificate } : {}),
  });
  secure.on('error', () => {});
  return secure;
}

const hello = {
  kind: 'hello',
  protocol: 1,
  version: '0.1.0',
  platform: 'linux',
  arch: 'x64',
  node: 'v20',
  hostname: 'elsewhere',
  capabilities: [],
  clock: 1,
  spool: { records: 0, bytes: 0, droppedRecords: 0, diskFull: false },
};

export class Thief {
  readonly session: ClientHttp2Session;
  readonly control: ClientHttp2Stream;
  /** Everything the gateway said on the control stream. */
  said = '';
  ended = false;

  private constructor(session: ClientHttp2Session) {
    this.session = session;
    session.on('error', () => {});
    session.once('close', () => {
      this.ended = true;
    });
    this.control = session.request({ ':method': 'POST', ':path': '/control' }, { endStream: false });
    this.control.on('error', () => {});
    this.control.on('data', (bytes: Buffer) => {
      if (this.said.length < 1 << 20) this.said += String(bytes);
    });
    this.control.write(`${JSON.stringify(hello)}\n`);
  }

  static async enter(place: ThiefPlace, stolen: Stolen): Promise<Thief> {
    const socket = await connect(place, stolen);
    await once(socket, 'secureConnect');
    return new Thief(http2.connect('https://gateway', { createConnection: () => socket }));
  }

  /** Opens a stream, says this, and gives the status, 0 when it was reset without one. */
  ask(method: string, path: string, words: Uint8Array | string = '', end = true): Promise<number> {
    const stream = this.session.request({ ':method': method, ':path': path }, { endStream: false });
    let status = 0;
    stream.on('error', () => {});
    stream.on('response', (headers) => {
      status = Number(headers[':status']);
    });
    stream.resume();
    if (words.length > 0) stream.write(words);
    if (end) stream.end();
    return new Promise((resolve) => stream.once('close', () => resolve(status)));
  }

  async leave(): Promise<void> {
    if (this.ended) return;
    const closed = new Promise((resolve) => this.session.once('close', resolve));
    this.session.destroy();
    await closed;
  }
}
