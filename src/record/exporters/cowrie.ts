// Sessions as Cowrie's JSON log has them: one line for each thing that happened, in order, told apart by `eventid`. Written
// from the fields its users read; a field of ours never takes the name of one of theirs. Pure.

import { renderMicros } from '../../base/clock.ts';
import type { SessionInsight } from '../../model/insight.ts';
import type { Credential } from '../../model/session.ts';
import type { SessionSummary } from '../store.ts';

const sensor = 'weir';

/** Cowrie's own names where it has one; others keep theirs. */
const protocolOf = ({ protocol, transport }: SessionSummary): string => protocol ?? transport;

function* happenings(session: SessionSummary, insight: SessionInsight | undefined): Generator<Record<string, unknown>> {
  const { source, destination } = session;
  yield {
    eventid: 'cowrie.session.connect',
    src_port: source.port,
    dst_ip: destination.ip,
    dst_port: destination.port,
    protocol: protocolOf(session),
    message: `New connection: ${source.ip}:${source.port} (${destination.ip}:${destination.port}) [session: ${session.id}]`,
  };
  const facts = insight?.facts ?? [];
  for (const { kind, value } of facts) {
    if (kind === 'client') yield { eventid: 'cowrie.client.version', version: value, message: `Remote SSH version: ${value}` };
    if (kind === 'hassh') yield { eventid: 'cowrie.client.kex', hassh: value, message: `SSH client hassh fingerprint: ${value}` };
  }
  for (const { userName, password, accepted } of attemptsOf(session)) {
    const [username, word] = [userName ?? '', password ?? ''];
    const eventid = accepted ? 'cowrie.login.success' : 'cowrie.login.failed';
    yield {
      eventid,
      username,
      password: word,
      message: `login attempt [${username}/${word}] ${accepted ? 'succeeded' : 'failed'}`,
    };
  }
  for (const { kind, value } of facts) {
    if (kind === 'command') yield { eventid: 'cowrie.command.input', input: value, message: `CMD: ${value}` };
    // Named, never fetched.
    if (kind === 'url')
      yield {
        eventid: 'cowrie.session.file_download.failed',
        url: value,
        message: `Attempt to download file(s) from URL (${value}) failed`,
      };
  }
  if (session.end === undefined) return;
  const seconds = (session.end - session.start) / 1e6;
  yield {
    eventid: 'cowrie.session.closed',
    duration: seconds.toFixed(1),
    duration_ms: Math.round(seconds * 1000),
    message: `Connection lost after ${seconds.toFixed(1)} seconds`,
  };
}

function attemptsOf({ credentials, userName, password }: SessionSummary): readonly Credential[] {
  if (credentials && credentials.length > 0) return credentials;
  return userName === undefined && password === undefined ? [] : [{ userName, password }];
}

/** Lines, newline included; all carry the session's identifier, and its start but for the last, which has its end. */
export function renderCowrie(session: SessionSummary, insight: SessionInsight | undefined): string {
  let lines = '';
  for (const { eventid, message, ...fields } of happenings(session, insight)) {
    const at = eventid === 'cowrie.session.closed' ? (session.end ?? session.start) : session.start;
    // Identity last: nothing an attacker sent can stand in its place.
    const line = {
      ...fields,
      eventid,
      message,
      session: session.id,
      src_ip: session.source.ip,
      sensor: session.agent ?? sensor,
      timestamp: renderMicros(at),
    };
    lines += `${JSON.stringify(line)}\n`;
  }
  return lines;
}
