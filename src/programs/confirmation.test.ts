// The one question `weir up` asks: a typed line is the answer, the end of the input or of the time is none.

import assert from 'node:assert/strict';
import { PassThrough } from 'node:stream';
import { test } from 'node:test';
import { ask } from './confirmation.ts';

const asked = (signal = new AbortController().signal) => {
  const input = new PassThrough();
  const output = new PassThrough();
  return { input, output, answer: ask({ input, output }, 'Apply this? ', signal) };
};

test('ask: a typed line is the answer, without its end and blanks', { timeout: 5000 }, async () => {
  const { input, output, answer } = asked();
  input.write('yes \nmore\n');
  assert.equal(await answer, 'yes');
  assert.equal(String(output.read()), 'Apply this? ');
});

test('ask: an empty line is an answer too', { timeout: 5000 }, async () => {
  const { input, answer } = asked();
  input.write('\n');
  assert.equal(await answer, '');
});

test('ask: the end of the input is no answer', { timeout: 5000 }, async () => {
  const { input, answer } = asked();
  input.end();
  assert.equal(await answer, undefined);
});

test('ask: nobody answers once the signal fires, and nothing listens any more', { timeout: 5000 }, async () => {
  const stop = new AbortController();
  const { input, answer } = asked(stop.signal);
  stop.abort();
  assert.equal(await answer, undefined);
  assert.equal(input.listenerCount('data') + input.listenerCount('line'), 0);
});
