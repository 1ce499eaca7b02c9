// `weir who` in the story of the full uplink: the flow on the wire is followed to the container, the VPN client, what its tunnel carries, the HAProxy
// on another port, and the application behind it; each hop by what joins it.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { readMachineLinks } from '../../src/kernel/machine/link-reader.ts';
import { type TestNamespace, until, withLab } from '../../src/kernel/namespace-lab.ts';
import { withRouteSocket } from '../../src/kernel/route-socket.ts';
import { parseFlowSelector, renderFlow } from '../../src/netops/who/flow.ts';
import { type FlowRow, type RowWish, TrafficWatch, type WhoReading } from '../../src/netops/who/traffic-watch.ts';
import { lacksKernelTests, lacksProgram } from '../support/namespace.ts';
import { startDockerEngine } from '../support/real-engine.ts';
import { buildUplinkLab, startProgram } from '../support/uplink-lab.ts';

const lacks = lacksKernelTests() || lacksProgram('openvpn', 'openvpn') || lacksProgram('haproxy', 'haproxy');

const movedBy = (namespace: TestNamespace, device: string): number => {
  const link = withRouteSocket(namespace.path, readMachineLinks).find(({ name }) => name === device);
  return link ? link.counters.receivedBytes + link.counters.sentBytes : 0;
};

/** A reading of a time in which the device moved enough to be judged. */
async function read(
  watch: TrafficWatch,
  namespace: TestNamespace,
  device: string,
  wish: RowWish = { top: 10 },
): Promise<WhoReading> {
  await watch.read(wish);
  const before = movedBy(namespace, device);
  await until('enough has moved', () => movedBy(namespace, device) - before > 300_000);
  return watch.read(wish);
}

const kinds = ({ path }: FlowRow): string[] => path.map(({ kind }) => kind);

test('a full uplink is followed to the application behind a VPN and a proxy', { skip: lacks }, () =>
  withLab(async (lab) => {
    const { host, vpn, balancer, application, remove } = await buildUplinkLab(lab);
    const watch = await TrafficWatch.open({ netns: host.name, device: 'eth0', dockerSocket: '/nonexistent' });
    try {
      const { rows, totals, measure, unattributed } = await read(watch, host, 'eth0');
      assert.equal(measure, 'wire');
      const [full] = rows;
      assert.ok((full.inBps + full.outBps) / rows.reduce((sum, row) => sum + row.inBps + row.outBps, 0) > 0.9);
      assert.match(renderFlow(full.flow), /^udp .*198\.51\.100\.1:1194/);
      assert.deepEqual(
        kinds(full),
        ['wire', 'nat', 'link', 'process', 'tunnel', 'nat', 'link', 'process', 'proxy', 'link', 'process'],
        full.path.map(({ kind, netnsName, flow, join }) => `${kind} ${netnsName} ${renderFlow(flow)} ${join}`).join('\n'),
      );
      const { path } = full;
      const told = path
        .filter(({ kind }) => kind === 'process')
        .map(({ comm, netnsName, listens }) => [comm, netnsName, listens]);
      assert.deepEqual(told, [
        ['openvpn', vpn.name, undefined],
        ['haproxy', balancer.name, 8443],
        ['node', application.name, 8080],
      ]);
      const tunnel = path[4];
      assert.deepEqual([tunnel.device, tunnel.netnsName], ['tun0', vpn.name]);
      assert.match(renderFlow(tunnel.flow), /^tcp .*10\.8\.0\.2:443/);
      assert.ok(tunnel.score > 0.95, `share of the tunnel: ${tunnel.score}`);
      // HAProxy said so itself.
      assert.match(path[8].join, /show sess/);
      assert.equal(path[8].score, 1);
      assert.match(renderFlow(path[8].flow), /172\.18\.0\.4:8080/);
      assert.ok(totals.attributedBytes / totals.bytes > 0.99, JSON.stringify(unattributed));
      // What is beside it is somebody else's.
      const beside = rows.find(({ flow }) => renderFlow(flow).includes(':9000')) ?? assert.fail();
      assert.deepEqual(kinds(beside), ['wire', 'process']);

      // The same flow is found by what it is called anywhere on its way.
      const flow = parseFlowSelector('tcp 172.18.0.4:8080') ?? assert.fail();
      const found = await read(watch, host, 'eth0', { top: 5, flow });
      assert.deepEqual(
        found.rows.map((row) => renderFlow(row.flow)),
        [renderFlow(full.flow)],
      );
    } finally {
      watch.close();
    }

    // A HAProxy that does not say is read from bytes and time, and that is said.
    const other = await TrafficWatch.open({ netns: balancer.name, device: 'eth0', dockerSocket: '/nonexistent' });
    try {
      await read(other, balancer, 'eth0');
      const { rows } = await read(other, balancer, 'eth0');
      const row = rows.find(({ flow }) => renderFlow(flow).includes('172.18.0.3:8444')) ?? assert.fail();
      assert.deepEqual(kinds(row), ['wire', 'process', 'proxy', 'link', 'process']);
      const inferred = row.path[2];
      assert.match(inferred.join, /^same process, \d+ % of the bytes conserved/);
      assert.ok(inferred.score > 0.7 && inferred.score < 1, String(inferred.score));
      assert.match(renderFlow(inferred.flow), /172\.18\.0\.4:8080/);
      assert.equal(row.path[4].netnsName, application.name);
    } finally {
      other.close();
      remove();
    }
  }),
);

