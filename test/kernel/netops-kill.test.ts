// `weir kill` in namespaces of its own: busy, idle, half-closed, translated and contained connections, and those that only pass by, are gone
// and proven gone; servers, the operator's session and too many at once are not touched.

import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type FoundNamespace, findNamespaces } from '../../src/kernel/machine/namespace-finder.ts';
import { readConnections } from '../../src/kernel/machine/socket-diag.ts';
import { exitCodeOfKill, type KillOptions, type KillReport, killConnections } from '../../src/netops/kill/kill-connections.ts';
import { parseSelector } from '../../src/netops/kill/select-connections.ts';
import { lacksKernelTests, lacksProgram, type NamespaceLab, type TestNamespace, until, withLab } from '../support/namespace.ts';

const skip = lacksKernelTests();

/** Clients here, a router that gives 10.231.1.2 another address, servers there; nobody else has these addresses. */
interface Bed {
  readonly client: TestNamespace;
  readonly router: TestNamespace;
  readonly server: TestNamespace;
}

/** Echoes on every port; 7100 is answered by a child, as sshd does it, whose number is printed. */
const serverText = `
const net = require('node:net');
const { spawn } = require('node:child_process');
const up = (port, on) => net.createServer({ allowHalfOpen: true }, (s) => { s.on('error', () => {}); on(s); }).listen(port, () => console.log('up'));
for (const port of [7101, 7102, 7103, 7104, 7105, 7106, 7107]) up(port, (s) => s.on('data', (d) => s.write(d)));
`;
const sessionText = `
const net = require('node:net');
const { spawn } = require('node:child_process');
net.createServer((s) => { s.on('error', () => {}); console.log('pid ' + spawn('sleep', ['60']).pid + '.'); }).listen(7100, () => console.log('up'));
`;
/** Prints why it ended. \`busy\`: talks without a pause; \`half\`: has said all it will. */
const clientText = `
const net = require('node:net');
const [host, port, mode] = process.argv.slice(1);
const s = net.connect({ host, port: Number(port), allowHalfOpen: true }, () => {
  console.log('connected ' + s.localPort + '.');
  if (mode === 'busy') { const go = () => s.write(Buffer.alloc(700), () => setTimeout(go, 1)); go(); }
  if (mode === 'half') s.end('x');
});
s.on('data', () => {});
s.on('error', (e) => { console.log('error ' + e.code); process.exit(); });
s.on('close', () => console.log('closed'));
setInterval(() => {}, 1000);
`;

interface Client {
  readonly port: number;
  heard(): string;
}

async function connect(from: TestNamespace, host: string, port: number, mode = 'idle'): Promise<Client> {
  let heard = '';
  from.spawn([process.execPath, '-e', clientText, '--', host, String(port), mode]).stdout?.on('data', (bytes) => {
    heard += String(bytes);
  });
  const number = await until(`a client of ${host} port ${port}`, () => /connected (\d+)\./.exec(heard)?.[1]);
  return { port: Number(number), heard: () => heard };
}

async function build(lab: NamespaceLab): Promise<Bed> {
  const [client, router, server] = [await lab.namespace('c'), await lab.namespace('r'), await lab.namespace('s')];
  await lab.join(
    { namespace: client, link: 'c0', addresses: ['10.231.0.2/24', 'fd23:1::2/64'] },
    { namespace: router, link: 'r0', addresses: ['10.231.0.1/24', 'fd23:1::1/64'] },
  );
  await lab.join(
    { namespace: router, link: 'r1', addresses: ['10.231.1.1/24', 'fd23:2::1/64'] },
    { namespace: server, link: 's0', addresses: ['10.231.1.2/24', 'fd23:2::2/64'] },
  );
  await client.ip('route add default via 10.231.0.1\nroute add default via fd23:1::1\n');
  await server.ip('route add default via 10.231.1.1\nroute add default via fd23:2::1\n');
  await router.setSysctl('net/ipv4/ip_forward', '1');
  await router.setSysctl('net/ipv6/conf/all/forwarding', '1');
  await router.nft(
    'table ip nat {\nchain pre {\ntype nat hook prerouting priority -100\nip daddr 10.231.0.1 tcp dport 8101 dnat to 10.231.1.2:7101\nip daddr 10.231.0.1 tcp dport 8104 dnat to 10.231.1.2:7104\n}\n}\ntable ip6 track {\nchain f {\ntype filter hook forward priority 0\nct state established accept\n}\n}\n',
  );
  let up = '';
  server.spawn([process.execPath, '-e', serverText]).stdout?.on('data', (bytes) => {
    up += String(bytes);
  });
  await until('the servers listen', () => up.match(/up/g)?.length === 7);
  return { client, router, server };
}

