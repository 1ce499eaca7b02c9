// Services that are dialled, with the whole of Weir: by ports of decoys, and behind a real HAProxy that speaks for attackers. Each
// session names the attacker, the decoy and the service; who is not allow-listed gets nothing.

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { type TestNamespace, until } from '../../src/kernel/namespace-lab.ts';
import { type Recorded, type WeirLab, withWeirLab } from '../../src/programs/weir-lab.ts';
import { lacksKernelTests, lacksProgram } from '../support/namespace.ts';
import { lacksRealServices, openRealServices, realService } from '../support/real-services.ts';

const skip = lacksKernelTests() || lacksProgram('haproxy', 'haproxy') || lacksRealServices();

/** `linux-server` has 22 open, and neither 80 nor 9999. */
const configuration = (web = 80): string => `
diversions:
  - { name: dmz, kind: host, interface: eth0, decoys: [{ addresses: [10.64.0.0/24, "fd99:0:0:64::/64"], persona: linux-server }] }
  - { name: front, kind: proxy, listen: "[::]:7000", allow: [10.0.0.3] }
services:
  - { name: ssh, kind: external, address: "10.200.0.9:${realService.ssh}", proxy-protocol: false }
  - { name: web, kind: external, address: "10.200.0.9:${realService.web}", proxy-protocol: true }
  - { name: echo, kind: external, address: "10.200.0.9:${realService.echo}" }
  - { name: dead, kind: external, address: "10.200.0.9:1" }
  - { name: deep, kind: external, address: 10.200.0.9, path: transparent, interface: wire0, from: ${realService.from}/24 }
bindings:
  - { diversion: dmz, addresses: [${realService.decoys}], ports: [${realService.plain}], service: deep }
  - { diversion: dmz, ports: [22], service: ssh }
  - { diversion: dmz, ports: [${web}], protocol: tcp, service: web }
  - { diversion: dmz, ports: [81], service: dead }
  - { diversion: dmz, ports: [9999], protocol: udp, service: echo }
  - { diversion: dmz, addresses: [10.64.0.9], ports: [22], service: catch-all }
  - { diversion: front, ports: [2022], service: ssh }
  - { diversion: front, ports: [8081, 8082], service: web }
`;

/** HAProxy on a machine of its own, which sends everything to Weir: by v2, and by v1. */
async function addHaproxy(lab: WeirLab): Promise<TestNamespace> {
  const machine = await lab.addHost('h', ['10.0.0.3/8']);
  const file = path.join(lab.directory, 'haproxy.cfg');
  writeFileSync(
    file,
    `defaults
  mode tcp
  timeout connect 5s
  timeout client 20s
  timeout server 20s
listen by-v2
  bind 10.0.0.3:2022
  bind 10.0.0.3:8082
  bind 10.0.0.3:23
  server weir 10.0.0.2:7000 send-proxy-v2
listen by-v1
  bind 10.0.0.3:8081
  server weir 10.0.0.2:7000 send-proxy
`,
  );
  machine.spawn(['haproxy', '-db', '-f', file]);
  await until('HAProxy listens', async () => /:8081/.test((await machine.run(['ss', '-Hltn'])).stdout));
  return machine;
}

const ends = ({ source, destination, weir }: Recorded): unknown => [
  source.ip,
  destination.ip,
  destination.port,
  weir.diversion,
  weir.service,
];
const sessionsOf = (lab: WeirLab, service: string, count: number): Promise<Recorded[]> =>
  lab.recorded(['sessions', '--service', service, '--limit', '50'], count);

