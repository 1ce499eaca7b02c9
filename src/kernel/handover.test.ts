import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { getuid } from 'node:process';
import { test } from 'node:test';
import { until } from '../../test/support/namespace.ts';
import { silentLog } from '../base/log.ts';
import type { Offer } from './handover.ts';
import { matchesLabel, parseLabels } from './handover.ts';
import { HandoverClient } from './handover-client.ts';
import { HandoverServer } from './handover-server.ts';
import {
  AF_INET,
  acceptConnection,
  bindSocket,
  closeDescriptor,
  listenSocket,
  openSocket,
  readSocketName,
  SOCK_STREAM,
  socketCookie,
} from './libc.ts';
import type { NamedSocket } from './named-socket.ts';
import { loopbackOf, renderSocketAddress, socketPort } from './socket-address.ts';

const ownerUid = getuid?.() ?? 0;

function openListener(name: string): NamedSocket {
  const fd = openSocket(AF_INET, SOCK_STREAM, 0);
  bindSocket(fd, renderSocketAddress(loopbackOf(4), 0));
  listenSocket(fd, 16);
  const own = new Uint8Array(28);
  readSocketName(fd, own);
  return { name, role: 'tcp', fd, family: 4, port: socketPort(own) };
}

async function inDirectory(body: (path: string) => Promise<void>): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'weir-handover-'));
  try {
    await body(join(directory, 'handover.sock'));
  } finally {
    rmSync(directory, { recursive: true });
  }
}

test('a client gets sockets and a description of several megabytes, and only what changed afterwards', () =>
  inDirectory(async (path) => {
    const offers: Offer[] = [];
    const taken: number[] = [];
    const server = new HandoverServer({ path, ownerUid, log: silentLog, onTaken: (generation) => taken.push(generation) });
    const client = new HandoverClient({ path, log: silentLog, retryMs: 5, onOffer: (offer) => offers.push(offer) });
    const first = openListener('tcp4');
    const second = openListener('second');
    try {
      const big = Array.from({ length: 65_536 }, (_, index) => ({
        first: BigInt(index),
        text: `10.0.${index >> 8}.${index & 255}`,
      }));
      server.offer([first], { groups: big, personas: new Map([['a', 1]]) });
      const one = await until('the first offer', () => offers[0]);
      assert.deepEqual((one.description as { groups: unknown }).groups, big);
      assert.equal(one.added.length, 1);
      assert.notEqual(one.added[0].fd, first.fd);
      assert.equal(socketCookie(one.added[0].fd), socketCookie(first.fd));

      server.offer([first, second], 'more');
      const two = await until('the second offer', () => offers[1]);
      assert.deepEqual(
        two.sockets.map(({ name }) => name),
        ['tcp4', 'second'],
      );
      assert.deepEqual(
        two.added.map(({ name }) => name),
        ['second'],
      );
      assert.equal(two.sockets[0].fd, one.added[0].fd, 'a socket already held keeps its descriptor');

      server.offer([second], 'less');
      const three = await until('the third offer', () => offers[2]);
      assert.deepEqual(
        three.removed.map(({ name, fd }) => ({ name, fd })),
        [{ name: 'tcp4', fd: one.added[0].fd }],
      );
      await until('all are taken', () => taken.at(-1) === 3);
      for (const { fd } of [...three.sockets, ...three.removed]) closeDescriptor(fd);
    } finally {
      client.close();
      server.close();
      closeDescriptor(first.fd);
      closeDescriptor(second.fd);
    }
  }));

test('offers again and again cost no descriptors, and a slow reader gets only the newest', () =>
  inDirectory(async (path) => {
    const offers: Offer[] = [];
    const server = new HandoverServer({ path, ownerUid, log: silentLog });
    const client = new HandoverClient({ path, log: silentLog, retryMs: 5, onOffer: (offer) => offers.push(offer) });
    const sockets = [openListener('tcp4'), openListener('second')];
    try {
      server.offer(sockets, 0);
      await until('the first offer', () => offers.length === 1);
      const before = readdirSync('/proc/self/fd').length;
      // Sent in one turn of the loop: more than the socket holds, so that most are replaced before they leave.
      const filling = 'x'.repeat(4 << 20);
      for (let count = 1; count <= 20; count += 1) server.offer(sockets, { count, filling });
      await until('the newest offer', () => offers.at(-1)?.generation === 21);
      assert.ok(offers.length < 10, `${offers.length} offers arrived`);
      assert.equal(readdirSync('/proc/self/fd').length, before);
      for (const { fd } of offers[0].sockets) closeDescriptor(fd);
    } finally {
      client.close();
      server.close();
      for (const { fd } of sockets) closeDescriptor(fd);
    }
  }));

