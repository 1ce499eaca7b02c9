// Host diversion in a real namespace: what each kind of decoy answers, what stays this machine's own, and that
// taking down leaves nothing.

import assert from 'node:assert/strict';
import net from 'node:net';
import test from 'node:test';
import { openTproxyListener } from '../../src/kernel/tproxy-socket.ts';
import { parseAddress, renderAddress } from '../../src/model/address.ts';
import { DecoyDirectory } from '../../src/model/decoy.ts';
import type { Annex } from '../../src/plan/annex.ts';
import { configurationOf, personaLibrary, serveReal, touch, withBed } from '../support/diversion-bed.ts';
import { createSegment, lacksKernelTests, until, withLab } from '../support/namespace.ts';

const skip = lacksKernelTests();

const own = `
diversions:
  - name: own
    kind: host
    interface: sv
    decoys: [{ addresses: own, persona: all-open }]
`;

const mixed = `
personas:
  - name: web
    description: a web server
    hostname: web-{n}
    operating-system: Linux
    mac-prefixes: ["00:0c:29"]
    tcp: { open: [80, 443], otherwise: closed }
    udp: { open: [53], otherwise: closed }
  - name: silent
    description: says little
    hostname: pc-{n}
    operating-system: Windows
    mac-prefixes: ["00:50:56", "00:15:5d"]
    ttl: 128
    answers-echo: false
    tcp: { open: [445], otherwise: filtered }
    udp: { open: [], otherwise: filtered }
diversions:
  - name: dmz
    kind: host
    interface: sv
    decoys:
      - { addresses: [10.99.128.0/18], persona: web }
      - { addresses: [10.99.192.0/18], persona: silent, seed: 9 }
      - { addresses: [10.99.64.0/20, "fd99:0:0:1::/64"], population: { web: 20%, silent: 30% }, seed: 7 }
      - { addresses: [10.99.5.5], persona: all-open, mac: "02:11:22:33:44:55" }
`;

const segment = { skip };

test('open, closed, filtered and dead decoys look as their personas say, over IPv4 and IPv6', segment, () =>
  withLab(async (lab) => {
    const { attacker, sensor } = await createSegment(lab);
    await serveReal(sensor, '::', 22);
    await attacker.run(['ip', '-6', 'route', 'add', 'fd99:0:0:1::/64', 'via', 'fd99::2']);
    await withBed(lab, sensor, async ({ controller }) => {
      const configuration = configurationOf(mixed);
      const plan = await controller.plan(configuration);
      assert.ok(plan.changes.length > 0);
      await controller.apply(plan);
      assert.deepEqual(await controller.verify(), []);
      assert.deepEqual((await controller.plan(configuration)).changes, []);

      assert.match(await touch(attacker, '10.99.130.1', 80), /^diverted 10\.99\.0\.1 \d+ 10\.99\.130\.1 80$/);
      assert.equal(await touch(attacker, '10.99.130.1', 81), 'refused');
      // A wildcard listener of the sensor must not answer at a decoy.
      assert.equal(await touch(attacker, '10.99.130.1', 22), 'refused');
      assert.match(await touch(attacker, '10.99.200.1', 445), /^diverted .* 10\.99\.200\.1 445$/);
      assert.equal(await touch(attacker, '10.99.200.1', 22, 400), 'silence');
      assert.match(await touch(attacker, '10.99.5.5', 22), /^diverted .* 10\.99\.5\.5 22$/);
      assert.equal(await touch(attacker, '10.99.0.2', 22), 'real');
      assert.equal(await touch(attacker, '10.99.0.2', 80), 'refused');

      const directory = new DecoyDirectory(controller.groups(), configuration.personas);
      const samples = { web: '', silent: '', dead: '' };
      const samples6 = { web: '', silent: '', dead: '' };
      for (let value = 1n; value < 200n; value += 1n)
        for (const [family, base, into] of [
          [4, parseAddress('10.99.64.0')?.value ?? 0n, samples],
          [6, parseAddress('fd99:0:0:1::')?.value ?? 0n, samples6],
        ] as const) {
          const address = { family, value: base + value };
          const persona = directory.find(address)?.persona.name ?? 'dead';
          into[persona as 'web' | 'silent' | 'dead'] ||= renderAddress(address);
        }
      assert.match(await touch(attacker, samples.web, 443), /^diverted/);
      assert.equal(await touch(attacker, samples.web, 445), 'refused');
      assert.match(await touch(attacker, samples.silent, 445), /^diverted/);
      assert.equal(await touch(attacker, samples.dead, 80, 4000), 'unreachable', 'nobody answers ARP');
      assert.match(await touch(attacker, samples6.web, 443), /^diverted fd99::1 \d+ fd99:0:0:1:/);
      assert.equal(await touch(attacker, samples6.web, 445), 'refused');
      assert.equal(await touch(attacker, samples6.web, 22), 'refused');
      assert.match(await touch(attacker, samples6.silent, 445), /^diverted/);
      assert.equal(await touch(attacker, samples6.dead, 443, 400), 'silence');

      const macOf = async (ip: string): Promise<string> =>
        /lladdr (\S+)/.exec((await attacker.run(['ip', 'neigh', 'show', ip])).stdout)?.[1] ?? '';
      for (const ip of ['10.99.130.1', '10.99.200.1', '10.99.5.5', samples.web, samples.silent])
        assert.equal(await macOf(ip), directory.find(ip)?.mac, ip);
      assert.equal(await macOf('10.99.5.5'), '02:11:22:33:44:55');

      const ping = (ip: string): Promise<{ code: number; stdout: string }> =>
        attacker.run(['ping', '-c1', '-W1', ip], { anyCode: true });
      assert.match((await ping('10.99.130.1')).stdout, /ttl=64 /);
      assert.equal((await ping('10.99.200.1')).code, 1);
      assert.equal((await ping(samples6.web)).code, 0);
    });
  }),
);

