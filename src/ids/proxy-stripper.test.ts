// Hops with PROXY headers, as they are captured: whole, split, out of order, repeated, with holes; and what is made of them.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { dissectFrames, findAmiss, type TimedFrame, withoutTshark } from '../../test/support/frame-check.ts';
import { FlowFrames, frameEnd } from '../model/flow-frames.ts';
import { type ProxyFlow, renderProxyV1, renderProxyV2 } from '../model/proxy-protocol.ts';
import type { Direction } from '../model/session.ts';
import { ProxyStripper, type ProxyStripperOptions } from './proxy-stripper.ts';

const truth: ProxyFlow = {
  transport: 'tcp',
  source: { ip: '203.0.113.9', port: 51_000 },
  destination: { ip: '10.66.0.80', port: 80 },
};
const request = Buffer.from('GET /etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n');
const reply = Buffer.from('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi');

type Said = readonly [Direction, Uint8Array];

/** A connection from a proxy to the receiver of the hop, as it is on the wire. */
function hop(said: readonly Said[], port = 40_000): Uint8Array[] {
  const frames: Uint8Array[] = [];
  const client = frameEnd('10.0.0.7', port, undefined, 61, 1);
  const server = frameEnd('10.0.0.8', 7000, undefined, 64, 2);
  assert.ok(client && server);
  const flow = new FlowFrames({ transport: 'tcp', client, server, sequences: [0xffff_ff00, 77] }, (frame) => frames.push(frame));
  flow.begin(0);
  for (const [direction, bytes] of said) flow.chunk(0, direction, bytes);
  flow.end(0, 'client-fin');
  return frames;
}

function strip(
  frames: readonly Uint8Array[],
  options: Partial<ProxyStripperOptions> = {},
): { out: TimedFrame[]; stripper: ProxyStripper } {
  const out: TimedFrame[] = [];
  const stripper = new ProxyStripper({
    ports: [7000],
    withoutHeader: 'drop',
    write: (frame) => out.push({ frame, at: 1_772_600_000_000_000 + out.length }),
    ...options,
  });
  // One buffer for all, as a capture has.
  const buffer = new Uint8Array(70_000);
  for (const [number, frame] of frames.entries()) {
    buffer.fill(0xee);
    buffer.set(frame);
    stripper.take(buffer.subarray(0, frame.length), number * 100);
  }
  return { out, stripper };
}

const fields = ['ip.src', 'tcp.srcport', 'ip.dst', 'tcp.dstport', 'tcp.payload'];
/** What was said, by who said it. */
function conversation(out: readonly TimedFrame[]): Record<string, string> {
  const found: Record<string, string> = {};
  for (const [ip, port, , , bytes] of dissectFrames(out, fields))
    found[`${ip}:${port}`] = (found[`${ip}:${port}`] ?? '') + Buffer.from(bytes, 'hex').toString('latin1');
  return found;
}

const v2 = renderProxyV2(truth);
const expected = { '203.0.113.9:51000': request.toString(), '10.66.0.80:80': reply.toString() };