test('connections shorter than a reading have the process that made them, and what is nobody’s says why', { skip: lacks }, () =>
  withLab(async (lab) => {
    const client = await lab.namespace('client');
    const server = await lab.namespace('server');
    await lab.join(
      { namespace: client, link: 'c0', addresses: ['10.1.0.1/24'] },
      { namespace: server, link: 's0', addresses: ['10.1.0.2/24'] },
    );
    const atClient = await TrafficWatch.open({ netns: client.name, device: 'c0', dockerSocket: '/nonexistent' });
    const atServer = await TrafficWatch.open({ netns: server.name, device: 's0', dockerSocket: '/nonexistent' });
    try {
      const holder = await startProgram(
        server,
        `require('node:net').createServer((c) => { c.on('error', () => {}); c.end('y'.repeat(3000)); }).listen(7000, () => console.log('up'))`,
      );
      const caller = await startProgram(
        client,
        `const net = require('node:net'); let left = 50;
         const next = () => { if (left-- === 0) { console.log('up'); setInterval(() => {}, 1000); return; }
           net.connect(7000, '10.1.0.2').on('data', () => {}).on('close', next); };
         next();`,
      );
      await client.run(['ping', '-c', '1', '10.1.0.2']);
      const here = await atClient.read({ top: 100 });
      const there = await atServer.read({ top: 100 });
      const short = (reading: WhoReading) => reading.rows.filter(({ flow }) => renderFlow(flow).includes(':7000'));
      assert.equal(short(here).length, 50);
      assert.deepEqual([...new Set(short(here).map(({ path }) => path.at(-1)?.pid))], [caller]);
      assert.deepEqual([...new Set(short(there).map(({ path }) => path.at(-1)?.pid))], [holder]);
      assert.match(short(here)[0].path.at(-1)?.join ?? '', /connect\(2\)/);
      const ping = here.rows.find(({ flow }) => flow.protocol === 1) ?? assert.fail();
      assert.equal(ping.attributed, false);
      assert.match(ping.reason ?? '', /ICMP/);
      assert.ok(here.unattributed.some(({ reason }) => reason === ping.reason));
    } finally {
      atClient.close();
      atServer.close();
    }
  }),
);

