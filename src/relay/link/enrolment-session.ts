// What somebody with a token may do: send one request for a certificate, and go. Everything else ends the connection.

import { constants } from 'node:http2';
import type { TLSSocket } from 'node:tls';
import { asWeirError } from '../../base/errors.ts';
import type { AgentGate } from '../agents/agent-gate.ts';
import { cutSession } from './link-flow.ts';
import type { LinkServerCounters, LinkServerLimits, LinkServerOptions } from './link-server-options.ts';
import { openServerSession } from './server-session.ts';

export interface EnrolmentOwner {
  readonly options: LinkServerOptions & { readonly gate: AgentGate };
  readonly limits: LinkServerLimits;
  readonly counters: LinkServerCounters;
}

const maxRequestBytes = 16 * 1024;
/** How long the answer may be under way. */
const answerMs = 2_000;

/** Resolves when the connection is over, at the latest after `helloMs` and `answerMs`. */
export function serveEnrolment(socket: TLSSocket, enrolment: string, owner: EnrolmentOwner): Promise<void> {
  const { options, limits, counters } = owner;
  return new Promise((resolve) => {
    const session = openServerSession(socket, {
      maxStreams: 1,
      clock: options.clock,
      onMisbehaviour: () => end(),
      onBroken: () => end(),
    });
    const end = (): void => cutSession(session, 'the enrolment is over');
    /** Whole, and counted by what the gate says. */
    let judged = false;
    let timer = setTimeout(end, limits.helloMs).unref();
    session.on('close', () => {
      clearTimeout(timer);
      socket.destroy();
      // Late, too long, broken off, or no request at all.
      if (!judged) counters.enrolmentsRefused += 1;
      resolve();
    });
    let asked = false;
    session.on('stream', (stream, headers) => {
      stream.on('error', () => {});
      if (asked || headers[':method'] !== 'POST' || headers[':path'] !== '/enrol') {
        end();
        return;
      }
      asked = true;
      const pieces: Buffer[] = [];
      let length = 0;
      stream.on('data', (bytes: Buffer) => {
        length += bytes.length;
        if (length > maxRequestBytes) end();
        else pieces.push(bytes);
      });
      stream.on('end', () => {
        // Node ends streams that it destroys, too.
        if (session.destroyed || stream.rstCode !== constants.NGHTTP2_NO_ERROR) return;
        judged = true;
        clearTimeout(timer);
        void answer(Buffer.concat(pieces).toString('utf8')).then(({ status, body }) => {
          if (stream.destroyed) return;
          timer = setTimeout(end, answerMs).unref();
          stream.respond({ ':status': status });
          stream.end(JSON.stringify(body), () => session.close());
        });
      });
    });
    const answer = async (request: string): Promise<{ status: number; body: object }> => {
      try {
        const body = await options.gate.enrol(enrolment, request);
        counters.enrolled += 1;
        return { status: 200, body };
      } catch (error) {
        const { code, message } = asWeirError(error);
        counters.enrolmentsRefused += 1;
        if (code !== 'bad-request' && code !== 'not-permitted') options.log.error('an enrolment failed', { error: message });
        return { status: code === 'bad-request' ? 400 : 403, body: { code, message } };
      }
    };
  });
}
