// Sessions as tcppc-go writes them, one JSON object a line: times in RFC 3339 with trailing zeros of the fraction cut (as
// Go prints them), `proto` is tcp, tls or udp, only bytes from the client, base64. Sessions without bytes have `[]`.

import { type Micros, renderMicros } from '../../base/clock.ts';
import type { StoredSession } from '../store.ts';

/** `2026-01-02T03:04:05.12Z`; no fraction when it is zero. */
export const renderGoTime = (at: Micros): string => renderMicros(at).replace(/\.?0*Z$/, 'Z');

/** One line, newline included. */
export function renderTcppc({ session, chunks }: StoredSession): string {
  const { transport, tls, source, destination } = session;
  const payloads = chunks
    .filter(({ direction }) => direction === 'in')
    .map(({ at, bytes }, index) => ({
      index,
      timestamp: renderGoTime(at),
      data: Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64'),
    }));
  const flow = {
    proto: transport === 'tcp' && tls ? 'tls' : transport,
    src: source.ip,
    sport: source.port,
    dst: destination.ip,
    dport: destination.port,
  };
  return `${JSON.stringify({ timestamp: renderGoTime(session.start), flow, payloads })}\n`;
}