test('with less privilege it counts what it can, and says what it cannot see', { skip: lacks }, () =>
  withLab(async (lab) => {
    const client = await lab.namespace('client');
    const server = await lab.namespace('server');
    await lab.join(
      { namespace: client, link: 'c0', addresses: ['10.1.0.1/24'] },
      { namespace: server, link: 's0', addresses: ['10.1.0.2/24'] },
    );
    await client.setSysctl('net/netfilter/nf_conntrack_acct', '1');
    // Rules that ask for it turn tracking on.
    await client.nft('table ip t { chain o { type filter hook output priority 0; ct state established accept; }; }');
    await startProgram(
      server,
      `const d = Buffer.alloc(20000); require('node:net').createServer((c) => {
         const t = setInterval(() => c.write(d), 20); c.on('close', () => clearInterval(t)).on('error', () => {});
       }).listen(7000, () => console.log('up')); setTimeout(() => process.exit(), 30000);`,
    );
    await startProgram(
      client,
      `const c = require('node:net').connect(7000, '10.1.0.2'); c.once('data', () => console.log('up')); c.on('data', () => {});
       setTimeout(() => process.exit(), 30000);`,
    );
    // What no socket of TCP counts.
    client.spawn(['ping', '-q', '-i', '0.01', '-s', '8000', '10.1.0.2']).stdout?.resume();
    const program = fileURLToPath(new URL('../../src/programs/weir.js', import.meta.url));
    const run = async (capabilities: readonly string[]) => {
      const { code, stdout, stderr } = await client.run(
        [
          // Still root by number, so that it may read this program wherever it lies.
          ...['setpriv', '--inh-caps', '-all', '--bounding-set', ['-all', ...capabilities].join(','), '--'],
          ...[process.execPath, program, 'who', '--json', '--interval', '1'],
        ],
        { anyCode: true },
      );
      const lines = stdout
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line));
      assert.equal(code, 3, stderr);
      return { flow: lines.find(({ flow }) => flow?.sport === 7000 || flow?.dport === 7000), lines, stderr, ...lines.at(-1) };
    };
    const nobody = await run([]);
    assert.equal(nobody.summary.measure, 'sockets');
    assert.ok(nobody.flow.in_bps > 4e6 && nobody.flow.in_bps < 12e6, String(nobody.flow.in_bps));
    assert.equal(nobody.flow.attributed, false);
    assert.match(nobody.flow.reason, /needs root \(user 0\)/);
    assert.match(nobody.stderr, /not seen: packets of the device: needs CAP_NET_RAW and CAP_BPF/);
    assert.ok(nobody.lines.some(({ reason }: { reason?: string }) => reason?.includes('headers, UDP')));

    const administrator = await run(['+net_admin']);
    assert.equal(administrator.summary.measure, 'conntrack');
    assert.ok(administrator.flow.in_bps > nobody.flow.in_bps * 0.8, 'headers are counted as well');
  }),
);

const lacksDocker = lacks || lacksProgram('dockerd', 'docker.io') || lacksProgram('busybox', 'busybox-static');

test('a container of a real Docker engine is named, behind the port it publishes', { skip: lacksDocker }, () =>
  withLab(async (lab) => {
    const client = await lab.namespace('client');
    const host = await lab.namespace('host');
    await lab.join(
      { namespace: client, link: 'c0', addresses: ['10.1.0.1/24'] },
      { namespace: host, link: 'eth0', addresses: ['10.1.0.2/24'] },
    );
    const room = mkdtempSync(join(tmpdir(), 'weir-who-'));
    const engine = await startDockerEngine(host, room);
    try {
      const talk = 'while :; do /bin/busybox head -c 20000 /dev/zero; /bin/busybox usleep 20000; done';
      const command = ['/bin/busybox', 'nc', '-ll', '-p', '80', '-e', '/bin/busybox', 'sh', '-c', talk];
      const id = await engine.docker('run', '-d', '--name', 'web', '-p', '8080:80', 'box', ...command);
      const reading = `const net = require('node:net');
        const again = () => net.connect(8080, '10.1.0.2').on('error', () => setTimeout(again, 50)).once('data', () => console.log('up')).on('data', () => {});
        again(); setTimeout(() => process.exit(), 30000);`;
      await startProgram(client, reading);
      const watch = await TrafficWatch.open({ netns: host.name, device: 'eth0', dockerSocket: join(room, 'docker.sock') });
      try {
        const { rows } = await read(watch, host, 'eth0');
        const { path, attributed } = rows[0];
        assert.ok(attributed);
        assert.deepEqual(
          path.map(({ kind, container }) => [kind, container?.name]),
          [
            ['wire', undefined],
            ['nat', undefined],
            ['link', 'web'],
            ['process', 'web'],
          ],
        );
        assert.deepEqual(path[3].container, { id, name: 'web', runtime: 'docker' });
        assert.match(renderFlow(path[3].flow), /^tcp .*:80 - 10\.1\.0\.1/);
      } finally {
        watch.close();
      }
    } finally {
      await engine.docker('rm', '-f', 'web').catch(() => {});
      await engine.stop();
      rmSync(room, { recursive: true, force: true });
    }
  }),
);
