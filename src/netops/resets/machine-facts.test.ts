// Whose an address is: networks may have the same ones, so where a packet was seen counts.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isSenderHere, leadsOf } from './machine-facts.ts';

const leads = leadsOf(
  [
    { name: 'eth0' },
    { name: 'docker0' },
    { name: 'v1', master: 'docker0', peerNamespaceId: 0 },
    { name: 'v2', master: 'docker0', peerNamespaceId: 1 },
    { name: 'v3', peerNamespaceId: 2 },
    { name: 'v4', peerNamespaceId: 7 },
  ],
  new Map([
    [0, 'web'],
    [1, 'db'],
    [2, 'lab'],
  ]),
);

test('links lead to the other end of a veth, a bridge to those of its ports', () => {
  assert.deepEqual(
    [...leads].map(([name, inodes]) => [name, [...inodes]]),
    [
      ['v1', ['web']],
      ['docker0', ['web', 'db']],
      ['v2', ['db']],
      ['v3', ['lab']],
    ],
  );
});

test('an address that some namespace has is from here only by the link that leads there', () => {
  const own = new Set(['10.0.0.1']);
  const owners = new Set(['web']);
  const at = (ip: string, name: string | undefined, outgoing = false) =>
    isSenderHere(ip, { ...(name === undefined ? {} : { interface: name }), outgoing }, own, owners, leads);
  assert.equal(at('10.0.0.1', 'eth0', true), true);
  assert.equal(at('127.0.0.9', 'lo', true), true);
  assert.deepEqual([at('172.17.0.2', 'docker0'), at('172.17.0.2', 'v1')], [true, true]);
  assert.deepEqual([at('172.17.0.2', 'eth0'), at('172.17.0.2', 'v2'), at('172.17.0.2', 'v3')], [undefined, undefined, undefined]);
  assert.deepEqual([at('172.17.0.2', 'v1', true), at('172.17.0.2', undefined)], [undefined, undefined]);
  assert.equal(isSenderHere('192.0.2.9', { interface: 'v1' }, own, undefined, leads), false);
});
