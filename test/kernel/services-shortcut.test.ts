// The short way of the kernel path in real namespaces: connections take it past connection tracking, on the machine's own
// link and in a segment; a service gets nothing out on it that was not asked, whatever it forges; the long way still serves.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { silentLog } from '../../src/base/log.ts';
import { createCommandRunner } from '../../src/kernel/command.ts';
import type { DesiredState } from '../../src/plan/desired-state.ts';
import { ServicesController } from '../../src/plan/services-controller.ts';
import { readServicesStatus } from '../../src/plan/services-look.ts';
import { lacksKernelTests, runCommand, type TestNamespace, until, withLab } from '../support/namespace.ts';
import { layServicesBed, type ServicesBed, serveBothEnds, talk } from '../support/services-bed.ts';

interface Way {
  readonly diversion: string;
  readonly attacker: TestNamespace;
  readonly address: string;
  readonly decoy: string;
  readonly elsewhere: string;
}

const ways = ({ attackers }: ServicesBed): readonly Way[] => [
  { diversion: 'dmz', attacker: attackers[2], address: '10.70.0.1', decoy: '10.70.0.70', elsewhere: '10.70.0.71' },
  { diversion: 'floor-1', attacker: attackers[0], address: '10.50.0.1', decoy: '10.50.0.70', elsewhere: '10.50.0.71' },
];

/** Decoys of floor-2 are not bound: those of floor-1 belong to one network alone then. */
async function withShortcuts(body: (bed: ServicesBed, controller: ServicesController) => Promise<void>): Promise<void> {
  await withLab(async (lab) => {
    const bed = await layServicesBed(lab);
    const desired: DesiredState = {
      ...bed.desired,
      bindings: bed.desired.bindings.filter(({ diversion }) => diversion !== 'floor-2'),
    };
    const controller = new ServicesController({
      tag: `${process.pid.toString(16).slice(-3)}c`,
      log: silentLog,
      netns: bed.home.path,
    });
    try {
      await serveBothEnds(bed.service, 80);
      await controller.apply(desired);
      await body(bed, controller);
    } finally {
      await controller.apply(undefined);
    }
  });
}

const tracked = async (controller: ServicesController): Promise<string> =>
  (await runCommand(['nsenter', `--net=${controller.path}`, '--', 'conntrack', '-L', '-p', 'tcp'])).stdout;

/** Counts what comes to a port of an attacker. */
async function watchPort(attacker: TestNamespace, port: number): Promise<() => Promise<number>> {
  await attacker.nft(`table inet seen${port} {
  chain arrive {
    type filter hook prerouting priority -500
    tcp dport ${port} counter
  }
}
`);
  return async () => {
    const { stdout } = await attacker.run(['nft', 'list', 'table', 'inet', `seen${port}`]);
    return Number(/counter packets (\d+)/.exec(stdout)?.[1]);
  };
}

const forge = (
  from: TestNamespace,
  source: string,
  sport: number,
  target: string,
  dport: number,
  flags: string[],
): Promise<unknown> =>
  from.run(
    ['hping3', '-q', '-c', '1', '-i', 'u1000', '-a', source, '-s', String(sport), '-k', '-p', String(dport), ...flags, target],
    { anyCode: true, timeoutMs: 10_000 },
  );

/** Everything a service may try; `-d` carries payload. */
const kinds: readonly string[][] = [
  ['-S'],
  ['-S', '-A'],
  ['-A'],
  ['-A', '-P', '-d', '20'],
  ['-A', '-F'],
  ['-R'],
  ['-R', '-A'],
  ['-F', '-P', '-U'],
];

test('connections pass by no connection tracking, with the decoy’s MAC and no hop less', {
  skip: lacksKernelTests(),
}, async () => {
  await withShortcuts(async (bed, controller) => {
    let port = 45000;
    for (const { diversion, attacker, address, decoy } of ways(bed)) {
      port += 1;
      // In the segment decoys have MACs of their own.
      await attacker.run(['ping', '-n', '-c', '1', '-W', '2', decoy], { anyCode: true });
      const mac = /lladdr (\S+)/.exec((await attacker.run(['ip', 'neigh', 'show', decoy])).stdout)?.[1];
      const sender = diversion === 'dmz' ? '' : `ether saddr ${mac}`;
      await attacker.nft(`table inet hops {
  chain arrive {
    type filter hook prerouting priority -500
    ip saddr ${decoy} tcp flags & (syn | ack) == syn | ack ip ttl 64 ${sender} counter
  }
}
`);
      assert.equal(await talk(attacker, decoy, 80, port), `real ::ffff:${address} ${port} ::ffff:${decoy} 80 5`);
      assert.doesNotMatch(await tracked(controller), new RegExp(`sport=${port} `));
      assert.match((await attacker.run(['nft', 'list', 'table', 'inet', 'hops'])).stdout, /counter packets [1-9]/);
      assert.equal(await talk(attacker, decoy, 81, port), 'refused');
      assert.match(await talk(attacker, decoy, 80, port, 'x'.repeat(100_000)), / 100000$/);
    }
  });
});

