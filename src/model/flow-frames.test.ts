// Frames of flows, read by tshark: whatever was said, in whatever order, it is an ordinary conversation.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { dissectFrames, findAmiss, type TimedFrame, withoutTshark } from '../../test/support/frame-check.ts';
import { type FlowEnding, FlowFrames, type FlowFramesOptions, frameEnd, segmentBytes, sequencesOf } from './flow-frames.ts';
import type { Direction } from './session.ts';

const start = 1_772_600_000_000_000;

function optionsOf(number: number, more: Partial<FlowFramesOptions> & { readonly six?: boolean } = {}): FlowFramesOptions {
  const { six, ...rest } = more;
  const client = frameEnd(six ? '2001:db8::7' : '198.51.100.7', 10_000 + number, '00:0c:29:01:02:03', 54, 1);
  const server = frameEnd(six ? '2001:db8:66::4' : '10.66.3.4', 8080, undefined, 64, 2);
  assert.ok(client && server);
  return { transport: 'tcp', client, server, sequences: sequencesOf(`flow ${number}`), ...rest };
}

function framesOf(
  options: FlowFramesOptions,
  chunks: readonly (readonly [Direction, Uint8Array])[],
  ending: FlowEnding = 'client-fin',
): TimedFrame[] {
  const frames: TimedFrame[] = [];
  const flow = new FlowFrames(options, (frame, at) => frames.push({ frame, at }));
  let at = start;
  flow.begin(at);
  for (const [direction, bytes] of chunks) {
    at += 1000;
    flow.chunk(at, direction, bytes);
  }
  flow.end(at + 1000, ending);
  assert.equal(flow.frames, frames.length);
  return frames;
}

const big = Buffer.alloc(300_000, 'weir');

describe('frames of a flow', { skip: withoutTshark }, () => {
  it('are in order and whole for any talk: no bad checksum, no sequence number that does not fit', () => {
    const arbitrary = fc.record({
      six: fc.boolean(),
      tagged: fc.boolean(),
      ending: fc.constantFrom<FlowEnding>('client-fin', 'client-rst', 'server-fin', 'server-rst', 'none'),
      syn: fc.option(
        fc.record({
          window: fc.integer({ min: 1024, max: 65_535 }),
          options: fc.constantFrom('', 'mss', 'mss,sok,ts,nop,ws', 'mss,nop,ws', 'mss,nop,nop,sok'),
          mss: fc.integer({ min: 0, max: 65_535 }),
          windowScale: fc.integer({ min: 0, max: 9 }),
        }),
        { nil: undefined },
      ),
      chunks: fc.array(fc.tuple(fc.constantFrom<Direction>('in', 'out'), fc.integer({ min: 0, max: 70_000 })), { maxLength: 8 }),
    });
    const all: TimedFrame[] = [];
    for (const [number, { six, tagged, ending, syn, chunks }] of fc.sample(arbitrary, { numRuns: 120, seed: 7 }).entries())
      all.push(
        ...framesOf(
          optionsOf(number, { six, ...(tagged ? { vlan: 1 + (number % 4094) } : {}), ...(syn ? { syn } : {}) }),
          chunks.map(([direction, size]) => [direction, big.subarray(0, size)] as const),
          ending,
        ),
      );
    assert.ok(all.length > 3000);
    assert.deepEqual(findAmiss(all), []);
  });

  it('carry every byte, in segments that fit, and never more under way than the window', () => {
    const rows = dissectFrames(framesOf(optionsOf(1), [['in', big]]), [
      'tcp.len',
      'tcp.payload',
      'tcp.srcport',
      'tcp.analysis.bytes_in_flight',
    ]);
    const sent = rows.filter(([length, , port]) => port === '10001' && length !== '0');
    assert.ok(Buffer.from(sent.map(([, bytes]) => bytes).join(''), 'hex').equals(big));
    for (const [length, , , flight] of sent) {
      assert.ok(Number(length) <= segmentBytes);
      assert.ok(Number(flight) <= 32_120);
    }
  });

  it('tell two networks with the same addresses apart by their tags', () => {
    const frames = [3, 4].flatMap((vlan) => framesOf(optionsOf(1, { vlan }), [['in', big.subarray(0, 10)]]));
    const rows = dissectFrames(frames, ['vlan.id', 'ip.src', 'tcp.flags.syn'], 'tcp.flags.syn == 1 && tcp.flags.ack == 0');
    assert.deepEqual(rows, [
      ['3', '198.51.100.7', '1'],
      ['4', '198.51.100.7', '1'],
    ]);
  });

  it('are datagrams, as many bytes as there were', () => {
    const frames = framesOf(optionsOf(1, { transport: 'udp', six: true }), [
      ['in', big.subarray(0, 20)],
      ['out', new Uint8Array(0)],
      ['in', big.subarray(0, 65_507)],
    ]);
    assert.deepEqual(dissectFrames(frames, ['udp.length', 'udp.checksum.status']), [
      ['28', '1'],
      ['8', '1'],
      ['65515', '1'],
    ]);
  });

  it('would be found out: a byte changed is a bad checksum, a segment left out a gap', () => {
    const frames = framesOf(optionsOf(1), [['in', big.subarray(0, 5000)]]);
    const changed = frames.map((one, index) =>
      index === 3 ? { ...one, frame: one.frame.map((b, at) => (at === 80 ? b ^ 1 : b)) } : one,
    );
    assert.equal(findAmiss(changed).length, 1);
    assert.ok(findAmiss(frames.filter((_, index) => index !== 4)).length > 0);
  });
});

describe('a flow', () => {
  it('between addresses of two families shows zeros for the one that does not fit', () => {
    const server = frameEnd('2001:db8::1', 80, undefined, 64, 2);
    assert.ok(server);
    const frames = framesOf(optionsOf(1, { server }), [['in', big.subarray(0, 4)]]);
    assert.deepEqual([...frames[0].frame.subarray(30, 34)], [0, 0, 0, 0]);
  });

  it('is not made of text that is no address', () => {
    assert.equal(frameEnd('10.0.0.256', 1, undefined, 64, 1), undefined);
  });
});