test('ports of decoys lead to real services, whatever the persona has open', { skip, timeout: 180_000 }, async () => {
  await withWeirLab({ configuration: configuration() }, async (lab) => {
    const { hostKey } = await openRealServices(lab.namespaces, lab.sensor, lab.directory);
    const before = await lab.sensor.snapshot();
    await lab.up();
    const plan = await lab.weir(['plan']);
    assert.match(plan.stdout, /No change/);
    assert.match(plan.stdout, /service web: 10\.200\.0\.9:8080, dialled with a PROXY v2 header/);

    const scan = await lab.attack(['ssh-keyscan', '-T', '10', '10.64.0.7']);
    assert.ok(scan.stdout.includes(hostKey), scan.stdout + scan.stderr);
    const [ssh] = await sessionsOf(lab, 'ssh', 1);
    assert.deepEqual(ends(ssh), ['10.0.0.1', '10.64.0.7', 22, 'dmz', 'ssh']);
    const id = String((ssh.weir.session as { id: string }).id);
    assert.match((await lab.weir(['session', id, '--payload', 'text'])).stdout, /SSH-2\.0-OpenSSH/);

    const web = await lab.attack(['curl', '-s', '-m', '10', '--local-port', '40001', 'http://10.64.0.8/']);
    assert.equal(web.stdout, '10.0.0.1:40001 10.64.0.8:80\n', 'the service sees the attacker and the decoy');
    const six = await lab.attack(['curl', '-s', '-m', '10', '--local-port', '40002', 'http://[fd99:0:0:64::8]/']);
    assert.equal(six.stdout, 'fd99::1:40002 fd99:0:0:64::8:80\n');
    assert.deepEqual((await sessionsOf(lab, 'web', 2)).map(ends).sort(), [
      ['10.0.0.1', '10.64.0.8', 80, 'dmz', 'web'],
      ['fd99::1', 'fd99:0:0:64::8', 80, 'dmz', 'web'],
    ]);

    // Only the port is another: the connection itself names the ends.
    const deep = await lab.attack(['curl', '-s', '-m', '10', `http://10.64.0.130:${realService.plain}/`]);
    assert.match(deep.stdout, /^10\.0\.0\.1:\d+ 10\.64\.0\.130:8088\n$/);
    assert.deepEqual((await sessionsOf(lab, 'deep', 1)).map(ends), [
      ['10.0.0.1', '10.64.0.130', realService.plain, 'dmz', 'deep'],
    ]);

    const echo = await lab.attack(['sh', '-c', 'echo datagram | socat -t 2 - UDP4:10.64.0.7:9999']);
    assert.equal(echo.stdout, 'datagram\n');
    assert.deepEqual((await sessionsOf(lab, 'echo', 1)).map(ends), [['10.0.0.1', '10.64.0.7', 9999, 'dmz', 'echo']]);

    // A service that is not there is told of, and the client does not hang.
    assert.notEqual((await lab.attack(['curl', '-s', '-m', '10', 'http://10.64.0.8:81/'])).code, 28);
    const [dead] = await sessionsOf(lab, 'dead', 1);
    assert.equal((dead.weir.session as { outcome: string }).outcome, 'service-unreachable');

    // The more specific binding gives the port back.
    assert.ok(!(await lab.attack(['ssh-keyscan', '-T', '5', '10.64.0.9'])).stdout.includes(hostKey));
    assert.deepEqual((await sessionsOf(lab, 'catch-all', 1)).map(ends).at(-1), ['10.0.0.1', '10.64.0.9', 22, 'dmz', 'catch-all']);

    // Another port by another plan: the old one is closed again.
    lab.configure(configuration(8000));
    assert.match((await lab.weir(['plan'], { anyCode: true })).stdout, /bind dmz tcp 8000 to web/);
    await lab.weir(['apply', '--yes']);
    assert.equal(
      (await lab.attack(['curl', '-s', '-m', '10', 'http://10.64.0.8:8000/'])).stdout.split(' ')[1],
      '10.64.0.8:8000\n',
    );
    assert.equal((await lab.attack(['curl', '-s', '-m', '10', 'http://10.64.0.8/'])).code, 7, 'refused, as the persona says');

    await lab.weir(['down']);
    assert.equal(await lab.sensor.snapshot(), before);
  });
});

test('behind HAProxy sessions name who is behind it, and only HAProxy is let in', { skip, timeout: 180_000 }, async () => {
  await withWeirLab({ configuration: configuration(), wire: 'bridge' }, async (lab) => {
    const { hostKey } = await openRealServices(lab.namespaces, lab.sensor, lab.directory);
    await addHaproxy(lab);
    await lab.up();
    const scan = await lab.attack(['ssh-keyscan', '-T', '10', '-p', '2022', '10.0.0.3']);
    assert.ok(scan.stdout.includes(hostKey), scan.stdout + scan.stderr);
    assert.deepEqual((await sessionsOf(lab, 'ssh', 1)).map(ends).at(-1), ['10.0.0.1', '10.0.0.3', 2022, 'front', 'ssh']);
    for (const [port, from] of [
      [8081, 40011],
      [8082, 40012],
    ]) {
      const { stdout } = await lab.attack(['curl', '-s', '-m', '10', '--local-port', String(from), `http://10.0.0.3:${port}/`]);
      assert.equal(stdout, `10.0.0.1:${from} 10.0.0.3:${port}\n`, 'over two hops');
    }
    assert.deepEqual((await sessionsOf(lab, 'web', 2)).map(ends).sort(), [
      ['10.0.0.1', '10.0.0.3', 8081, 'front', 'web'],
      ['10.0.0.1', '10.0.0.3', 8082, 'front', 'web'],
    ]);
    // What is bound to nothing is the catch-all's, by the diversion's persona.
    await lab.attack(['sh', '-c', 'printf "root\\r\\n" | socat -t 2 - TCP4:10.0.0.3:23']);
    const telnet = await sessionsOf(lab, 'catch-all', 1);
    assert.deepEqual(ends(telnet[0]), ['10.0.0.1', '10.0.0.3', 23, 'front', 'catch-all']);

    const stranger = await lab.attack(['curl', '-s', '-m', '5', '--haproxy-protocol', 'http://10.0.0.2:7000/']);
    assert.notEqual(stranger.code, 0);
    assert.equal(stranger.stdout, '');
    const { proxies } = await lab.gateway();
    assert.ok((proxies?.strangers ?? 0) >= 1);

    // A gateway that dies leaves its doors: the next one takes them up.
    const pid = lab.processes().get('gateway') ?? 0;
    process.kill(pid, 'SIGKILL');
    await until('another gateway answers', async () => {
      const { stdout } = await lab.attack(['curl', '-s', '-m', '5', 'http://10.0.0.3:8082/']);
      return stdout.endsWith('10.0.0.3:8082\n') && lab.processes().get('gateway') !== pid;
    });
    const status = JSON.parse((await lab.weir(['status', '--json'], { anyCode: true })).stdout) as {
      diversions: { name: string; source?: string }[];
    };
    assert.match(status.diversions.find(({ name }) => name === 'front')?.source ?? '', /\[::\]:7000, from 10\.0\.0\.3/);

    // Whom a new list does not name is out, without a restart.
    lab.configure(configuration().replace('allow: [10.0.0.3]', 'allow: [10.0.0.4]'));
    await lab.weir(['apply', '--yes']);
    await until('HAProxy is a stranger now', async () => {
      const { stdout } = await lab.attack(['curl', '-s', '-m', '5', 'http://10.0.0.3:8082/']);
      return stdout === '';
    });
    await lab.weir(['down']);
  });
});
