import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import test from 'node:test';
import { labAddresses, withWeirLab } from '../../src/programs/weir-lab.ts';
import { lacksKernelTests } from '../support/namespace.ts';

const skip = lacksKernelTests();

test('attacker and sensor see each other on one wire, and nothing is left', { skip }, async () => {
  const directory = await withWeirLab({}, async (lab) => {
    const { code } = await lab.attack(['ping', '-c1', '-W2', labAddresses.sensor]);
    assert.equal(code, 0);
    assert.equal((await lab.attack(['ping', '-c1', '-W2', labAddresses.sensor6])).code, 0);
    assert.equal(lab.processes().size, 0);
    return lab.directory;
  });
  assert.ok(!existsSync(directory));
});

test('a far attacker reaches the sensor through the router, and a live host is on the switch', { skip }, async () => {
  await withWeirLab({ router: true }, async (lab) => {
    const host = await lab.addHost('h', ['10.64.0.9/8'], '02:00:00:00:00:09');
    assert.ok(lab.far);
    for (const [from, to] of [
      [lab.far, labAddresses.sensor],
      [lab.far, labAddresses.sensor6],
      [host, labAddresses.sensor],
      [lab.attacker, '10.64.0.9'],
    ] as const)
      assert.equal((await from.run(['ping', '-c1', '-W2', to], { anyCode: true })).code, 0, to);
  });
});

test('a failing body is told, and the lab is gone all the same', { skip }, async () => {
  let directory = '';
  await assert.rejects(
    withWeirLab({}, async (lab) => {
      directory = lab.directory;
      throw new Error('as the test says');
    }),
    /as the test says/,
  );
  assert.ok(!existsSync(directory));
});