const kill = (selector: string, more: Partial<KillOptions> = {}): Promise<KillReport> =>
  killConnections({ selector: parseSelector(selector.split(' ')), yes: true, max: 10, method: 'auto', ...more });

function namespaceOf({ path }: TestNamespace): FoundNamespace {
  const found = findNamespaces().namespaces.find((one) => one.path === path);
  assert.ok(found);
  return found;
}

const shape = ({ results }: KillReport): unknown[] => results.map(({ method, verified }) => [method, verified]);
const listening = ({ path }: TestNamespace): number =>
  readConnections(path, { transports: ['tcp'], states: ['LISTEN'] }).sockets.length;

async function ended(client: Client): Promise<void> {
  await until('the client was told', () => /error ECONNRESET|closed/.test(client.heard()));
}

test('sockets of this machine: busy, idle, half-closed, translated, contained', { skip, timeout: 60_000 }, () =>
  withLab(async (lab) => {
    const { client, server } = await build(lab);
    const servers = listening(server);
    const there = (one: Client, port: number, address = '10.231.1.2'): string => `${address}:${port}-10.231.0.2:${one.port}`;

    const busy = await connect(client, '10.231.1.2', 7101, 'busy');
    const idle = await connect(client, '10.231.1.2', 7102);
    const dry = await kill(there(idle, 7102), { yes: false });
    assert.deepEqual([dry.matched, dry.killed, dry.would.length, dry.results.length, exitCodeOfKill(dry)], [2, 0, 2, 0, 10]);
    for (const [one, port] of [
      [busy, 7101],
      [idle, 7102],
    ] as const) {
      // Both ends are sockets of this machine: one is destroyed, the other may be gone by its RST.
      const report = await kill(there(one, port));
      assert.deepEqual([report.matched, report.killed, exitCodeOfKill(report)], [2, 2, 0], JSON.stringify(report));
      assert.ok(report.results.some(({ method }) => method === 'sock-destroy'));
      await until('the client was told', () => /error|closed/.test(one.heard()));
    }

    const half = await connect(client, '10.231.1.2', 7103, 'half');
    await until('it is half closed', () => readConnections(server.path, { states: ['CLOSE_WAIT'] }).sockets.length === 1);
    const closing = await kill('lport=7103 state=close-wait', { netns: namespaceOf(server) });
    assert.deepEqual([shape(closing), exitCodeOfKill(closing)], [[['sock-destroy', true]], 0]);
    await ended(half);

    // Selected by the address it was asked for, which no socket there has.
    const translated = await connect(client, '10.231.0.1', 8104);
    const report = await kill(`10.231.0.1:8104-10.231.0.2:${translated.port} lport=7104`);
    assert.deepEqual(shape(report), [], 'both conditions are of one view');
    const both = await kill(`10.231.0.1:8104-10.231.0.2:${translated.port}`);
    assert.deepEqual([both.matched, both.killed], [2, 2], JSON.stringify(both));
    assert.deepEqual(both.results.map(({ netns }) => netns).sort(), [client.name, server.name].sort());
    assert.equal(both.results.find(({ netns }) => netns === server.name)?.also, `10.231.0.1:8104-10.231.0.2:${translated.port}`);
    await until('the client was told', () => /error|closed/.test(translated.heard()));

    // In a namespace without a name, known only by the process in it.
    const inside = server.spawn([
      'unshare',
      '-n',
      'sh',
      '-c',
      `ip link set lo up; exec ${process.execPath} -e "
const net = require('node:net');
net.createServer((s) => s.on('error', () => {})).listen(7200, () => net.connect(7200, '127.0.0.1', () => console.log('in')).on('error', (e) => console.log(e.code)));
"`,
    ]);
    let said = '';
    inside.stdout?.on('data', (bytes) => {
      said += String(bytes);
    });
    await until('it is connected', () => said.includes('in'));
    const contained = await kill(`pid=${inside.pid} port=7200`);
    assert.deepEqual([contained.matched, contained.killed, exitCodeOfKill(contained)], [2, 2, 0], JSON.stringify(contained));
    assert.ok(contained.results.every(({ netns, comm }) => netns.includes(String(inside.pid)) && comm === 'node'));
    await until('it was told', () => /ECONN/.test(said));

    // Of UDP the socket stays, connected to nobody.
    const peer = `const s = require('node:dgram').createSocket('udp4'); s.on('error', (e) => console.log(e.code));
s.connect(7300, '10.231.1.2', () => console.log('connected'));`;
    let udp = '';
    client.spawn([process.execPath, '-e', peer]).stdout?.on('data', (bytes) => {
      udp += String(bytes);
    });
    await until('it is connected', () => udp.includes('connected'));
    const datagrams = await kill('proto=udp port=7300', { netns: namespaceOf(client) });
    assert.deepEqual([shape(datagrams), exitCodeOfKill(datagrams)], [[['sock-destroy', true]], 0], JSON.stringify(datagrams));

    assert.equal(listening(server), servers, 'every server still listens');
    const none = await kill('10.231.9.9:1-10.231.9.8:2');
    assert.deepEqual([none.matched, exitCodeOfKill(none)], [0, 4]);
  }),
);

