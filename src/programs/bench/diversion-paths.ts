// The five ways to one service that `weir bench diversion` measures, each in namespaces of its own between the same attacker
// and the same service: plain routing, Weir's kernel path, Weir's catch-all, HAProxy by TPROXY, and one DNAT rule per address.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestNamespace, until } from '../../kernel/namespace-lab.ts';
import { WeirLab } from '../weir-lab.ts';
import { widen } from './catch-all.ts';

export type PathName = 'plain' | 'kernel path' | 'catch-all' | 'HAProxy' | 'DNAT';

/** Decoys of each path begin here; each block is a /12. */
export const blocks: Readonly<Record<PathName, string>> = {
  plain: '10.16.0.0',
  'kernel path': '10.32.0.0',
  'catch-all': '10.48.0.0',
  HAProxy: '10.80.0.0',
  DNAT: '10.96.0.0',
};

/** As many connections as HAProxy may hold within an ordinary limit of descriptors. */
const maxConnections = 8000;

const rangeOf = (block: string, count: number): string => {
  const [, second] = block.split('.').map(Number);
  const last = (10 << 24) + (second << 16) + count - 1;
  return `${block}-${last >>> 24}.${(last >>> 16) & 255}.${(last >>> 8) & 255}.${last & 255}`;
};

export const configurationOf = (count: number): string => `
diversions:
  - name: bench
    kind: host
    interface: eth0
    decoys:
      - { addresses: ${rangeOf(blocks['kernel path'], count)}, persona: all-open }
      - { addresses: ${rangeOf(blocks['catch-all'], count)}, persona: all-open }
probing: { claim-rate: 1000000 }
limits: { sessions-per-source: 100000 }
services:
  - { name: real, kind: external, address: 10.200.1.9, path: kernel, interface: wire0, from: 10.200.1.1/24 }
bindings:
  - { diversion: bench, addresses: ["${rangeOf(blocks['kernel path'], count)}"], service: real }
`;

export interface Paths {
  readonly lab: WeirLab;
  readonly service: TestNamespace;
  /** Loads the rules of the DNAT path for this many decoys; milliseconds it took. */
  readonly loadDnat: (count: number) => Promise<number>;
}

/** Builds everything but Weir itself, which `lab.up` starts. The caller ends the lab. */
export async function layPaths(count: number): Promise<Paths> {
  const lab = await WeirLab.open({ configuration: configurationOf(count), stopBoundMs: 90_000 });
  try {
    const service = await lab.namespaces.namespace('v');
    const wire = async (place: TestNamespace, link: string, network: number): Promise<void> => {
      const address = place === lab.sensor ? [] : [`10.200.${network}.1/24`];
      await lab.namespaces.join(
        { namespace: place, link, addresses: address },
        { namespace: service, link: `w${network}`, addresses: [`10.200.${network}.9/24`] },
      );
      // Answers go back the way the question came, which their source tells.
      const from = [blocks.plain, blocks['kernel path'], '10.200.2.9', '10.200.3.9'][network];
      const length = network < 2 ? 12 : 32;
      await service.ip(
        `rule add from ${from}/${length} lookup ${100 + network}\nroute add default via 10.200.${network}.1 table ${100 + network}\n`,
      );
    };
    const between = async (label: string, network: number, block: string): Promise<TestNamespace> => {
      const place = await lab.namespaces.namespace(label);
      await lab.namespaces.join(
        { namespace: lab.attacker, link: `to-${label}`, addresses: [`192.0.2.${network * 8 + 1}/29`] },
        { namespace: place, link: 'eth0', addresses: [`192.0.2.${network * 8 + 2}/29`] },
      );
      await wire(place, 'wire0', network);
      await place.setSysctl('net/ipv4/ip_forward', '1');
      await place.ip(`route add 10.0.0.1/32 via 192.0.2.${network * 8 + 1}\n`);
      await lab.attacker.ip(`route add ${block}/12 via 192.0.2.${network * 8 + 2} src 10.0.0.1\n`);
      await widen(place);
      return place;
    };
    await wire(lab.sensor, 'wire0', 1);
    await lab.attacker.ip(
      `route add ${blocks['kernel path']}/12 via 10.0.0.2\nroute add ${blocks['catch-all']}/12 via 10.0.0.2\n`,
    );
    const plain = await between('p', 0, blocks.plain);
    await plain.ip(`route add ${blocks.plain}/12 via 10.200.0.9\n`);
    const proxy = await between('x', 2, blocks.HAProxy);
    await layHaproxy(lab, proxy);
    const dnat = await between('d', 3, blocks.DNAT);
    await service.ip(`route add local ${blocks.plain}/12 dev lo\nroute add local ${blocks['kernel path']}/12 dev lo\n`);
    for (const place of [lab.attacker, lab.sensor, service]) await widen(place);
    await serve(lab, service);
    return { lab, service, loadDnat: (decoys) => loadDnat(dnat, decoys) };
  } catch (error) {
    await lab.end().catch(() => {});
    throw error;
  }
}

