// The kernel path in real namespaces: bound decoys answer with the service's own stack, the service sees the true source,
// equal five-tuples of two networks both work, nothing leaves a service unasked, and everything is removed again.

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { test } from 'node:test';
import { silentLog } from '../../src/base/log.ts';
import { closeDescriptor } from '../../src/kernel/libc.ts';
import { openServicesSockets } from '../../src/kernel/services-sockets.ts';
import { captureGroup } from '../../src/plan/services-capture.ts';
import { ServicesController } from '../../src/plan/services-controller.ts';
import { lacksKernelTests, runCommand, until, withLab } from '../support/namespace.ts';
import { layServicesBed, type ServicesBed, serveBothEnds, talk } from '../support/services-bed.ts';

let tags = 0;
const tagOf = (): string => {
  tags += 1;
  return `${process.pid.toString(16).slice(-3)}${tags}`;
};

async function withServices(body: (bed: ServicesBed, controller: ServicesController) => Promise<void>): Promise<void> {
  await withLab(async (lab) => {
    const bed = await layServicesBed(lab);
    const controller = new ServicesController({ tag: tagOf(), log: silentLog, netns: bed.home.path });
    const places = [bed.home, ...bed.segments];
    // Indices of devices are left out.
    const shot = async (place: (typeof places)[number]): Promise<string> =>
      (await place.snapshot()).replaceAll(/^\d+: /gm, '').replaceAll(/@if\d+/g, '');
    const before = await Promise.all(places.map(shot));
    try {
      await serveBothEnds(bed.service, 80);
      await controller.apply(bed.desired);
      await body(bed, controller);
    } finally {
      await controller.apply(undefined);
    }
    assert.equal(existsSync(controller.path), false);
    for (const [index, place] of places.entries()) assert.equal(await shot(place), before[index]);
  });
}

test('bound decoys are answered by the service, which sees both true ends', { skip: lacksKernelTests() }, async () => {
  await withServices(async ({ attackers, desired }, controller) => {
    const [one, , outside] = attackers;
    assert.equal(await talk(one, '10.50.0.70', 80, 40001), 'real ::ffff:10.50.0.1 40001 ::ffff:10.50.0.70 80 5');
    assert.equal(await talk(outside, '10.70.0.70', 80, 40002), 'real ::ffff:10.70.0.1 40002 ::ffff:10.70.0.70 80 5');
    assert.equal(await talk(one, '10.50.0.70', 81, 40003), 'refused');
    assert.deepEqual(await controller.difference(desired), []);
  });
});

test('equal five-tuples of two networks work at the same moment, and neither learns of the other', {
  skip: lacksKernelTests(),
}, async () => {
  await withServices(async ({ attackers }) => {
    const [one, two] = attackers;
    // Both connections are open together: each client sends its end only when the other is connected as well.
    const hold = (from: typeof one): ReturnType<typeof one.spawn> =>
      from.spawn([
        'node',
        '-e',
        `const s = require('node:net').connect({ host: '10.50.0.71', port: 80, localPort: 41000 }, () => console.log('open'));
         s.on('data', (d) => process.stdout.write(d)); s.on('error', (e) => console.log(e.code)); s.on('end', () => process.exit(0));
         process.stdin.on('data', () => s.end('x'.repeat(10)));`,
      ]);
    const clients = [hold(one), hold(two)];
    const heard = clients.map((client) => {
      let text = '';
      client.stdout?.on('data', (data) => {
        text += String(data);
      });
      return () => text;
    });
    await until('both are connected', () => heard.every((text) => text().includes('open')));
    for (const client of clients) client.stdin?.write('go\n');
    await until('both were answered', () => heard.every((text) => text().includes('real')));
    const ports = heard.map((text) => /real ::ffff:10\.50\.0\.1 (\d+) ::ffff:10\.50\.0\.71 80 10/.exec(text())?.[1]);
    assert.equal(ports.filter((port) => port === '41000').length, 1, `one keeps its port: ${ports}`);
    assert.ok(ports.every((port) => port !== undefined));
    assert.notEqual(ports[0], ports[1]);
  });
});

test('IPv6 decoys of the machine are answered by the service as well', { skip: lacksKernelTests() }, async () => {
  await withServices(async ({ attackers, home }) => {
    const [, , outside] = attackers;
    // Neighbour solicitations for decoys are answered by the gateway, which is not here.
    const { stdout } = await home.run(['ip', '-o', 'link', 'show', 'eth0']);
    const own = /link\/ether (\S+)/.exec(stdout)?.[1] ?? '';
    await outside.ip(`neigh replace fd70::47 lladdr ${own} dev eth0\n`);
    assert.equal(await talk(outside, 'fd70::47', 80, 40004), 'real fd70::f001 40004 fd70::47 80 5');
  });
});

