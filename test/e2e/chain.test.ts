// The whole way: an attacker at an agent's machine, the gateway, an inner gateway, services behind that. The centre's weir.yaml
// describes it once; each service's own log, a capture on its wire and the session name the attacker and the decoy.

import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { Recorded } from '../../src/programs/weir-lab.ts';
import { type ChainServices, chain, lacksChainServices, openChainServices } from '../support/chain-services.ts';
import { type Branch, type FleetBed, withFleet } from '../support/fleet-bed.ts';
import { lacksKernelTests, until } from '../support/namespace.ts';

const home = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../..');
const skip = lacksKernelTests() || lacksChainServices();
/** Each way of the large transfer; the acceptance is 2^30. */
const bulkBytes = Number(process.env.WEIR_CHAIN_BYTES ?? 2 ** 25);

const tcp = [chain.ssh, chain.plain, chain.bulk, chain.resets];
const [door, port] = chain.door.split(':');
const configuration = `
diversions:
  - { name: branch, kind: agent, agent: branch-1, listen: { ports: [${[...tcp, 80, 2323].join(', ')}], udp-ports: [${chain.echo}] } }
gateways:
  - { name: vm-1, address: "${door}:${port}", from: ${chain.before} }
services:
  - { name: deep, kind: external, address: ${chain.service[4]}, path: transparent, interface: wire0, from: ${chain.from[4]}, via: vm-1 }
  - { name: deep6, kind: external, address: "${chain.service[6]}", path: transparent, interface: wire0, from: "${chain.from[6]}", via: vm-1 }
  - { name: web, kind: external, address: "${chain.service[4]}:${chain.headed}", proxy-protocol: true, via: vm-1 }
bindings:
  - { diversion: branch, ports: [80], service: web }
  - { diversion: branch, ports: [2323], service: catch-all }
${[
  ['10.9.1.5', 'deep'],
  ['"fd09:1::5"', 'deep6'],
]
  .map(
    ([
      address,
      service,
    ]) => `  - { diversion: branch, addresses: [${address}], ports: [${tcp.join(', ')}], protocol: tcp, service: ${service} }
  - { diversion: branch, addresses: [${address}], ports: [${chain.echo}], protocol: udp, service: ${service} }
`,
  )
  .join('')}`;

/** The inner gateway is an agent with privileges, in a namespace as in a machine of its own; what it does it is told over its link. */
async function startInner(bed: FleetBed, { inner }: ChainServices): Promise<ChildProcess> {
  const { lab } = bed;
  const data = path.join(lab.directory, 'inner');
  mkdirSync(data, { mode: 0o755 });
  const program = path.join(home, 'dist/src/programs/weir.js');
  const token = await bed.token('vm-1');
  const child = inner.spawn(
    [process.execPath, program, 'agent', '--privileged', '--gateway', `${chain.before}:7443`, '--token', token, '--data', data],
    { env: { ...process.env, SSH_CONNECTION: undefined }, cwd: lab.directory },
  );
  let said = '';
  for (const stream of [child.stdout, child.stderr])
    stream?.on('data', (text) => {
      said = (said + String(text)).slice(-65_536);
    });
  await bed
    .shown('vm-1', 'its rules in force', ({ state, rules }) => state === 'linked' && rules?.applied === rules?.wanted, 60_000)
    .catch((error) => {
      throw new Error(`${error}\n${said}`);
    });
  return child;
}

const ends = ({ source, destination, weir, network }: Recorded): unknown[] => [
  source.ip,
  source.port,
  destination.ip,
  destination.port,
  (network as { transport: string }).transport,
  weir.agent,
  weir.diversion,
  weir.service,
];

/** The session of who came from this port, once it is over. */
const sessionFrom = (bed: FleetBed, from: number): Promise<Recorded> =>
  until<Recorded | undefined>(`the session from ${from} is over`, async () => {
    const { items } = await bed.lab.reader.sessions({ limit: '1000' });
    const found = (items as unknown as Recorded[]).find(({ source }) => source.port === from);
    return found && (found.weir.session as { outcome: string }).outcome !== 'open' ? found : undefined;
  });

