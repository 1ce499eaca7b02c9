// The ways into the demo besides its host's own decoys: an agent on a branch's machine, a segment of decoys that never existed
// (VXLAN), and a real service behind one decoy's port. Each has its own part of weir.yaml, machines in the lab, and intruder.

import type { ChildProcess } from 'node:child_process';
import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { RecorderReader } from '../../cli/reader.ts';
import { type RunOptions, type TestNamespace, until } from '../../kernel/namespace-lab.ts';
import type { FilterText } from '../../record/filter-text.ts';
import { readAgentStatus } from '../agent-status.ts';
import { ownInstallation } from '../installation.ts';
import { labAddresses, type WeirLab } from '../weir-lab.ts';

/** What somebody does somewhere in the lab, and what is said of it. */
export interface Scene {
  readonly what: string;
  readonly from: TestNamespace;
  readonly argv: readonly string[];
}

export interface Way {
  readonly title: string;
  /** What of the record came this way. */
  readonly filter: FilterText;
  readonly scene?: Scene;
}

export const has = (name: string): boolean => spawnSync('sh', ['-c', `command -v ${name}`]).status === 0;

const ownProgram = (path: string): string[] => {
  const { node, root } = ownInstallation();
  return [node, join(root, 'dist/src/programs', path)];
};

/** The command line of attackers at these addresses who touch this range. */
export const attacks = (from: readonly string[], to: string, rounds: number, pauseMs = 5): string[] => [
  ...ownProgram('demo/attacks.js'),
  ...from.flatMap((ip) => ['--from', ip]),
  '--to',
  to,
  '--rounds',
  String(rounds),
  '--pause-ms',
  String(pauseMs),
];

const branch = { gateway: '203.0.113.1', wan: '203.0.113.7', lan: '192.168.7.2', intruder: '192.168.7.66' } as const;
const floor = { vni: 310, decoys: '192.168.110.10-192.168.110.250', intruder: '192.168.110.77' } as const;
const shop = { wire: '172.30.0.1', address: '172.30.0.9', port: 8080, decoy: '10.32.0.80', intruder: '10.1.0.12' } as const;

/** An office's machines have few ports open, which nmap knows best. */
const fromDeskToDesk = (): string[] =>
  has('nmap')
    ? 'nmap -sT -n -T4 --max-retries 1 --host-timeout 10s -p 80,135,139,443,445,3389,9100 192.168.110.10-60'.split(' ')
    : attacks([floor.intruder], '192.168.110.10-192.168.110.60', 3);

/** Under `diversions:`. */
export const diversionsOfWays = `
  - { name: branch, kind: agent, agent: branch-1, listen: { ports: [21, 22, 23, 80, 443, 445, 3389], udp-ports: [161] }, persona: windows-server }
  - name: floor
    kind: network
    vxlan: { vni: ${floor.vni}, local: ${labAddresses.sensor}, remotes: [${labAddresses.attacker}] }
    address: [192.168.110.2/24]
    gateway: [192.168.110.1]
    decoys: [{ addresses: ${floor.decoys}, population: mixed-office, alive: 60%, seed: 7 }]
`;

/** Beside `diversions:`; the diversion `host` has the decoy that the service stands behind. */
export const settingsOfWays = (host: string): string => `
agents: { listen: "${branch.gateway}:7443" }
services:
  - { name: shop, kind: external, address: "${shop.address}:${shop.port}", proxy-protocol: true }
bindings:
  - { diversion: ${host}, addresses: [${shop.decoy}], ports: [80], protocol: tcp, service: shop }
`;

/** Builds the machines of all ways and starts the service; Weir needs not run yet. */
export async function buildWays(lab: WeirLab): Promise<Ways> {
  const { namespaces, sensor, attacker, directory } = lab;
  const machine = await namespaces.namespace('b');
  const intruder = await namespaces.namespace('i');
  await namespaces.join(
    { namespace: sensor, link: 'wan0', addresses: [`${branch.gateway}/24`] },
    { namespace: machine, link: 'wan0', addresses: [`${branch.wan}/24`] },
  );
  await namespaces.join(
    { namespace: machine, link: 'lan0', addresses: [`${branch.lan}/24`] },
    { namespace: intruder, link: 'eth0', addresses: [`${branch.intruder}/24`] },
  );
  // The far end of the tunnel is born where the attackers are, and lives on the floor.
  const desk = await namespaces.namespace('d');
  await attacker.ip(
    `link add vx0 type vxlan id ${floor.vni} local ${labAddresses.attacker} remote ${labAddresses.sensor} dstport 4789\n` +
      `link set vx0 netns ${desk.name} name lan\n`,
  );
  await desk.ip(`link set lan up\naddr add ${floor.intruder}/24 dev lan\n`);
  const server = await namespaces.namespace('v');
  await namespaces.join(
    { namespace: sensor, link: 'shop0', addresses: [`${shop.wire}/24`] },
    { namespace: server, link: 'eth0', addresses: [`${shop.address}/24`] },
  );
  const software = startShop(server, directory);
  await until('the shop listens', async () => (await server.run(['ss', '-Hltn', `sport = :${shop.port}`])).stdout !== '');
  return new Ways(machine, intruder, desk, attacker, software);
}