test('a service cannot begin a connection, and packets show no further hop', { skip: lacksKernelTests() }, async () => {
  await withServices(async ({ attackers, service }, controller) => {
    const [one, , outside] = attackers;
    await service.ip('addr add 10.70.0.70/32 dev lo\n');
    const { stdout } = await service.run([
      'node',
      '-e',
      `
        const s = require('node:net').connect({ host: '10.70.0.1', port: 22, localAddress: '10.70.0.70' });
        s.on('connect', () => { console.log('connected'); process.exit(0); });
        s.on('error', (e) => { console.log(e.code); process.exit(0); });
        setTimeout(() => { console.log('silence'); process.exit(0); }, 1500);`,
    ]);
    assert.equal(stdout.trim(), 'silence');
    await controller.repair();
    assert.match(controller.status().lines.join('\n'), /[1-9]\d* packets that services sent unasked were dropped/);
    assert.deepEqual(controller.status().reasons, []);
    const { stdout: ping } = await outside.run(['ping', '-n', '-c', '1', '-W', '2', '10.70.0.70'], { anyCode: true });
    assert.match(ping, /ttl=64/);
    const { stdout: traceroute } = await one.run(['ping', '-n', '-c', '1', '-W', '2', '-t', '1', '10.50.0.80'], {
      anyCode: true,
    });
    assert.match(traceroute, /ttl=64/);
  });
});

test('what is deleted is put back by repair, and only that', { skip: lacksKernelTests() }, async () => {
  await withServices(async ({ attackers, segments }, controller) => {
    const [one] = attackers;
    assert.deepEqual(await controller.repair(), []);
    const inside = (argv: string[]): Promise<unknown> => runCommand(['nsenter', `--net=${controller.path}`, '--', ...argv]);
    const port = controller.network?.ports.find(({ network }) => network === 'floor-1')?.link ?? '';
    const damages: (() => Promise<unknown>)[] = [
      () => segments[0].run(['nft', 'delete', 'table', 'netdev', 'weir-services']),
      () => inside(['nft', 'delete', 'table', 'inet', 'weir']),
      () => inside(['ip', 'link', 'delete', port]),
      () => inside(['ip', 'rule', 'del', 'pref', '1000']),
      () => inside(['ip', 'route', 'flush', 'table', '255', 'proto', '87']),
      () => inside(['ip', 'addr', 'flush', 'dev', controller.network?.legs[0].link ?? '']),
      () => runCommand(['ip', 'netns', 'delete', controller.netns]),
    ];
    let from = 42000;
    for (const damage of damages) {
      await damage();
      const repairs = await controller.repair();
      assert.ok(repairs.length > 0, `nothing was repaired after ${damage}`);
      assert.deepEqual(await controller.repair(), []);
      from += 1;
      assert.match(await talk(one, '10.50.0.72', 80, from), /^real ::ffff:10\.50\.0\.1 /, String(damage));
    }
  });
});

test('sockets left in a services namespace whose name was removed do not keep another from being made', {
  skip: lacksKernelTests(),
}, async () => {
  await withServices(async ({ attackers, home }, controller) => {
    const held = openServicesSockets(controller.path, captureGroup, [], home.path);
    try {
      await runCommand(['ip', 'netns', 'delete', controller.netns]);
      const repairs = await controller.repair();
      assert.ok(repairs.length > 0);
      assert.match(await talk(attackers[0], '10.50.0.72', 80, 43000), /^real ::ffff:10\.50\.0\.1 /);
      assert.deepEqual(await controller.repair(), []);
    } finally {
      for (const { fd } of held) closeDescriptor(fd);
    }
  });
});

test('rules that went with their link are put back, and others beside them are let be', {
  skip: lacksKernelTests(),
}, async () => {
  await withServices(async ({ attackers, segments, desired }, controller) => {
    const [segment] = segments;
    await segment.run(['nft', 'add', 'table', 'inet', 'stranger']);
    assert.deepEqual(await controller.repair(), []);
    // A veth takes its end in the attacker's namespace along: both are made again as they were.
    const lan = (await segment.run(['ip', '-o', 'link', 'show', 'lan'])).stdout.match(/link\/ether (\S+)/)?.[1] ?? '';
    await segment.ip('link del lan\n');
    await segment.ip(`link add lan address ${lan} type veth peer name eth0 netns ${attackers[0].name}\n`);
    await segment.ip('link set lan promisc on up\naddr add 10.50.0.2/24 dev lan\naddr add fd50::f002/64 dev lan nodad\n');
    await attackers[0].ip('addr add 10.50.0.1/24 dev eth0\nlink set eth0 up\n');
    // Some kernels keep a chain without its device and hook it to the next of that name, others let go of it.
    assert.ok((await controller.repair()).length > 0);
    assert.deepEqual(await controller.repair(), []);
    assert.deepEqual(await controller.difference(desired), []);
    await segment.run(['nft', 'delete', 'table', 'inet', 'stranger']);
    const { stdout } = await segment.run(['nft', 'list', 'table', 'netdev', 'weir-services']);
    assert.match(stdout, /hook ingress device "lan"/);
    assert.match(await talk(attackers[0], '10.50.0.72', 80, 44000), /^real ::ffff:10\.50\.0\.1 /);
  });
});
