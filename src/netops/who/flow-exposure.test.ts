// What is exposed is joined to the service on a flow's way, not to another of the same port; advice where strangers can reach it.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseAddress } from '../../model/address.ts';
import type { ExposedService } from '../exposure/exposure-report.ts';
import { exposureOf } from './flow-exposure.ts';
import type { PathHop } from './path.ts';

const address = parseAddress('10.0.0.1') ?? assert.fail();
const flow = { protocol: 6, a: { address, port: 80 }, b: { address, port: 5000 } };
const hop = (more: Partial<PathHop>): PathHop => ({
  kind: 'process',
  netns: '1',
  netnsName: '',
  flow,
  join: '',
  score: 1,
  ...more,
});
const service = (more: Partial<ExposedService>): ExposedService => ({
  netns: '',
  transport: 'tcp',
  address: '0.0.0.0',
  port: 80,
  processes: [{ pid: 7, comm: 'web', uid: 0 }],
  uid: 0,
  reach: 'internet',
  paths: [],
  stoppedBy: [],
  isWeir: false,
  ...more,
});

test('a service is found by namespace, transport, port and process', () => {
  const rule = {
    allowedBy: [{ text: 'tcp dport 80 accept' }, { text: 'tcp dport 80 accept' }],
  } as unknown as ExposedService['paths'][number];
  const [found, ...none] = exposureOf([hop({ kind: 'wire' }), hop({ pid: 7, listens: 80 })], [service({ paths: [rule] })]);
  assert.deepEqual([found.reach, found.allowedBy, found.pid, none.length], ['internet', ['tcp dport 80 accept'], 7, 0]);
  assert.match(found.advice ?? '', /--propose/);
  for (const other of [{ netns: 'box' }, { port: 81 }, { transport: 'udp' as const }, { processes: [] }])
    assert.deepEqual(exposureOf([hop({ pid: 7, listens: 80 })], [service(other)]), []);
  assert.deepEqual(exposureOf([hop({ pid: 7 })], [service({})]), [], 'it did not accept, it connected');
  assert.equal(exposureOf([hop({ pid: 7, listens: 80 })], [service({ reach: 'local' })])[0].advice, undefined);
});
