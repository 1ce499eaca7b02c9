// Random events for property tests: every field, present or absent, with hostile text. Used by tests only.

import fc from 'fast-check';
import type { WeirEvent } from '../../src/model/event.ts';
import { createIdentifier } from '../../src/model/identifier.ts';
import type { SessionRecord } from '../../src/model/session.ts';

const text = fc.oneof(fc.string({ maxLength: 40 }), fc.string({ unit: 'grapheme', maxLength: 60 }));
const time = fc.integer({ min: 1_600_000_000_000_000, max: 2_000_000_000_000_000 });
const port = fc.integer({ min: 0, max: 65535 });
const ip = fc.oneof(fc.ipV4(), fc.ipV6(), fc.constant('fe80::1%eth0'));
const endpoint = fc.record({ ip, port });
const count = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER });
const some = <T>(of: fc.Arbitrary<T>): fc.Arbitrary<T> => of;

const syn = fc.record(
  {
    ttl: fc.integer({ min: 0, max: 255 }),
    ipId: port,
    doNotFragment: fc.boolean(),
    window: port,
    sequence: fc.integer({ min: 0, max: 0xffffffff }),
    options: text,
    mss: some(port),
    windowScale: some(fc.integer({ min: 0, max: 255 })),
    system: some(text),
  },
  { requiredKeys: ['ttl', 'ipId', 'doNotFragment', 'window', 'sequence', 'options'] },
);

const tls = fc.record(
  { version: text, ja3: text, ja4: text, serverName: text, alpn: fc.array(text, { maxLength: 4 }) },
  { requiredKeys: ['version', 'ja3', 'ja4'] },
);

const chunk = fc.record({
  at: time,
  direction: fc.constantFrom('in' as const, 'out' as const),
  bytes: fc.uint8Array({ maxLength: 300 }),
});

export const sessionArbitrary: fc.Arbitrary<SessionRecord> = fc
  .record(
    {
      sequence: fc.integer({ min: 0, max: 1000 }),
      outcome: fc.constantFrom('open' as const, 'client-closed' as const, 'idle' as const, 'service-unreachable' as const),
      start: time,
      end: time,
      transport: fc.constantFrom('tcp' as const, 'udp' as const),
      source: endpoint,
      destination: endpoint,
      sourceReliable: fc.boolean(),
      sourceMac: text,
      diversion: text,
      service: text,
      persona: text,
      agent: text,
      syn,
      protocol: text,
      tls,
      userName: text,
      password: text,
      credentials: fc.array(fc.record({ userName: text, password: text, accepted: fc.boolean() }, { requiredKeys: [] }), {
        minLength: 1,
        maxLength: 4,
      }),
      facts: fc.array(fc.record({ kind: fc.constantFrom('url' as const, 'hassh' as const, 'file' as const), value: text }), {
        minLength: 1,
        maxLength: 3,
      }),
      connectMicros: count,
      firstByteMicros: count,
      tags: fc.array(text, { maxLength: 5 }),
      bytesIn: count,
      bytesOut: count,
      firstChunk: fc.integer({ min: 0, max: 10_000 }),
      chunks: fc.array(chunk, { maxLength: 6 }),
      truncated: fc.boolean(),
    },
    {
      requiredKeys: [
        'sequence',
        'outcome',
        'start',
        'transport',
        'source',
        'destination',
        'sourceReliable',
        'diversion',
        'service',
        'bytesIn',
        'bytesOut',
        'firstChunk',
        'chunks',
        'truncated',
      ],
    },
  )
  .map((session) => ({ id: createIdentifier(session.start), ...session }));

const target = fc.record({
  ip,
  port,
  transport: fc.constantFrom('tcp' as const, 'udp' as const, 'icmp' as const),
  kind: fc.constantFrom('half-open' as const, 'closed' as const, 'dead' as const, 'xmas' as const, 'echo' as const),
  count: fc.integer({ min: 1, max: 1_000_000 }),
});

const details = fc.dictionary(fc.string({ maxLength: 8 }), fc.oneof(fc.integer(), text, fc.boolean()), {
  maxKeys: 4,
  noNullPrototype: true,
});

export const eventArbitrary: fc.Arbitrary<WeirEvent> = fc.oneof(
  sessionArbitrary.map((session): WeirEvent => ({ kind: 'session', session })),
  fc
    .record(
      {
        start: time,
        end: time,
        source: ip,
        sourcePort: port,
        sourceMac: text,
        diversion: text,
        targets: fc.array(target, { maxLength: 8 }),
        unlisted: fc.integer({ min: 0, max: 1_000_000 }),
        syn,
      },
      { requiredKeys: ['start', 'end', 'source', 'sourcePort', 'diversion', 'targets', 'unlisted'] },
    )
    .map((probe): WeirEvent => ({ kind: 'probe', probe: { id: createIdentifier(probe.start), ...probe } })),
  fc
    .record({ at: time, name: text, severity: fc.constantFrom('info' as const, 'high' as const), message: text, details })
    .map((alert): WeirEvent => ({ kind: 'alert', alert: { id: createIdentifier(alert.at), ...alert } })),
  fc
    .record({ at: time, name: text, program: text, message: text, details })
    .map((system): WeirEvent => ({ kind: 'system', system: { id: createIdentifier(system.at), ...system } })),
);