describe('a hop with PROXY headers', { skip: withoutTshark }, () => {
  for (const [version, header] of [
    ['1', renderProxyV1(truth)],
    ['2', v2],
  ] as const)
    it(`version ${version} is the flow it carries: true addresses, no header, sound numbers`, () => {
      const { out, stripper } = strip(
        hop([
          ['in', Buffer.concat([header, request])],
          ['out', reply],
        ]),
      );
      assert.deepEqual(conversation(out), expected);
      assert.deepEqual(findAmiss(out), []);
      assert.deepEqual(
        { ...stripper.counters(), frames: 0 },
        {
          frames: 0,
          foreign: 0,
          connections: 1,
          stripped: 1,
          withoutHeader: 0,
          leftOut: 0,
          midway: 0,
          unshown: 0,
          shed: 0,
          missingBytes: 0,
          open: 0,
        },
      );
    });

  it('is the same whatever way the bytes are cut, sent twice and overtake each other', () => {
    const whole = Buffer.concat([v2, request]);
    const cases = fc.sample(
      fc.record({
        cuts: fc.array(fc.integer({ min: 1, max: whole.length - 1 }), { maxLength: 6 }),
        swaps: fc.array(fc.nat(40), { maxLength: 4 }),
        twice: fc.array(fc.nat(40), { maxLength: 4 }),
      }),
      { numRuns: 60, seed: 3 },
    );
    const all: TimedFrame[] = [];
    for (const [number, { cuts, swaps, twice }] of cases.entries()) {
      const places = [0, ...[...new Set(cuts)].sort((a, b) => a - b), whole.length];
      const said: Said[] = places.slice(1).map((to, index) => ['in', whole.subarray(places[index], to)]);
      const frames = hop([...said, ['out', reply]], 41_000 + number);
      // The SYN comes first, and the ends last: what lies between does as it likes.
      for (const at of swaps) {
        const first = 3 + (at % Math.max(1, frames.length - 7));
        [frames[first], frames[first + 1]] = [frames[first + 1], frames[first]];
      }
      for (const at of twice) frames.splice(3 + (at % (frames.length - 6)), 0, frames[3 + (at % (frames.length - 6))]);
      const { out, stripper } = strip(frames);
      assert.equal(stripper.counters().stripped, 1);
      assert.deepEqual(conversation(out), expected, JSON.stringify({ cuts, swaps, twice }));
      all.push(...out);
    }
    assert.deepEqual(
      findAmiss(all).filter((line) => !/Port numbers reused/.test(line)),
      [],
    );
  });

  it('goes on behind a hole the receiver knows nothing of', () => {
    const big = Buffer.alloc(20_000, 'x');
    const frames = hop([
      ['in', Buffer.concat([v2, request])],
      ['in', big],
      ['out', reply],
    ]);
    const lost = frames.findIndex((frame, index) => index > 6 && frame.length > 1400);
    const { out, stripper } = strip(frames.filter((_, index) => index !== lost));
    assert.equal(stripper.counters().missingBytes, 1440);
    const said = conversation(out);
    assert.equal(said['203.0.113.9:51000'].length, request.length + big.length - 1440);
    assert.equal(said['10.66.0.80:80'], reply.toString());
  });

  it('without a header is left out, or shown as it is', () => {
    const plain = hop([
      ['in', request],
      ['out', reply],
    ]);
    const left = strip(plain);
    assert.equal(left.out.length, 0);
    assert.equal(left.stripper.counters().withoutHeader, 1);
    const { out } = strip(plain, { withoutHeader: 'pass' });
    assert.deepEqual(conversation(out), { '10.0.0.7:40000': request.toString(), '10.0.0.8:7000': reply.toString() });
    assert.deepEqual(findAmiss(out), []);
  });

  it('shows a server that speaks first, to the client that came later', () => {
    const { out } = strip(
      hop([
        ['out', Buffer.from('220 hi\r\n')],
        ['in', v2],
        ['in', Buffer.from('EHLO\r\n')],
      ]),
    );
    assert.deepEqual(conversation(out), { '10.66.0.80:80': '220 hi\r\n', '203.0.113.9:51000': 'EHLO\r\n' });
  });
});

describe('the stripper', () => {
  it('shows nothing of health checks, of other ports, of connections it did not see begin', () => {
    const local = renderProxyV2(undefined);
    assert.equal(
      strip(
        hop([
          ['in', local],
          ['in', request],
        ]),
      ).out.length,
      0,
    );
    const whole = hop([['in', Buffer.concat([v2, request])]]);
    const late = strip(whole.slice(1));
    assert.equal(late.out.length, 0);
    assert.deepEqual([late.stripper.counters().midway, strip(whole).stripper.counters().midway], [1, 0]);
    assert.equal(strip([...whole, whole[whole.length - 1]]).stripper.counters().midway, 0);
    const other = strip(whole, { ports: [7001] });
    assert.equal(other.out.length, 0);
    assert.equal(other.stripper.counters().foreign, whole.length);
  });

  it('stays within its bounds: connections, and bytes that wait', () => {
    const many = Array.from({ length: 40 }, (_, index) => hop([['in', v2]], 42_000 + index).slice(0, 4)).flat();
    const { stripper } = strip(many, { maxConnections: 8 });
    assert.equal(stripper.counters().open, 8);
    assert.equal(stripper.counters().shed, 32);
    // A hole right after the header, and much behind it.
    const holes = Array.from({ length: 10 }, (_, index) => {
      const frames = hop(
        [
          ['in', v2],
          ['in', request],
          ['in', Buffer.alloc(30_000)],
        ],
        43_000 + index,
      );
      return frames
        .filter((_frame, at) => at !== 5)
        .filter((frame) => frame.length > 60 || (frame[47] !== 0x10 && frame[47] !== 0x11));
    }).flat();
    const held = strip(holes, { maxHeldBytes: 100_000 });
    assert.ok(held.stripper.counters().shed > 0);
  });

  it('survives any bytes', () => {
    const frame = fc.oneof(
      fc.uint8Array({ maxLength: 200 }),
      fc
        .tuple(
          fc.constantFrom(
            ...hop([
              ['in', v2],
              ['out', reply],
            ]),
          ),
          fc.array(fc.tuple(fc.nat(90), fc.nat(255)), { maxLength: 6 }),
          fc.nat(80),
        )
        .map(([good, changes, cut]) => {
          const bytes = good.slice(0, Math.max(1, good.length - cut));
          for (const [at, value] of changes) if (at < bytes.length) bytes[at] = value;
          return bytes;
        }),
    );
    fc.assert(
      fc.property(fc.array(frame, { maxLength: 60 }), (frames) => {
        const { stripper } = strip(frames, { withoutHeader: 'pass' });
        assert.equal(stripper.counters().frames, frames.length);
      }),
      { numRuns: 300 },
    );
  });
});
