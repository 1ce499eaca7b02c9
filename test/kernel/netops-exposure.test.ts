// What `weir exposure` says can be reached is what can be reached: a machine with services, a container with a published port and rules of
// every backend, asked by real connections from public, private and neighbouring addresses; then closed by its own proposal.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readMachine } from '../../src/kernel/machine/machine-reader.ts';
import { routeGet } from '../../src/kernel/machine/route-get.ts';
import type { Machine } from '../../src/model/machine.ts';
import { findExposure } from '../../src/netops/exposure/exposed-services.ts';
import { planExposureGuard } from '../../src/netops/exposure/exposure-guard.ts';
import type { ExposedService, ExposureReport } from '../../src/netops/exposure/exposure-report.ts';
import type { RouteQuestioner } from '../../src/netops/exposure/path-walk.ts';
import { lacksKernelTests, lacksProgram, type NamespaceLab, type TestNamespace, until, withLab } from '../support/namespace.ts';

const skip = lacksKernelTests() || lacksProgram('iptables-legacy', 'iptables');

const sources = { public: '8.8.8.8', listed: '198.51.100.5', private: '10.254.253.77', link: '192.0.2.254' };
const publicSources = ['8.8.8.8', '151.101.65.69', '203.119.26.1'];
const own = '192.0.2.2';
const container = '172.17.0.2';

const listen = (address: string, ports: readonly number[]): string =>
  `for (const port of [${ports.join()}]) require('net').createServer((s) => s.end()).listen(port, '${address}', () => console.log('listening'));`;

async function serve(namespace: TestNamespace, address: string, ports: readonly number[]): Promise<void> {
  const child = namespace.spawn([process.execPath, '-e', listen(address, ports)]);
  let text = '';
  child.stdout?.on('data', (chunk) => {
    text += chunk;
  });
  await until('servers listen', () => text.split('listening').length > ports.length);
}

/** Outside with addresses of everybody, the machine, and a container behind a bridge of it. */
async function build(lab: NamespaceLab): Promise<{ outside: TestNamespace; machine: TestNamespace; inside: TestNamespace }> {
  const [outside, machine, inside] = [await lab.namespace('eo'), await lab.namespace('em'), await lab.namespace('ec')];
  await lab.join(
    { namespace: outside, link: 'up0', addresses: ['192.0.2.1/24', '192.0.2.254/24'] },
    { namespace: machine, link: 'eth0', addresses: [`${own}/24`] },
  );
  await lab.join({ namespace: machine, link: 'vc0' }, { namespace: inside, link: 'eth0', addresses: [`${container}/16`] });
  await machine.ip(
    'link add docker0 type bridge\nlink set docker0 up\naddr add 172.17.0.1/16 dev docker0\nlink set vc0 master docker0\nroute add default via 192.0.2.1\n',
  );
  await inside.ip('route add default via 172.17.0.1\n');
  const others = [...publicSources, sources.listed, sources.private].map((ip) => `addr add ${ip}/32 dev lo\n`);
  await outside.ip(`${others.join('')}route add 172.17.0.0/16 via ${own}\n`);
  await machine.setSysctl('net/ipv4/ip_forward', '1');
  await machine.setSysctl('net/ipv4/conf/all/rp_filter', '0');
  await machine.setSysctl('net/ipv4/conf/eth0/rp_filter', '0');
  await serve(machine, '0.0.0.0', [22, 80, 7777, 8888, 9999]);
  await serve(machine, '127.0.0.1', [3306]);
  await serve(inside, '0.0.0.0', [80, 5432]);
  await machine.run(['iptables-nft-restore'], {
    input: [
      '*nat',
      ':PREROUTING ACCEPT [0:0]',
      ':DOCKER - [0:0]',
      '-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER',
      '-A DOCKER ! -i docker0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80',
      'COMMIT',
      '*filter',
      ':FORWARD DROP [0:0]',
      ':DOCKER - [0:0]',
      '-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT',
      '-A FORWARD -o docker0 -j DOCKER',
      '-A FORWARD -i docker0 ! -o docker0 -j ACCEPT',
      '-A DOCKER -d 172.17.0.2/32 ! -i docker0 -o docker0 -p tcp -m tcp --dport 80 -j ACCEPT',
      'COMMIT',
      '',
    ].join('\n'),
  });
  await machine.run(['iptables-legacy', '-A', 'INPUT', '-p', 'tcp', '--dport', '9999', '-j', 'DROP']);
  await machine.nft(
    [
      'table inet own {',
      ' set office { type ipv4_addr; flags interval; elements = { 198.51.100.0/24, 192.0.2.0/24 } }',
      ' chain in {',
      '  type filter hook input priority 5; policy accept;',
      '  ct state established,related accept',
      '  tcp dport 22 ip saddr @office accept',
      '  tcp dport 22 reject with tcp reset',
      '  tcp dport 8888 ip saddr != { 10.0.0.0/8, 192.0.2.0/24 } drop',
      '  tcp dport 7777 limit rate 1000/second accept',
      '  tcp dport 7777 drop',
      ' }',
      '}',
      '',
    ].join('\n'),
  );
  return { outside, machine, inside };
}

const ask: RouteQuestioner = (namespace, question) => {
  const answer = routeGet(namespace.path, question);
  return answer.kind === 'none'
    ? answer
    : { kind: 'route', type: answer.route.type, ...(answer.device === undefined ? {} : { device: answer.device }) };
};

