// Programs are run without a shell, bounded, and their faults carry a code and their own words.

import assert from 'node:assert/strict';
import test from 'node:test';
import { createCommandRunner } from './command.ts';
import { parseProcEndpoint } from './observe-sockets.ts';
import { readSysctl, writeSysctl } from './sysctl.ts';

const runner = createCommandRunner();

test('arguments are no shell text, input is passed, output comes back', async () => {
  assert.equal((await runner.run('cat', ['-'], { input: 'a;b$(c)\n' })).stdout, 'a;b$(c)\n');
  assert.equal((await runner.run('printf', ['%s', '$HOME;`id`'])).stdout, '$HOME;`id`');
});

test('a missing program, a refusal and a delay each have their code', async () => {
  await assert.rejects(runner.run('weir-no-such-program', []), { code: 'tool-missing' });
  await assert.rejects(runner.run('ls', ['/no/such/file']), (error: { code: string; message: string }) => {
    assert.equal(error.code, 'kernel-refused');
    assert.match(error.message, /ls: .*no such file/i);
    return true;
  });
  assert.notEqual((await runner.run('ls', ['/no/such/file'], { anyCode: true })).code, 0);
  await assert.rejects(runner.run('sleep', ['60'], { timeoutMs: 20 }), { code: 'timeout' });
});

test('a program that ends before it read its input is no fault of ours', async () => {
  assert.equal((await runner.run('true', [], { input: 'x'.repeat(1 << 22) })).code, 0);
});

test('only network sysctls are touched', async () => {
  assert.match((await readSysctl(runner, 'net/ipv4/ip_forward')) ?? '', /^[01]$/);
  assert.equal(await readSysctl(runner, 'net/ipv4/no_such_thing'), undefined);
  for (const bad of ['kernel/panic', 'net/../kernel/panic', '/etc/passwd', 'net/ipv4/a b'])
    await assert.rejects(writeSysctl(runner, bad, '1'), { code: 'fault' });
});

test('endpoints of /proc/net/tcp parse in both families', () => {
  assert.deepEqual(parseProcEndpoint('0100007F:1F90'), { address: { family: 4, value: 0x7f000001n }, port: 8080 });
  assert.deepEqual(parseProcEndpoint('B80D0120000000000000000001000000:0016'), {
    address: { family: 6, value: 0x20010db8000000000000000000000001n },
    port: 22,
  });
  assert.deepEqual(parseProcEndpoint('0000000000000000FFFF00000100007F:0016'), {
    address: { family: 4, value: 0x7f000001n },
    port: 22,
  });
  assert.equal(parseProcEndpoint('xyz'), undefined);
});
