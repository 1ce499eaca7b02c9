// A thousand sockets of twenty network namespaces go to a gateway without privilege, back to a restarted netd and out again,
// and every one of them still serves the namespace it was opened in.

import assert from 'node:assert/strict';
import { chmodSync, closeSync, mkdtempSync, openSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { silentLog } from '../../src/base/log.ts';
import { HandoverServer } from '../../src/kernel/handover-server.ts';
import { openIntakeSockets } from '../../src/kernel/intake-sockets.ts';
import { closeDescriptor, socketCookie } from '../../src/kernel/libc.ts';
import type { NamedSocket } from '../../src/kernel/named-socket.ts';
import { netnsInode, socketNetnsInode } from '../../src/kernel/socket-place.ts';
import { openTproxyListener } from '../../src/kernel/tproxy-socket.ts';
import { decoyGroup, personas } from '../support/decoy-segment.ts';
import { nobody, startMiniGateway } from '../support/mini-gateway-process.ts';
import { lacksKernelTests, type TestNamespace, until, withLab } from '../support/namespace.ts';

const skip = lacksKernelTests();
const count = 20;
const total = 1000;

/** The eight a network has, and listeners of networks that are only names, up to `total / count`. */
function openSome(namespace: TestNamespace, network: string): NamedSocket[] {
  const netns = namespace.path;
  const sockets = openIntakeSockets({ tcpPort: 0, udpPort: 0, interfaces: [{ name: 'lo', promiscuous: false }], netns, network });
  for (let index = 0; sockets.length < total / count; index += 1) {
    const name = `${network}-${index}`;
    sockets.push({
      name: `tcp4@${name}`,
      role: 'tcp',
      family: 4,
      network: name,
      ...openTproxyListener({ family: 4, port: 0, netns }),
    });
  }
  return sockets;
}

/** Prints what a listener on loopback says. */
const greeted = (port = 0): string[] => ['socat', '-u', '-T', '3', `TCP:127.0.0.1:${port}`, 'STDOUT'];

test('a thousand sockets survive the gateway and netd, each in its own namespace', { skip }, () =>
  withLab(async (lab) => {
    const directory = mkdtempSync(join(tmpdir(), 'weir-handover-'));
    chmodSync(directory, 0o755);
    const path = join(directory, 'handover.sock');
    const namespaces: TestNamespace[] = [];
    for (let index = 0; index < count; index += 1) namespaces.push(await lab.namespace(`n${index}`));
    const sockets = namespaces.flatMap((namespace, index) => openSome(namespace, `floor-${index}`));
    assert.equal(sockets.length, total);
    const networks = [...new Set(sockets.map(({ network }) => network))].map((name) => ({
      name,
      groups: [decoyGroup(['127.0.0.1'], { kind: 'own', diversion: name ?? '' })],
    }));
    const place = new Map(sockets.map((socket) => [socketCookie(socket.fd), socketNetnsInode(socket.fd)]));
    let server = new HandoverServer({ path, ownerUid: nobody, log: silentLog });
    const greets = async (index: number): Promise<void> => {
      const port = sockets.find(({ name }) => name === `tcp4@floor-${index}`)?.port ?? 0;
      const { stdout } = await namespaces[index].run(greeted(port), { anyCode: true });
      assert.match(stdout, new RegExp(`^hello .* floor-${index}\n$`));
    };
    try {
      server.offer(sockets, { networks, personas });
      let gateway = startMiniGateway(namespaces[0], path);
      await until('it has its sockets', () => gateway.events.length > 0 || gateway.errors.length > 0);
      assert.deepEqual(gateway.errors, []);
      assert.deepEqual(gateway.events[0], { event: 'offer', generation: 1, added: total, removed: 0 });
      for (const index of [0, 7, count - 1]) await greets(index);

      // netd dies with its descriptors; another gets them from the gateway.
      server.close();
      for (const { fd } of sockets) closeDescriptor(fd);
      await greets(3);
      server = new HandoverServer({ path, ownerUid: nobody, log: silentLog });
      const returned = await server.returned(5000);
      assert.deepEqual(returned.map(({ name }) => name).sort(), sockets.map(({ name }) => name).sort());
      for (const socket of returned) {
        assert.equal(socketNetnsInode(socket.fd), place.get(socketCookie(socket.fd)), socket.name);
        const home = /^floor-(\d+)/.exec(socket.network ?? '');
        assert.equal(socketNetnsInode(socket.fd), netnsInode(namespaces[Number(home?.[1])].path));
      }
      server.offer(returned, { networks, personas });
      await until('the gateway keeps what it has', () => gateway.events.at(-1)?.added === 0);

      // The gateway dies; its successor takes all of them, and half a list later closes the rest.
      const gone = new Promise((resolve) => gateway.child.once('exit', resolve));
      gateway.child.kill('SIGKILL');
      await gone;
      gateway = startMiniGateway(namespaces[0], path);
      await until('the successor has them', () => gateway.events[0]?.added === total);
      for (const index of [1, count - 1]) await greets(index);
      const half = returned.slice(0, total / 2);
      server.offer(half, { networks, personas });
      for (const { fd } of returned.slice(total / 2)) closeDescriptor(fd);
      await until('the other half is given up', () => gateway.events.at(-1)?.removed === total / 2);
      for (const { fd } of half) closeDescriptor(fd);
      assert.deepEqual(gateway.errors, []);
    } finally {
      server.close();
      rmSync(directory, { recursive: true });
    }
    const inodes = new Set(namespaces.map((namespace) => netnsInode(namespace.path)));
    const left = readdirSync('/proc/self/fd').filter((fd) => inodes.has(socketNetnsInode(Number(fd))));
    assert.deepEqual(left, [], 'descriptors were left open');
  }),
);

test('descriptors of an offer that waits may be closed and reused at once: what arrives is what was meant', { skip }, () =>
  withLab(async (lab) => {
    const directory = mkdtempSync(join(tmpdir(), 'weir-handover-'));
    chmodSync(directory, 0o755);
    const path = join(directory, 'handover.sock');
    const namespace = await lab.namespace('one');
    let returned = false;
    const onReturn = (): void => {
      returned = true;
    };
    const server = new HandoverServer({ path, ownerUid: nobody, log: silentLog, onReturn });
    const open = (name: string): NamedSocket => ({
      name,
      role: 'tcp',
      family: 4,
      ...openTproxyListener({ family: 4, port: 0, netns: namespace.path }),
    });
    try {
      const groups = [decoyGroup(['127.0.0.1'], { kind: 'own' })];
      const gateway = startMiniGateway(namespace, path);
      const first = open('tcp4');
      // More than the socket holds: the second offer waits behind the first one's body.
      server.offer([first], { networks: [{ name: '', groups }], personas, filling: 'x'.repeat(8 << 20) });
      // From then on it is sent each offer once: one that stands when it comes would be sent again, out of what is open then.
      await until('the gateway is there and has said what it holds', () => returned);
      const second = open('tcp4-second');
      server.offer([second], { networks: [{ name: '', groups }], personas, filling: 'x'.repeat(8 << 20) });
      server.offer([second], { networks: [{ name: '', groups }], personas, filling: 'y'.repeat(8 << 20) });
      closeDescriptor(second.fd);
      const thieves: number[] = [];
      while (!thieves.includes(second.fd) && thieves.length < 64) thieves.push(openSync('/dev/null', 'r'));
      assert.ok(thieves.includes(second.fd), 'the number is used again');
      await until('the newest is taken', () => gateway.events.at(-1)?.generation === 3);
      const { stdout } = await namespace.run(greeted(second.port), { anyCode: true });
      assert.match(stdout, /^hello/);
      closeDescriptor(first.fd);
      for (const thief of thieves) closeSync(thief);
    } finally {
      server.close();
      rmSync(directory, { recursive: true });
    }
  }),
);