test('servers, your own session and more than you meant are not touched', { skip, timeout: 60_000 }, () =>
  withLab(async (lab) => {
    const { client, server } = await build(lab);
    const servers = listening(server);
    let heard = '';
    server.spawn([process.execPath, '-e', sessionText]).stdout?.on('data', (bytes) => {
      heard += String(bytes);
    });
    await until('the session server listens', () => heard.includes('up'));
    const session = await connect(client, '10.231.1.2', 7100);
    const shell = Number(await until('the session has a shell', () => /pid (\d+)\./.exec(heard)?.[1]));
    const netns = namespaceOf(server);
    const own = await kill('lport=7100', { netns, pid: shell });
    assert.deepEqual([own.matched, own.killed, own.results.length, exitCodeOfKill(own)], [1, 0, 0, 5]);
    assert.match(own.refused.map(({ why }) => why).join('\n'), /carries your own session: node \(pid \d+\)/);
    const told = await kill('lport=7100', { netns, sshConnection: `10.231.0.2 ${session.port} 10.231.1.2 7100` });
    assert.match(told.refused.map(({ why }) => why).join('\n'), /it is your own SSH session, from 10\.231\.0\.2/);
    assert.equal(told.killed, 0);
    const server7102 = await kill('lport=7102', { netns });
    assert.deepEqual([server7102.matched, server7102.results.length, exitCodeOfKill(server7102)], [0, 0, 4]);
    assert.match(server7102.refused[0].why, /it listens/);
    for (let count = 0; count < 3; count += 1) await connect(client, '10.231.1.2', 7102);
    // What waits to be accepted is nobody's yet.
    await until('the server has accepted all three', async () => {
      const { stdout } = await server.run(['ss', '-Htnp', 'state', 'established', '( sport = :7102 )']);
      return (stdout.match(/users:/g)?.length ?? 0) === 3;
    });
    const many = await kill('lport=7102', { netns, max: 2 });
    assert.deepEqual([many.matched, many.killed, many.results.length, exitCodeOfKill(many)], [3, 0, 0, 5]);
    assert.match(many.refused.at(-1)?.why ?? '', /3 connections match, more than --max 2/);
    // A server that matches beside connections stays, and what was asked for is done.
    const rest = await kill('lport=7102', { netns });
    assert.deepEqual([rest.matched, rest.killed, rest.refused.length, exitCodeOfKill(rest)], [3, 3, 1, 0]);
    assert.equal(listening(server), servers + 1);
    assert.doesNotMatch(session.heard(), /error|closed/);
    process.kill(shell);
  }),
);