/** nginx where it is installed, else our own. Gives its name. */
function startShop(server: TestNamespace, directory: string): string {
  if (!has('nginx')) {
    server.spawn([...ownProgram('demo/shop.js'), '--port', String(shop.port)]);
    return 'a web server';
  }
  const file = join(directory, 'shop');
  mkdirSync(file);
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((part) => `${part}_temp_path ${file}/${part};`);
  writeFileSync(
    `${file}/nginx.conf`,
    `daemon off; master_process off; pid ${file}/pid; error_log ${file}/errors;
events {}
http {
  access_log off; ${temporary.join(' ')}
  server {
    listen ${shop.port} proxy_protocol;
    return 200 "welcome to the shop, $proxy_protocol_addr\\n";
  }
}
`,
  );
  const child = server.spawn(['nginx', '-c', `${file}/nginx.conf`, '-p', file]);
  child.stdout?.resume();
  child.stderr?.resume();
  return 'nginx';
}

export class Ways {
  readonly all: readonly Way[];
  readonly #machine: TestNamespace;
  #agent: ChildProcess | undefined;

  constructor(machine: TestNamespace, intruder: TestNamespace, desk: TestNamespace, attacker: TestNamespace, software: string) {
    this.#machine = machine;
    this.all = [
      {
        title: `  of these, ${software} behind port 80 of one`,
        filter: { service: 'shop' },
        scene: {
          what: `somebody finds the shop, which is ${software} behind a decoy's port`,
          from: attacker,
          argv: attacks([shop.intruder], shop.decoy, 2),
        },
      },
      {
        title: 'an agent on another machine',
        filter: { diversion: 'branch' },
        scene: {
          what: `somebody on the branch's network tries its machine, whose ports an agent hands over`,
          from: intruder,
          argv: attacks([branch.intruder], branch.lan, 1),
        },
      },
      {
        title: 'a segment that never existed, by VXLAN',
        filter: { diversion: 'floor' },
        scene: { what: 'somebody on the floor goes from desk to desk', from: desk, argv: fromDeskToDesk() },
      },
    ];
  }

  /** As one does it by hand: a token from the gateway, and the agent started with it. Weir runs; resolves when the ports are open. */
  async enrol(lab: WeirLab, options: RunOptions = {}): Promise<void> {
    const added = await lab.weir(['agents', 'add', 'branch-1', '--json'], options);
    options.signal?.throwIfAborted();
    const { token } = JSON.parse(added.stdout) as { token: string };
    const data = join(lab.directory, 'agent');
    mkdirSync(data, { mode: 0o700 });
    const gateway = `${branch.gateway}:7443`;
    const argv = ['agent', '--data', data, '--gateway', gateway, '--token', token];
    const child = this.#machine.spawn([...ownProgram('weir.js'), ...argv]);
    this.#agent = child;
    child.stdout?.resume();
    let said = '';
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      said = (said + text).slice(-4096);
    });
    const linked = async (): Promise<boolean> => {
      if (child.exitCode !== null || child.signalCode !== null) throw new Error(`the agent ended:\n${said}`);
      options.signal?.throwIfAborted();
      const status = await readAgentStatus(data).catch(() => undefined);
      return status?.link.state === 'linked' && status.listeners > 0;
    };
    await until('the agent is linked and listens', linked, 20_000);
  }

  /** Ends the agent in order, with the processes it has; everything else ends with the lab. Idempotent. */
  async end(): Promise<void> {
    const agent = this.#agent;
    agent?.kill('SIGTERM');
    await until('the agent has ended', () => !agent || agent.exitCode !== null || agent.signalCode !== null);
  }
}

const namedSources = 4;

/** What was seen through this way, in one line: how much, and who it truly was. */
export async function lineOf({ title, filter }: Way, reader: RecorderReader): Promise<string> {
  const [{ sessions, probes, sources }, top, { items }] = await Promise.all([
    reader.counts(filter),
    reader.top('sources', 'hits', { ...filter, limit: String(namedSources) }),
    reader.sessions({ ...filter, limit: '1' }),
  ]);
  const more = sources > top.length ? ` and ${sources - top.length} more` : '';
  const agent = items[0]?.weir.agent;
  const counted = `${String(sessions).padStart(6)} sessions${String(probes).padStart(7)} probes`;
  const from = sources > 0 ? `  from ${top.map(({ key }) => key).join(', ')}${more}` : '';
  return `${title.padEnd(46)}${counted}${from}${agent === undefined ? '' : `, handed over by ${agent}`}\n`;
}
