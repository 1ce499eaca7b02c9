// What stacks do to honest traffic: large transfers both ways arrive whole and in time through every one of them, a slow
// reader's window is believed and kept, and no packet leaves with a wrong checksum.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import type net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { configurationOf, personaLibrary, withBed } from '../support/diversion-bed.ts';
import { createSegment, lacksKernelTests, runCommand, type TestNamespace, until, withLab } from '../support/namespace.ts';
import { scanSystems } from '../support/os-scan.ts';

const skip = lacksKernelTests();
const transferBytes = 8 << 20;
const smallBytes = 40_000;
/** Far below what a veth pair does, far above what a window scale that lies allows. */
const boundMs = 5000;
const slowReaderMs = 150;
const sentAgain = 200;
const turns = 4;

/** The first persona of each stack, with a port it has open. */
function oneOfEach(): { persona: string; stack: string; port: number }[] {
  const chosen = new Map<string, { persona: string; stack: string; port: number }>();
  for (const { name, stack, tcp } of personaLibrary().personas.values())
    if (stack && !chosen.has(stack.name)) chosen.set(stack.name, { persona: name, stack: stack.name, port: tcp.open[0].first });
  return [...chosen.values()];
}

const decoys = oneOfEach();
const address = (index: number, family: 4 | 6): string =>
  family === 4 ? `10.99.7.${index + 1}` : `fd99:0:0:7::${(index + 1).toString(16)}`;
const configuration = `diversions:
  - name: dmz
    kind: host
    interface: sv
    decoys:
${decoys.map(({ persona }, index) => `      - { addresses: [${address(index, 4)}, "${address(index, 6)}"], persona: ${persona} }`).join('\n')}
`;

/** `d` sends much, `e` little; `u` takes bytes and answers with their hash; `s` the same, reading nothing for a while. */
function serve(socket: net.Socket): void {
  const hash = createHash('sha256');
  let mode = '';
  socket.on('data', (data) => {
    let rest = data;
    if (mode === '') {
      mode = String.fromCharCode(data[0]);
      rest = data.subarray(1);
      if (mode === 'd') return void socket.end(pattern);
      if (mode === 'e') return void socket.end(pattern.subarray(0, smallBytes));
      if (mode === 's') {
        socket.pause();
        setTimeout(() => socket.resume(), slowReaderMs);
      }
    }
    hash.update(rest);
  });
  socket.on('end', () => {
    if (mode === 'u' || mode === 's') socket.end(hash.digest('hex'));
  });
}

const pattern = Buffer.alloc(
  transferBytes,
  Uint8Array.from({ length: 251 }, (_, index) => index),
);
const patternHash = createHash('sha256').update(pattern).digest('hex');

const client = `
const net = require('node:net'), { createHash } = require('node:crypto');
const targets = JSON.parse(process.argv[1]), bytes = Number(process.argv[2]);
const pattern = Buffer.alloc(bytes, Uint8Array.from({ length: 251 }, (_, index) => index));
const down = (mode) => mode === 'd' || mode === 'e';
const run = ({ host, port, mode }) => new Promise((resolve) => {
  const began = performance.now(), hash = createHash('sha256');
  let text = '', error;
  const socket = net.connect({ host, port, allowHalfOpen: true });
  socket.setTimeout(${boundMs * 2}, () => socket.destroy(new Error('timeout')));
  socket.on('connect', () => { socket.write(mode); if (!down(mode)) socket.end(pattern); });
  socket.on('data', (data) => { if (down(mode)) hash.update(data); else text += data; });
  socket.on('end', () => socket.end());
  socket.on('error', (cause) => { error = cause.message; });
  socket.on('close', () => resolve({ host, mode, error, ms: performance.now() - began, hash: down(mode) ? hash.digest('hex') : text }));
});
(async () => { for (const target of targets) console.log(JSON.stringify(await run(target))); })();
`;

interface Transfer {
  readonly host: string;
  readonly mode: string;
  readonly error?: string;
  readonly ms: number;
  readonly hash: string;
}

