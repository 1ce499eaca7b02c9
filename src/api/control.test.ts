// The control socket's promises: results and errors cross unchanged, hostile lines end a connection and no process.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { WeirError } from '../base/errors.ts';
import { silentLog } from '../base/log.ts';
import { ControlServer, callControl, controlRequestBytes } from './control.ts';

const isCode = (code: string) => (error: unknown) => error instanceof WeirError && error.code === code;

/** Sends raw bytes and gives everything that comes back until the peer closes or `lines` lines came. */
function talk(socketPath: string, bytes: Buffer | string, lines: number): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    const socket = net.connect({ path: socketPath });
    socket.on('error', reject);
    socket.on('close', () => resolve(text));
    socket.on('data', (chunk) => {
      text += chunk;
      if (text.split('\n').length > lines) socket.destroy();
    });
    socket.write(bytes);
  });
}

describe('control socket', () => {
  let directory = '';
  let socketPath = '';
  let server: ControlServer;

  before(async () => {
    directory = mkdtempSync(path.join(tmpdir(), 'weir-control-'));
    socketPath = path.join(directory, 'c.sock');
    server = new ControlServer({
      path: socketPath,
      mode: 0o600,
      log: silentLog,
      verbs: {
        echo: (args) => args,
        nothing: () => undefined,
        refuse: () => {
          throw new WeirError('lock-out', 'port 22 is yours', { line: 12, file: 'weir.yaml' });
        },
        crash: () => {
          throw new TypeError('boom');
        },
        never: () => new Promise(() => {}),
        circle: () => {
          const circle: Record<string, unknown> = {};
          circle.self = circle;
          return circle;
        },
      },
    });
    await server.listen();
  });

  after(async () => {
    await server.close();
    rmSync(directory, { recursive: true });
  });

  it('gives back results of any size up to the bound', async () => {
    const args = { text: 'x'.repeat(900_000), list: [1, null, 'ä\n'] };
    assert.deepEqual(await callControl(socketPath, 'echo', args, 5000), args);
    assert.equal(await callControl(socketPath, 'nothing', undefined, 5000), null);
  });

  it('carries code, message and details of an error', async () => {
    await assert.rejects(callControl(socketPath, 'refuse', null, 5000), (error: unknown) => {
      assert.ok(error instanceof WeirError);
      assert.equal(error.code, 'lock-out');
      assert.equal(error.message, 'port 22 is yours');
      assert.deepEqual(error.details, { line: 12, file: 'weir.yaml' });
      return true;
    });
    await assert.rejects(callControl(socketPath, 'crash', null, 5000), isCode('fault'));
    await assert.rejects(callControl(socketPath, 'circle', null, 5000), isCode('fault'));
    await assert.rejects(callControl(socketPath, 'nope', null, 5000), isCode('not-found'));
    await assert.rejects(callControl(socketPath, 'toString', null, 5000), isCode('not-found'));
    await assert.rejects(callControl(socketPath, '__proto__', null, 5000), isCode('not-found'));
  });

  it('says when nobody answers, and when the answer does not come', async () => {
    await assert.rejects(callControl(path.join(directory, 'absent'), 'echo', null, 5000), isCode('not-running'));
    await assert.rejects(callControl(socketPath, 'never', null, 20), isCode('timeout'));
  });

  it('answers broken requests and goes on with the connection', async () => {
    const text = await talk(socketPath, 'not json\n[]\n{"verb":7}\n{"id":9,"verb":"echo","args":"still here"}\n', 4);
    const answers = text
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    assert.equal(answers.filter((answer) => answer.error?.code === 'bad-request').length, 3);
    assert.ok(answers.some((answer) => answer.id === 9 && answer.result === 'still here'));
  });

  it('cuts a connection whose line never ends and keeps serving others', async () => {
    const text = await talk(socketPath, Buffer.alloc(controlRequestBytes + 2, 65), 1);
    assert.match(text, /bad-request/);
    assert.equal(await callControl(socketPath, 'echo', 1, 5000), 1);
  });

  it('answers many pipelined requests, each once, matched by id', async () => {
    const count = 500;
    const requests = Array.from({ length: count }, (_, id) => JSON.stringify({ id, verb: 'echo', args: id * 2 }));
    const text = await talk(socketPath, `${requests.join('\n')}\n`, count);
    const answers = text
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    assert.equal(answers.length, count);
    for (const { id, result } of answers) assert.equal(result, id * 2);
    assert.equal(new Set(answers.map(({ id }) => id)).size, count);
  });

  it('has exactly the permission bits asked for', () => {
    assert.equal(statSync(socketPath).mode & 0o777, 0o600);
  });

  it('refuses a second instance, replaces a dead socket file and leaves other files alone', async () => {
    const options = { mode: 0o600, log: silentLog, verbs: { echo: (args: unknown) => args } };
    await assert.rejects(new ControlServer({ ...options, path: socketPath }).listen(), isCode('already-running'));
    const file = path.join(directory, 'file');
    writeFileSync(file, 'precious');
    await assert.rejects(new ControlServer({ ...options, path: file }).listen(), isCode('bad-request'));

    const dead = path.join(directory, 'dead.sock');
    const { spawnSync } = await import('node:child_process');
    spawnSync(process.execPath, [
      '-e',
      `require('node:net').createServer().listen(${JSON.stringify(dead)}, () => process.kill(process.pid, 'SIGKILL'))`,
    ]);
    assert.ok(statSync(dead).isSocket());
    const again = new ControlServer({ ...options, path: dead });
    await again.listen();
    assert.equal(await callControl(dead, 'echo', 'alive', 5000), 'alive');
    await again.close();
  });
});
