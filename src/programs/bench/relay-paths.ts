// The two chains that `weir bench relay` measures, in the same namespaces between the same attacker and service: Weir twice and
// HAProxy twice, each recording or forwarding with PROXY v2 in between and the attacker's address at the end; and plain routing.

import type { ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { silentLog } from '../../base/log.ts';
import { HandoverServer } from '../../kernel/handover-server.ts';
import { NamespaceLab, type TestNamespace, until } from '../../kernel/namespace-lab.ts';
import { type Address, parseAddress } from '../../model/address.ts';
import { openWantedSockets, readAppliedDials } from '../../plan/applied-dials.ts';
import type { DesiredState } from '../../plan/desired-state.ts';
import { ServicesController } from '../../plan/services-controller.ts';
import { ownInstallation } from '../installation.ts';
import { widen } from './catch-all.ts';

export type ChainName = 'plain' | 'weir' | 'haproxy' | 'weir-2' | 'haproxy-2';

/** Where the attacker connects, on ports 80 (a short answer) and 5201 (iperf3). */
export const targets: Readonly<Record<ChainName, string>> = {
  plain: '10.9.5.9',
  weir: '10.9.1.2',
  haproxy: '10.9.1.3',
  'weir-2': '10.9.1.4',
  'haproxy-2': '10.9.1.5',
};

export interface RelayPaths {
  readonly attacker: TestNamespace;
  readonly service: TestNamespace;
  /** Processes of a chain: the first hop's, then the second's. */
  readonly processes: Readonly<Record<Exclude<ChainName, 'plain'>, readonly number[]>>;
  end(): Promise<void>;
}

const ports = [80, 5201];
/** Young objects of a flow die with it: few and short collections, by the one thread that has the processor. */
const flags = ['--max-semi-space-size=64', '--single-threaded-gc'];
const address = (text: string): Address => parseAddress(text) as Address;

/** Needs root, haproxy and iperf3. */
export async function layRelayPaths(): Promise<RelayPaths> {
  const lab = new NamespaceLab();
  const directory = mkdtempSync(join(tmpdir(), 'weir-bench-relay-'));
  const ends: (() => Promise<void> | void)[] = [];
  const end = async (): Promise<void> => {
    for (const one of ends.reverse()) await one();
    await lab.end();
    rmSync(directory, { recursive: true, force: true });
  };
  try {
    const [attacker, edge, inner, service] = [
      await lab.namespace('a'),
      await lab.namespace('e'),
      await lab.namespace('i'),
      await lab.namespace('v'),
    ];
    await lab.join(
      { namespace: attacker, link: 'eth0', addresses: ['10.9.1.1/24'] },
      { namespace: edge, link: 'eth0', addresses: [2, 3, 4, 5].map((last) => `10.9.1.${last}/24`) },
    );
    await lab.join(
      { namespace: edge, link: 'up0', addresses: ['10.9.2.1/24'] },
      { namespace: inner, link: 'eth0', addresses: ['10.9.2.2/24'] },
    );
    await lab.join({ namespace: inner, link: 'wire0' }, { namespace: service, link: 'w1', addresses: ['10.9.3.9/24'] });
    await lab.join(
      { namespace: inner, link: 'wire1', addresses: ['10.9.4.1/24'] },
      { namespace: service, link: 'w2', addresses: ['10.9.4.9/24'] },
    );
    for (const place of [attacker, edge, inner, service]) {
      await widen(place);
      // All flows are between two addresses: ports of connections just ended must be free again.
      await place.setSysctl('net/ipv4/tcp_tw_reuse', '1');
    }
    for (const place of [edge, inner]) await place.setSysctl('net/ipv4/ip_forward', '1');
    await attacker.ip('route add 10.9.5.9 via 10.9.1.2\n');
    await edge.ip('route add 10.9.5.9 via 10.9.2.2\n');
    await inner.ip('route add 10.9.5.9 via 10.9.4.9\nroute add 10.9.1.0/24 via 10.9.2.1\n');
    const decoys = ['weir', 'weir-2'].map((name) => targets[name as ChainName]);
    await service.ip(
      [
        'addr add 10.9.5.9/32 dev lo',
        ...decoys.flatMap((one) => [`route add local ${one} dev lo`, `rule add from ${one} lookup 101`]),
        'route add default via 10.9.3.1 table 101',
        'route add default via 10.9.4.1',
        '',
      ].join('\n'),
    );
    const spawned = (child: ChildProcess): number => {
      ends.push(() => void child.stdin?.end());
      return child.pid ?? 0;
    };
    await serve(service, directory);
    const netd = await openNetd(inner, directory);
    ends.push(netd.end);
    const weir = (name: 'weir' | 'weir-2', door: number, count: number): Promise<number[]> =>
      startWeir({ edge, inner, directory, name, door, count, netd, spawned });
    const haproxy = async (name: 'haproxy' | 'haproxy-2', door: number, threads: number): Promise<number[]> => [
      await startHaproxy(edge, directory, `${name}-edge`, threads, edgeOf(targets[name], door)),
      await startHaproxy(inner, directory, `${name}-inner`, threads, innerOf(door)),
    ];
    await divert(inner);
    const processes = {
      weir: await weir('weir', 7000, 1),
      haproxy: await haproxy('haproxy', 7010, 1),
      'weir-2': await weir('weir-2', 7001, 2),
      'haproxy-2': await haproxy('haproxy-2', 7020, 2),
    };
    return { attacker, service, processes, end };
  } catch (error) {
    await end().catch(() => {});
    throw error;
  }
}

interface Netd {
  readonly path: string;
  readonly offer: string;
  readonly end: () => Promise<void>;
}

/** What netd does for an inner gateway: the services network, and sockets in it on request. */
async function openNetd(inner: TestNamespace, directory: string): Promise<Netd> {
  const controller = new ServicesController({
    tag: `${process.pid.toString(16).slice(-3)}e`,
    log: silentLog,
    netns: inner.path,
  });
  const desired: DesiredState & { relay: unknown } = {
    groups: [],
    personas: [],
    guards: { ports: [], sources: [], resolvers: [] },
    ports: { tcp: 0, udp: 0, narrow: 0 },
    tracking: false,
    manyLinks: false,
    interfaces: {},
    macLinks: [],
    sysctls: [],
    live: [],
    segments: [],
    services: [],
    bindings: [],
    relay: {
      services: [
        {
          kind: 'external',
          name: 'real',
          path: 'transparent',
          address: address('10.9.3.9'),
          wire: { interface: 'wire0', from: { address: address('10.9.3.1'), prefixLength: 24 } },
          place: { file: 'bench', line: 1 },
        },
      ],
    },
  } as unknown as DesiredState & { relay: unknown };
  await controller.apply(desired);
  const dials = readAppliedDials(controller.network?.dials ?? [], controller.path);
  const path = join(directory, 'handover.sock');
  const server = new HandoverServer({
    path,
    ownerUid: 0,
    log: silentLog,
    onWanted: (wanted) => openWantedSockets(wanted, dials, controller.path),
  });
  return {
    path,
    offer: JSON.stringify(dials[0]),
    end: async () => {
      server.close();
      await controller.apply(undefined);
      await controller.close();
    },
  };
}

async function startWeir(plan: {
  readonly edge: TestNamespace;
  readonly inner: TestNamespace;
  readonly directory: string;
  readonly name: 'weir' | 'weir-2';
  readonly door: number;
  readonly count: number;
  readonly netd: Netd;
  readonly spawned: (child: ChildProcess) => number;
}): Promise<number[]> {
  const { edge, inner, directory, name, door, count, netd, spawned } = plan;
  const { node, root } = ownInstallation();
  const script = join(root, 'dist/src/programs/bench/relay-process.js');
  const start = async (where: TestNamespace, argv: readonly string[]): Promise<number> => {
    const child = where.spawn([node, ...flags, script, ...argv]);
    let heard = '';
    child.stdout?.on('data', (data) => {
      heard += String(data);
    });
    child.stderr?.on('data', (data) => {
      heard += String(data);
    });
    await until(`a relay is up: ${argv.join(' ')}`, () => {
      if (child.exitCode !== null) throw new Error(`a relay ended: ${heard}`);
      return heard.includes('up\n');
    });
    return spawned(child);
  };
  const edges: number[] = [];
  const inners: number[] = [];
  const listen = ports.map((port) => `${targets[name]}:${port}`).join(',');
  for (let index = 0; index < count; index += 1) {
    const second = ['--allow', '10.9.2.1', '--handover', netd.path, '--offer', netd.offer, '--service', '10.9.3.9'];
    inners.push(await start(inner, ['--role', 'inner', '--listen', `10.9.2.2:${door}`, ...second]));
    const journal = join(directory, `journal-${name}-${index}`);
    edges.push(await start(edge, ['--role', 'edge', '--listen', listen, '--next', `10.9.2.2:${door}`, '--journal', journal]));
  }
  return [...edges, ...inners];
}

const edgeOf = (listen: string, door: number): string =>
  ports
    .map((port, index) => `listen e${port}\n  bind ${listen}:${port}\n  server next 10.9.2.2:${door + index} send-proxy-v2\n`)
    .join('');

const innerOf = (door: number): string =>
  ports
    .map(
      (port, index) =>
        `listen i${port}\n  bind 10.9.2.2:${door + index} accept-proxy\n  source 0.0.0.0 usesrc clientip\n  server real 10.9.4.9:${port}\n`,
    )
    .join('');

async function startHaproxy(
  where: TestNamespace,
  directory: string,
  name: string,
  threads: number,
  listens: string,
): Promise<number> {
  const file = join(directory, `${name}.cfg`);
  const times = '  timeout client 600s\n  timeout connect 5s\n  timeout server 600s\n';
  writeFileSync(file, `global\n  maxconn 8000\n  nbthread ${threads}\ndefaults\n  mode tcp\n${times}${listens}`);
  const child = where.spawn(['haproxy', '-db', '-f', file]);
  const port = /bind \S+:(\d+)/.exec(listens)?.[1];
  await until('HAProxy listens', async () => {
    if (child.exitCode !== null) throw new Error(`HAProxy does not start: ${name}`);
    return (await where.run(['ss', '-ltnH', `sport = :${port}`])).stdout !== '';
  });
  return child.pid ?? 0;
}

/** Brings what the service answers back to HAProxy, as its documentation of `usesrc` wants it. */
async function divert(inner: TestNamespace): Promise<void> {
  await inner.ip('rule add fwmark 1 lookup 100\nroute add local 0.0.0.0/0 dev lo table 100\n');
  for (const link of ['all', 'eth0', 'wire1']) await inner.setSysctl(`net/ipv4/conf/${link}/rp_filter`, '0');
  await inner.nft(`table ip bench {
  chain divert { type filter hook prerouting priority -150;
    iifname "wire1" meta l4proto tcp socket transparent 1 meta mark set 1 accept
  }
}
`);
}

/** A short answer on port 80 by HAProxy, iperf3 on its own port. */
async function serve(service: TestNamespace, directory: string): Promise<void> {
  const file = join(directory, 'service.cfg');
  writeFileSync(
    file,
    `global
  maxconn 8000
  nbthread 1
defaults
  mode http
  timeout client 600s
  timeout http-request 600s
frontend all
  bind :80
  http-request return status 200 content-type text/plain string ok hdr connection close
`,
  );
  for (const argv of [
    ['haproxy', '-db', '-f', file],
    ['iperf3', '-s', '-4'],
  ])
    service.spawn(argv).stdout?.resume();
  for (const port of ports)
    await until(`the service listens on ${port}`, async () => {
      return (await service.run(['ss', '-ltnH', `sport = :${port}`])).stdout !== '';
    });
}
