// What a failed attempt says of a kernel, and what it does not; real kernels are test/kernel/netops-preflight.test.ts.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { CommandRunner } from './command.ts';
import { readMissingNftFeatures } from './nft-features.ts';

const runnerThat = (loads: (input: string) => boolean): CommandRunner => ({
  netns: undefined,
  run: async (_program, _args, options) => ({ code: loads(options?.input ?? '') ? 0 : 1, stdout: '', stderr: '' }),
  readProc: async () => undefined,
  writeProc: async () => assert.fail('trying writes nothing'),
});

describe('parts of nftables', () => {
  it('are missing where only they are refused', async () => {
    assert.deepEqual(await readMissingNftFeatures(runnerThat((input) => !input.includes('tproxy'))), ['tproxy']);
    assert.deepEqual(await readMissingNftFeatures(runnerThat(() => true)), []);
  });

  it('are not measured where nothing at all can be tried', async () => {
    assert.equal(await readMissingNftFeatures(runnerThat(() => false)), undefined);
  });
});
