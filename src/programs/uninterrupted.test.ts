// Whether a signal finds somebody who listens: weir.ts ends the process at once where nobody does.

import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import { it } from 'node:test';
import { uninterrupted } from './uninterrupted.ts';

it('somebody listens for as long as it takes, also once the signal came, and nobody after it', async () => {
  const stop = new AbortController();
  const listening = (): number => getEventListeners(stop.signal, 'abort').length;
  const answer = await uninterrupted(stop.signal, async () => {
    assert.equal(listening(), 1);
    stop.abort();
    await Promise.resolve();
    return listening();
  });
  assert.deepEqual([answer, listening()], [1, 0]);
  const other = new AbortController();
  await assert.rejects(
    uninterrupted(other.signal, async () => {
      throw new Error('failed');
    }),
    /failed/,
  );
  assert.equal(getEventListeners(other.signal, 'abort').length, 0);
});
