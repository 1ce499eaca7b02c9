import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import net from 'node:net';
import { test } from 'node:test';
import { systemClock } from '../base/clock.ts';
import { Pump, type PumpEnd, type PumpLimits } from './pump.ts';

const limits: PumpLimits = { idleTimeoutMs: 5000, totalTimeoutMs: 20_000, lingerMs: 5000 };

interface Bed {
  /** The attacker's end and the service's end; between them is the pump. */
  readonly client: net.Socket;
  readonly service: net.Socket;
  readonly pump: Pump;
  readonly ended: Promise<PumpEnd>;
  close(): void;
}

async function open(
  changed: Partial<PumpLimits> = {},
  onBytes?: (direction: 'in' | 'out', bytes: Uint8Array) => void,
): Promise<Bed> {
  const pair = async (): Promise<[net.Socket, net.Socket, net.Server]> => {
    const server = net.createServer({ allowHalfOpen: true, pauseOnConnect: true });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const near = net.connect({ port: (server.address() as net.AddressInfo).port, host: '127.0.0.1', allowHalfOpen: true });
    const [far] = (await once(server, 'connection')) as [net.Socket];
    await once(near, 'connect');
    return [near, far, server];
  };
  const [client, accepted, first] = await pair();
  const [dialled, service, second] = await pair();
  let done: (end: PumpEnd) => void = () => {};
  const ended = new Promise<PumpEnd>((resolve) => {
    done = resolve;
  });
  const pump = new Pump({
    client: accepted,
    service: dialled,
    limits: { ...limits, ...changed },
    clock: systemClock,
    onEnd: done,
    ...(onBytes ? { onBytes } : {}),
  });
  accepted.resume();
  for (const socket of [client, service]) socket.on('error', () => {});
  return {
    client,
    service,
    pump,
    ended,
    close: () => {
      for (const one of [client, service, accepted, dialled]) one.destroy();
      first.close();
      second.close();
    },
  };
}

/** Not by iteration: that destroys a socket whose other half still goes on. */
const hashOf = (socket: net.Socket): Promise<string> =>
  new Promise((resolve) => {
    const hash = createHash('sha256');
    socket.on('data', (bytes) => hash.update(bytes));
    socket.once('close', () => resolve('closed'));
    socket.once('end', () => resolve(hash.digest('hex')));
    socket.resume();
  });

test('much both ways at once arrives whole, and is seen once, in order', async () => {
  const seen = { in: createHash('sha256'), out: createHash('sha256') };
  const bed = await open({}, (direction, bytes) => seen[direction].update(bytes));
  const up = randomBytes(24 << 20);
  const down = randomBytes(16 << 20);
  const got = [hashOf(bed.service), hashOf(bed.client)];
  bed.client.end(up);
  bed.service.end(down);
  const want = [up, down].map((bytes) => createHash('sha256').update(bytes).digest('hex'));
  assert.deepEqual(await Promise.all(got), want);
  const end = await bed.ended;
  assert.equal(end.bytesIn, up.length);
  assert.equal(end.bytesOut, down.length);
  assert.deepEqual([seen.in.digest('hex'), seen.out.digest('hex')], want);
  bed.close();
});

test('a half-close is passed on and the other half goes on', async () => {
  const bed = await open();
  bed.client.end('question');
  const question = await new Promise<string>((resolve) => {
    let text = '';
    bed.service.resume();
    bed.service.on('data', (bytes) => {
      text += bytes;
    });
    bed.service.on('end', () => resolve(text));
  });
  assert.equal(question, 'question');
  const answer = hashOf(bed.client);
  bed.service.end('answer after the end');
  assert.equal(await answer, createHash('sha256').update('answer after the end').digest('hex'));
  assert.equal((await bed.ended).outcome, 'client-closed');
  bed.close();
});

for (const side of ['client', 'service'] as const)
  test(`a RST of the ${side} reaches the other end as a RST`, async () => {
    const bed = await open();
    const other = side === 'client' ? bed.service : bed.client;
    const reset = new Promise<string | undefined>((resolve) => {
      other.once('error', (error: NodeJS.ErrnoException) => resolve(error.code));
      other.once('end', () => resolve('end'));
    });
    other.resume();
    bed[side].resume();
    bed[side].resetAndDestroy();
    assert.equal(await reset, 'ECONNRESET');
    assert.equal((await bed.ended).outcome, side === 'client' ? 'client-reset' : 'server-closed');
    bed.close();
  });

test('who does not read is not read for: what is kept in between is bounded', async () => {
  const bed = await open();
  bed.service.pause();
  const chunk = Buffer.alloc(1 << 20);
  let accepted = 0;
  for (let index = 0; index < 64; index += 1) {
    accepted += 1;
    if (!bed.client.write(chunk)) {
      const drained = await Promise.race([
        once(bed.client, 'drain').then(() => true),
        new Promise<false>((resolve) => setTimeout(() => resolve(false), 500)),
      ]);
      if (!drained) break;
    }
  }
  assert.ok(accepted < 64, 'the sender is held up');
  assert.ok(bed.pump.bytes.in < 32 << 20, `${bed.pump.bytes.in} bytes were taken`);
  bed.pump.end('shed');
  assert.equal((await bed.ended).outcome, 'shed');
  bed.close();
});

test('silence and age end it, each by its own name', async () => {
  const idle = await open({ idleTimeoutMs: 60, lingerMs: 60 });
  assert.equal((await idle.ended).outcome, 'idle');
  idle.close();
  const old = await open({ totalTimeoutMs: 120, lingerMs: 20 });
  const talk = setInterval(() => old.client.write('x'), 10);
  assert.equal((await old.ended).outcome, 'time-limit');
  clearInterval(talk);
  old.close();
});
