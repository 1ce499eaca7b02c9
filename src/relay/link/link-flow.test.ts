// A flow whose stream is gone before it says so.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { Duplex } from 'node:stream';
import { test } from 'node:test';
import { turnedAwayCode } from '../handed-flow.ts';
import { LinkFlow, type LinkStream } from './link-flow.ts';

const keeper = { reset() {}, abandon() {}, stalled() {} };

for (const taken of [false, true])
  test(`a write between the end of a stream and its close: ${taken ? 'reset' : 'turned away, so that the client is given back'}`, async () => {
    // As an HTTP/2 stream that was reset: destroyed now, closed some turns later.
    const stream = new Duplex({ read() {}, write: (_bytes, _encoding, done) => done(), destroy() {} });
    const flow = new LinkFlow(stream as unknown as LinkStream, keeper, { sentBytes: 0, receivedBytes: 0, asked: true });
    if (taken) stream.emit('response');
    stream.destroy();
    flow.write('first bytes');
    const [error] = (await once(flow, 'error')) as [NodeJS.ErrnoException];
    assert.equal(error.code, taken ? 'ECONNRESET' : turnedAwayCode);
  });
