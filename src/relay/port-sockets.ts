// One listening TCP port and one bound UDP port, by Node's own sockets: any user, any system. Which ones are wanted is
// port-listeners.ts.

import dgram from 'node:dgram';
import net from 'node:net';
import type { Endpoint } from '../model/session.ts';
import { endpointOf } from './own-addresses.ts';

export interface OpenPort {
  close(): Promise<void>;
}

/** Resolves once it listens; rejects with the system's error. Connections are half-open, without Nagle. */
export function listenTcp(
  address: string,
  port: number,
  onConnection: (socket: net.Socket) => void,
  onError: (error: NodeJS.ErrnoException) => void,
): Promise<OpenPort> {
  return new Promise((resolve, reject) => {
    const server = new net.Server({ allowHalfOpen: true, noDelay: true }, onConnection);
    server.once('error', reject);
    server.listen({ host: address, port, exclusive: true }, () => {
      server.off('error', reject);
      // Accepting failed: no descriptor was left. It goes on with the next.
      server.on('error', onError);
      // Connections already there go on.
      resolve({
        close: async () => {
          server.close();
        },
      });
    });
  });
}

export interface UdpMessage {
  readonly payload: Buffer;
  readonly source: Endpoint;
  /** False when it cannot be sent now: the socket's queue is full, or it is closed. */
  reply(bytes: Uint8Array): boolean;
}

/** Bytes of answers that may wait in one socket. */
const queuedBytes = 256 * 1024;

export function bindUdp(
  address: string,
  family: 4 | 6,
  port: number,
  onMessage: (message: UdpMessage) => void,
  onError: (error: NodeJS.ErrnoException) => void,
): Promise<OpenPort> {
  return new Promise((resolve, reject) => {
    const socket = dgram.createSocket(family === 4 ? { type: 'udp4' } : { type: 'udp6', ipv6Only: true });
    let closed = false;
    socket.once('error', reject);
    socket.bind({ address, port, exclusive: true }, () => {
      socket.off('error', reject);
      // An ICMP error for an answer of ours, mostly; the socket lives.
      socket.on('error', onError);
      resolve({
        close: () =>
          new Promise((done) => {
            if (closed) return done();
            closed = true;
            socket.close(done);
          }),
      });
    });
    socket.on('message', (payload, { address: from, port: fromPort }) => {
      const source = endpointOf(from, fromPort);
      if (!source) return;
      const reply = (bytes: Uint8Array): boolean => {
        if (closed || socket.getSendQueueSize() + bytes.length > queuedBytes) return false;
        // Errors are told by the callback, not thrown; nobody waits for them.
        socket.send(bytes, fromPort, from, () => {});
        return true;
      };
      onMessage({ payload, source, reply });
    });
  });
}