async function report(machine: TestNamespace, inside: TestNamespace): Promise<ExposureReport> {
  const parts = ['listeners', 'queues', 'filter'] as const;
  const [one, two] = [await readMachine({ netns: machine.path, parts }), await readMachine({ netns: inside.path, parts })];
  const [home] = one.namespaces;
  const both: Machine = { ...one, namespaces: [{ ...home, name: '' }, ...two.namespaces], unseen: [] };
  return findExposure(both, ask);
}

/** Which of `tries` connect, by real connections. */
async function connects(
  outside: TestNamespace,
  tries: readonly { source: string; host: string; port: number }[],
): Promise<boolean[]> {
  const script = `
    const tries = ${JSON.stringify(tries)};
    Promise.all(tries.map(({ source, host, port }) => new Promise((resolve) => {
      const socket = require('net').connect({ host, port, localAddress: source });
      const end = (ok) => { socket.destroy(); resolve(ok); };
      socket.once('connect', () => end(true)).once('error', () => end(false));
      setTimeout(() => end(false), 1500).unref();
    }))).then((all) => { console.log(JSON.stringify(all)); process.exit(0); });`;
  const { stdout } = await outside.run([process.execPath, '-e', script]);
  return JSON.parse(stdout);
}

const find = ({ services }: ExposureReport, port: number, isInside = false): ExposedService =>
  services.find((service) => service.port === port && (service.netns !== '') === isInside) ??
  assert.fail(`no service at ${port}`);

test('what is said to be reachable is, what is not is not, and the proposal closes what it says', { skip, timeout: 60_000 }, () =>
  withLab(async (lab) => {
    const { outside, machine, inside } = await build(lab);
    const found = await report(machine, inside);
    assert.deepEqual(found.notMeasured, []);
    const summary = [22, 80, 3306, 7777, 8888, 9999].map((port) => [port, find(found, port).reach]);
    assert.deepEqual(summary, [
      [22, 'listed'],
      [80, 'internet'],
      [3306, 'local'],
      [7777, 'internet'],
      [8888, 'lan'],
      [9999, 'local'],
    ]);
    assert.deepEqual([find(found, 80, true).reach, find(found, 5432, true).reach], ['internet', 'containers']);
    assert.equal(find(found, 7777).paths[0].certainty, 'limited');
    const published = find(found, 80, true).paths.find(({ by }) => by === 'published');
    assert.equal(published?.dialled, `${own}:8080`);
    assert.match(
      published?.allowedBy.map(({ rule }) => `${rule?.owner} ${rule?.chain}`).join() ?? '',
      /docker DOCKER,docker DOCKER/,
    );
    assert.match(
      find(found, 9999)
        .stoppedBy.map(({ by }) => `${by.rule?.backend} ${by.text}`)
        .join(),
      /legacy -A INPUT .*--dport 9999.* -j DROP/,
    );
    assert.match(
      find(found, 5432, true)
        .stoppedBy.map(({ by }) => by.text)
        .join(),
      /policy drop of filter FORWARD/,
    );

    // Every answer against the machine itself.
    const dialled = [
      ...[22, 80, 3306, 7777, 8888, 9999, 8080].map((port) => ({ host: own, port, isInside: port === 8080 })),
      ...[80, 5432].map((port) => ({ host: container, port, isInside: true })),
    ];
    const tries = dialled.flatMap(({ host, port, isInside }) =>
      (Object.keys(sources) as (keyof typeof sources)[]).map((zone) => ({ zone, source: sources[zone], host, port, isInside })),
    );
    const truth = await connects(outside, tries);
    for (const [index, { zone, host, port, isInside }] of tries.entries()) {
      // To a container's own address only neighbours are asked about.
      if (host === container && zone !== 'link') continue;
      const service = find(found, port === 8080 ? 80 : port, isInside);
      const said = service.paths.some(
        ({ from, dialled: at, certainty }) =>
          from.device === 'eth0' && from.zone === zone && at === `${host}:${port}` && certainty !== 'unknown',
      );
      assert.equal(said, truth[index], `${zone} to ${host}:${port}: said ${said}`);
    }

    const guard = planExposureGuard(
      found,
      [{ transport: 'tcp', ports: { first: 80, last: 80 }, why: 'asked for' }],
      ['docker0'],
      false,
    );
    assert.ok(guard);
    assert.deepEqual(guard.closes.map(({ port, netns }) => `${port}${netns === '' ? '' : ' inside'}`).sort(), [
      '22',
      '7777',
      '80 inside',
      '8888',
    ]);
    // Without what rules counted meanwhile.
    const state = async (): Promise<string> => (await machine.snapshot()).replaceAll(/\[\d+:\d+\]/g, '[0:0]');
    const before = await state();
    await machine.nft(guard.text);
    const closed = await report(machine, inside);
    const stillOpen = closed.services
      .filter(({ paths }) => paths.some(({ from }) => from.netns === '' && from.device === 'eth0'))
      .map(({ port, netns }) => [port, netns]);
    assert.deepEqual(stillOpen, [[80, '']]);
    const [web, ssh, behind] = await connects(outside, [
      { source: sources.public, host: own, port: 80 },
      { source: sources.link, host: own, port: 22 },
      { source: sources.public, host: own, port: 8080 },
    ]);
    assert.deepEqual([web, ssh, behind], [true, false, false]);
    await machine.run(guard.undo.split(' '));
    assert.equal(await state(), before);
  }),
);
