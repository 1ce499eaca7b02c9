// Questions and answers between two halves: values, errors by their codes, a descriptor, what is too long or no question, an end that goes.

import assert from 'node:assert/strict';
import { openSync, readdirSync } from 'node:fs';
import { test } from 'node:test';
import { WeirError } from '../base/errors.ts';
import { closeDescriptor, sendTo } from './libc.ts';
import { AnswerChannel, type Answers, openQuestionPair, QuestionChannel } from './question-channel.ts';

interface Bed {
  readonly channel: QuestionChannel;
  /** The asking end's descriptor. */
  readonly fd: number;
  readonly gone: Promise<void>;
}

function begin(answers: Answers): Bed {
  const [asking, answering] = openQuestionPair();
  const gone = new Promise<void>((resolve) => new AnswerChannel(answering, answers, resolve));
  return { channel: new QuestionChannel(asking), fd: asking, gone };
}

test('answers, out of order, and errors by their codes', async () => {
  let release = (): void => {};
  const held = new Promise<void>((resolve) => {
    release = resolve;
  });
  const { channel, gone } = begin({
    double: (argument) => ({ value: Number(argument) * 2 }),
    late: async () => held.then(() => ({ value: 'late' })),
    refuse: () => {
      throw new WeirError('not-permitted', 'no', { next: 'ask root' });
    },
    long: () => ({ value: 'x'.repeat(1 << 20) }),
    nothing: () => ({ value: undefined }),
  });
  const late = channel.ask('late');
  assert.deepEqual(await Promise.all([1, 2, 3].map((number) => channel.ask('double', number))), [2, 4, 6]);
  release();
  assert.equal(await late, 'late');
  assert.equal(await channel.ask('nothing'), null);
  await assert.rejects(channel.ask('refuse'), { code: 'not-permitted', message: 'no', details: { next: 'ask root' } });
  await assert.rejects(channel.ask('long'), { code: 'bad-request' });
  await assert.rejects(channel.ask('toString'), { code: 'bad-request' });
  await assert.rejects(channel.ask('double', 'x'.repeat(1 << 20)), { code: 'bad-request' });
  assert.equal(await channel.ask('double', 4), 8, 'it goes on');
  channel.close();
  await gone;
  await assert.rejects(channel.ask('double', 1), { code: 'not-running' });
});

test("a question has its own time; an answer that comes later is nobody's", { timeout: 10_000 }, async () => {
  let release = (): void => {};
  const held = new Promise<void>((resolve) => {
    release = resolve;
  });
  const { channel, gone } = begin({
    late: async () => held.then(() => ({ value: 'late' })),
    soon: () => ({ value: 'soon' }),
  });
  await assert.rejects(channel.ask('late', null, 20), { code: 'timeout' });
  const waits = channel.ask('late', null, 60_000);
  release();
  assert.deepEqual([await waits, await channel.ask('soon')], ['late', 'soon']);
  channel.close();
  await gone;
});

test('a descriptor that nobody waits for is closed, at both ends', async () => {
  const { channel, gone } = begin({ open: () => ({ value: 'a', fd: openSync('/dev/null', 'r') }) });
  const before = readdirSync('/proc/self/fd').length;
  for (let count = 0; count < 20; count += 1) assert.equal(await channel.ask('open'), 'a');
  assert.equal(readdirSync('/proc/self/fd').length, before);
  channel.close();
  await gone;
});

test('what is no message of ours ends it, and so do too many questions', async () => {
  const rude = begin({});
  sendTo(rude.fd, Buffer.from('not json'), null);
  await rude.gone;
  const [asking, answering] = openQuestionPair();
  const gone = new Promise<void>((resolve) => new AnswerChannel(answering, { never: () => new Promise(() => {}) }, resolve));
  for (let id = 0; id < 200; id += 1)
    if (sendTo(asking, Buffer.from(JSON.stringify({ id, name: 'never', argument: null })), null) < 0) break;
  await gone;
  closeDescriptor(asking);
});