test(
  'down leaves the machine byte for byte as found, with foreign rules, routes and sysctls, with and without the state file',
  segment,
  () =>
    withLab(async (lab) => {
      const { sensor } = await createSegment(lab);
      await sensor.nft(
        'table inet theirs { set s { type ipv4_addr; elements = { 1.2.3.4 }; }\n chain c {\n type filter hook input priority 0; policy accept; ip saddr @s counter drop\n }\n}\ntable ip weird { comment "not weir"; }\n',
      );
      await sensor.run(['iptables', '-A', 'INPUT', '-p', 'tcp', '--dport', '9', '-j', 'DROP']);
      await sensor.ip(
        'route add 10.50.0.0/16 via 10.99.0.1 proto 99\nroute add local 10.51.0.0/16 dev lo table local\nrule add from 10.52.0.1 lookup 100\n',
      );
      await sensor.setSysctl('net/ipv4/conf/sv/arp_ignore', '1');
      await sensor.setSysctl('net/ipv4/conf/all/arp_ignore', '2');
      const before = await sensor.snapshot();
      await withBed(lab, sensor, async ({ controller, again, stateDirectory }) => {
        await controller.apply(await controller.plan(configurationOf(mixed)));
        await controller.withhold('', ['10.99.130.7', 'fd99:0:0:1::9'], 'a test');
        assert.deepEqual(await controller.verify(), []);
        const during = await sensor.snapshot();
        assert.match(during, /PROMISC/);
        assert.match(during, /sv\/arp_ignore:0/);
        await controller.down();
        assert.equal(await sensor.snapshot(), before);

        await controller.apply(await controller.plan(configurationOf(mixed)));
        await controller.withhold('', ['10.99.130.7'], 'a test');
        const { rmSync } = await import('node:fs');
        rmSync(stateDirectory, { recursive: true });
        const stranger = again();
        assert.match((await stranger.plan(configurationOf(mixed))).warnings.join(), /another Weir runs/);
        await stranger.down();
        assert.equal(await sensor.snapshot(), before);
      });
    }),
);

