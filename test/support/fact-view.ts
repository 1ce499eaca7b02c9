// A session as fact extraction is given it, out of what one side said.

import type { SessionView } from '../../src/analysis/session-view.ts';

type Session = SessionView['session'];

const session: Session = {
  id: '0',
  sequence: 0,
  start: 1,
  transport: 'tcp',
  source: { ip: '198.51.100.7', port: 4 },
  destination: { ip: '192.0.2.1', port: 80 },
  sourceReliable: true,
  diversion: 'd',
  service: 'catch-all',
  outcome: 'client-closed',
  bytesIn: 1,
  bytesOut: 1,
  truncated: false,
};

/** Text is Latin-1: a byte for each character. */
export const factView = (input: string | Uint8Array, more: Partial<Session> = {}, output = ''): SessionView => ({
  session: { ...session, ...more },
  input: typeof input === 'string' ? Buffer.from(input, 'latin1') : input,
  output: Buffer.from(output, 'latin1'),
});
