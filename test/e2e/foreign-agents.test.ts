// Agents that are none of ours: nginx as a proxy in front of a `kind: proxy` diversion, by configuration alone, over both families and
// transports; HAProxy over IPv6. Each session names who is behind the proxy. relay.test.ts has HAProxy over IPv4.

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { until } from '../../src/kernel/namespace-lab.ts';
import { type Recorded, type WeirLab, withWeirLab } from '../../src/programs/weir-lab.ts';
import { lacksKernelTests, lacksProgram } from '../support/namespace.ts';
import { nginxStreamModule } from '../support/proxy-peers.ts';

const skip =
  lacksKernelTests() ||
  lacksProgram('haproxy', 'haproxy') ||
  lacksProgram('nginx', 'nginx-light') ||
  lacksProgram(nginxStreamModule, 'libnginx-mod-stream') ||
  lacksProgram('socat', 'socat');

const proxy = { 4: '10.0.0.3', 6: 'fd99::3' } as const;
const configuration = `
diversions:
  - { name: front, kind: proxy, listen: "[::]:7000", allow: [${proxy[4]}, "${proxy[6]}"] }
`;
const ports = { nginx: 9001, haproxyV1: 8001, haproxyV2: 8002, nginxUdp: 9003 } as const;

async function addProxies(lab: WeirLab): Promise<void> {
  const machine = await lab.addHost('p', [`${proxy[4]}/8`, `${proxy[6]}/48`]);
  const file = (name: string): string => path.join(lab.directory, name);
  const listen = (port: number, more = ''): string => `listen ${proxy[4]}:${port}${more}; listen [${proxy[6]}]:${port}${more};`;
  writeFileSync(
    file('stream.conf'),
    `load_module ${nginxStreamModule};
daemon off; master_process off; pid ${file('stream.pid')}; error_log stderr;
events { worker_connections 64; }
stream {
  server { ${listen(ports.nginx)} proxy_pass 10.0.0.2:7000; proxy_protocol on; proxy_half_close on; }
  server { ${listen(ports.nginxUdp, ' udp')} proxy_pass 10.0.0.2:7000; proxy_protocol on; proxy_timeout 5s; }
}
`,
  );
  const binds = (port: number): string => `  bind ${proxy[4]}:${port}\n  bind ${proxy[6]}:${port}\n`;
  writeFileSync(
    file('haproxy.cfg'),
    `defaults
  mode tcp
  timeout connect 5s
  timeout client 10s
  timeout server 10s
listen v1
${binds(ports.haproxyV1)}  server weir [fd99::2]:7000 send-proxy
listen v2
${binds(ports.haproxyV2)}  server weir [fd99::2]:7000 send-proxy-v2
`,
  );
  machine.spawn(['nginx', '-c', file('stream.conf'), '-p', lab.directory]);
  machine.spawn(['haproxy', '-db', '-f', file('haproxy.cfg')]);
  for (const port of [ports.nginx, ports.haproxyV2])
    await until(`port ${port} listens`, async () => (await machine.run(['ss', '-Hltn', `sport = :${port}`])).stdout !== '');
}

test('nginx and HAProxy are agents by configuration alone, and a stranger is not', { skip, timeout: 120_000 }, () =>
  withWeirLab({ configuration, wire: 'bridge' }, async (lab) => {
    await addProxies(lab);
    await lab.up();
    let from = 41_000;
    const expected: unknown[] = [];
    for (const [family, source] of [
      [4, '10.0.0.1'],
      [6, 'fd99::1'],
    ] as const) {
      const host = family === 4 ? proxy[4] : `[${proxy[6]}]`;
      for (const port of [ports.nginx, ports.haproxyV1, ports.haproxyV2]) {
        from += 1;
        const { stdout } = await lab.attack(['curl', '-s', '-m', '10', '--local-port', String(from), `http://${host}:${port}/`]);
        assert.match(stdout, /html/i);
        expected.push([source, from, proxy[family], port, 'tcp', 'front']);
      }
    }
    const ends = ({ source, destination, network, weir }: Recorded): unknown => {
      const { transport } = network as { transport: string };
      return [source.ip, source.port, destination.ip, destination.port, transport, weir.diversion];
    };
    assert.deepEqual((await lab.recorded(['sessions'], expected.length)).map(ends).sort(), expected.sort());
    const before = (await lab.gateway()).proxies;
    // nginx speaks v1 alone, which has no word for datagrams: what it makes of one is refused, and never guessed.
    await lab.attack(['sh', '-c', `printf 'a datagram' | socat -t 1 - UDP4-DATAGRAM:${proxy[4]}:${ports.nginxUdp}`]);
    for (const to of ['10.0.0.2', '[fd99::2]']) {
      const stranger = await lab.attack(['curl', '-s', '-m', '5', '--haproxy-protocol', `http://${to}:7000/`]);
      assert.notEqual(stranger.code, 0);
      assert.equal(stranger.stdout, '');
    }
    await until('strangers and what is no header are counted', async () => {
      const { proxies } = await lab.gateway();
      const faults = Object.values(proxies?.faults ?? {}).reduce((sum, count) => sum + (count ?? 0), 0);
      const faultsBefore = Object.values(before?.faults ?? {}).reduce((sum, count) => sum + (count ?? 0), 0);
      return proxies?.strangers === (before?.strangers ?? 0) + 2 && faults > faultsBefore;
    });
    assert.equal((await lab.records(['sessions'])).length, expected.length);
  }),
);