/** Client addresses kept, as HAProxy's own documentation of `usesrc clientip` wants it. */
async function layHaproxy(lab: WeirLab, proxy: TestNamespace): Promise<void> {
  await proxy.ip('rule add fwmark 1 lookup 100\nroute add local 0.0.0.0/0 dev lo table 100\n');
  for (const link of ['all', 'eth0', 'wire0']) await proxy.setSysctl(`net/ipv4/conf/${link}/rp_filter`, '0');
  // It takes a port of the client's address for each connection: one client would have none left after 28,000.
  await proxy.setSysctl('net/ipv4/ip_local_port_range', '1024 65535');
  await proxy.setSysctl('net/ipv4/tcp_tw_reuse', '1');
  await proxy.nft(`table ip bench {
  chain divert { type filter hook prerouting priority -150;
    meta l4proto tcp socket transparent 1 meta mark set 1 accept
    iifname "eth0" meta l4proto tcp tproxy to 127.0.0.1:8080 meta mark set 1 accept
  }
}
`);
  const file = join(lab.directory, 'proxy.cfg');
  writeFileSync(
    file,
    `global
  maxconn ${maxConnections}
  nbthread 1
defaults
  mode tcp
  timeout client 10s
  timeout connect 5s
  timeout server 10s
listen all
  bind 127.0.0.1:8080 transparent
  source 0.0.0.0 usesrc clientip
  server real 10.200.2.9:80
`,
  );
  const child = proxy.spawn(['haproxy', '-db', '-f', file]);
  await until('HAProxy listens', async () => {
    if (child.exitCode !== null) throw new Error('HAProxy does not start');
    return (await proxy.run(['ss', '-ltn'])).stdout.includes(':8080');
  });
}

/** A server that answers every request alike and closes: HAProxy's own, with one thread. */
async function serve(lab: WeirLab, service: TestNamespace): Promise<void> {
  const file = join(lab.directory, 'service.cfg');
  writeFileSync(
    file,
    `global
  maxconn ${maxConnections}
  nbthread 1
defaults
  mode http
  timeout client 10s
  timeout http-request 10s
frontend all
  bind :80
  http-request return status 200 content-type text/plain string ok hdr connection close
`,
  );
  const child = service.spawn(['haproxy', '-db', '-f', file]);
  await until('the service listens', async () => {
    if (child.exitCode !== null) throw new Error('the service does not start');
    return (await service.run(['ss', '-ltn'])).stdout.includes(':80 ');
  });
}

async function loadDnat(place: TestNamespace, count: number): Promise<number> {
  const first = (10 << 24) + (96 << 16);
  const lines = Array.from({ length: count }, (_, index) => {
    const value = first + index;
    const address = `${value >>> 24}.${(value >>> 16) & 255}.${(value >>> 8) & 255}.${value & 255}`;
    return `-A PREROUTING -d ${address}/32 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.200.3.9:80\n`;
  });
  const began = performance.now();
  await place.run(['iptables-restore'], { input: `*nat\n${lines.join('')}COMMIT\n`, timeoutMs: 120_000 });
  return performance.now() - began;
}
