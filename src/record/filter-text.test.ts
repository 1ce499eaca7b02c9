// The text form of filters: what is accepted, what is refused and with which words, and that it survives a round trip.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { parseMicros } from '../base/clock.ts';
import { WeirError } from '../base/errors.ts';
import { createIdentifier } from '../model/identifier.ts';
import { filterKeys, parseFilter, parseTime, renderFilter } from './filter-text.ts';

const now = parseMicros('2026-03-04T05:06:07.000000Z');

describe('times', () => {
  const cases: [string, string | undefined][] = [
    ['now', '2026-03-04T05:06:07Z'],
    ['90s', '2026-03-04T05:04:37Z'],
    ['15m', '2026-03-04T04:51:07Z'],
    ['1h', '2026-03-04T04:06:07Z'],
    ['2d', '2026-03-02T05:06:07Z'],
    ['2026-03-01', '2026-03-01T00:00:00Z'],
    ['2026-03-01 12:30', '2026-03-01T12:30:00Z'],
    ['2026-03-01T12:30:15.123456Z', '2026-03-01T12:30:15.123456Z'],
    ['2026-03-01T12:30:15+02:00', '2026-03-01T10:30:15Z'],
    ['yesterday', undefined],
    ['15', undefined],
    ['-5m', undefined],
    ['2026-13-01', undefined],
    ['', undefined],
  ];
  for (const [text, expected] of cases)
    it(`reads '${text}'`, () => assert.equal(parseTime(text, now), expected === undefined ? undefined : parseMicros(expected)));
});

describe('filters', () => {
  it('reads every parameter', () => {
    const before = createIdentifier(now);
    const filter = parseFilter(
      {
        since: '1h',
        until: 'now',
        source: '10.0.0.0/8, 2001:db8::1',
        destination: '192.0.2.1-192.0.2.9',
        port: '53/udp',
        protocol: 'DNS',
        diversion: 'dmz',
        service: 'catch-all',
        limit: '7',
        before,
      },
      now,
    );
    assert.deepEqual(filter, {
      limit: 7,
      since: now - 3600e6,
      until: now,
      sources: [
        { family: 4, first: 0x0a000000n, last: 0x0affffffn },
        { family: 6, first: 0x20010db8000000000000000000000001n, last: 0x20010db8000000000000000000000001n },
      ],
      destinations: [{ family: 4, first: 0xc0000201n, last: 0xc0000209n }],
      ports: [{ first: 53, last: 53 }],
      transport: 'udp',
      protocol: 'dns',
      diversion: 'dmz',
      service: 'catch-all',
      before,
    });
  });

  it('treats empty parameters as absent', () => {
    assert.deepEqual(parseFilter(Object.fromEntries(filterKeys.map((key) => [key, ''])), now, 11), { limit: 11 });
  });

  const refused: [Record<string, string>, RegExp][] = [
    [{ limit: '0' }, /limit: '0' is not a number from 1 to 10000/],
    [{ limit: '10001' }, /limit/],
    [{ limit: '1e3' }, /limit/],
    [{ since: 'soon' }, /since: 'soon' is not a time: write 15m/],
    [{ since: '1h', until: '2h' }, /until: '2h' is not later than since/],
    [{ source: '10.0.0.0/33' }, /source: '10.0.0.0\/33' is not an address/],
    [{ port: '0' }, /port: '0' is not a port/],
    [{ port: '70000' }, /port/],
    [{ port: '22/udp', transport: 'tcp' }, /contradicts/],
    [{ transport: 'sctp' }, /neither tcp nor udp/],
    [{ protocol: "x' OR 1=1" }, /protocol/],
    [{ before: 'abc' }, /identifier/],
    [{ diversion: '\u001b[2J' }, /\\x1b\[2J/],
  ];
  for (const [text, message] of refused)
    it(`refuses ${JSON.stringify(text)}`, () =>
      assert.throws(
        () => parseFilter(text, now),
        (error: unknown) => error instanceof WeirError && error.code === 'bad-request' && message.test(error.message),
      ));

  it('survives a round trip', () => {
    const filters = fc.record(
      {
        since: fc.integer({ min: 0, max: 1e15 }),
        sources: fc
          .array(fc.tuple(fc.integer({ min: 0, max: 0xfffffff }), fc.integer({ min: 0, max: 999 })), {
            minLength: 1,
            maxLength: 3,
          })
          .map((pairs) =>
            pairs.map(([first, size]) => ({ family: 4 as const, first: BigInt(first), last: BigInt(first + size) })),
          ),
        ports: fc.integer({ min: 1, max: 65_000 }).map((first) => [{ first, last: first + 5 }]),
        transport: fc.constantFrom('tcp' as const, 'udp' as const),
        protocol: fc.constantFrom('tls', 'http'),
      },
      { requiredKeys: [] },
    );
    fc.assert(
      fc.property(filters, fc.integer({ min: 1, max: 10_000 }), (parts, limit) => {
        const filter = { ...parts, limit };
        assert.deepEqual(parseFilter(renderFilter(filter), now), filter);
      }),
    );
  });

  it('never throws anything but bad-request', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.constantFrom(...filterKeys), fc.string()), (text) => {
        try {
          parseFilter(text, now);
        } catch (error) {
          assert.ok(error instanceof WeirError && error.code === 'bad-request');
        }
      }),
    );
  });
});