async function transfer(from: TestNamespace, targets: readonly object[], bytes: number): Promise<Transfer[]> {
  const { stdout } = await from.run(['node', '-e', client, JSON.stringify(targets), String(bytes)], { timeoutMs: 120_000 });
  return stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
}

/** What a datagram to a closed port comes back as. */
async function knock(from: TestNamespace, host: string): Promise<string> {
  const script = `const socket = require('node:dgram').createSocket('udp6');
socket.on('error', (error) => { console.log(error.code); socket.close(); });
socket.connect(40000, ${JSON.stringify(host)}, () => socket.send('knock'));
setTimeout(() => process.exit(), 3000).unref();`;
  return (await from.run(['node', '-e', script])).stdout.trim();
}

const retransmitted = async (namespace: TestNamespace): Promise<number> =>
  Number(/TcpRetransSegs\s+(\d+)/.exec((await namespace.run(['nstat', '-az', 'TcpRetransSegs'])).stdout)?.[1]);

test('8 MiB each way, and towards a slow reader, through every stack', { skip, timeout: 240_000 }, () =>
  withLab(async (lab) => {
    const { attacker, sensor } = await createSegment(lab);
    await attacker.run(['ip', '-6', 'route', 'add', 'fd99:0:0:7::/64', 'via', 'fd99::2']);
    await withBed(
      lab,
      sensor,
      async ({ controller }) => {
        await controller.apply(await controller.plan(configurationOf(configuration)));
        for (const [index, { stack, port }] of decoys.entries())
          for (const family of [4, 6] as const) {
            const host = address(index, family);
            const measure = async (): Promise<number> => {
              const before = await retransmitted(attacker);
              const done = await transfer(
                attacker,
                ['u', 'd', 's'].map((mode) => ({ host, port, mode })),
                transferBytes,
              );
              const again = (await retransmitted(attacker)) - before;
              const rates = done.map(({ mode, ms }) => `${mode} ${Math.round((transferBytes * 8) / ms / 1000)} Mbit/s`);
              console.log(`${stack} IPv${family}: ${rates.join(', ')}, ${again} segments sent again`);
              for (const { mode, error, ms, hash } of done) {
                assert.equal(error, undefined, `${stack} ${mode}`);
                assert.equal(hash, patternHash, `${stack} ${mode}`);
                assert.ok(ms < boundMs, `${stack} ${mode}: ${ms} ms`);
              }
              return again;
            };
            // Whoever is told of a larger window than there is sends into the void, and again, every time: thousands of segments
            // where scales lie by two, some hundred at the smallest. A busy machine sends as many again only now and then.
            let again = await measure();
            for (let turn = 1; turn < turns && again >= sentAgain; turn += 1) again = await measure();
            assert.ok(again < sentAgain, `${stack}: ${again} segments sent again`);
          }
      },
      {},
      serve,
    );
  }),
);

test('long pings come back through every stack', { skip }, () =>
  withLab(async (lab) => {
    const { attacker, sensor } = await createSegment(lab);
    await withBed(lab, sensor, async ({ controller }) => {
      await controller.apply(await controller.plan(configurationOf(configuration)));
      for (const [index, { stack }] of decoys.entries()) {
        const { stdout } = await attacker.run(
          ['ping', '-n', '-c', '2', '-i', '0.2', '-W', '2', '-s', '4000', address(index, 4)],
          {
            anyCode: true,
          },
        );
        assert.match(stdout, / 2 received/, stack);
      }
    });
  }),
);

