// The fixture itself: namespaces come, talk, and go without a trace.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import test from 'node:test';
import { createSegment, lacksKernelTests, NamespaceLab, runCommand, withLab } from './namespace.ts';

const skip = lacksKernelTests();

test('a segment carries IPv4 and IPv6 and is gone afterwards', { skip }, async () => {
  let prefix = '';
  await withLab(async (lab) => {
    prefix = lab.prefix;
    const { attacker, sensor } = await createSegment(lab);
    await attacker.run(['ping', '-c1', '-W2', '10.99.0.2']);
    await attacker.run(['ping', '-6', '-c1', '-W2', 'fd99::2']);
    assert.equal(await sensor.snapshot(), await sensor.snapshot());
    const before = await sensor.snapshot();
    await sensor.ip('route add 10.1.0.0/16 via 10.99.0.1\n');
    assert.notEqual(await sensor.snapshot(), before);
  });
  const { stdout } = await runCommand(['ip', 'netns', 'list']);
  assert.ok(!stdout.includes(prefix));
});

test('a process left in a namespace fails the lab and is ended', { skip }, async () => {
  const lab = new NamespaceLab();
  const namespace = await lab.namespace('x');
  await namespace.run(['sh', '-c', 'setsid cat /dev/zero >/dev/null 2>&1 & ']);
  await assert.rejects(lab.end(), /left running/);
  const { stdout } = await runCommand(['ip', 'netns', 'list']);
  assert.ok(!stdout.includes(lab.prefix));
});

test('who looks at every namespace is inside for a moment: waited for, not ended', { skip }, async () => {
  const lab = new NamespaceLab();
  const namespace = await lab.namespace('y');
  const [program, ...rest] = namespace.inside(['sh', '-c', 'echo in; exec timeout --preserve-status 0.5 cat']);
  const passing = spawn(program, rest, { stdio: ['pipe', 'pipe', 'inherit'] });
  const ended = once(passing, 'exit');
  await once(passing.stdout, 'data');
  await lab.end();
  // 143: of timeout's own SIGTERM; a signal would be the lab's.
  assert.deepEqual(await ended, [143, null]);
});
