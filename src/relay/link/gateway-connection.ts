// From an agent to its gateway: a TCP connection, through an HTTP proxy where there is one, TLS 1.3 with the agent's
// certificate, and the check that it is our gateway, before anything is said.

import http from 'node:http';
import net from 'node:net';
import tls from 'node:tls';
import { WeirError } from '../../base/errors.ts';
import { distrust } from './gateway-trust.ts';
import type { LinkCredentials, LinkTarget } from './link-client-options.ts';

export interface Connecting {
  readonly connected: Promise<tls.TLSSocket>;
  /** Gives up; `connected` rejects. After it resolved, the socket is the caller's. */
  abort(): void;
}

/** `connected` rejects with WeirError `unauthorized` (not our gateway), `timeout`, or `not-running` (everything else). */
export function connectGateway(target: LinkTarget, credentials: LinkCredentials, timeoutMs: number): Connecting {
  let fail: (error: WeirError) => void = () => {};
  let current: { destroy(): unknown } | undefined;
  const failed = new Promise<never>((_, reject) => {
    fail = reject;
  });
  const timer = setTimeout(
    () => fail(new WeirError('timeout', `no link within ${timeoutMs} ms to ${target.gateway.host} ${target.gateway.port}`)),
    timeoutMs,
  );
  let over = false;
  const use = <T extends { destroy(): unknown }>(thing: T): T => {
    if (over) thing.destroy();
    current = thing;
    return thing;
  };
  const connect = async (): Promise<tls.TLSSocket> => {
    const raw = target.proxy ? await tunnel(target, target.proxy, use) : undefined;
    const socket = use(openTls(target, credentials, raw));
    await secured(socket);
    const why = distrust(chainOf(socket), { caFingerprint: credentials.caFingerprint, serverName: target.serverName });
    if (why !== undefined) throw new WeirError('unauthorized', `this is not our gateway: ${why}`);
    if (socket.alpnProtocol !== 'h2') throw new WeirError('unauthorized', 'this is not our gateway: it does not speak HTTP/2');
    return socket;
  };
  const connected = Promise.race([connect(), failed])
    .catch((error: unknown) => {
      current?.destroy();
      throw error instanceof WeirError ? error : new WeirError('not-running', reasonOf(error), {}, error);
    })
    .finally(() => {
      over = true;
      clearTimeout(timer);
    });
  return { connected, abort: () => fail(new WeirError('not-running', 'it was given up')) };
}

const reasonOf = (error: unknown): string => {
  const { code, message } = error as NodeJS.ErrnoException;
  return code === undefined ? String(message) : `${code}: ${message}`;
};

function openTls(target: LinkTarget, { key, certificate }: LinkCredentials, raw: net.Socket | undefined): tls.TLSSocket {
  const { host, port } = target.gateway;
  const socket = tls.connect({
    ...(raw ? { socket: raw } : { host, port }),
    ...(net.isIP(target.serverName) ? {} : { servername: target.serverName }),
    key,
    cert: certificate,
    // Judged by distrust(), right after the handshake and before a byte is sent.
    rejectUnauthorized: false,
    ca: [],
    minVersion: 'TLSv1.3',
    ALPNProtocols: ['h2'],
  });
  socket.on('error', () => {});
  socket.setNoDelay(true);
  return socket;
}

function secured(socket: tls.TLSSocket): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.once('secureConnect', resolve);
    socket.once('error', reject);
    socket.once('close', () => reject(new Error('the connection ended before the handshake was through')));
  });
}

/** What the gateway sent, its own first. Certificates link to each other by issuer, the last to itself. */
function chainOf(socket: tls.TLSSocket): Uint8Array[] {
  const chain: Uint8Array[] = [];
  const seen = new Set<tls.DetailedPeerCertificate>();
  let certificate: tls.DetailedPeerCertificate | undefined = socket.getPeerCertificate(true);
  while (certificate?.raw && !seen.has(certificate) && chain.length < 8) {
    seen.add(certificate);
    chain.push(certificate.raw);
    certificate = certificate.issuerCertificate;
  }
  return chain;
}

function tunnel(
  { gateway }: LinkTarget,
  proxy: NonNullable<LinkTarget['proxy']>,
  use: <T extends { destroy(): unknown }>(thing: T) => T,
): Promise<net.Socket> {
  const host = net.isIPv6(gateway.host) ? `[${gateway.host}]` : gateway.host;
  return new Promise((resolve, reject) => {
    const request = use(
      http.request({
        host: proxy.host,
        port: proxy.port,
        method: 'CONNECT',
        path: `${host}:${gateway.port}`,
        headers: {
          host: `${host}:${gateway.port}`,
          ...(proxy.authorization === undefined ? {} : { 'proxy-authorization': proxy.authorization }),
        },
        agent: false,
        maxHeaderSize: 16 * 1024,
      }),
    );
    request.once('error', (error) =>
      reject(new WeirError('not-running', `the proxy ${proxy.host} ${proxy.port}: ${reasonOf(error)}`)),
    );
    // An answer that is not 2xx to CONNECT comes as a response or as `connect`, by its status.
    request.once('response', (response) => {
      reject(new WeirError('not-running', `the proxy ${proxy.host} ${proxy.port} answered ${response.statusCode}`));
      request.destroy();
    });
    request.once('connect', (response, socket, head) => {
      const { statusCode = 0 } = response;
      if (statusCode >= 200 && statusCode < 300 && head.length === 0 && socket instanceof net.Socket) resolve(use(socket));
      else {
        socket.destroy();
        reject(new WeirError('not-running', `the proxy ${proxy.host} ${proxy.port} answered ${statusCode}`));
      }
    });
    request.end();
  });
}
