// A cgroup that is gone has no programs; one that cannot be looked into is not known to have none.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { WeirError } from '../base/errors.ts';
import { parseAddress } from '../model/address.ts';
import { judgeByCgroup, unifiedRoot } from './cgroup-bpf.ts';

test('only a cgroup that is gone has none', { skip: unifiedRoot() === undefined && 'no unified hierarchy' }, () => {
  const [source, destination] = ['10.0.0.1', '10.0.0.2'].map((text) => parseAddress(text) ?? assert.fail());
  const ports = { sourcePort: 50_000, destinationPort: 80 };
  const judge = (cgroup: string) =>
    judgeByCgroup(cgroup, 'ingress', { family: 4, protocol: 'tcp', source, destination, ...ports, mark: 0, state: 'new' });
  assert.deepEqual(judge('/there-is-no-such-cgroup'), []);
  assert.throws(
    () => judge('/cgroup.procs/below-a-file'),
    (error: WeirError) => /cgroup/.test(error.message),
  );
});