async function speak(bed: FleetBed, branch: Branch, services: ChainServices, family: 4 | 6): Promise<void> {
  const [source, decoy, deep] = [branch.source[family], branch.decoy[family], family === 4 ? 'deep' : 'deep6'];
  const seen = (transport: string, from: number, at: number, service: string): unknown[] => [
    ...[source, from, decoy, at, transport, 'branch-1', 'branch', service],
  ];
  const logged = async (of: 'ssh' | 'web' | 'programs', line: RegExp): Promise<void> => {
    await until(`${of} logs: ${line}`, () => line.test(services.log(of))).catch((error) => {
      throw new Error(`${error}\n${services.log(of)}`);
    });
  };
  const bare = await branch.ask(2323, family, 'root\r\n');
  assert.deepEqual(ends(await sessionFrom(bed, bare.from)), seen('tcp', bare.from, 2323, 'catch-all'));

  const ssh = await branch.ask(chain.ssh, family, 'SSH-2.0-visitor\r\n');
  assert.match(ssh.answer, /^SSH-2\.0-OpenSSH/);
  // Its port towards a service it is dialled at is the gateway's to choose; address and decoy are what they are.
  await logged('ssh', new RegExp(`^Connection from ${source} port \\d+ on ${decoy} port ${chain.ssh} `, 'm'));
  assert.deepEqual(ends(await sessionFrom(bed, ssh.from)), seen('tcp', ssh.from, chain.ssh, deep));

  const web = await branch.ask(chain.plain, family, 'GET /plain HTTP/1.0\r\n\r\n');
  assert.match(web.answer, new RegExp(`\\n${source} \\d+ ${decoy} ${chain.plain}\\n$`.replaceAll('.', '\\.')));
  await logged('web', new RegExp(`^plain ${source} \\d+ ${decoy} ${chain.plain} /plain$`, 'm'));
  assert.deepEqual(ends(await sessionFrom(bed, web.from)), seen('tcp', web.from, chain.plain, deep));

  const headed = await branch.ask(80, family, 'GET /headed HTTP/1.0\r\n\r\n');
  assert.ok(headed.answer.endsWith(`\n${source} ${headed.from} ${decoy} 80\n`), headed.answer);
  await logged('web', new RegExp(`^headed ${source} ${headed.from} ${decoy} 80 /headed$`, 'm'));
  assert.deepEqual(ends(await sessionFrom(bed, headed.from)), seen('tcp', headed.from, 80, 'web'));

  const udp = branch.datagrams(family);
  udp.send('datagram', chain.echo, decoy);
  const [answer, sender] = (await once(udp, 'message', { signal: AbortSignal.timeout(10_000) })) as [Buffer, { address: string }];
  const from = udp.address().port;
  udp.close();
  assert.deepEqual([String(answer), sender.address], ['datagram', decoy]);
  const [echoed] = await bed.lab.recorded(['sessions', '--port', `${chain.echo}/udp`, '--source', source], 1);
  assert.deepEqual(ends(echoed), seen('udp', from, chain.echo, deep));
  await logged('programs', new RegExp(`^echo ${source} \\d+ ${decoy}$`, 'm'));

  const proto = family === 4 ? 'ip' : 'ip6';
  for (const at of [chain.ssh, chain.plain, chain.echo])
    await until(`the wire to port ${at} shows attacker and decoy, both ways`, async () => {
      const wire = await services.captured(`${proto} and host ${source} and host ${decoy} and port ${at}`);
      return wire.includes(` > ${decoy}.${at}:`) && wire.includes(`${decoy}.${at} > ${source}.`);
    });
}

async function transfer(bed: FleetBed, branch: Branch, family: 4 | 6): Promise<void> {
  const socket = await branch.connect(chain.bulk, family);
  const from = socket.localPort ?? 0;
  const sent = createHash('sha256');
  const back = createHash('sha256');
  let head = '';
  let received = 0;
  socket.on('data', (bytes: Buffer) => {
    const missing = 64 - head.length;
    if (missing > 0) head += bytes.subarray(0, missing).toString();
    const rest = bytes.subarray(Math.min(missing > 0 ? missing : 0, bytes.length));
    back.update(rest);
    received += rest.length;
  });
  const closed = once(socket, 'close');
  const piece = Buffer.alloc(65_536);
  for (let left = bulkBytes, round = 0; left > 0; left -= piece.length, round += 1) {
    piece.fill(round & 255);
    sent.update(piece);
    if (!socket.write(Buffer.from(piece))) await once(socket, 'drain');
  }
  // The half-close is what makes the service answer.
  socket.end();
  await closed;
  const expected = createHash('sha256');
  const again = Buffer.alloc(65_536, 'weir');
  for (let left = bulkBytes; left > 0; left -= again.length) expected.update(again);
  assert.equal(head, sent.digest('hex'), 'what the service got');
  assert.deepEqual([received, back.digest('hex')], [bulkBytes, expected.digest('hex')], 'what came back');
  const session = await sessionFrom(bed, from);
  assert.deepEqual(
    [(session.source as unknown as { bytes: number }).bytes, (session.destination as unknown as { bytes: number }).bytes],
    [bulkBytes, bulkBytes + 64],
  );
}

async function resets(bed: FleetBed, branch: Branch, services: ChainServices): Promise<void> {
  const theirs = await branch.connect(chain.resets);
  theirs.removeAllListeners('error').resume();
  theirs.write('reset');
  const [error] = (await once(theirs, 'error', { signal: AbortSignal.timeout(10_000) })) as [NodeJS.ErrnoException];
  assert.equal(error.code, 'ECONNRESET');
  const ours = await branch.connect(chain.resets);
  const from = ours.localPort ?? 0;
  ours.write('hello');
  await until('the service heard it', () => services.log('programs').includes('heard hello'));
  ours.resetAndDestroy();
  await until('the service saw the RST', () => services.log('programs').includes('ECONNRESET'));
  assert.equal(((await sessionFrom(bed, from)).weir.session as { outcome: string }).outcome, 'client-reset');
}

test('the attacker is named at the end of the chain, in every log, on the wire and on record', { skip, timeout: 600_000 }, () =>
  withFleet(configuration, async (bed) => {
    const branch = await bed.addBranch('branch-1');
    const { namespaces, sensor, directory } = bed.lab;
    const services = await openChainServices(namespaces, sensor, directory, branch.decoy);
    const before = [await sensor.snapshot(), await services.inner.snapshot()];
    await bed.lab.up();
    const inner = await startInner(bed, services);
    const agent = await bed.enrol(branch);
    for (const family of [4, 6] as const) await speak(bed, branch, services, family);
    await resets(bed, branch, services);
    await transfer(bed, branch, 4);
    await transfer(bed, branch, 6);
    const { stdout } = await bed.lab.weir(['agents', 'test', 'branch-1'], { anyCode: true });
    assert.match(stdout, /branch-1 +branch .* OK/);
    await agent.end();
    const gone = once(inner, 'exit');
    inner.kill('SIGTERM');
    await gone;
    await bed.lab.weir(['down']);
    assert.deepEqual([await sensor.snapshot(), await services.inner.snapshot()], before);
  }),
);
