// What breaks between an agent and its gateway, with whole programs: whatever it is, the attacker's own list and the record agree,
// and `weir agents` says what is wrong.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type FleetBed, withFleet } from '../support/fleet-bed.ts';
import { lacksKernelTests, until } from '../support/namespace.ts';
import { type Kill, type Visit, VisitList, wrongVisits } from '../support/visit-list.ts';

const skip = lacksKernelTests();
const configuration = `
diversions:
  - { name: branch, kind: agent, agent: branch-1, listen: { ports: [2323, 8000-8003], udp-ports: [2323] } }
`;

/** Open or over. */
const onRecord = (bed: FleetBed, port: number | undefined): Promise<unknown> =>
  until(`a session from port ${port}`, async () =>
    (await bed.lab.reader.sessions({ limit: '1000' })).items.find(({ source, weir }) => source.port === port && weir.payload),
  );

test(
  'the link is cut, the gateway is killed, the agent is killed: every visit is on record once',
  {
    skip,
    timeout: 180_000,
  },
  () =>
    withFleet(configuration, async (bed) => {
      const branch = await bed.addBranch('branch-1');
      await bed.lab.up();
      let agent = await bed.enrol(branch);
      const list = new VisitList(branch, [8000, 8001, 8002]);
      list.begin(3);
      await list.more(20);

      // Nobody says that the wire is gone: what comes before it is noticed counts as much as what comes after.
      await branch.setWire(false);
      await agent.away();
      await list.more(20);
      await bed.shown('branch-1', 'away', ({ state }) => state === 'away');
      assert.match((await bed.lab.weir(['status'], { anyCode: true })).stdout, /branch-1 +away/);
      await branch.setWire(true);
      await bed.shown('branch-1', 'linked again', ({ state }) => state === 'linked', 60_000);
      await list.more(20);

      // Older than 200 ms is what survives a kill.
      const held = await branch.connect(8003);
      const heldPort = held.localPort;
      held.write('GET /held-by-the-gateway');
      await onRecord(bed, heldPort);
      const before = bed.lab.processes().get('gateway') ?? 0;
      const kills: Kill[] = [];
      const killed = performance.now();
      process.kill(before, 'SIGKILL');
      await until('it is gone', () => bed.lab.processes().get('gateway') !== before);
      kills.push({ at: killed, gone: performance.now() });
      await agent.away();
      await until('another gateway', () => (bed.lab.processes().get('gateway') ?? before) !== before);
      await bed.shown('branch-1', 'linked to the next gateway', ({ state }) => state === 'linked', 60_000);
      await list.more(20);

      const kept = await branch.connect(8003);
      const keptPort = kept.localPort;
      kept.write('GET /kept-by-the-agent');
      await onRecord(bed, keptPort);
      const at = performance.now();
      await agent.end('SIGKILL');
      kills.push({ at, gone: performance.now() });
      await bed.shown('branch-1', 'away', ({ state }) => state === 'away');
      agent = bed.start(branch);
      await agent.linked();
      await list.more(20);

      const visits = await list.finish();
      const look = async (): Promise<Visit[]> => wrongVisits(visits, await bed.ended(1), kills);
      await until('all of it is on record', async () => (await look()).length === 0, 30_000).catch(() => {});
      assert.deepEqual(await look(), []);
      const sessions = await bed.ended(1);
      for (const [port, outcome] of [
        [heldPort, 'interrupted'],
        [keptPort, 'client-reset'],
      ] as const) {
        const [one, ...more] = sessions.filter(({ source, destination }) => source.port === port && destination.port === 8003);
        assert.deepEqual([(one.weir.session as { outcome: string }).outcome, more.length], [outcome, 0]);
      }
    }),
);
