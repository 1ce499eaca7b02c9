// What an attacker's connection is over a link: FIN and RST both ways, back-pressure, many at once, whole gigabytes. Over real
// TLS on loopback, with real identities.

import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { after, before, describe, it } from 'node:test';
import { flowTo, LinkBed, within } from '../../../test/support/link-bed.ts';
import { tlvType } from '../../model/proxy-protocol.ts';
import type { Arrival, ArrivedDatagram, FlowStream } from '../arrival.ts';
import type { LinkClient } from './link-client.ts';

/** Everything until the end; errors reject. */
function readAll(stream: FlowStream): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const pieces: Buffer[] = [];
    stream.on('data', (bytes: Buffer) => pieces.push(bytes));
    stream.on('end', () => resolve(Buffer.concat(pieces)));
    stream.on('error', reject);
  });
}

const errorOf = async (stream: FlowStream): Promise<string | undefined> =>
  ((await once(stream, 'error')) as [NodeJS.ErrnoException])[0].code;

describe('a flow over the link', () => {
  let bed: LinkBed;
  let client: LinkClient;
  before(async () => {
    bed = await LinkBed.open();
    client = await bed.linked('branch-1');
  });
  after(() => bed.close());

  const open = (set: Partial<Parameters<LinkClient['openFlow']>[0]> = {}): FlowStream => {
    const flow = client.openFlow({ flow: flowTo(), ...set });
    assert.ok(flow);
    return flow;
  };

  /** Both ends of a new one. */
  async function pair(
    set: Partial<Parameters<LinkClient['openFlow']>[0]> = {},
  ): Promise<{ far: FlowStream; near: FlowStream; arrival: Arrival }> {
    const arrived = new Promise<Arrival>((resolve) => {
      bed.onConnection = resolve;
    });
    const far = open(set);
    const arrival = await within(arrived, 'arrival');
    return { far, near: arrival.socket, arrival };
  }

  it('arrives with everything its header says', async () => {
    const syn = { ttl: 53, ipId: 7, doNotFragment: true, window: 64240, sequence: 99, options: 'mss,sok,ts,nop,ws', mss: 1460 };
    const { far, near, arrival } = await pair({
      syn,
      tlvs: [
        { type: tlvType.uniqueId, value: Buffer.from('0123abc') },
        { type: tlvType.linkLayer, value: Buffer.from('000c29a1b2c3', 'hex') },
        { type: tlvType.netns, value: Buffer.from('floor-3') },
      ],
    });
    assert.deepEqual(
      { ...arrival, socket: undefined, persona: arrival.persona.name, acceptedAt: undefined },
      {
        socket: undefined,
        source: { ip: '203.0.113.7', port: 40000 },
        destination: { ip: '10.1.1.1', port: 445 },
        network: 'agent branch-1/floor-3',
        diversion: 'of-branch-1',
        persona: 'all-open',
        agent: 'branch-1',
        sourceMac: '00:0c:29:a1:b2:c3',
        uniqueId: '0123abc',
        syn,
        acceptedAt: undefined,
      },
    );
    far.end();
    near.end();
    await Promise.all([readAll(far), readAll(near)]);
  });

  it('ends one half at a time, whichever is first', async () => {
    const { far, near } = await pair();
    const heard = readAll(near);
    far.end('question');
    assert.equal((await within(heard, 'the first half')).toString(), 'question');
    assert.equal(far.writableEnded, true);
    const answered = readAll(far);
    near.end('answer');
    assert.equal((await within(answered, 'the other half')).toString(), 'answer');

    const other = await pair();
    const banner = readAll(other.far);
    other.near.end('220 goodbye');
    assert.equal((await within(banner, 'the first half')).toString(), '220 goodbye');
    const late = readAll(other.near);
    other.far.end('still here');
    assert.equal((await within(late, 'the other half')).toString(), 'still here');
    await within(
      new Promise<void>((resolve) => {
        const look = (): void => (client.openFlows === 0 && bed.server.open.flows === 0 ? resolve() : void setImmediate(look));
        look();
      }),
      'both ends have let go of the streams',
    );
  });

  it("passes the attacker's RST on, behind all the bytes before it, also after a FIN", async () => {
    for (const half of [false, true]) {
      const { far, near } = await pair();
      const bytes = randomBytes(300_000);
      const pieces: Buffer[] = [];
      near.on('data', (piece: Buffer) => pieces.push(piece));
      const error = errorOf(near);
      far.on('error', () => {});
      far.write(bytes);
      if (half) {
        far.end();
        await within(once(near, 'end'), 'the FIN');
      }
      far.resetAndDestroy();
      assert.equal(await within(error, 'the RST'), 'ECONNRESET');
      assert.ok(Buffer.concat(pieces).equals(bytes), `${Buffer.concat(pieces).length} bytes`);
    }
  });

  it('keeps a RST back from a slow reader until it has read, but not for ever', async () => {
    const { far, near } = await pair();
    const bytes = randomBytes(50_000);
    far.write(bytes);
    far.resetAndDestroy();
    near.pause();
    await within(once(near, 'readable'), 'bytes');
    const error = errorOf(near);
    const pieces: Buffer[] = [];
    near.on('data', (piece: Buffer) => pieces.push(piece));
    near.resume();
    assert.equal(await within(error, 'the RST'), 'ECONNRESET');
    assert.ok(Buffer.concat(pieces).equals(bytes));

    const never = await pair();
    never.near.pause();
    never.far.write(bytes);
    never.far.resetAndDestroy();
    assert.equal(await within(errorOf(never.near), 'the RST without a reader'), 'ECONNRESET');
  });

  it("passes the service's RST on, behind what it wrote", async () => {
    const { far, near } = await pair();
    const pieces: Buffer[] = [];
    far.on('data', (piece: Buffer) => pieces.push(piece));
    near.on('error', () => {});
    const error = errorOf(far);
    near.write(Buffer.alloc(100_000, 7));
    near.resetAndDestroy();
    assert.equal(await within(error, 'the RST'), 'ECONNRESET');
    assert.equal(Buffer.concat(pieces).length, 100_000);
  });

  it('tells a FIN from a RST where an end is simply destroyed, and lets nobody write into the void', async () => {
    for (const [destroyed, other] of [
      ['near', 'far'],
      ['far', 'near'],
    ] as const) {
      const ends = await pair();
      const heard = readAll(ends[other]);
      ends[destroyed].on('error', () => {});
      ends[destroyed].write('last words');
      ends[destroyed].destroy();
      assert.equal((await within(heard, 'the end')).toString(), 'last words');
      const error = errorOf(ends[other]);
      const write = setInterval(() => ends[other].write('x'), 5);
      assert.equal(await within(error, 'writing fails'), 'ECONNRESET');
      clearInterval(write);
    }
  });

  it('resets more flows than HTTP/2 takes resets, and goes on', async () => {
    bed.onConnection = ({ socket }) => void socket.on('error', () => {}).resume();
    const before = bed.server.counters.flows;
    for (let round = 0; round < 10; round += 1) {
      const flows = Array.from({ length: 500 }, () => open());
      for (const flow of flows) {
        flow.on('error', () => {});
        flow.write('SSH-2.0-scan');
        flow.resetAndDestroy();
      }
      await within(
        new Promise<void>((resolve) => {
          const look = (): void => (client.openFlows === 0 ? resolve() : void setImmediate(look));
          look();
        }),
        'all are gone',
      );
    }
    assert.equal(bed.server.counters.flows - before, 5000);
    assert.equal(client.state.state, 'linked');
    assert.equal(bed.server.counters.misbehaved, 0);
  });

  it('carries a gigabyte each way at the same time, every byte of it', { timeout: 120_000 }, async () => {
    const { far, near } = await pair();
    const total = 2 ** 30;
    const piece = randomBytes(1 << 16);
    const send = async (stream: FlowStream, salt: number): Promise<string> => {
      const hash = createHash('sha1');
      for (let sent = 0; sent < total; sent += piece.length) {
        const bytes = Buffer.from(piece);
        bytes.writeUInt32BE(sent / piece.length + salt);
        hash.update(bytes);
        if (!stream.write(bytes)) await once(stream, 'drain');
      }
      stream.end();
      return hash.digest('hex');
    };
    const take = async (stream: FlowStream): Promise<string> => {
      const hash = createHash('sha1');
      let length = 0;
      for await (const bytes of stream) {
        hash.update(bytes);
        length += bytes.length;
      }
      assert.equal(length, total);
      return hash.digest('hex');
    };
    const [up, down, fromUp, fromDown] = await Promise.all([send(far, 1), send(near, 2_000_000), take(near), take(far)]);
    assert.equal(fromUp, up);
    assert.equal(fromDown, down);
  });

  it('keeps no more of a slow reader than its windows, while others go on', async () => {
    for (const [slow, fast] of [
      ['near', 'far'],
      ['far', 'near'],
    ] as const) {
      const ends = await pair();
      ends[slow].pause();
      for (const end of [ends.near, ends.far]) end.on('error', () => {});
      let accepted = 0;
      const piece = Buffer.alloc(1 << 16, 1);
      while (ends[fast].writableLength < 1 << 20 && accepted < 64 << 20) {
        accepted += piece.length;
        if (!ends[fast].write(piece)) {
          const drained = await Promise.race([once(ends[fast], 'drain').then(() => true), stalledFor(300)]);
          if (!drained) break;
        }
      }
      assert.ok(accepted >= 1 << 20 && accepted < 3 << 20, `${accepted} bytes were taken`);
      bed.onConnection = ({ socket }) => void socket.on('error', () => {}).pipe(socket);
      const other = open();
      other.end('not behind it');
      assert.equal((await within(readAll(other), 'another flow')).toString(), 'not behind it');
      ends[fast].resetAndDestroy();
      ends[slow].destroy();
    }
  });

  it('carries a thousand at once, each its own', async () => {
    bed.onConnection = ({ socket, source }) => {
      socket.on('error', () => {});
      socket.write(`${source.port} `);
      socket.pipe(socket);
    };
    const answers = await within(
      Promise.all(
        Array.from({ length: 1000 }, async (_, index) => {
          const flow = open({ flow: flowTo(445, 'tcp', 10_000 + index) });
          const heard = readAll(flow);
          for (let part = 0; part < 20; part += 1) flow.write(`${index}.${part};`);
          flow.end();
          return (await heard).toString();
        }),
      ),
      'all of them',
      30_000,
    );
    for (const [index, answer] of answers.entries())
      assert.equal(answer, `${10_000 + index} ${Array.from({ length: 20 }, (_, part) => `${index}.${part};`).join('')}`);
  });

  it('carries datagrams both ways, also empty and full ones', async () => {
    const seen: ArrivedDatagram[] = [];
    bed.onDatagram = (datagram) => {
      seen.push(datagram);
      datagram.reply(datagram.payload);
    };
    const sizes = [0, 1, 512, 65_507, 3];
    const answers: Uint8Array[] = [];
    let done: () => void = () => {};
    const all = new Promise<void>((resolve) => {
      done = resolve;
    });
    let ended = 0;
    const flow = client.openDatagrams({
      flow: flowTo(53, 'udp'),
      onDatagram: (bytes) => void (answers.push(bytes) === sizes.length && done()),
      onEnd: () => {
        ended += 1;
      },
    });
    assert.ok(flow);
    const sent = sizes.map((size) => randomBytes(size));
    for (const bytes of sent) assert.equal(flow.send(bytes), true);
    assert.equal(flow.send(Buffer.alloc(65_536)), false);
    await within(all, 'the answers');
    assert.deepEqual(
      answers.map((bytes) => Buffer.from(bytes).toString('hex')),
      sent.map((bytes) => bytes.toString('hex')),
    );
    const { source, destination, agent, network, diversion } = seen[0];
    assert.deepEqual(
      { source, destination, agent, network, diversion },
      {
        source: { ip: '203.0.113.7', port: 40000 },
        destination: { ip: '10.1.1.1', port: 53 },
        agent: 'branch-1',
        network: 'agent branch-1',
        diversion: 'of-branch-1',
      },
    );
    flow.close();
    flow.close();
    assert.equal(ended, 1);
    assert.equal(flow.send(Buffer.from('late')), false);
    assert.equal(client.counters.datagramsDropped, 2);
  });
});

const stalledFor = (ms: number): Promise<false> =>
  new Promise((resolve) => {
    setTimeout(() => resolve(false), ms);
  });
