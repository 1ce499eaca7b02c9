// Relayed flows whose service sees attacker and decoy: real OpenSSH and nginx behind sockets with both ends spoofed, in their
// own namespace; what the inner leg carries, how much, how it ends, and what a service may not do.

import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { systemClock } from '../../src/base/clock.ts';
import { silentLog } from '../../src/base/log.ts';
import { bytesOf } from '../../src/honeypot/memory-sink.ts';
import { openProxySockets } from '../../src/kernel/proxy-socket.ts';
import { type Address, type AddressRange, parseAddress, parseRange } from '../../src/model/address.ts';
import { ProxyDoor } from '../../src/relay/proxy-door.ts';
import { openPersona } from '../support/decoy-segment.ts';
import { type DialBed, layDialBed } from '../support/dial-bed.ts';
import { lacksKernelTests, runCommand, type TestNamespace, until, withLab } from '../support/namespace.ts';

const skip = lacksKernelTests();

async function inBed(body: (bed: DialBed, directory: string) => Promise<void>): Promise<void> {
  await withLab(async (lab) => {
    const bed = await layDialBed(lab);
    const directory = mkdtempSync(join(tmpdir(), 'weir-relay-'));
    try {
      await body(bed, directory);
    } finally {
      await bed.close();
      rmSync(directory, { recursive: true });
    }
  });
}

async function spawnScript(where: TestNamespace, script: string): Promise<{ output: () => string }> {
  const child = where.spawn(['node', '-e', script]);
  let heard = '';
  for (const stream of [child.stdout, child.stderr])
    stream?.on('data', (data) => {
      heard += String(data);
    });
  await until('it listens', () => heard.includes('up\n'));
  return { output: () => heard };
}

/** Gives what is written to standard output. */
const runScript = async (where: TestNamespace, script: string, timeoutMs = 30_000): Promise<string> =>
  (await where.run(['node', '-e', script], { timeoutMs })).stdout;

const over = (bed: DialBed, count = 1): Promise<void> =>
  bed.sink.until(({ sessions }) => sessions.filter(({ outcome }) => outcome !== 'open').length >= count, 20_000);

