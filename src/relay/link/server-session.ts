// HTTP/2 on the gateway's end of a link: windows, limits, and how much nonsense ends it. Pings, settings and resets cost us
// more than them, so each has a budget. What the streams mean is agent-link.ts and enrolment-session.ts.

import { performServerHandshake, type ServerHttp2Session } from 'node:http2';
import type { TLSSocket } from 'node:tls';
import type { Clock } from '../../base/clock.ts';
import { RateBudget } from '../../base/rate-budget.ts';

/** Of one stream, and of the whole link: how much may be under way that was not read yet. */
export const streamWindowBytes = 2 ** 20;
export const linkWindowBytes = 16 * 2 ** 20;
/** Largest frame taken: fewer, larger ones cost less; a small flow waits for one of them at most. */
export const frameBytes = 64 * 1024;
export const maxHeaderBytes = 4096;

export interface SessionOptions {
  readonly maxStreams: number;
  readonly clock: Clock;
  /** The peer does what no agent of ours does; it has to go. */
  onMisbehaviour(what: string): void;
  /** It broke, or the peer ended it by a GOAWAY. */
  onBroken(reason: string): void;
}

export function openServerSession(socket: TLSSocket, options: SessionOptions): ServerHttp2Session {
  const session = performServerHandshake(socket, {
    settings: {
      initialWindowSize: streamWindowBytes,
      maxFrameSize: frameBytes,
      maxConcurrentStreams: options.maxStreams,
      maxHeaderListSize: maxHeaderBytes,
      headerTableSize: 4096,
      enablePush: false,
    },
    maxHeaderListPairs: 16,
    maxSettings: 16,
    maxOutstandingPings: 4,
    maxSessionInvalidFrames: 20,
    maxSessionRejectedStreams: 200,
    // Megabytes; past it HTTP/2 takes no new streams. Our own bounds come first (flowsPerAgent, bufferedBytesPerAgent).
    maxSessionMemory: 128,
  });
  const nonsense = new RateBudget(40, 5, options.clock);
  const spend = (what: string): void => {
    if (!nonsense.take()) options.onMisbehaviour(what);
  };
  session.on('ping', () => spend('too many pings'));
  session.on('remoteSettings', () => spend('too many settings'));
  // ERR_HTTP2_ERROR is nghttp2's own: frames that are none, or too many of a kind.
  session.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'ERR_HTTP2_ERROR') options.onMisbehaviour(`HTTP/2: ${error.message}`);
    else options.onBroken(error.message);
  });
  session.setLocalWindowSize(linkWindowBytes);
  session.on('frameError', () => {});
  return session;
}
