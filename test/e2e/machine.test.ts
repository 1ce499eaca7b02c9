// `weir up` and `weir down` on a machine that is already full of other things: foreign nft tables, iptables rules, routes and
// a Docker engine with a published port. Everything is byte-equal afterwards, and nothing of it is diverted meanwhile.

import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { type WeirLab, withWeirLab } from '../../src/programs/weir-lab.ts';
import { lacksKernelTests, runCommand, until } from '../support/namespace.ts';

const skip = lacksKernelTests();

const configuration = `
diversions:
  - { name: self, kind: host, decoys: [{ addresses: own, persona: all-open }] }
  - { name: dmz, kind: host, interface: eth0, decoys: [{ addresses: 10.64.0.0/16, persona: all-open }, { addresses: "fd99:0:0:64::/64", persona: printer }] }
`;

async function furnish(lab: WeirLab): Promise<void> {
  await lab.sensor.nft(`
    table inet theirs { set banned { type ipv4_addr; elements = { 203.0.113.7 } }
      chain input { type filter hook input priority 0; policy accept; ip saddr @banned drop; }; }
    table ip nat2 { chain out { type nat hook postrouting priority 100; oifname "none0" masquerade; }; }`);
  for (const rule of [
    ['iptables', '-A', 'INPUT', '-s', '203.0.113.9', '-j', 'DROP'],
    ['ip6tables', '-A', 'INPUT', '-s', '2001:db8:bad::/48', '-j', 'DROP'],
  ])
    await lab.sensor.run(rule);
  await lab.sensor.ip(
    'route add blackhole 198.51.100.0/24\nroute add 192.0.2.0/24 via 10.0.0.1\nrule add fwmark 7 lookup 99 pref 99\n',
  );
}

/** A Docker engine of the test's own inside the sensor, with one container that publishes a port. */
async function startDocker(
  lab: WeirLab,
): Promise<{ docker: (argv: readonly string[]) => Promise<string>; stop: () => Promise<void> }> {
  const room = join(lab.directory, 'docker');
  mkdirSync(room);
  const socket = `unix://${room}/docker.sock`;
  const engine = lab.sensor.spawn([
    'dockerd',
    ...['--data-root', `${room}/data`, '--exec-root', `${room}/exec`, '--pidfile', `${room}/pid`, '-H', socket],
  ]);
  let said = '';
  engine.stderr?.on('data', (chunk: Buffer) => {
    said = (said + chunk.toString()).slice(-4000);
  });
  engine.stdout?.resume();
  const docker = async (argv: readonly string[]): Promise<string> =>
    (await lab.sensor.run(['docker', '-H', socket, ...argv])).stdout;
  await until(
    'the Docker engine answers',
    () =>
      docker(['version']).then(
        () => true,
        () => false,
      ),
    60_000,
  ).catch((error) => {
    throw new Error(`${error}\n${said}`);
  });
  const stop = async (): Promise<void> => {
    const gone = new Promise((resolve) => engine.once('exit', resolve));
    engine.kill('SIGTERM');
    await gone;
  };
  return { docker, stop };
}

/** What `weir exposure` says a neighbour on the wire reaches, and how. */
async function exposed(lab: WeirLab): Promise<string[]> {
  const { stdout } = await lab.weir(['exposure', '--all', '--outside', 'eth0', '--json'], { anyCode: true });
  type Path = { from: { netns: string; device: string; zone: string }; dialled: string; by: string; certainty: string };
  const { services } = JSON.parse(stdout) as { services: { port: number; weir: boolean; paths: Path[] }[] };
  const ways = services.flatMap(({ port, weir, paths }) =>
    paths
      .filter(
        ({ from, certainty }) => from.netns === '' && from.device === 'eth0' && from.zone === 'link' && certainty === 'proven',
      )
      .filter(({ dialled }) => dialled.startsWith('10.0.0.2:') && !weir)
      .map(({ dialled, by }) => `${dialled} ${by} ${port}`),
  );
  return ways.filter((way) => /:(8022|8180) /.test(way)).sort();
}

const open = ['10.0.0.2:8022 direct 8022', '10.0.0.2:8180 published 80'];

