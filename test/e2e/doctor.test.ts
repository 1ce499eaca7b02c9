// `weir doctor` alone, beside a running Weir: every part is asked, decoys are touched as from outside, and a touch comes out as a session with the right
// source; something that is in the way is named.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { withWeirLab } from '../../src/programs/weir-lab.ts';
import { lacksKernelTests } from '../support/namespace.ts';

const configuration = `
diversions:
  - { name: dmz, kind: host, interface: eth0, decoys: [{ addresses: 10.64.0.0/16, persona: linux-web }] }
`;

interface Check {
  readonly name: string;
  readonly state: string;
  readonly detail: string;
}

test('Weir checks itself, from the wire to the record', { skip: lacksKernelTests(), timeout: 60_000 }, () =>
  withWeirLab({ configuration, wire: 'bridge', router: true }, async (lab) => {
    const ask = async (): Promise<{ code: number; checks: readonly Check[] }> => {
      const { code, stdout } = await lab.weir(['doctor', '--json'], { anyCode: true });
      return { code, checks: JSON.parse(stdout).checks };
    };
    const stateOf = (checks: readonly Check[], name: string): string =>
      checks.find((check) => check.name === name)?.state ?? 'absent';
    const before = await ask();
    assert.equal(before.code, 10);
    assert.equal(stateOf(before.checks, 'programs'), 'fail');

    const running = await lab.up();
    const rules = await lab.sensor.snapshot();
    const well = await ask();
    assert.deepEqual(
      well.checks.filter(({ state, name }) => state !== 'pass' && name !== 'clock'),
      [],
    );
    const touch = well.checks.find(({ name }) => name === 'decoys of dmz: end to end');
    const source = /a touch from (192\.0\.2\.\d+):(\d+) to (\S+):\d+ is session (\S+)$/.exec(touch?.detail ?? '');
    assert.ok(source, touch?.detail);
    const [session] = await lab.recorded(['sessions', '--source', source[1], '--destination', source[3]], 1);
    assert.deepEqual([session.source.ip, session.source.port, session.destination.ip], [source[1], Number(source[2]), source[3]]);
    assert.equal(await lab.sensor.snapshot(), rules, 'nothing is left behind');

    await lab.sensor.run(['iptables', '-A', 'INPUT', '-p', 'tcp', '--dport', '22', '-j', 'DROP']);
    const hindered = await ask();
    assert.equal(hindered.code, 10);
    assert.equal(stateOf(hindered.checks, 'decoys of dmz'), 'fail');
    await running.stop();
  }),
);
