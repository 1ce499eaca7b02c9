import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { readdirSync, readlinkSync } from 'node:fs';
import { test } from 'node:test';
import { decoyDirectory, decoyGroup } from '../../test/support/decoy-segment.ts';
import { lacksKernelTests, until } from '../../test/support/namespace.ts';
import { silentLog } from '../base/log.ts';
import { openUdpIntakeSocket } from '../kernel/tproxy-socket.ts';
import { createAcceptRingMemory } from './accept-ring.ts';
import type { Datagram } from './datagram-visit.ts';
import { homeNetwork } from './network.ts';
import { PacketIntake } from './packet-intake.ts';

const skip = lacksKernelTests();

/** A datagram sent straight to the intake's loopback address has that as its original destination. */
async function withLoopback(
  onDatagram: (datagram: Datagram) => void,
  body: (bench: { intake: PacketIntake; send: (text: string) => Promise<void> }) => Promise<void>,
): Promise<void> {
  const { fd, port } = openUdpIntakeSocket({ family: 4, port: 0 });
  const intake = new PacketIntake({
    networks: homeNetwork(decoyDirectory([decoyGroup(['127.0.0.1'], { kind: 'own' })])),
    ring: createAcceptRingMemory(),
    log: silentLog,
    onDatagram,
    onProbe: () => {},
    onConflict: () => {},
  });
  const client = createSocket('udp4');
  try {
    intake.setSockets([{ name: 'udp4', role: 'udp', family: 4, fd, port }]);
    const send = (text: string): Promise<void> =>
      new Promise((resolve, reject) => client.send(text, port, '127.0.0.1', (error) => (error ? reject(error) : resolve())));
    await body({ intake, send });
  } finally {
    client.close();
    await intake.close();
  }
}

test('a receiver that throws costs nothing but its datagram', { skip }, () => {
  const seen: string[] = [];
  return withLoopback(
    ({ payload }) => {
      const text = Buffer.from(payload).toString();
      if (text === 'bad') throw new Error('receiver broke');
      seen.push(text);
    },
    async ({ intake, send }) => {
      await send('bad');
      await send('good');
      await until('the good one', () => seen.length === 1);
      assert.equal(intake.counters.datagramsFailed, 1);
    },
  );
});

test('a receiver that is behind leaves datagrams to the kernel, which counts what it drops; none is counted twice', {
  skip,
}, () => {
  let seen = 0;
  return withLoopback(
    () => {
      seen += 1;
    },
    async ({ intake, send }) => {
      const payload = 'x'.repeat(1400);
      const offered = 60_000;
      for (let round = 0; round < offered / 500; round += 1) await Promise.all(Array.from({ length: 500 }, () => send(payload)));
      await until('all are accounted for', async () => {
        const { packets } = await intake.report();
        return packets && packets.datagrams + packets.datagramsLost === offered && seen === packets.datagrams;
      });
    },
  );
});

test('when the packet thread dies another takes over and the counts go on', { skip }, () => {
  const seen: string[] = [];
  return withLoopback(
    ({ payload }) => seen.push(Buffer.from(payload).toString()),
    async ({ intake, send }) => {
      await send('one');
      await until('the first', () => seen.length === 1);
      await intake.report();
      intake.killWorkerForTest();
      await until('the thread is back', () => intake.counters.workerRestarts === 1);
      await send('two');
      await until('the second', () => seen.length === 2);
      assert.equal((await intake.report()).packets?.datagrams, 2);
    },
  );
});

test('a socket no longer offered is closed once the packet thread has let go of it, and its counts stay', { skip }, () =>
  withLoopback(
    () => {},
    async ({ intake, send }) => {
      await send('one');
      await until('it is read', async () => (await intake.report()).packets?.datagrams === 1);
      const before = openSockets().length;
      intake.setSockets([]);
      await until('it is closed', () => openSockets().length === before - 1);
      assert.equal((await intake.report()).packets?.datagrams, 1);
    },
  ),
);

/** Open descriptors of this process that are sockets. */
function openSockets(): string[] {
  return readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      const target = readlinkSync(`/proc/self/fd/${fd}`);
      return target.startsWith('socket:') ? [target] : [];
    } catch {
      return [];
    }
  });
}
