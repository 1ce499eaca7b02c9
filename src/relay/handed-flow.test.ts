// What becomes of a visit whose flow the gateway never took: nothing of it is lost, however the client went on meanwhile.

import assert from 'node:assert/strict';
import { Duplex } from 'node:stream';
import { test } from 'node:test';
import type { FlowStream } from './arrival.ts';
import { HandedFlow, turnedAwayCode } from './handed-flow.ts';

/** One end of a connection, with what was written to it. */
class End extends Duplex implements FlowStream {
  written = 0;
  wasReset = false;

  constructor() {
    super({ allowHalfOpen: true, highWaterMark: 2 ** 30 });
  }

  override _read(): void {}

  override _write(bytes: Buffer, _encoding: BufferEncoding, done: () => void): void {
    this.written += bytes.length;
    done();
  }

  resetAndDestroy(): this {
    this.wasReset = true;
    return this.destroy();
  }
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
const turnedAway = (): Error => Object.assign(new Error('turned away'), { code: turnedAwayCode });
const reset = (): Error => Object.assign(new Error('reset'), { code: 'ECONNRESET' });

interface Read {
  readonly stream: FlowStream;
  readonly all: Promise<{ readonly text: string; readonly end: string }>;
}

function hand(): { client: End; flow: End; returned: Read[]; ended: () => number } {
  const [client, flow, returned] = [new End(), new End(), [] as Read[]];
  let ended = 0;
  new HandedFlow({
    client,
    flow,
    onTurnedAway: (stream) => void returned.push({ stream, all: readAll(stream) }),
    onEnd: () => {
      ended += 1;
    },
  });
  return { client, flow, returned, ended: () => ended };
}

/** What is read to the end, and how that came. */
async function readAll(stream: FlowStream): Promise<{ text: string; end: string }> {
  let text = '';
  stream.on('data', (bytes) => {
    text += bytes;
  });
  const end = await new Promise<string>((resolve) => {
    stream.once('end', () => resolve('end'));
    stream.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? 'error'));
    void turn()
      .then(turn)
      .then(turn)
      .then(() => resolve('open'));
  });
  return { text, end };
}

for (const [how, go, wanted] of [
  ['waits', () => {}, 'open'],
  ['has said all it has to say', (client: End) => void client.push(null), 'end'],
  ['has reset', (client: End) => void client.destroy(reset()), 'ECONNRESET'],
] as const)
  test(`a client that ${how} is given back with every byte`, async () => {
    const { client, flow, returned, ended } = hand();
    client.push('hello ');
    await turn();
    client.push('there');
    await turn();
    go(client);
    await turn();
    assert.equal(flow.written, 11);
    assert.ok(!flow.destroyed, 'the gateway may still take it');
    flow.destroy(turnedAway());
    await turn();
    assert.equal(returned.length, 1);
    assert.deepEqual(await returned[0].all, { text: 'hello there', end: wanted });
    assert.equal(ended(), 0);
    if (wanted === 'open' || wanted === 'end') {
      returned[0].stream.write('answer');
      await turn();
      assert.equal(client.written, 6);
    }
  });

test('no more is read of a client than can be given back, until the gateway has taken the flow', async () => {
  const { client, flow } = hand();
  for (let count = 0; count < 8; count += 1) {
    client.push(Buffer.alloc(32 * 1024));
    await turn();
  }
  assert.equal(flow.written, 64 * 1024);
  flow.emit('taken');
  await turn();
  assert.equal(flow.written, 256 * 1024);
});

test('once the gateway has taken a flow, its failure and a RST pass as they are', async () => {
  const failing = hand();
  failing.flow.emit('taken');
  failing.client.push('hello');
  await turn();
  failing.flow.destroy(reset());
  await turn();
  assert.ok(failing.client.destroyed);
  assert.deepEqual([failing.returned.length, failing.ended()], [0, 1]);
  const early = hand();
  early.client.destroy(reset());
  await turn();
  assert.ok(!early.flow.wasReset);
  early.flow.emit('taken');
  await turn();
  assert.ok(early.flow.wasReset);
  assert.deepEqual([early.returned.length, early.ended()], [0, 1]);
});
