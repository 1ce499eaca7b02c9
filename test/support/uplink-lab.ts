// The story of the uplink that is 90 % full: a VPN client in a container carries it, behind the VPN a HAProxy on another port, behind that
// an application. Real programs in namespaces joined as a container host joins them; everything ends with the lab.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type NamespaceLab, type TestNamespace, until } from '../../src/kernel/namespace-lab.ts';

export interface UplinkLab {
  readonly internet: TestNamespace;
  readonly host: TestNamespace;
  readonly vpn: TestNamespace;
  readonly balancer: TestNamespace;
  readonly application: TestNamespace;
  readonly remove: () => void;
}

/** A program of Node inside, until the lab ends; resolves once it wrote a line. */
export async function startProgram(namespace: TestNamespace, code: string): Promise<number> {
  const child = namespace.spawn([process.execPath, '-e', code]);
  let complaint = '';
  child.stderr?.on('data', (part) => {
    complaint += part;
  });
  const [line] = await Promise.race([once(child.stdout ?? assert.fail(), 'data'), once(child, 'exit')]);
  assert.ok(line instanceof Buffer, complaint);
  return child.pid ?? assert.fail();
}

/** Sends `bytes` every 20 ms to whoever connects, for at most half a minute. */
const streaming = (port: number, bytes: number): string => `
  const data = Buffer.alloc(${bytes}, 'x');
  require('node:net').createServer((c) => {
    const timer = setInterval(() => { if (c.writableLength < 1e6) c.write(data); }, 20);
    c.on('close', () => clearInterval(timer)).on('error', () => {});
    c.resume();
  }).listen(${port}, () => console.log('up'));
  setTimeout(() => process.exit(), 30000);`;

const reading = (host: string, port: number): string => `
  const c = require('node:net').connect(${port}, '${host}');
  c.once('data', () => console.log('up')); c.on('data', () => {}).on('error', () => process.exit(1)); c.write('hello');
  setTimeout(() => process.exit(), 30000);`;

const balancing = (frontPort: number, socket: string | undefined): string => `
global
  ${socket ? `stats socket ${socket} mode 600 level operator` : 'maxconn 100'}
defaults
  mode tcp
  timeout connect 5s
  timeout client 30s
  timeout server 30s
listen front
  bind :${frontPort}
  server app 172.18.0.4:8080
`;

export async function buildUplinkLab(lab: NamespaceLab): Promise<UplinkLab> {
  const [internet, host, vpn, balancer, application] = [
    await lab.namespace('net'),
    await lab.namespace('host'),
    await lab.namespace('vpn'),
    await lab.namespace('lb'),
    await lab.namespace('app'),
  ];
  const directory = mkdtempSync(join(tmpdir(), 'weir-uplink-'));
  await lab.join(
    { namespace: internet, link: 'out', addresses: ['198.51.100.1/24'] },
    { namespace: host, link: 'eth0', addresses: ['198.51.100.2/24'] },
  );
  await host.ip(
    'link add br0 type bridge\naddr add 172.18.0.1/16 dev br0\nlink set br0 up\nroute add default via 198.51.100.1\n',
  );
  for (const [index, inner] of [vpn, balancer, application].entries()) {
    await lab.join(
      { namespace: inner, link: 'eth0', addresses: [`172.18.0.${index + 2}/16`] },
      { namespace: host, link: `veth${index}` },
    );
    await host.ip(`link set veth${index} master br0\n`);
    await inner.ip('route add default via 172.18.0.1\n');
  }
  await host.setSysctl('net/ipv4/ip_forward', '1');
  await host.nft('table ip nat { chain post { type nat hook postrouting priority 100; oifname eth0 masquerade; }; }');
  await vpn.setSysctl('net/ipv4/ip_forward', '1');
  await vpn.nft(
    `table ip nat {
      chain pre { type nat hook prerouting priority -100; iifname tun0 tcp dport 443 dnat to 172.18.0.3:8443; };
      chain post { type nat hook postrouting priority 100; oifname eth0 ct status dnat masquerade; };
    }`,
  );
  const tunnel = (local: string, remote: string, more: readonly string[]) => [
    ...['openvpn', '--dev', 'tun0', '--dev-type', 'tun', '--ifconfig', local, remote, '--cipher', 'none', '--auth', 'none'],
    ...['--verb', '1', ...more],
  ];
  internet.spawn(tunnel('10.8.0.1', '10.8.0.2', ['--port', '1194'])).stdout?.resume();
  vpn.spawn(tunnel('10.8.0.2', '10.8.0.1', ['--nobind', '--remote', '198.51.100.1', '1194'])).stdout?.resume();
  await until('the tunnel carries packets', async () => {
    const { code } = await internet.run(['ping', '-c', '1', '-W', '1', '10.8.0.2'], { anyCode: true });
    return code === 0;
  });
  await startProgram(application, streaming(8080, 40_000));
  for (const [port, socket] of [
    [8443, join(directory, 'admin.sock')],
    [8444, undefined],
  ] as const) {
    const file = join(directory, `${port}.cfg`);
    writeFileSync(file, balancing(port, socket));
    balancer.spawn(['haproxy', '-db', '-f', file]).stderr?.resume();
    await until(`haproxy listens at ${port}`, async () => {
      const { stdout } = await balancer.run(['ss', '-Hltn', `sport = :${port}`]);
      return stdout !== '';
    });
  }
  // Through the tunnel, straight to the other HAProxy, and a little beside all that.
  await startProgram(internet, reading('10.8.0.2', 443));
  await startProgram(host, reading('172.18.0.3', 8444));
  await startProgram(host, streaming(9000, 2000));
  await startProgram(internet, reading('198.51.100.2', 9000));
  return { internet, host, vpn, balancer, application, remove: () => rmSync(directory, { recursive: true, force: true }) };
}
