// Sums of bytes: both directions of a tally are one flow, counters give what was added, and a flow seen on several devices counts once.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseAddress } from '../../model/address.ts';
import { type Flow, flowKey } from './flow.ts';
import type { PathHop } from './path.ts';
import { CounterDifference, sumTally } from './traffic.ts';
import { withoutRepeats } from './traffic-watch.ts';

const address = (text: string) => parseAddress(text) ?? assert.fail(text);
const flow = (a: string, b: string): Flow => ({
  protocol: 6,
  a: { address: address(a), port: 1 },
  b: { address: address(b), port: 2 },
});

test('both directions are one flow; on a loopback device each packet is shown twice and counts once', () => {
  const packet = {
    protocol: 6,
    source: address('10.0.0.1'),
    sourcePort: 1,
    destination: address('10.0.0.2'),
    destinationPort: 2,
    packets: 1,
  };
  const tally = {
    flows: [
      { ...packet, outgoing: true, bytes: 100 },
      { ...packet, outgoing: false, bytes: 100 },
      {
        ...packet,
        outgoing: false,
        source: packet.destination,
        sourcePort: 2,
        destination: packet.source,
        destinationPort: 1,
        bytes: 7,
      },
    ],
    other: { packets: 0, bytes: 0 },
  };
  const [sum, ...none] = sumTally(tally, false).values();
  assert.deepEqual([sum.outBytes, sum.inBytes, none.length], [100, 107, 0]);
  assert.deepEqual(sum.flow, flow('10.0.0.1', '10.0.0.2'), 'this side of the device comes first');
  const [once] = sumTally(tally, true).values();
  assert.deepEqual([once.outBytes, once.inBytes], [100, 0]);
});

test('counters give what was added since, whole for what is new or has begun anew', () => {
  const differences = new CounterDifference();
  const one = flow('10.0.0.1', '10.0.0.2');
  const reading = (inBytes: number, outBytes: number) =>
    new Map([[flowKey(one), { flow: one, counters: [inBytes, outBytes] as const }]]);
  const bytes = (inBytes: number, outBytes: number) =>
    [...differences.take(reading(inBytes, outBytes)).values()].map((sum) => [sum.inBytes, sum.outBytes]);
  assert.deepEqual(bytes(1e9, 1e9), [], 'what it moved before is not of this time');
  assert.deepEqual(bytes(1e9 + 5, 1e9 + 7), [[5, 7]]);
  assert.deepEqual(bytes(1e9 + 5, 1e9 + 7), []);
  assert.deepEqual(bytes(3, 1), [[3, 1]]);
  differences.take(new Map());
  assert.deepEqual(bytes(9, 9), [[9, 9]]);
});

test('a flow seen in several namespaces is kept once, with its longest path; another of the same addresses stays', () => {
  const seen = flow('10.0.0.1', '10.0.0.2');
  const inner = flow('172.18.0.2', '10.0.0.2');
  const hop = (netns: string, one: Flow): PathHop => ({ kind: 'wire', netns, netnsName: netns, flow: one, join: '', score: 1 });
  const row = (netns: string, path: PathHop[], bytes: number) => ({
    netns,
    netnsName: netns,
    flow: path[0].flow,
    inBps: 0,
    outBps: 0,
    path,
    attributed: true,
    bytes,
  });
  const whole = row('host', [hop('host', seen), hop('host', inner), hop('box', inner)], 1000);
  const part = row('box', [hop('box', inner)], 1010);
  const other = row('elsewhere', [hop('elsewhere', inner)], 40_000);
  assert.deepEqual(withoutRepeats([part, other, whole]), [whole, other]);
});
