// Turns a connection that has sent its ClientHello into a server-side TLS stream with a certificate that fits the name asked for.
// Takes any version OpenSSL still speaks. Certificates are certificate-mint.ts; the session around it is tcp-session.ts.

import type { Socket } from 'node:net';
import { type SecureContext, TLSSocket } from 'node:tls';
import { type ClientHello, certificateKind } from '../model/client-hello.ts';
import type { CertificateMint } from './certificate-mint.ts';
import type { VisitStream } from './visit.ts';

/** The context for this hello: by SNI, else by the decoy's own name. */
export const contextFor = (mint: CertificateMint, hello: ClientHello, host: string): SecureContext =>
  mint.context(hello.serverName ?? host, certificateKind(hello));

/**
 * `received` is what was read from `socket` and belongs to the handshake. The caller has taken its `data` listener away
 * and paused the socket; it listens to `secure`, `data`, `end`, `error` and `close` of the result.
 */
export function terminateTls(socket: VisitStream, received: Buffer, context: SecureContext, hello: ClientHello): TLSSocket {
  socket.unshift(received);
  // Any duplex stream will do (tls.TLSSocket); the types know sockets alone.
  return new TLSSocket(socket as Socket, {
    isServer: true,
    secureContext: context,
    // Offering a list that does not match would end the handshake: answer ALPN only where HTTP/1.1 is acceptable.
    ...(hello.alpn.includes('http/1.1') ? { ALPNProtocols: ['http/1.1'] } : {}),
  });
}

/** A fatal `handshake_failure` alert, for hellos that cannot be read at all. RFC 8446 section 6. */
export const handshakeFailure = Buffer.from([0x15, 3, 1, 0, 2, 2, 40]);
