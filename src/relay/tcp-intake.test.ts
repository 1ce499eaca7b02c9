import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import net from 'node:net';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { ownDirectory as directory, openListener } from '../../test/support/loopback-listener.ts';
import { until } from '../../test/support/namespace.ts';
import { silentLog } from '../base/log.ts';
import { homeNetwork } from './network.ts';
import { TcpIntake, type TcpIntakeCounters } from './tcp-intake.ts';

const connect = (port: number): Promise<net.Socket> =>
  new Promise((resolve, reject) => {
    const socket = net.connect(port, '127.0.0.1');
    socket.once('connect', () => resolve(socket)).once('error', reject);
  });

test('a receiver that throws costs that connection, not the process', async () => {
  const { fd, port } = openListener();
  let calls = 0;
  const intake = new TcpIntake({
    networks: homeNetwork(directory),
    log: silentLog,
    onConnection: ({ socket }) => {
      calls += 1;
      if (calls === 1) throw new Error('receiver broke');
      socket.on('error', () => {}).end('fine');
    },
  });
  try {
    intake.add({ fd });
    const first = await connect(port);
    first.on('error', () => {}).resume();
    await new Promise((resolve) => first.once('close', resolve));
    const second = await connect(port);
    const text = await new Promise<string>((resolve) => second.once('data', (bytes) => resolve(String(bytes))));
    assert.equal(text, 'fine');
    second.destroy();
    assert.deepEqual(intake.counters, { delivered: 1, unknown: 0, shed: 0, failed: 1, exhausted: 0 });
  } finally {
    intake.close();
  }
});

test('half-close and reset reach the receiver as such', async () => {
  const { fd, port } = openListener();
  const told: string[] = [];
  const intake = new TcpIntake({
    networks: homeNetwork(directory),
    log: silentLog,
    onConnection: ({ socket }) => {
      let text = '';
      socket.on('data', (bytes) => {
        text += bytes;
      });
      socket.on('end', () => {
        told.push(`end after ${text}`);
        socket.end('still here');
      });
      socket.on('error', (error: NodeJS.ErrnoException) => told.push(error.code ?? ''));
    },
  });
  try {
    intake.add({ fd });
    const polite = await connect(port);
    polite.end('abc');
    const answer = await new Promise<string>((resolve) => polite.once('data', (bytes) => resolve(String(bytes))));
    assert.equal(answer, 'still here');
    const rude = await connect(port);
    rude.resetAndDestroy();
    await until('both are told', () => told.length === 2);
    assert.deepEqual(told, ['end after abc', 'ECONNRESET']);
  } finally {
    intake.close();
  }
});

const program = fileURLToPath(new URL('../../test/support/small-intake.js', import.meta.url));

for (const mode of ['yielding', 'stubborn'])
  test(`out of descriptors with a ${mode} owner: all is counted, the process lives and accepts again`, async () => {
    const child = spawn('prlimit', ['--nofile=256:256', process.execPath, program, mode]);
    const lines: Record<string, number>[] = [];
    createInterface(child.stdout).on('line', (line) => {
      if (line.startsWith('{')) lines.push(JSON.parse(line));
    });
    const ask = async (): Promise<TcpIntakeCounters & { open: number }> => {
      const before = lines.length;
      child.stdin.write('?\n');
      return (await until('an answer', () => lines[before])) as unknown as TcpIntakeCounters & { open: number };
    };
    try {
      const { port } = await until('the port', () => lines[0]);
      const sockets: net.Socket[] = [];
      for (let index = 0; index < 600; index += 1) {
        // A shed connection may be reset before we learn that it was made.
        const socket = net.connect(port, '127.0.0.1');
        socket.on('error', () => {}).resume();
        await new Promise((resolve) => socket.once('connect', resolve).once('close', resolve));
        sockets.push(socket);
      }
      const full = await until('every connection is accounted for', async () => {
        const counters = await ask();
        return counters.delivered + counters.shed === 600 ? counters : undefined;
      });
      assert.equal(full.failed, 0);
      assert.ok(full.exhausted > 0);
      if (mode === 'stubborn') assert.ok(full.shed > 300, JSON.stringify(full));
      else assert.equal(full.shed, 0);
      for (const socket of sockets) socket.destroy();
      await until('all are gone', async () => (await ask()).open === 0);
      (await connect(port)).destroy();
      await until('one more is delivered', async () => (await ask()).delivered === full.delivered + 1);
    } finally {
      child.kill('SIGKILL');
    }
  });