test('whatever a service forges reaches nobody who did not ask just that', { skip: lacksKernelTests() }, async () => {
  await withShortcuts(async (bed, controller) => {
    const { service } = bed;
    for (const { attacker, address, decoy, elsewhere } of ways(bed)) {
      // The service knows the way, and this attacker has just talked to this very decoy.
      assert.match(await talk(attacker, decoy, 80, 45100), /^real /);
      const stranger = await watchPort(attacker, 5555);
      await Promise.all(kinds.map((flags) => forge(service, decoy, 80, address, 5555, flags)));
      assert.match(await talk(attacker, decoy, 80, 45101), /^real /);
      assert.equal(await stranger(), 0, `${decoy}: something forged got out`);
      // One who has begun to ask is answered, by the decoy and port that was asked alone.
      const asking = await watchPort(attacker, 5556);
      await forge(attacker, address, 5556, decoy, 80, ['-S']);
      await until('the question is answered', async () => (await asking()) > 0);
      await forge(attacker, address, 5556, decoy, 80, ['-R', '-A']);
      const before = await asking();
      await Promise.all(
        kinds.flatMap((flags) => [
          forge(service, elsewhere, 80, address, 5556, flags),
          forge(service, decoy, 8080, address, 5556, flags),
        ]),
      );
      assert.match(await talk(attacker, decoy, 80, 45102), /^real /);
      assert.equal(await asking(), before, `${decoy}: something nobody asked got out`);
    }
    await controller.repair();
    assert.match(controller.status().lines.join('\n'), /[1-9]\d* packets that services sent unasked were dropped/);
  });
});

test('a service that moves to another MAC is found again, and a table taken away costs no decoy', {
  skip: lacksKernelTests(),
}, async () => {
  await withShortcuts(async (bed, controller) => {
    const [{ attacker, decoy }] = ways(bed);
    assert.match(await talk(attacker, decoy, 80, 45200), /^real /);
    await bed.service.ip('link set eth0 down\nlink set eth0 address 02:00:00:00:60:99\nlink set eth0 up\n');
    await bed.service.ip('addr replace fd60::9/64 dev eth0 nodad\nroute replace default via 10.60.0.1\n');
    // What the service says of itself is how its own network learns of it; the next look follows.
    await bed.service.run(['ping', '-n', '-c', '1', '-W', '1', '10.60.0.1'], { anyCode: true });
    await until('the service is found', async () => {
      assert.deepEqual(await controller.repair(), []);
      const { stdout } = await bed.home.run(['nft', 'list', 'table', 'netdev', 'weir-services']);
      return stdout.includes('02:00:00:00:60:99');
    });
    assert.match(await talk(attacker, decoy, 80, 45201), /^real /);
    await runCommand(['nsenter', `--net=${controller.path}`, '--', 'nft', 'delete', 'table', 'netdev', 'weir-services']);
    assert.match(await talk(bed.attackers[0], '10.50.0.70', 80, 45202), /^real /);
    assert.match(await tracked(controller), /sport=45202 /);
    assert.ok((await controller.repair()).some(({ object }) => object === 'table'));
    assert.match(await talk(bed.attackers[0], '10.50.0.70', 80, 45203), /^real /);
    assert.doesNotMatch(await tracked(controller), /sport=45203 /);
  });
});

test('who finds the map of connections full is counted, and the status says so', { skip: lacksKernelTests() }, async () => {
  await withShortcuts(async (bed, controller) => {
    const [{ attacker, address, decoy }] = ways(bed);
    assert.match(await talk(attacker, decoy, 80, 45300), /^real /);
    const look = (): ReturnType<typeof readServicesStatus> =>
      readServicesStatus([], createCommandRunner(controller.path), createCommandRunner(bed.home.path));
    assert.doesNotMatch((await look()).lines.join('\n'), /short way/);
    const { stdout } = await bed.home.run(['nft', 'list', 'table', 'netdev', 'weir-services']);
    assert.match(stdout, / \. 45300 \. .* expires /, 'one is known, and that is all there may be');
    await bed.home.nft(`delete table netdev weir-services\n${stdout.replace(/size \d+/, 'size 1')}`);
    for (const port of [45301, 45302, 45303]) await forge(attacker, address, port, decoy, 80, ['-S']);
    const full = /^3 packets of attackers were dropped: more connections than the short way to services can know$/m;
    await until('the drops are told', async () => full.test((await look()).lines.join('\n')));
  });
});
