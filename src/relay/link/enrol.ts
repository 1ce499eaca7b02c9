// An agent's first connection: with what its token holds, it sends its request and gets a certificate.

import http2 from 'node:http2';
import { WeirError } from '../../base/errors.ts';
import { printable } from '../../base/printable.ts';
import { connectGateway } from './gateway-connection.ts';
import type { LinkCredentials, LinkTarget } from './link-client-options.ts';
import { cutSession } from './link-flow.ts';

export interface EnrolOptions extends LinkTarget {
  /** Seeded by the token. */
  readonly credentials: LinkCredentials;
  /** PKCS #10, PEM. */
  readonly request: string;
  readonly timeoutMs?: number;
}

const maxAnswerBytes = 64 * 1024;

/**
 * Rejects with WeirError `unauthorized` (not our gateway), `not-permitted` (the token is used, expired or withdrawn: such a
 * gateway ends the handshake), `bad-request`, `timeout`, `not-running`.
 */
export async function enrolOverLink(options: EnrolOptions): Promise<{ readonly agent: string; readonly certificate: string }> {
  const timeoutMs = options.timeoutMs ?? 15_000;
  const socket = await connectGateway(options, options.credentials, timeoutMs).connected;
  const session = http2.connect('https://gateway', {
    createConnection: () => socket,
    settings: { enablePush: false },
    maxSessionMemory: 1,
  });
  try {
    return await new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new WeirError('timeout', `no answer within ${timeoutMs} ms`)), timeoutMs);
      session.once('close', () => {
        clearTimeout(timer);
        // TLS 1.3 tells the client that it is through before the server has looked at its certificate.
        reject(new WeirError('not-permitted', 'the gateway does not take this token: it was used, or is too old, or withdrawn'));
      });
      session.on('error', () => {});
      const stream = session.request({ ':method': 'POST', ':path': '/enrol' });
      let status = 0;
      const pieces: Buffer[] = [];
      let length = 0;
      stream.on('error', () => {});
      stream.on('response', (headers) => {
        status = Number(headers[':status']);
      });
      stream.on('data', (bytes: Buffer) => {
        length += bytes.length;
        if (length > maxAnswerBytes) cutSession(session, 'the answer is too long');
        else pieces.push(bytes);
      });
      stream.on('end', () => {
        const answer = parseAnswer(Buffer.concat(pieces).toString('utf8'));
        if (status === 200 && answer.agent !== undefined && answer.certificate !== undefined)
          resolve({ agent: answer.agent, certificate: answer.certificate });
        else if (status === 400) reject(new WeirError('bad-request', answer.message ?? 'the gateway refused the request'));
        else if (status === 403) reject(new WeirError('not-permitted', answer.message ?? 'the gateway does not take this token'));
      });
      stream.end(options.request);
    });
  } finally {
    cutSession(session, 'the enrolment is over');
  }
}

function parseAnswer(text: string): { agent?: string; certificate?: string; message?: string } {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value !== 'object' || value === null) return {};
    const entry = (key: string): string | undefined => {
      const found: unknown = (value as Record<string, unknown>)[key];
      return typeof found === 'string' ? found : undefined;
    };
    const message = entry('message');
    const agent = entry('agent');
    const certificate = entry('certificate');
    return {
      ...(agent === undefined ? {} : { agent }),
      ...(certificate === undefined ? {} : { certificate }),
      ...(message === undefined ? {} : { message: printable(message, 300) }),
    };
  } catch {
    return {};
  }
}
