// A counter that others move too, and one that moves with nothing but the probe.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ConnectOutcome } from '../../kernel/connect-probe.ts';
import type { NftTraceLine } from '../../kernel/trace/nft-trace.ts';
import type { WalkHop } from './hop.ts';
import { choosePorts, endingsOf } from './probe-run.ts';
import { repeatProbe } from './repeat-probe.ts';

const hop = {} as WalkHop;
const meter = { kind: 'counter', name: 'x' } as const;
const outcome: ConnectOutcome = { result: 'timeout', sourcePort: 1, ms: 1, receivedBytes: 0 };

/** `withProbe` and `without`: by how much it moves in each round. */
async function repeat(withProbe: number, without: number): Promise<string> {
  let value = 7;
  let probes = 0;
  const { exact, text } = await repeatProbe(
    async () => {
      probes += 1;
      value += withProbe;
      return outcome;
    },
    { hop, meter },
    async () => value,
    async () => {
      value += without;
    },
  );
  return `${exact} ${probes} ${text}`;
}

test("what stands still without the probe and moves by one with it is the probe's", async () => {
  assert.match(await repeat(1, 0), /^true 3 3 times more/);
  assert.match(await repeat(1, 2), /^false 0 it moved by 2 without the probe too/);
  assert.match(await repeat(3, 0), /^false 1 it moved by 3 with one more packet/);
  assert.match(await repeat(0, 0), /^false 1 it moved by 0/);
});

test('what cannot be read again, or be made again, proves nothing', async () => {
  const gone = await repeatProbe(
    async () => outcome,
    { hop, meter },
    async () => undefined,
    async () => {},
  );
  assert.equal(gone.exact, false);
  const failing = await repeatProbe(
    () => Promise.reject(new Error('no more')),
    { hop, meter },
    async () => 1,
    async () => {},
  );
  assert.deepEqual([failing.exact, /no more/.test(failing.text)], [false, true]);
});

test('a queue is an end of the packet only where nobody reads it', () => {
  const line = (verdict: string): NftTraceLine => ({
    id: '1',
    family: 'ip',
    table: 'filter',
    chain: 'INPUT',
    kind: 'rule',
    verdict,
    text: verdict,
  });
  const lines = [line('queue'), line('accept')];
  const reader = { queue: 7, portId: 1, waiting: 0, dropped: 0 };
  assert.equal(endingsOf({ inode: '1', queueConsumers: [] }, lines).length, 1);
  assert.equal(endingsOf({ inode: '1', queueConsumers: [reader] }, lines).length, 0);
  assert.equal(endingsOf({ inode: '1' }, lines).length, 0, 'who reads them could not be seen');
  assert.equal(endingsOf({ inode: '1', queueConsumers: [reader] }, [line('drop')]).length, 1);
});

test('ports of a probe are a small range below the last', () => {
  for (let count = 0; count < 100; count += 1) {
    const { first, last } = choosePorts();
    assert.ok(first > 1024 && last < 65_536 && last - first === 31);
  }
});
