// `weir agents test` with whole programs: a way is whole when the record says so, whatever an agent says; and whatever breaks it is
// named.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AgentIdentity } from '../../src/relay/agents/agent-identity.ts';
import { type FleetBed, withFleet } from '../support/fleet-bed.ts';
import { lacksKernelTests } from '../support/namespace.ts';
import { Thief } from '../support/thief.ts';

const skip = lacksKernelTests();
const configuration = `
diversions:
  - { name: one, kind: agent, agent: branch-1, listen: { ports: [8000-8001], udp-ports: [8000] } }
`;

interface Way {
  readonly ok: boolean;
  readonly step?: string;
  readonly transport?: string;
  readonly decoy?: { readonly ip: string; readonly port: number };
  readonly source?: { readonly ip: string };
  readonly session?: string;
}

async function proof(bed: FleetBed): Promise<{ readonly code: number; readonly ways: readonly Way[] }> {
  const { code, stdout } = await bed.lab.weir(['agents', 'test', 'branch-1', '--json'], { anyCode: true });
  return {
    code,
    ways: stdout
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as Way),
  };
}

test('a way is whole when its record is there, and only then', { skip, timeout: 120_000 }, () =>
  withFleet(configuration, async (bed) => {
    const branch = await bed.addBranch('branch-1');
    await bed.lab.up();
    const agent = await bed.enrol(branch);
    const whole = await proof(bed);
    assert.equal(whole.code, 0);
    assert.deepEqual(
      whole.ways.map(({ ok, transport, decoy, source }) => [ok, transport, decoy?.ip, source?.ip]).sort(),
      [branch.decoy[4], branch.decoy[6]].flatMap((ip) => ['tcp', 'udp'].map((transport) => [true, transport, ip, ip])).sort(),
    );
    for (const { session = '' } of whole.ways) {
      const stored = (await bed.lab.reader.session(session))?.session;
      assert.deepEqual([stored?.weir.agent, stored?.weir.diversion], ['branch-1', 'one']);
    }

    await agent.end();
    await bed.shown('branch-1', 'away', ({ state }) => state === 'away');
    const away = await proof(bed);
    assert.deepEqual([away.code, away.ways.map(({ ok, step }) => [ok, step])], [1, [[false, 'link']]]);

    // Somebody in its place says that it touched its decoys, and did not.
    const stolen = (await AgentIdentity.open(branch.data)).credentials();
    const liar = await Thief.enter({ from: bed.lab.attacker, to: { host: '10.0.0.2', port: 7443 } }, stolen);
    let read = 0;
    liar.control.on('data', () => {
      for (const line of liar.said.slice(read).split('\n').slice(0, -1)) {
        read += line.length + 1;
        const { kind, rules, id } = JSON.parse(line) as { kind: string; rules?: string; id?: string };
        const say = (message: object): void => void liar.control.write(`${JSON.stringify(message)}\n`);
        if (kind === 'rules') say({ kind: 'applied', rules, refused: [], addresses: [branch.decoy[4]] });
        if (kind === 'touch') say({ kind: 'touched', id, from: `${branch.decoy[4]}:55555` });
      }
    });
    await bed.shown(
      'branch-1',
      'its rules in force',
      ({ state, rules }) => state === 'linked' && rules?.applied === rules?.wanted,
    );
    const lied = await proof(bed);
    assert.equal(lied.code, 1);
    assert.deepEqual(
      lied.ways.map(({ ok, step }) => [ok, step]),
      [
        [false, 'record'],
        [false, 'record'],
      ],
    );
    await liar.leave();
  }),
);
