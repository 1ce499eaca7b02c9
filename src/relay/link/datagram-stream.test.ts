// Answers to datagrams that wait for a link which takes nothing: bounded over all flows, and given back when they are gone.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { Duplex } from 'node:stream';
import { test } from 'node:test';
import { DatagramStream, WaitingBudget } from './datagram-stream.ts';
import type { LinkStream } from './link-flow.ts';

test('many flows together hold no more than the budget, and what is written or cut makes room', async () => {
  const most = 100_000;
  const budget = new WaitingBudget(most);
  const waiting: (() => void)[] = [];
  const streams = Array.from(
    { length: 50 },
    () => new Duplex({ read() {}, write: (_bytes, _encoding, done) => void waiting.push(done) }),
  );
  const flows = streams.map(
    (stream) =>
      new DatagramStream(stream as unknown as LinkStream, { waitingBytes: 256 * 1024, budget, onDatagram() {}, onEnd() {} }),
  );
  let sent = 0;
  for (let round = 0; round < 20; round += 1) for (const flow of flows) if (flow.send(new Uint8Array(1000))) sent += 1;
  assert.ok(sent > 80 && sent * 1000 <= most, `${sent} of 1000 were sent`);
  assert.equal(
    streams.reduce((bytes, { writableLength }) => bytes + writableLength, 0),
    sent * 1002,
  );
  waiting[0]();
  await new Promise(setImmediate);
  assert.ok(flows[0].send(new Uint8Array(500)), 'one was written');
  await Promise.all(streams.map((stream) => once(stream.destroy(), 'close')));
  for (const done of waiting) done();
  await new Promise(setImmediate);
  assert.equal(budget.waiting, 0);
});
