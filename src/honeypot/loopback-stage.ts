// The stage of the catch-all's tests: a real listener on loopback, a sink in memory, clients that are cleaned up after.
// For *.test.ts of this room alone.

import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before } from 'node:test';
import { systemClock } from '../base/clock.ts';
import { silentLog } from '../base/log.ts';
import type { Limits } from '../model/configuration.ts';
import { CatchAll } from './catch-all.ts';
import { type CertificateMint, openCertificateMint } from './certificate-mint.ts';
import { type LoopbackListener, listenOnLoopback } from './loopback-listener.ts';
import { type KeptSession, MemorySink } from './memory-sink.ts';

export const limits: Limits = {
  sessions: 1000,
  sessionsPerSource: 500,
  sessionBytes: 65_536,
  idleTimeoutMs: 30_000,
  totalTimeoutMs: 60_000,
  bannerDelayMs: 150,
};

let mint: CertificateMint;
let directory: string;

before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'weir-mint-'));
  mint = await openCertificateMint(directory, silentLog);
});
after(() => rm(directory, { recursive: true }));

export interface Stage {
  readonly sink: MemorySink;
  readonly catchAll: CatchAll;
  readonly listener: LoopbackListener;
  dial(): Socket;
}

export async function onStage(
  options: Partial<Limits> & { port?: number },
  play: (stage: Stage) => Promise<void>,
): Promise<void> {
  const sink = new MemorySink();
  const catchAll = new CatchAll({
    sink,
    limits: { ...limits, ...options },
    certificates: mint,
    log: silentLog,
    clock: systemClock,
  });
  const listener = await listenOnLoopback(catchAll, { destinationPort: options.port ?? 4444 });
  const sockets: Socket[] = [];
  try {
    await play({
      sink,
      catchAll,
      listener,
      dial() {
        const socket = connect({ port: listener.port, host: '127.0.0.1', allowHalfOpen: true });
        socket.on('error', () => {});
        sockets.push(socket);
        return socket;
      },
    });
  } finally {
    for (const socket of sockets) socket.destroy();
    await catchAll.close();
    await listener.close();
    assert.equal(catchAll.pendingBytes, 0, 'no bytes held for sessions that are gone');
    assert.equal(catchAll.counters().defects, 0);
  }
}

export const only = (sink: MemorySink): KeptSession => {
  assert.equal(sink.sessions.length, 1);
  return sink.sessions[0];
};
export const ended = (sink: MemorySink): boolean =>
  sink.sessions.length > 0 && sink.sessions.every(({ outcome }) => outcome !== 'open');

/** The other side has closed or reset it. */
export async function gone(socket: Socket): Promise<void> {
  socket.resume();
  socket.on('end', () => socket.end());
  if (!socket.closed) await new Promise((resolve) => socket.once('close', resolve));
}

/** Reads until the text received matches, or the other side ends. */
export async function readUntil(socket: Socket, pattern: RegExp): Promise<string> {
  let text = '';
  for await (const chunk of socket.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    text += chunk.toString('latin1');
    if (pattern.test(text)) return text;
  }
  return text;
}

/** Looks after every turn of the event loop; for conditions no session shows. */
export async function turnsUntil(holds: () => boolean, turns = 1_000_000): Promise<void> {
  for (let turn = 0; !holds(); turn += 1) {
    assert.ok(turn < turns, 'never came true');
    await new Promise((resolve) => setImmediate(resolve));
  }
}