test('nginx and OpenSSH log the attacker, the wire shows attacker and decoy and no header, both families', { skip }, () =>
  inBed(async (bed, directory) => {
    const { attacker, service } = bed;
    const access = join(directory, 'access.log');
    writeFileSync(
      join(directory, 'nginx.conf'),
      `daemon off; master_process off; pid ${directory}/nginx.pid; error_log stderr; events {}
http { log_format f '$remote_addr $server_addr $server_port "$request"'; access_log ${access} f; client_body_temp_path ${directory}/b;
proxy_temp_path ${directory}/p; fastcgi_temp_path ${directory}/f; uwsgi_temp_path ${directory}/u; scgi_temp_path ${directory}/s;
server { listen 80; listen [::]:80; location / { return 200 'real nginx\\n'; } } }`,
    );
    service.spawn(['nginx', '-c', join(directory, 'nginx.conf')]);
    const dump = service.spawn([
      'tcpdump',
      '-Z',
      'root',
      '-i',
      'eth0',
      '--immediate-mode',
      '-U',
      '-n',
      '-w',
      join(directory, 'wire.pcap'),
      'tcp or udp',
    ]);
    let said = '';
    dump.stderr?.on('data', (data) => {
      said += String(data);
    });
    await until('the capture runs', () => said.includes('listening on'));
    await until('nginx listens', async () => (await service.run(['ss', '-ltnH', 'sport = :80'])).stdout.includes(':80'));
    bed.listen(80);
    bed.listen(22);
    for (const url of ['http://10.70.0.70/', 'http://[fd70::47]/'])
      assert.equal((await attacker.run(['curl', '-sS', '-m', '5', url])).stdout, 'real nginx\n');
    await until('nginx wrote both', () => readFileSync(access, 'utf8').split('\n').length === 3);
    assert.deepEqual(readFileSync(access, 'utf8').trim().split('\n'), [
      '10.70.0.1 10.70.0.70 80 "GET / HTTP/1.1"',
      'fd70::1 fd70::47 80 "GET / HTTP/1.1"',
    ]);

    const key = join(directory, 'key');
    await runCommand(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', key]);
    // Its directory for separating privileges is made where nobody else sees it.
    const run = `mount -t tmpfs tmpfs /run && mkdir /run/sshd && exec /usr/sbin/sshd -D -e -h ${key} -o PidFile=none -f /dev/null`;
    const sshd = service.spawn(['unshare', '-m', 'sh', '-c', run]);
    let log = '';
    sshd.stderr?.on('data', (data) => {
      log += String(data);
    });
    await until('sshd listens', async () => (await service.run(['ss', '-ltnH', 'sport = :22'])).stdout.includes(':22'));
    for (const host of ['10.70.0.71', 'fd70::48']) {
      const options = ['-o', 'BatchMode=yes', '-o', 'StrictHostKeyChecking=no', '-o', 'UserKnownHostsFile=/dev/null'];
      await attacker.run(['ssh', ...options, `eve@${host}`, 'true'], { anyCode: true });
    }
    await until('sshd wrote both', () => /user eve from 10\.70\.0\.1 /.test(log) && /user eve from fd70::1 /.test(log));

    await over(bed, 4);
    assert.deepEqual(
      bed.sink.sessions.map(
        ({ start }) => `${start.source.ip} ${start.destination.ip}:${start.destination.port} ${start.service}`,
      ),
      [
        '10.70.0.1 10.70.0.70:80 real4',
        'fd70::1 fd70::47:80 real6',
        '10.70.0.1 10.70.0.71:22 real4',
        'fd70::1 fd70::48:22 real6',
      ],
    );
    dump.kill('SIGINT');
    await until('the capture is written', () => dump.exitCode !== null);
    const { stdout } = await runCommand(['tcpdump', '-Z', 'root', '-n', '-r', join(directory, 'wire.pcap')]);
    const pairs = new Set(
      [...stdout.matchAll(/ IP6? ([\da-f.:]+)\.\d+ > ([\da-f.:]+)\.\d+: Flags/g)].map(([, a, b]) => [a, b].sort().join(' ')),
    );
    assert.deepEqual([...pairs].sort(), ['10.70.0.1 10.70.0.70', '10.70.0.1 10.70.0.71', 'fd70::1 fd70::47', 'fd70::1 fd70::48']);
    const bytes = readFileSync(join(directory, 'wire.pcap'));
    assert.ok(bytes.includes('real nginx') && bytes.includes('SSH-2.0-OpenSSH'), 'it did capture');
    assert.ok(!bytes.includes('PROXY ') && !bytes.includes('\r\n\r\n\0\r\nQUIT\n', 0, 'latin1'));
  }),
);

const stream = (seed: number, bytes: number): string => `
const { createCipheriv, createHash } = require('node:crypto');
const { Readable } = require('node:stream');
function source(hash) {
  const cipher = createCipheriv('aes-128-ctr', Buffer.alloc(16, ${seed}), Buffer.alloc(16));
  const zeros = Buffer.alloc(1 << 20);
  let left = ${bytes};
  return new Readable({ highWaterMark: 1 << 20, read() {
    if (left === 0) { this.push(null); return; }
    const piece = cipher.update(left < zeros.length ? zeros.subarray(0, left) : zeros);
    left -= piece.length;
    hash.update(piece);
    this.push(piece);
  } });
}`;

test('a GiB each way at once arrives whole, though each side half-closes in its own time', { skip }, () =>
  inBed(async (bed) => {
    const gib = 1 << 30;
    bed.listen(9000);
    const service = await spawnScript(
      bed.service,
      `${stream(1, gib)}
require('node:net').createServer({ allowHalfOpen: true }, (socket) => {
  const [got, sent] = [createHash('sha256'), createHash('sha256')];
  socket.on('data', (bytes) => got.update(bytes));
  let open = 2;
  const done = () => { open -= 1; if (open === 0) console.log('hashes', got.digest('hex'), sent.digest('hex')); };
  socket.on('end', done);
  socket.on('finish', done);
  source(sent).pipe(socket);
}).listen(9000, '::', () => console.log('up'));`,
    );
    const [, got, sent] = (
      await runScript(
        bed.attacker,
        `${stream(2, gib)}
const socket = require('node:net').connect({ host: '10.70.0.75', port: 9000, allowHalfOpen: true });
const [got, sent] = [createHash('sha256'), createHash('sha256')];
socket.on('data', (bytes) => got.update(bytes));
let open = 2;
const done = () => { open -= 1; if (open === 0) console.log('hashes ' + got.digest('hex') + ' ' + sent.digest('hex')); };
socket.on('end', done);
socket.on('finish', done);
source(sent).pipe(socket);`,
        180_000,
      )
    )
      .trim()
      .split(' ');
    const told = await until('the service is done', () => /hashes (\w+) (\w+)/.exec(service.output()));
    assert.deepEqual([told[1], told[2]], [sent, got]);
    await over(bed);
    const [session] = bed.sink.sessions;
    assert.equal(bytesOf(session, 'in').length + session.skipped.in, gib);
    assert.equal(bytesOf(session, 'out').length + session.skipped.out, gib);
    assert.equal(bytesOf(session, 'in').length + bytesOf(session, 'out').length, 1 << 20);
  }),
);

test('a RST of either side reaches the other; a port nobody has and a service that is gone are said to be', { skip }, () =>
  inBed(async (bed) => {
    bed.listen(9000);
    bed.listen(9001);
    const service = await spawnScript(
      bed.service,
      `require('node:net').createServer((socket) => {
  socket.on('error', (error) => console.log('service', error.code));
  socket.on('data', (data) => { if (String(data) === 'reset me') socket.resetAndDestroy(); else socket.write('go on'); });
}).listen(9000, '::', () => console.log('up'));`,
    );
    const touch = (port: number, say: string, then = ''): Promise<string> =>
      runScript(
        bed.attacker,
        `const socket = require('node:net').connect({ host: 'fd70::4b', port: ${port} }, () => socket.write('${say}'));
socket.on('error', (error) => console.log(error.code)).on('data', () => { ${then} });`,
      );
    assert.equal(await touch(9000, 'reset me'), 'ECONNRESET\n');
    await touch(9000, 'hello', 'socket.resetAndDestroy();');
    await until('the service was told', () => service.output().includes('service ECONNRESET'));
    assert.equal(await touch(9001, 'anybody?'), 'ECONNRESET\n');
    await over(bed, 3);
    await bed.service.ip('link set eth0 down\n');
    assert.equal(await touch(9000, 'anybody?'), 'ECONNRESET\n');
    await over(bed, 4);
    assert.deepEqual(
      bed.sink.sessions.map(({ outcome }) => outcome),
      ['server-closed', 'client-reset', 'service-unreachable', 'service-unreachable'],
    );
    assert.deepEqual(bed.sink.sessions[2].findings.tags, ['service-unreachable', 'ECONNREFUSED']);
    assert.match(String(bed.sink.sessions[3].findings.tags), /EHOSTUNREACH|ETIMEDOUT/);
  }),
);

test(
  'hundreds at once from one address, each its own; netd away: dials fail and are counted, and go on when it is back',
  { skip },
  () =>
    inBed(async (bed) => {
      bed.listen(9000);
      await spawnScript(
        bed.service,
        `require('node:net').createServer((s) => s.end(s.remoteAddress + ' ' + s.localAddress)).listen(9000, '0.0.0.0', 4096, () => console.log('up'));`,
      );
      const many = (count: number): Promise<string> =>
        runScript(
          bed.attacker,
          `const net = require('node:net'); const tally = {}; let left = ${count};
const done = (what) => { tally[what] = (tally[what] ?? 0) + 1; left -= 1; if (left === 0) console.log(JSON.stringify(tally)); };
for (let i = 0; i < ${count}; i += 1) {
  let heard = '';
  const host = '10.70.0.' + (64 + i % 50);
  net.connect(9000, host).on('data', (data) => { heard += data; })
    .on('end', () => done(heard === '10.70.0.1 ' + host ? 'true' : heard)).on('error', (error) => done(error.code));
}`,
        );
      assert.deepEqual(JSON.parse(await many(900)), { true: 900 });
      bed.server.close();
      const left = bed.pool.counters().ready;
      assert.ok(left > 0);
      const tally = JSON.parse(await many(600)) as { true: number; ECONNRESET: number };
      assert.equal(tally.true + tally.ECONNRESET, 600);
      assert.equal(bed.dialer.counters.dry, tally.ECONNRESET);
      assert.ok(tally.ECONNRESET > 0);
    }),
);

test('datagrams of a proxy reach the service as the attacker’s; its answer and its absence come back', { skip }, () =>
  inBed(async (bed) => {
    const plan = { name: 'front', address: parseAddress('10.70.0.2') as Address, port: 7000, netns: bed.home.path };
    const door = new ProxyDoor({
      poller: bed.poller,
      log: silentLog,
      clock: systemClock,
      onConnection: (arrival) => bed.relay.visit(arrival, bed.services[4]),
      onDatagram: (arrived) => bed.relay.datagram(arrived, bed.services[arrived.source.ip.includes(':') ? 6 : 4]),
    });
    door.setListening(openProxySockets([plan]), [
      {
        persona: openPersona,
        diversion: {
          kind: 'proxy',
          name: 'front',
          listen: plan,
          allow: [parseRange('10.70.0.1') as AddressRange],
          persona: 'all-open',
          place: { file: 'weir.yaml', line: 1 },
        },
      },
    ]);
    try {
      await spawnScript(
        bed.service,
        `const dgram = require('node:dgram');
for (const [kind, address] of [['udp4', '10.70.0.80'], ['udp6', 'fd70::50']]) {
  const socket = dgram.createSocket(kind).bind(53, address, () => { if (kind === 'udp6') console.log('up'); });
  socket.on('message', (m, r) => socket.send('from ' + r.address, r.port, r.address));
}`,
      );
      const ask = (flow: string, port: number): Promise<string> =>
        runScript(
          bed.attacker,
          `const head = Buffer.from('0d0a0d0a000d0a515549540a21${flow}${(4711).toString(16)}${port.toString(16).padStart(4, '0')}', 'hex');
const socket = require('node:dgram').createSocket('udp4');
socket.on('message', (message) => { console.log(String(message)); socket.close(); });
socket.send(Buffer.concat([head, Buffer.from('a question as long as this')]), 7000, '10.70.0.2');
setTimeout(() => process.exit(0), 1500).unref();`,
        );
      const four = '12000ccb0071070a460050';
      const six = `220024${'20010db8000000000000000000000007'}${'fd700000000000000000000000000050'}`;
      assert.equal(await ask(four, 53), 'from 203.0.113.7\n');
      assert.equal(await ask(six, 53), 'from 2001:db8::7\n');
      assert.equal(await ask(four, 54), '');
      assert.deepEqual(
        bed.sink.sessions.map(
          ({ start }) => `${start.source.ip}:${start.source.port} ${start.destination.ip}:${start.destination.port}`,
        ),
        ['203.0.113.7:4711 10.70.0.80:53', '2001:db8::7:4711 fd70::50:53', '203.0.113.7:4711 10.70.0.80:54'],
      );
      assert.deepEqual(bed.sink.sessions[2].findings.tags, ['service-unreachable', 'ECONNREFUSED']);
    } finally {
      door.close();
    }
  }),
);

test('a service gets nothing out that was not asked, and all of it is gone afterwards', { skip }, () =>
  inBed(async (bed) => {
    const { stdout, code } = await bed.service.run(['curl', '-sS', '-m', '2', 'http://10.70.0.1:8000/'], { anyCode: true });
    assert.notEqual(code, 0, stdout);
    const inside = await runCommand([
      'nsenter',
      `--net=${bed.controller.path}`,
      'nft',
      'list',
      'chain',
      'inet',
      'weir',
      'answer',
    ]);
    assert.match(inside.stdout, /counter packets [1-9]/);
    assert.deepEqual(await bed.controller.difference(bed.desired), []);
    // Somebody breaks it: it is mended.
    await runCommand(['nsenter', `--net=${bed.controller.path}`, 'ip', 'rule', 'del', 'pref', '500']);
    const repairs = await bed.controller.repair();
    assert.match(repairs.map(({ message }) => message).join(), /routing rule pref 500/);
    await bed.controller.apply(undefined);
    assert.ok(!(await runCommand(['ip', 'netns', 'list'])).stdout.includes(bed.controller.netns));
  }),
);
