// What one cell of a matrix answers where the machine is not as it was recorded; real machines are test/kernel/netops-baseline.test.ts.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Address, parseAddress } from '../../model/address.ts';
import type { Machine } from '../../model/machine.ts';
import { AccessReader } from './access-matrix.ts';
import { checkAccess, wayOf } from './matrix-check.ts';

const address = (text: string): Address => parseAddress(text) ?? assert.fail(text);
const namespace = {
  inode: '1',
  name: '',
  links: [],
  routes: [],
  rules: [],
  neighbours: [],
  listeners: [],
  sysctls: {},
  qdiscs: [],
  xfrmPolicies: [],
  queueConsumers: [],
  counters: {},
};
const machine: Machine = { takenAt: 0, kernel: '6.18', namespaces: [namespace], processes: [], unseen: [] };
const source = { name: 'lan', netns: '', device: 'eth0', addresses: [address('192.0.2.7')] };
const target = { transport: 'tcp', address: address('192.0.2.1'), port: 22 } as const;
const ask = (): never => assert.fail('nothing is asked of the kernel');

describe('a cell whose source is not there', () => {
  it('is unknown, not refused: a device that has another name now refuses nobody', () => {
    const reader = new AccessReader(machine, ask);
    assert.equal(reader.answer(source, target)?.outcome, 'unknown');
    assert.equal(reader.answer({ ...source, netns: 'gone' }, target)?.outcome, 'unknown');
    const matrix = { recordedAt: 0, sources: [source], rows: [{ ...target, reach: [], refuse: ['lan'], unknown: [] }] };
    const { compared, notMeasured, left } = checkAccess(matrix, machine, ask);
    assert.deepEqual([compared, notMeasured], [0, ['lan to tcp 192.0.2.1:22: there is no device eth0']]);
    assert.deepEqual([...left], [wayOf('lan', 'tcp 192.0.2.1:22')]);
  });
});

describe('a check whose time is over', () => {
  it('compares no further, and says so: what was not walked is as it should be for nobody', () => {
    const matrix = { recordedAt: 0, sources: [source], rows: [{ ...target, reach: ['lan'], refuse: [], unknown: [] }] };
    const link = { index: 2, name: 'eth0', mac: '', mtu: 1500, up: true, operstate: 'up', addresses: [] };
    const known = { ...machine, namespaces: [{ ...namespace, links: [link] }] };
    const { compared, differences, notMeasured, left } = checkAccess(matrix, known, ask, () => true);
    assert.deepEqual([compared, differences, [...left]], [0, [], [wayOf('lan', 'tcp 192.0.2.1:22')]]);
    assert.match(notMeasured.join(), /1 ways of the matrix: they are too many for the time there is/);
  });
});