test(
  'what only passes by: idle by a challenge, busy by what is seen, over both families and translation',
  { skip, timeout: 60_000 },
  () =>
    withLab(async (lab) => {
      const { client, router, server } = await build(lab);
      const servers = listening(server);
      const netns = namespaceOf(router);
      const cases: readonly [host: string, port: number, mode: string, method: string][] = [
        ['10.231.1.2', 7105, 'idle', 'challenge-rst'],
        ['10.231.1.2', 7106, 'busy', 'sniffed-rst'],
        ['10.231.0.1', 8101, 'idle', 'challenge-rst'],
        ['fd23:2::2', 7107, 'idle', 'challenge-rst'],
      ];
      for (const [host, port, mode, method] of cases) {
        const one = await connect(client, host, port, mode);
        const report = await kill(`port=${port} pport=${port}`, { netns });
        assert.deepEqual(
          [report.matched, shape(report), exitCodeOfKill(report)],
          [1, [[method, true]], 0],
          JSON.stringify(report),
        );
        assert.equal(report.results[0].state, 'passing through');
        await until('the client was told', () => /error|closed/.test(one.heard()));
        const left = readConnections(server.path, { transports: ['tcp'] }).sockets.filter(
          ({ state, remotePort }) => state === 'ESTABLISHED' && remotePort === one.port,
        );
        assert.deepEqual(left, [], 'the server has it no more');
      }
      // The same for a socket of this machine, where the kernel has no SOCK_DESTROY.
      const last = await connect(client, '10.231.1.2', 7105);
      const report = await kill('lport=7105', { netns: namespaceOf(server), method: 'path' });
      assert.deepEqual([report.killed, exitCodeOfKill(report)], [1, 0], JSON.stringify(report));
      await until('the client was told', () => /error|closed/.test(last.heard()));
      assert.equal(listening(server), servers);
    }),
);

const program = path.resolve(fileURLToPath(import.meta.url), '../../../src/programs/weir.js');

test(
  'typed into a real SSH session it ends every other one, and not its own',
  { skip: skip || lacksProgram('sshd', 'openssh-server') || lacksProgram('ssh', 'openssh-client'), timeout: 60_000 },
  () =>
    withLab(async (lab) => {
      const { client, server } = await build(lab);
      const directory = mkdtempSync(path.join(tmpdir(), 'weir-kill-'));
      try {
        const file = (name: string): string => path.join(directory, name);
        for (const name of ['host', 'user']) await server.run(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', file(name)]);
        writeFileSync(
          file('sshd.conf'),
          `Port 2222\nListenAddress 10.231.1.2\nHostKey ${file('host')}\nPidFile none\nUsePAM no\nStrictModes no\nPermitRootLogin yes\nAuthorizedKeysFile ${file('user.pub')}\n`,
        );
        mkdirSync('/run/sshd', { recursive: true, mode: 0o755 });
        server.spawn(['/usr/sbin/sshd', '-D', '-e', '-f', file('sshd.conf')]);
        await until('sshd listens', () => listening(server) === 8);
        const known = ['-o', 'StrictHostKeyChecking=no', '-o', `UserKnownHostsFile=${file('known')}`, '-o', 'LogLevel=ERROR'];
        const ssh = (command: string): string[] => [
          'ssh',
          ...known,
          '-i',
          file('user'),
          '-p',
          '2222',
          'root@10.231.1.2',
          command,
        ];
        const kills = `${process.execPath} ${program} kill local=10.231.1.2:2222 --yes --json`;
        // As after sudo: nothing of the session is in the environment.
        for (const command of [kills, `env -i PATH=/usr/bin:/usr/sbin ${kills}`]) {
          let ended: number | null = null;
          const other = client.spawn(ssh('echo in $$ $PPID.; exec cat'));
          other.once('exit', (code) => {
            ended = code;
          });
          let heard = '';
          other.stdout?.on('data', (bytes) => {
            heard += String(bytes);
          });
          const processes = await until('the other session is in', () => /in (\d+) (\d+)\./.exec(heard)?.slice(1));
          const { stdout, code } = await client.run(ssh(command), { anyCode: true });
          const report = JSON.parse(stdout) as KillReport;
          assert.deepEqual([code, report.matched, report.killed, report.results.length], [5, 2, 1, 1], stdout);
          const reasons = report.refused.map(({ why }) => why).sort();
          assert.equal(reasons.length, 2);
          assert.match(reasons[0], /your own (SSH )?session/);
          assert.match(reasons[1], /it listens/);
          await until('the other session is over', () => ended !== null && ended !== 0);
          await until('nothing of it runs', () => processes.every((pid) => !existsSync(`/proc/${pid}`)));
        }
        assert.equal(listening(server), 8);
      } finally {
        rmSync(directory, { recursive: true });
      }
    }),
);
