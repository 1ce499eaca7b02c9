// The half that keeps root, started for real (as whoever runs this): it answers what its settings named and nothing else, and ends with us.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { closeDescriptor } from '../kernel/libc.ts';
import { openQuestionPair, QuestionChannel } from '../kernel/question-channel.ts';
import { ownInstallation } from './installation.ts';
import { packetHelperCommand } from './launch.ts';
import { factsOf, openPacketHelper } from './packet-questions.ts';

test('who holds a socket, and files by their descriptors', { timeout: 20_000 }, async () => {
  const directory = mkdtempSync(join(tmpdir(), 'weir-helper-'));
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  const port = address !== null && typeof address === 'object' ? address.port : assert.fail();
  const helper = await openPacketHelper({ processes: true, files: { file: join(directory, 'a.pcapng'), ringFiles: 1 } });
  try {
    const ends = {
      transport: 'tcp',
      source: '127.0.0.1',
      sourcePort: 1,
      destination: '127.0.0.1',
      destinationPort: port,
    } as const;
    assert.match(String(helper.holderOf(ends)), new RegExp(`process node.*, pid ${process.pid}, uid ${process.getuid?.()}$`));
    assert.equal(helper.holderOf({ ...ends, destinationPort: 1 }), undefined);
    for (const text of ['one', 'two']) {
      const { fd, name } = helper.maker.open();
      writeSync(fd, text);
      closeSync(fd);
      assert.equal(readFileSync(name, 'utf8'), text);
    }
    helper.maker.remove();
    assert.deepEqual(readdirSync(directory), ['a.00002.pcapng']);
    for (let count = 0; count < 5; count += 1) closeSync(helper.maker.open().fd);
    assert.deepEqual(readdirSync(directory), ['a.00006.pcapng', 'a.00007.pcapng'], 'the ring and the one that is begun');
    await assert.rejects(helper.facts.isOwn('127.0.0.1'), { code: 'bad-request' }, 'its settings do not name it');
    await assert.rejects(helper.sessions(), { code: 'bad-request' });
  } finally {
    await helper.close();
    server.close();
    rmSync(directory, { recursive: true });
  }
  assert.throws(() => helper.holderOf({} as never), { code: 'not-running' });
});

test('its settings come once; what is no question is refused; it ends with the other half', { timeout: 20_000 }, async () => {
  const [asking, answering] = openQuestionPair();
  const { command, arguments: argv, environment } = packetHelperCommand(ownInstallation());
  const child = spawn(command, argv, { stdio: ['ignore', 'ignore', 'inherit', answering], env: environment });
  const ended = once(child, 'exit');
  closeDescriptor(answering);
  const channel = new QuestionChannel(asking);
  await assert.rejects(channel.ask('open'), { code: 'bad-request' });
  assert.equal(await channel.ask('begin', { resets: true }), null);
  const files = { file: join(tmpdir(), 'weir-never.pcapng') };
  await assert.rejects(channel.ask('begin', { files }), { code: 'bad-request' });
  await assert.rejects(channel.ask('open'), { code: 'bad-request' });
  assert.equal(await channel.ask('facts.isOwn', ['127.0.0.1']), true);
  const bad: readonly [string, unknown][] = [
    ['facts.isOwn', ['x'.repeat(65)]],
    ['facts.isOwn', [7]],
    ['facts.isOwn', null],
    ['facts.senderAt', ['10.0.0.1', null]],
    ['facts.translations', [{ source: '10.0.0.1' }]],
    ['facts.close', []],
    ['holder', { transport: 'tcp' }],
  ];
  for (const [name, argument] of bad) await assert.rejects(channel.ask(name, argument), { code: 'bad-request' }, name);
  channel.close();
  assert.deepEqual(await ended, [0, null]);
});

test('rules may take longer to read than 20 s, nothing else may', async () => {
  const asked: [string, unknown, number | undefined][] = [];
  const ask = async (name: string, argument: unknown, withinMs?: number): Promise<unknown> => {
    asked.push([name, argument, withinMs]);
    return [];
  };
  const facts = factsOf({ ask }, async () => {});
  await facts.rejectRules('10.0.0.1', 5);
  await facts.isOwn('10.0.0.1');
  assert.deepEqual(asked, [
    ['facts.rejectRules', ['10.0.0.1', 5], 180_000],
    ['facts.isOwn', ['10.0.0.1'], undefined],
  ]);
});
