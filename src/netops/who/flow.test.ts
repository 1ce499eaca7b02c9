// Flows are the same from both ends; what is typed after --flow means what it says, and nonsense is refused.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseAddress } from '../../model/address.ts';
import { type Flow, flowKey, matchesFlow, parseFlowSelector, renderFlow } from './flow.ts';

const end = (address: string, port: number) => ({ address: parseAddress(address) ?? assert.fail(address), port });
const flow = (protocol: number, a: string, aPort: number, b: string, bPort: number): Flow => ({
  protocol,
  a: end(a, aPort),
  b: end(b, bPort),
});

test('a flow is the same from both ends, and another one where anything differs', () => {
  const one = flow(6, '10.0.0.1', 80, '10.0.0.2', 5000);
  assert.equal(flowKey(one), flowKey(flow(6, '10.0.0.2', 5000, '10.0.0.1', 80)));
  const others = [
    flow(17, '10.0.0.1', 80, '10.0.0.2', 5000),
    flow(6, '10.0.0.1', 5000, '10.0.0.2', 80),
    flow(6, '10.0.0.1', 80, '10.0.0.3', 5000),
    // The number of the IPv4 address as one of IPv6.
    flow(6, '::a00:1', 80, '::a00:2', 5000),
  ];
  for (const other of others) assert.notEqual(flowKey(one), flowKey(other), renderFlow(other));
});

test('a selector is one end or both, with or without protocol and ports', () => {
  const web = flow(6, '192.0.2.7', 5000, '10.0.0.1', 443);
  const matches = (text: string): boolean => matchesFlow(parseFlowSelector(text) ?? assert.fail(text), web);
  for (const text of [
    '10.0.0.1',
    ':443',
    '10.0.0.1:443',
    'tcp 10.0.0.1:443',
    'tcp 10.0.0.1:443 192.0.2.7:5000',
    '192.0.2.7 -> 10.0.0.1:443',
    '192.0.2.7:5000-10.0.0.1:443',
    'TCP 192.0.2.7, :443',
  ])
    assert.ok(matches(text), text);
  for (const text of ['udp 10.0.0.1', ':5001', '10.0.0.1:5000', '10.0.0.1 10.0.0.1', '192.0.2.7:443 10.0.0.1'])
    assert.ok(!matches(text), text);
  const six = flow(17, '2001:db8::1', 53, '2001:db8::2', 4000);
  for (const text of ['udp [2001:db8::1]:53', '2001:db8::1 2001:db8::2', '[2001:db8::2]:4000 [2001:db8::1]:53'])
    assert.ok(matchesFlow(parseFlowSelector(text) ?? assert.fail(text), six), text);
  for (const text of ['', 'tcp', '10.0.0.256', ':0', ':70000', 'a b c', '10.0.0.1 10.0.0.2 10.0.0.3', '[10.0.0.1', 'eth0'])
    assert.equal(parseFlowSelector(text), undefined, text);
});
