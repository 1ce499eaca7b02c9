// Where root cannot be given up: what to do is said, and root without any capability goes on only where that is allowed.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type DropOptions, dropPrivileges, type OwnPrivileges, ownPrivileges } from './privileges.ts';

const next = 'run it as another user';
const none =
  'Name:\tnode\nCapInh:\t0000000000000000\nCapPrm:\t0000000000000000\nCapEff:\t0000000000000000\nCapBnd:\t00000000000004c0\n';
const some = none.replace('CapEff:\t0000000000000000', 'CapEff:\t0000000000002000');
const idle = none.replace('CapPrm:\t0000000000000000', 'CapPrm:\t0000000000002000');

/** Of a machine where each of these fails or not; tells what was called. */
function drop(options: DropOptions, how: { root?: boolean; stays?: boolean; threads?: readonly string[] }) {
  const called: string[] = [];
  const own: OwnPrivileges = {
    isRoot: () => how.root ?? true,
    becomeNobody() {
      if (how.stays) throw Object.assign(new Error('setgroups EPERM'), { code: 'EPERM' });
      called.push('nobody');
    },
    forgoNew: () => void called.push('no new ones'),
    threads: () => how.threads ?? [none],
  };
  return { dropped: dropPrivileges(options, own), called };
}

test('root becomes nobody, for good; who is not root stays', () => {
  for (const options of [{ next }, { next, orNoCapability: true }]) {
    assert.deepEqual(drop(options, { threads: [some] }), { dropped: 'nobody', called: ['nobody', 'no new ones'] });
    assert.deepEqual(drop(options, { root: false }), { dropped: 'not-root', called: [] });
  }
});

test('where it cannot, the next step is said', () => {
  assert.throws(() => drop({ next }, { stays: true }), { code: 'not-permitted', details: { next } });
});

test('root without any capability, on any thread, goes on where that will do, and gets none back', () => {
  const options = { next, orNoCapability: true };
  assert.deepEqual(drop(options, { stays: true, threads: [none, none] }), { dropped: 'no-capability', called: ['no new ones'] });
  for (const threads of [[none, some], [idle], ['Name:\tnode\n'], []])
    assert.throws(() => drop(options, { stays: true, threads }), { code: 'not-permitted', details: { next } });
});

test('every thread of this process is looked at', () => {
  const threads = ownPrivileges.threads();
  assert.ok(threads.length > 1);
  for (const status of threads) assert.match(status, /^CapPrm:\s*[0-9a-f]{16}$/m);
});