test('a restarted server gets the sockets back, and connections made meanwhile are in their backlog', () =>
  inDirectory(async (path) => {
    const offers: Offer[] = [];
    let server = new HandoverServer({ path, ownerUid, log: silentLog });
    const client = new HandoverClient({ path, log: silentLog, retryMs: 5, onOffer: (offer) => offers.push(offer) });
    const listener = openListener('tcp4');
    server.offer([listener], 1);
    await until('the offer', () => offers[0]);
    server.close();
    closeDescriptor(listener.fd); // the server's process is gone with its descriptors
    await until('the client sees it', () => !client.connected);

    const socket = net.connect(listener.port ?? 0, '127.0.0.1');
    await new Promise((resolve, reject) => socket.once('connect', resolve).once('error', reject));

    server = new HandoverServer({ path, ownerUid, log: silentLog });
    try {
      const returned = await server.returned(5000);
      assert.deepEqual(
        returned.map(({ fd: _, ...label }) => label),
        [{ name: 'tcp4', role: 'tcp', family: 4, port: listener.port }],
      );
      const accepted = acceptConnection(returned[0].fd, null);
      assert.ok(accepted >= 0, 'the connection made while no server was there is accepted through the returned descriptor');
      closeDescriptor(accepted);
      server.offer(returned, 2);
      const again = await until('the second offer', () => offers[1]);
      assert.deepEqual([again.added.length, again.removed.length], [0, 0]);
      assert.equal(again.sockets[0].fd, offers[0].sockets[0].fd);
      closeDescriptor(returned[0].fd);
      closeDescriptor(again.sockets[0].fd);
    } finally {
      socket.destroy();
      client.close();
      server.close();
    }
  }));

test('sockets given back before the restarted server asks for them are not lost, and closed when it never asks', () =>
  inDirectory(async (path) => {
    const offers: Offer[] = [];
    const open = (): number => readdirSync('/proc/self/fd').length;
    let server = new HandoverServer({ path, ownerUid, log: silentLog });
    const client = new HandoverClient({ path, log: silentLog, retryMs: 5, onOffer: (offer) => offers.push(offer) });
    const listener = openListener('tcp4');
    try {
      server.offer([listener], 1);
      await until('the offer', () => offers[0]);
      for (const asks of [true, false]) {
        server.close();
        await until('the client sees it', () => !client.connected);
        server = new HandoverServer({ path, ownerUid, log: silentLog });
        const before = open();
        // Both ends of the connection, and what is given back.
        await until('the client has said what it holds', () => open() === before + 3);
        if (asks) {
          const [returned] = await server.returned(0);
          assert.equal(socketCookie(returned.fd), socketCookie(listener.fd));
          closeDescriptor(returned.fd);
        } else {
          const count = offers.length;
          server.offer([listener], 2);
          await until('the next offer', () => offers.length > count);
        }
        await until('nothing is left open', () => open() === before + 2);
      }
      closeDescriptor(offers[0].sockets[0].fd);
    } finally {
      client.close();
      server.close();
      closeDescriptor(listener.fd);
    }
  }));

test('a peer that is not ours is cut off and costs nothing', () =>
  inDirectory(async (path) => {
    const server = new HandoverServer({ path, ownerUid, log: silentLog });
    try {
      for (const bytes of [
        Buffer.from('GET / HTTP/1.0\r\n\r\n padding padding'),
        Buffer.from('57454952010001000000000000000000', 'hex'),
        Buffer.concat([Buffer.from('5745495201000000000000007fffffff00000000', 'hex'), Buffer.alloc(64)]),
        Buffer.concat([Buffer.from('5745495201000000000000000300000000000000', 'hex'), Buffer.from('{}}')]),
      ]) {
        const socket = net.connect(path);
        const ended = new Promise((resolve) => socket.once('close', resolve));
        socket.on('error', () => {}).resume();
        socket.end(bytes);
        await ended;
        await until('it is gone', () => server.clients === 0);
      }
    } finally {
      server.close();
    }
  }));

test('labels from the other side are checked field by field, and against the socket', () => {
  const parse = (value: unknown): unknown => parseLabels(Buffer.from(JSON.stringify(value)));
  assert.deepEqual(parse([{ name: 'tcp4', role: 'tcp', family: 4, port: 80, evil: 1, mac: 7 }]), [
    { name: 'tcp4', role: 'tcp', family: 4, port: 80 },
  ]);
  for (const bad of [{}, [null], [{ name: 'x' }], [{ name: 'x', role: 'root' }], [{ name: 'a b', role: 'tcp' }]])
    assert.throws(() => parse(bad), { code: 'bad-request' });
  const listener = openListener('tcp4');
  try {
    assert.equal(matchesLabel(listener.fd, listener), true);
    assert.equal(matchesLabel(listener.fd, { ...listener, port: 1 }), false);
    assert.equal(matchesLabel(listener.fd, { ...listener, family: 6 }), false);
    assert.equal(matchesLabel(listener.fd, { ...listener, role: 'udp' }), false);
    assert.equal(matchesLabel(listener.fd, { ...listener, role: 'nflog' }), false);
    assert.equal(matchesLabel(0, listener), false);
  } finally {
    closeDescriptor(listener.fd);
  }
});
