// The fuzzer of `weir bench proxy-fuzz`, shorter: no header that our reader takes is refused or understood otherwise by a real
// HAProxy, however the bytes are cut, and memory stays where it was.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runProxyFuzz } from '../../src/programs/bench/proxy-fuzz.ts';
import { ProxyMutator } from '../../src/programs/bench/proxy-mutator.ts';
import { lacksProgram } from '../support/namespace.ts';

test('200,000 mutated headers: what we take, HAProxy takes and understands alike', {
  skip: lacksProgram('haproxy', 'haproxy'),
}, async () => {
  const result = await runProxyFuzz({ headers: 200_000, seed: 20_260, refusedAsked: 4000 });
  assert.deepEqual(result.violations, []);
  assert.ok(result.acceptedAsked > 10_000, `${result.acceptedAsked} accepted headers shown to HAProxy`);
  assert.ok(result.refusedAsked > 3000, `${result.refusedAsked} refused headers shown to HAProxy`);
  // Each kind of fault is met, or the mutations have lost their way.
  assert.deepEqual(Object.keys(result.answers).sort(), [
    ...['bad-address', 'bad-checksum', 'bad-line', 'bad-port', 'bad-tlv', 'done', 'line-too-long', 'more', 'no-addresses'],
    ...['not-proxy', 'other-transport', 'too-long', 'too-short', 'unknown-command', 'unknown-family', 'unknown-version'],
  ]);
  // What HAProxy takes and we do not is of these kinds: docs/decisions/0020.
  for (const fault of Object.keys(result.stricter))
    assert.ok(
      ['bad-address', 'bad-line', 'bad-port', 'line-too-long', 'too-long'].includes(fault),
      `${fault}: ${result.stricter[fault].example}`,
    );
  const [early, late] = result.memoryBytes;
  assert.ok(late - early < 96 << 20, `resident memory from ${early} to ${late} bytes`);
});

test('the same seed gives the same headers, another seed others', () => {
  const some = (seed: number): string[] => {
    const mutator = new ProxyMutator(seed);
    return Array.from({ length: 200 }, () => Buffer.from(mutator.next()).toString('hex'));
  };
  assert.deepEqual(some(1), some(1));
  assert.notDeepEqual(some(1), some(2));
});