test('own addresses: every free port is a decoy, what listens is not, even when it starts later', segment, () =>
  withLab(async (lab) => {
    const { attacker, sensor } = await createSegment(lab);
    await serveReal(sensor, '10.99.0.2', 8080);
    await withBed(lab, sensor, async ({ controller }) => {
      const plan = await controller.plan(configurationOf(`management: { ports: [22], sources: [10.99.0.77] }\n${own}`), {
        sshConnection: '10.99.0.1 50000 10.99.0.2 2022',
      });
      assert.ok(plan.notes.some((note) => note.includes('8080')));
      await controller.apply(plan);
      assert.match(await touch(attacker, '10.99.0.2', 80), /^diverted 10\.99\.0\.1 \d+ 10\.99\.0\.2 80$/);
      assert.match(await touch(attacker, 'fd99::2', 65535), /^diverted fd99::1 \d+ fd99::2 65535$/);
      assert.equal(await touch(attacker, '10.99.0.2', 8080), 'real');
      assert.equal(await touch(attacker, '10.99.0.2', 22), 'refused', 'a management port is never diverted');
      assert.equal(await touch(attacker, '10.99.0.2', 2022), 'refused', "nor the operator's own");
      await serveReal(sensor, '::', 9090);
      assert.equal(await touch(attacker, '10.99.0.2', 9090), 'real');
      assert.equal(await touch(attacker, 'fd99::2', 9090), 'real');
      await attacker.ip('addr add 10.99.0.77/32 dev av\n');
      await attacker.ip('route add 10.99.0.2/32 dev av src 10.99.0.77\n');
      assert.equal(await touch(attacker, '10.99.0.2', 80), 'refused', 'a management source is never diverted');
      await controller.down();
      assert.equal(await touch(attacker, '10.99.0.2', 81), 'refused');
    });
  }),
);

test('an apply that is not confirmed rolls itself back, in the process and after a crash', segment, () =>
  withLab(async (lab) => {
    const { attacker, sensor } = await createSegment(lab);
    const before = await sensor.snapshot();
    let now = 1_000_000_000;
    await withBed(
      lab,
      sensor,
      async ({ controller, events, again }) => {
        const first = configurationOf(mixed);
        const rolledBack = new Promise<void>((resolve) => {
          const push = events.push.bind(events);
          events.push = (event) => {
            if (event.name === 'rolled-back') resolve();
            return push(event);
          };
        });
        await controller.apply(await controller.plan(first), { confirmWithinMs: 50 });
        assert.ok(controller.pending());
        await rolledBack;
        assert.equal(controller.pending(), undefined);
        assert.equal(await sensor.snapshot(), before);

        await controller.apply(await controller.plan(first), { confirmWithinMs: 600_000 });
        await controller.confirm();
        assert.equal(controller.pending(), undefined);
        const confirmed = await sensor.snapshot();
        await controller.apply(await controller.plan(configurationOf(own)), { confirmWithinMs: 600_000 });
        assert.notEqual(await sensor.snapshot(), confirmed);
        controller.close();
        const second = again();
        await second.resume();
        assert.ok(second.pending(), 'still in time: goes on waiting');
        assert.match(await touch(attacker, '10.99.0.2', 80), /^diverted/);
        second.close();
        now += 601_000_000;
        const third = again();
        await third.resume();
        assert.equal(third.pending(), undefined);
        assert.equal(await sensor.snapshot(), confirmed, 'back to what was confirmed last');
        await third.down();
        assert.equal(await sensor.snapshot(), before);
      },
      { clock: () => now },
    );
  }),
);

test('an address given back to a live host is reached again at once and stays out', segment, () =>
  withLab(async (lab) => {
    const { attacker, sensor } = await createSegment(lab);
    await withBed(lab, sensor, async ({ controller }) => {
      const configuration = configurationOf(mixed);
      await controller.apply(await controller.plan(configuration));
      assert.match(await touch(attacker, '10.99.130.7', 80), /^diverted/);
      await attacker.ip('addr add 10.99.130.7/16 dev av\n');
      await serveReal(attacker, '10.99.130.7', 80);
      await controller.withhold('', ['10.99.130.7', '192.0.2.1'], 'a host with another MAC spoke from it');
      assert.deepEqual(
        controller.withheld().map((range) => renderAddress({ family: range.family, value: range.first })),
        ['10.99.130.7'],
      );
      assert.equal(await touch(sensor, '10.99.130.7', 80), 'real');
      assert.deepEqual(await controller.verify(), []);
      assert.deepEqual(
        (await controller.plan(configuration)).changes.filter(({ kind }) => kind === 'sysctl'),
        [],
      );
    });
  }),
);