test('no packet of any stack has a wrong checksum, whoever fills it in', { skip, timeout: 240_000 }, () =>
  withLab(async (lab) => {
    const { attacker, sensor } = await createSegment(lab);
    await attacker.run(['ip', '-6', 'route', 'add', 'fd99:0:0:7::/64', 'via', 'fd99::2']);
    // As on a wire without offloading: sums are in the packet when it arrives, and filled in behind our rules when it leaves.
    await attacker.run(['ethtool', '-K', 'av', 'tx', 'off', 'gro', 'off']);
    await sensor.run(['ethtool', '-K', 'sv', 'tx', 'off', 'gro', 'off']);
    const directory = mkdtempSync(join(tmpdir(), 'weirt-sums-'));
    try {
      await withBed(
        lab,
        sensor,
        async ({ controller }) => {
          await controller.apply(await controller.plan(configurationOf(configuration)));
          const file = join(directory, 'all.pcap');
          const capture = attacker.spawn(['tcpdump', '-i', 'av', '-U', '--immediate-mode', '-B', '16384', '-w', file]);
          let said = '';
          capture.stderr?.on('data', (data) => {
            said += String(data);
          });
          await until('tcpdump listens', () => said.includes('listening'));
          const targets = decoys.flatMap(({ port }, index) =>
            ([4, 6] as const).flatMap((family) => ['u', 'e'].map((mode) => ({ host: address(index, family), port, mode }))),
          );
          const smallHash = createHash('sha256').update(pattern.subarray(0, smallBytes)).digest('hex');
          for (const { error, hash, host } of await transfer(attacker, targets, smallBytes))
            assert.deepEqual([error, hash], [undefined, smallHash], host);
          await scanSystems(attacker, `10.99.7.1-${decoys.length}`);
          const printer = decoys.findIndex(({ persona }) => persona === 'printer');
          assert.equal(await knock(attacker, address(printer, 6)), 'ECONNREFUSED');
          // What tcpdump has not read when it is told to end is in no file: a ping behind all the rest says that it has.
          const last = 'the last packet!';
          const filling = Buffer.from(last).toString('hex');
          await attacker.run(['ping', '-n', '-c', '1', '-W', '5', '-s', '200', '-p', filling, address(0, 4)]);
          await until('the capture has the last packet', async () =>
            (await runCommand(['tail', '-c', '65536', file])).stdout.includes(last),
          );
          const gone = new Promise((resolve) => capture.once('close', resolve));
          capture.kill('SIGTERM');
          await gone;
          assert.match(said, /0 packets dropped by kernel/);
          const read = async (filter: string): Promise<string[]> => {
            const checks = ['ip.check_checksum', 'tcp.check_checksum', 'udp.check_checksum', 'icmp.check_checksum'];
            const options = checks.filter((name) => name !== 'icmp.check_checksum').flatMap((name) => ['-o', `${name}:TRUE`]);
            const { stdout } = await runCommand(['tshark', '-n', '-r', file, ...options, '-Y', filter], { timeoutMs: 60_000 });
            return stdout.split('\n').filter(Boolean);
          };
          const ours = '(ip.src == 10.99.7.0/24 || ipv6.src == fd99:0:0:7::/64)';
          assert.ok(
            (await read(`${ours} && tcp.checksum.status == "Good" && ip.checksum.status == "Good"`)).length > decoys.length * 20,
          );
          assert.ok((await read(`${ours} && icmp.checksum.status == "Good"`)).length > decoys.length);
          assert.ok((await read(`${ours} && tcp.flags.syn == 1`)).length > decoys.length * 8);
          assert.ok((await read(`${ours} && tcp.flags.reset == 1`)).length > decoys.length * 2);
          assert.ok((await read(`${ours} && icmp.type == 0`)).length >= decoys.length);
          assert.ok((await read('ip.src == 10.99.7.0/24 && icmp.type == 3')).length > 0);
          assert.ok((await read('ipv6.src == fd99:0:0:7::/64 && icmpv6.type == 1')).length > 0);
          // A refusal quotes our own packet; nothing but what decoys sent themselves is judged, and by its outer headers.
          const bad = [
            'ip.checksum.status',
            'tcp.checksum.status',
            'udp.checksum.status',
            'icmp.checksum.status',
            'icmpv6.checksum.status',
          ];
          assert.deepEqual(
            await read(`${ours} && !icmp.type == 3 && (${bad.map((field) => `${field} == "Bad"`).join(' || ')})`),
            [],
          );
          assert.deepEqual(await read('ip.src == 10.99.7.0/24 && icmp.type == 3 && icmp.checksum.status == "Bad"'), []);
          // The sensor's own addresses have nothing to say.
          assert.deepEqual(
            await read('(ip.src == 10.99.0.2 || ipv6.src == fd99::2) && (icmp.type == 3 || icmpv6.type == 1 || tcp)'),
            [],
          );
        },
        {},
        serve,
      );
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  }),
);
