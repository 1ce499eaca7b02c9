// The privileges of design.md section 6, read from the kernel while a gateway serves.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { withWeirLab } from '../../src/programs/weir-lab.ts';
import { lacksKernelTests } from '../support/namespace.ts';

const configuration = `
diversions:
  - { name: dmz, kind: host, interface: eth0, decoys: [{ addresses: 10.64.0.0/24, persona: all-open }] }
`;
const capNetRaw = 1n << 13n;

function statusOf(pid: number): Map<string, string> {
  const lines = readFileSync(`/proc/${pid}/status`, 'utf8').split('\n');
  return new Map(lines.map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 1).trim()]));
}

const capabilities = (status: Map<string, string>, set: string): bigint => BigInt(`0x${status.get(set)}`);

test('attacker bytes are read by uid weir with CAP_NET_RAW alone; the recorder has nothing', { skip: lacksKernelTests() }, () =>
  withWeirLab({ configuration }, async (lab) => {
    await lab.up();
    // It serves: a touch is on record before the privileges are read.
    await lab.attack(['curl', '-s', '-m', '5', 'http://10.64.0.9/']);
    await lab.recorded(['sessions'], 1);
    const weir = readFileSync('/etc/passwd', 'utf8')
      .split('\n')
      .find((line) => line.startsWith('weir:'))
      ?.split(':')[2];
    assert.ok(weir && weir !== '0');
    const pids = lab.processes();
    for (const [name, allowed] of [
      ['gateway', capNetRaw],
      ['recorder', 0n],
    ] as const) {
      const pid = pids.get(name);
      assert.ok(pid, `${name} runs`);
      const status = statusOf(pid);
      assert.deepEqual(status.get('Uid')?.split(/\s+/), [weir, weir, weir, weir], `${name} runs as weir throughout`);
      for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb'])
        assert.equal(capabilities(status, set), allowed, `${name} ${set}`);
      assert.equal(status.get('NoNewPrivs'), '1', name);
      assert.equal(status.get('Groups'), '', `${name} has no other group`);
      assert.doesNotMatch(
        readFileSync(`/proc/${pid}/environ`, 'latin1'),
        /SSH_|HOME=|TOKEN/,
        `${name} has nothing of the caller's environment`,
      );
    }
  }),
);