test('drift is said in words, and the next apply mends it', segment, () =>
  withLab(async (lab) => {
    const { sensor } = await createSegment(lab);
    await withBed(lab, sensor, async ({ controller }) => {
      const configuration = configurationOf(mixed);
      await controller.apply(await controller.plan(configuration));
      await sensor.nft('add rule inet weir divert ip saddr 10.99.0.9 accept\n');
      await sensor.run(['ip', 'route', 'del', 'local', '10.99.128.0/18', 'table', 'local']);
      await sensor.nft('delete element inet weir single4 { 10.99.5.5 }\n');
      await sensor.run(['ip', 'link', 'set', 'sv', 'promisc', 'off']);
      const words = (await controller.verify()).join('\n');
      assert.match(words, /not ours: table inet weir, chain divert: ip saddr 10\.99\.0\.9 accept/);
      assert.match(words, /route local 10\.99\.128\.0\/18 is gone/);
      assert.match(words, /sv is no longer promiscuous/);
      assert.match(words, /gone: table inet weir, map single4: elements = \{ 10\.99\.5\.5 : goto/);
      const plan = await controller.plan(configuration);
      assert.deepEqual(
        plan.changes.map(({ kind }) => kind),
        ['ruleset', 'promiscuous', 'routes'],
      );
      await controller.apply(plan);
      assert.deepEqual(await controller.verify(), []);
    });
  }),
);

test('plans that would lock the owner out are refused with line and next step, and change nothing', segment, () =>
  withLab(async (lab) => {
    const { sensor } = await createSegment(lab);
    await sensor.ip('route add default via 10.99.7.1 dev sv onlink\n');
    const before = await sensor.snapshot();
    await withBed(lab, sensor, async ({ controller }) => {
      const refusal = async (text: string, sshConnection?: string): Promise<string> => {
        try {
          await controller.plan(configurationOf(text), sshConnection ? { sshConnection } : {});
        } catch (error) {
          return `${(error as { code?: string }).code}: ${(error as Error).message}`;
        }
        return 'not refused';
      };
      const claim = (addresses: string): string =>
        `diversions:\n  - name: dmz\n    kind: host\n    interface: sv\n    decoys:\n      - { addresses: [${addresses}], persona: all-open }\n`;
      assert.match(
        await refusal(claim('10.99.7.0/24')),
        /^lock-out: weir\.yaml:7: 10\.99\.7\.0\/24 holds 10\.99\.7\.1, the default gateway of sv\. Next: add `exclude: \[10\.99\.7\.1\]`/,
      );
      assert.match(await refusal(claim('10.99.0.0/24')), /^lock-out: weir\.yaml:7: .*this machine's own address on sv/);
      assert.match(await refusal(claim('10.99.0.2')), /10\.99\.0\.2 is this machine's own address/);
      assert.match(await refusal(claim('10.98.0.0/24'), '10.98.0.4 1 10.99.0.2 22'), /^lock-out: .*your own SSH session/);
      const web =
        'diversions:\n  - { name: own, kind: host, interface: sv, decoys: [{ addresses: own, persona: linux-server }] }\n';
      assert.match(
        await refusal(web, '10.99.0.1 1 10.99.0.2 22'),
        /^lock-out: weir\.yaml:\d+: persona linux-server would divert port 22/,
      );
      assert.match(
        await refusal(claim('10.98.0.0/24').replace('interface: sv', 'interface: nope')),
        /^config-invalid: .*no interface nope/,
      );
      assert.equal(await sensor.snapshot(), before);
      assert.ok(personaLibrary().personas.has('linux-server'));
    });
  }),
);

test('an apply that the kernel refuses half-way is undone, and the state before it stands', segment, () =>
  withLab(async (lab) => {
    const { attacker, sensor } = await createSegment(lab);
    await lab.join(
      { namespace: sensor, link: 'xv', addresses: ['10.98.0.2/24'] },
      { namespace: attacker, link: 'yv', addresses: ['10.98.0.1/24'] },
    );
    const elsewhere = mixed.replaceAll('interface: sv', 'interface: xv');
    await withBed(lab, sensor, async ({ controller, again }) => {
      const first = await controller.plan(configurationOf(elsewhere));
      await sensor.ip('link del xv\n');
      const before = await sensor.snapshot();
      await assert.rejects(controller.apply(first), { code: 'kernel-refused' });
      assert.equal(await sensor.snapshot(), before);
      assert.deepEqual(controller.groups(), []);

      await controller.apply(await controller.plan(configurationOf(mixed)));
      const applied = await sensor.snapshot();
      await assert.rejects(controller.apply(first, { confirmWithinMs: 600_000 }), { code: 'kernel-refused' });
      assert.equal(await sensor.snapshot(), applied);
      assert.equal(controller.pending(), undefined);
      assert.deepEqual(await controller.verify(), []);
      assert.match(await touch(attacker, '10.99.130.1', 80), /^diverted/);
      const later = again();
      await later.resume();
      assert.deepEqual(await later.verify(), []);
      await later.down();
      assert.equal(await sensor.snapshot(), before);
    });
  }),
);

test('sockets elsewhere after a crash: what is applied, and what it goes back to, leads to the new ports', segment, () =>
  withLab(async (lab) => {
    const { attacker, sensor } = await createSegment(lab);
    await withBed(lab, sensor, async ({ controller, ports, again }) => {
      const before = await sensor.snapshot();
      await controller.apply(await controller.plan(configurationOf(mixed)));
      await controller.apply(await controller.plan(configurationOf(own)), { confirmWithinMs: 600_000 });
      controller.close();
      const moved = openTproxyListener({ family: 4, port: 0, netns: sensor.path });
      const server = net.createServer((socket) => socket.on('error', () => {}).end('moved')).listen({ fd: moved.fd });
      try {
        const later = again({ ports: { ...ports, tcp: moved.port } });
        await later.resume();
        assert.ok(later.pending(), 'it still waits for its confirmation');
        assert.equal(await touch(attacker, '10.99.0.2', 80), 'moved');
        await later.rollback('a test');
        assert.equal(await touch(attacker, '10.99.130.1', 80), 'moved');
        assert.deepEqual(await later.verify(), []);
        await later.down();
      } finally {
        server.close();
      }
      assert.equal(await sensor.snapshot(), before);
    });
  }),
);

test('killed while it rolls back, or while it follows the gateway: the next start has what was confirmed', segment, () =>
  withLab(async (lab) => {
    const { attacker, sensor } = await createSegment(lab);
    const before = await sensor.snapshot();
    let reached: (() => void) | undefined;
    const stuck: Annex = {
      name: 'services',
      difference: async () => [],
      apply: () => {
        reached?.();
        return reached ? new Promise(() => {}) : Promise.resolve();
      },
      repair: async () => [],
      status: () => ({ reasons: [], lines: [] }),
      close: async () => {},
    };
    await withBed(
      lab,
      sensor,
      async ({ controller, again, ports }) => {
        await controller.apply(await controller.plan(configurationOf(mixed)));
        const confirmed = await sensor.snapshot();
        await controller.apply(await controller.plan(configurationOf(own)), { confirmWithinMs: 600_000 });
        const killedIn = async (work: () => void): Promise<void> => {
          await new Promise<void>((resolve) => {
            reached = resolve;
            work();
          });
          reached = undefined;
        };
        await killedIn(() => void controller.rollback('a test'));
        controller.close();
        const next = again();
        await next.resume();
        assert.equal(await sensor.snapshot(), confirmed, 'after a rollback that was cut short');
        next.close();
        const moved = again({ ports: { ...ports, tcp: ports.tcp + 1 } });
        await killedIn(() => void moved.resume());
        moved.close();
        const last = again();
        await last.resume();
        assert.equal(await sensor.snapshot(), confirmed, 'after following the gateway was cut short');
        assert.match(await touch(attacker, '10.99.130.1', 80), /^diverted/);
        assert.deepEqual(await last.verify(), []);
        await last.down();
        assert.equal(await sensor.snapshot(), before);
      },
      { annexes: [stuck] },
    );
  }),
);

test('a rollback that fails is tried again until it works', segment, () =>
  withLab(async (lab) => {
    const { sensor } = await createSegment(lab);
    const before = await sensor.snapshot();
    let refusals = 0;
    const refusing: Annex = {
      name: 'services',
      difference: async () => [],
      apply: async (desired) => {
        if (desired?.groups[0]?.diversion !== 'own' || refusals === 0) return;
        refusals -= 1;
        throw new Error('not now');
      },
      repair: async () => [],
      status: () => ({ reasons: [], lines: [] }),
      close: async () => {},
    };
    await withBed(
      lab,
      sensor,
      async ({ controller, events }) => {
        await controller.apply(await controller.plan(configurationOf(own)));
        const confirmed = await sensor.snapshot();
        refusals = 1;
        await controller.apply(await controller.plan(configurationOf(mixed)), { confirmWithinMs: 50 });
        await until('it was refused once', () => refusals === 0);
        await until('it worked in the end', () => events.some(({ name }) => name === 'rolled-back'), 10_000);
        assert.equal(await sensor.snapshot(), confirmed);
        await controller.down();
        assert.equal(await sensor.snapshot(), before);
      },
      { annexes: [refusing] },
    );
  }),
);
