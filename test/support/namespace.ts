// Whether kernel tests can run here, and the lab they run in.

import { getuid } from 'node:process';

export * from '../../src/kernel/namespace-lab.ts';

/** Value for node:test's `skip`: false where kernel tests can run. Under WEIR_TESTS=required a lack throws instead. */
export function lacksKernelTests(): string | false {
  const reason = getuid?.() === 0 ? false : 'needs root for network namespaces';
  if (reason && process.env.WEIR_TESTS === 'required') throw new Error(`WEIR_TESTS=required, but this test ${reason}`);
  return reason;
}