test('up and down leave a furnished machine byte-equal; foreign services are never diverted', { skip, timeout: 300_000 }, () =>
  withWeirLab({ configuration }, async (lab) => {
    await furnish(lab);
    const listener = lab.sensor.spawn([
      process.execPath,
      '-e',
      "require('node:net').createServer((s) => s.end('real')).listen(8022, '0.0.0.0')",
    ]);
    const { docker, stop } = await startDocker(lab);
    try {
      const image = join(lab.directory, 'image');
      mkdirSync(join(image, 'bin'), { recursive: true });
      await runCommand(['cp', '/bin/busybox', join(image, 'bin/busybox')]);
      await runCommand([
        'sh',
        '-c',
        `cd ${image} && tar c . | docker -H unix://${lab.directory}/docker/docker.sock import - box`,
      ]);
      await docker([
        'run',
        '-d',
        '--name',
        'web',
        '-p',
        '8180:80',
        'box',
        '/bin/busybox',
        'sh',
        '-c',
        'while true; do printf "HTTP/1.0 200 OK\\r\\n\\r\\ncontainer" | /bin/busybox nc -l -p 80; done',
      ]);
      const reach = async (url: string): Promise<string> => (await lab.attack(['curl', '-s', '-m', '5', url])).stdout;
      await until(
        'the container answers from outside',
        async () => (await reach('http://10.0.0.2:8180/')) === 'container',
        20_000,
      );
      assert.deepEqual(await exposed(lab), open);
      const before = await lab.sensor.snapshot();
      const running = await lab.up();
      assert.deepEqual(await exposed(lab), open, 'decoys are no services, and hide none');
      assert.notEqual(await lab.sensor.snapshot(), before);
      assert.match(await reach('http://10.0.0.2:8181/'), /<html|HTTP/i, 'a free port of the machine is a decoy');
      assert.match(await reach('http://10.64.3.3:8180/'), /<html|HTTP/i, 'a claimed address is a decoy');
      assert.equal(await reach('http://10.0.0.2:8180/'), 'container', 'a published port stays the container');
      assert.equal((await lab.attack(['curl', '-s', '-m', '5', '--http0.9', 'http://10.0.0.2:8022/'])).stdout, 'real');
      const late = lab.sensor.spawn([
        process.execPath,
        '-e',
        "require('node:net').createServer((s) => s.end('late')).listen(8023, '0.0.0.0')",
      ]);
      await until(
        'a service started later is reached',
        async () => (await lab.attack(['curl', '-s', '-m', '2', '--http0.9', 'http://10.0.0.2:8023/'])).stdout === 'late',
      );
      late.kill('SIGKILL');
      // The container's own way out is not touched either.
      await docker(['exec', 'web', '/bin/busybox', 'ping', '-c1', '-W2', '10.0.0.1']);
      const touches = await lab.recorded(['sessions'], 2);
      assert.ok(
        touches.every(
          ({ destination }) => destination.port === 8181 || destination.ip === '10.64.3.3' || destination.port === 8023,
        ),
      );
      assert.equal(await running.stop(), 0);
      assert.equal(await lab.sensor.snapshot(), before);
    } finally {
      await docker(['rm', '-f', 'web']).catch(() => {});
      await stop();
      listener.kill('SIGKILL');
    }
  }),
);

test('without a configuration every free port of the own addresses answers; what listens and the console stay', { skip }, () =>
  withWeirLab({}, async (lab) => {
    const listener = lab.sensor.spawn([
      process.execPath,
      '-e',
      "require('node:net').createServer((s) => s.end('real')).listen(22, '::')",
    ]);
    await until(
      'the listener is there',
      async () => (await lab.attack(['curl', '-s', '-m', '2', '--http0.9', 'http://10.0.0.2:22/'])).stdout === 'real',
    );
    const before = await lab.sensor.snapshot();
    const running = await lab.up();
    assert.equal((await lab.attack(['curl', '-s', '-m', '2', '--http0.9', 'http://10.0.0.2:22/'])).stdout, 'real');
    for (const url of ['http://10.0.0.2:81/', 'http://[fd99::2]:82/'])
      assert.match((await lab.attack(['curl', '-s', '-m', '5', url])).stdout, /html/i, url);
    const touches = await lab.recorded(['sessions'], 2);
    assert.deepEqual(
      new Set(touches.map(({ destination }) => `${destination.ip} ${destination.port}`)),
      new Set(['10.0.0.2 81', 'fd99::2 82']),
    );
    assert.equal(await running.stop(), 0);
    assert.equal(await lab.sensor.snapshot(), before);
    listener.kill('SIGKILL');
  }),
);
