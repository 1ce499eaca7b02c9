// The agent as its own process against a centre with the real link and real identities: flows keep their ends, and whatever is
// cut, killed, refused or wrong on the way, every session arrives once.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, unlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import type { SessionSummary } from '../../src/record/store.ts';
import { AgentCentre } from '../support/agent-centre.ts';
import { AgentLab } from '../support/agent-lab.ts';
import { AgentProcess, type AgentStart } from '../support/agent-process.ts';
import { lacksKernelTests, runCommand } from '../support/namespace.ts';

const ports = [2323, 8000, 8001, 8002];
const skip = lacksKernelTests();
const limit = { limit: 10_000 };

async function until<T>(look: () => Promise<T | undefined> | T | undefined, what: string, limitMs = 15_000): Promise<T> {
  const deadline = Date.now() + limitMs;
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    assert.ok(Date.now() < deadline, `not in time: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

interface Bed {
  readonly centre: AgentCentre;
  readonly lab: AgentLab;
  readonly data: string;
  start(more?: Partial<AgentStart>): AgentProcess;
}

async function bed(context: TestContext, set: Parameters<typeof AgentCentre.open>[0] = {}): Promise<Bed> {
  const lab = await AgentLab.open();
  const centre = await AgentCentre.open({ listen: lab.listen, ...set });
  const data = mkdtempSync(path.join(tmpdir(), 'weir-agent-'));
  const agents: AgentProcess[] = [];
  centre.setRules('branch-1', JSON.stringify({ ports, 'udp-ports': [ports[0]] }));
  const { token } = await centre.registry.add('branch-1');
  context.after(async () => {
    for (const agent of agents) await agent.end('SIGKILL');
    await centre.close();
    await lab.end();
    rmSync(data, { recursive: true });
  });
  const start = (more: Partial<AgentStart> = {}): AgentProcess => {
    const agent = new AgentProcess({ data, gateway: lab.gateway, token, prefix: lab.branch.inside([]), ...more });
    agents.push(agent);
    return agent;
  };
  return { centre, lab, data, start };
}

/** Speaks HTTP and gives what came back, and from which port it spoke. */
async function ask(lab: AgentLab, port: number, to = lab.decoy): Promise<{ readonly from: number; readonly answer: string }> {
  const socket = await lab.connect(port, to);
  const from = socket.localPort ?? 0;
  socket.end('GET / HTTP/1.0\r\nHost: decoy\r\n\r\n');
  let answer = '';
  socket.on('data', (bytes) => {
    answer += bytes;
  });
  await once(socket, 'close');
  return { from, answer };
}

const sessionFrom = async (centre: AgentCentre, port: number): Promise<SessionSummary | undefined> =>
  (await centre.store.sessions(limit)).find(({ source }) => source.port === port);

const ended = (centre: AgentCentre, port: number): Promise<SessionSummary> =>
  until(async () => {
    const found = await sessionFrom(centre, port);
    return found && found.outcome !== 'open' ? found : undefined;
  }, `the session from ${port}`);

test('streams and datagrams reach the centre with their true ends, through NAT, and what is answered comes back', {
  skip,
}, async (context) => {
  const { centre, lab, start } = await bed(context);
  const agent = start();
  const status = await agent.linked();
  // Four TCP ports on every address, one UDP port on each of three and two link-local ones.
  assert.deepEqual([status.health, status.refused], ['good', []]);
  assert.equal(status.listeners, 4 + status.addresses.length);
  for (const [to, source] of [
    [lab.decoy, lab.attacker],
    [lab.decoy6, lab.attacker6],
  ]) {
    const { from, answer } = await ask(lab, ports[1], to);
    assert.match(answer, /^HTTP\/1\.[01] /);
    const session = await ended(centre, from);
    assert.deepEqual(
      [session.agent, session.diversion, session.source, session.destination, session.protocol],
      ['branch-1', 'of-branch-1', { ip: source, port: from }, { ip: to, port: ports[1] }, 'http'],
    );
    const socket = lab.datagrams(to);
    context.after(() => socket.close());
    // A question any name server has an answer of the same size for is not ours: what comes back was handed back.
    centre.onDatagram = ({ reply, payload }) => void reply(Buffer.from(`back ${payload.length}`));
    socket.send('hello there', ports[0], to);
    const [answered, { address, port }] = (await once(socket, 'message')) as [Buffer, { address: string; port: number }];
    assert.deepEqual([String(answered), address, port], ['back 11', to, ports[0]]);
    centre.onDatagram = undefined;
    socket.send('again', ports[0], to);
    const datagrams = await until(() => sessionFrom(centre, socket.address().port), 'the datagram');
    assert.deepEqual(
      [datagrams.transport, datagrams.agent, datagrams.source.ip, datagrams.destination],
      ['udp', 'branch-1', source, { ip: to, port: ports[0] }],
    );
  }
  const touch = { transport: 'tcp', ip: lab.decoy, port: ports[2], payload: 'proof\r\n' } as const;
  const { from } = await centre.server.touch('branch-1', touch, 5000);
  assert.match(from, new RegExp(`^${lab.decoy.replaceAll('.', '\\.')}:\\d+$`));
  const proof = await ended(centre, Number(from.split(':')[1]));
  assert.deepEqual([proof.source.ip, proof.bytesIn], [lab.decoy, 7]);
  await assert.rejects(centre.server.touch('branch-1', { ...touch, ip: lab.router }, 5000), /none of my decoys/);
  await assert.rejects(centre.server.touch('branch-1', { ...touch, port: 22 }, 5000), /none of my decoys/);
  assert.equal(await agent.end(), 0);
});

test('a half-close, and a RST of either side, pass', { skip }, async (context) => {
  const { centre, lab, start } = await bed(context);
  const seen: string[] = [];
  centre.onConnection = ({ socket, destination }) => {
    const port = ports.indexOf(destination.port);
    socket.on('error', (error: NodeJS.ErrnoException) => seen.push(`${port} ${error.code}`));
    if (port === 0) {
      let got = '';
      socket.on('data', (bytes: Buffer) => {
        got += bytes;
      });
      socket.on('end', () => socket.end(`${got.length} bytes before your end`));
    } else socket.once('data', () => (port === 1 ? socket.resetAndDestroy() : socket.write('y')));
  };
  await start().linked();
  const half = await lab.connect(ports[0]);
  half.end(Buffer.alloc(300_000, 'x'));
  let answer = '';
  half.on('data', (bytes) => {
    answer += bytes;
  });
  await once(half, 'close');
  assert.equal(answer, '300000 bytes before your end');
  const reset = await lab.connect(ports[1]);
  reset.removeAllListeners('error').resume();
  reset.write('x');
  const [error] = (await once(reset, 'error')) as [NodeJS.ErrnoException];
  assert.equal(error.code, 'ECONNRESET');
  const resetting = await lab.connect(ports[2]);
  resetting.write('x');
  // Answered: the flow stands from end to end, so the reset has a way to go.
  await once(resetting, 'data');
  resetting.resetAndDestroy();
  await until(() => (seen.includes('2 ECONNRESET') ? true : undefined), 'the reset at the centre');
});

test('without a link the agent answers, and what it recorded arrives once when there is one again', { skip }, async (context) => {
  const { centre, lab, start } = await bed(context);
  const agent = start();
  await agent.linked();
  const cut = await lab.connect(ports[3]);
  cut.removeAllListeners('error').resume();
  cut.write('SSH-');
  await until(() => (centre.server.counters.flows > 0 ? true : undefined), 'a flow over the link');
  const broken = once(cut, 'error');
  await centre.stopServer();
  const [error] = (await broken) as [NodeJS.ErrnoException];
  assert.equal(error.code, 'ECONNRESET', 'a flow whose link ends is reset');
  await agent.away();
  const alone: number[] = [];
  for (let round = 0; round < 30; round += 1) {
    const { from, answer } = await ask(lab, ports[round % 3]);
    assert.match(answer, /^HTTP\/1\.[01] /);
    alone.push(from);
  }
  // The first answers of the centre get lost after it took the records.
  let lost = 0;
  centre.afterSpool = async () => {
    lost += 1;
    if (lost <= 2) throw new Error('the answer is lost');
  };
  centre.startServer();
  for (const port of alone) {
    const session = await ended(centre, port);
    assert.deepEqual([session.agent, session.protocol, session.diversion], ['branch-1', 'http', 'of-branch-1']);
    const chunks = (await centre.store.session(session.id))?.chunks ?? [];
    assert.equal(
      chunks.filter(({ direction }) => direction === 'in').reduce((sum, { bytes }) => sum + bytes.length, 0),
      session.bytesIn,
    );
  }
  const status = await agent.until(
    ({ spool, answeredAlone }) => spool.records === 0 && answeredAlone === 30,
    'an empty spool',
    30_000,
  );
  assert.ok(lost > 2 && status.spool.droppedRecords === 0);
  const sources = (await centre.store.sessions(limit)).filter(({ source }) => alone.includes(source.port));
  assert.equal(sources.length, 30, 'none twice');
});

test('killed while it answers alone and while it sends, the agent loses and doubles nothing', { skip }, async (context) => {
  const { centre, lab, data, start } = await bed(context);
  let agent = start();
  await agent.linked();
  await centre.stopServer();
  await agent.away();
  const complete: number[] = [];
  for (let round = 0; round < 20; round += 1) complete.push((await ask(lab, ports[0])).from);
  const open = await lab.connect(ports[1]);
  open.write('GET /unfinished');
  const openPort = open.localPort ?? 0;
  await agent.until(({ spool }) => spool.records >= 21, 'the records');
  // Older than 200 ms is what has to survive.
  await new Promise((resolve) => setTimeout(resolve, 250));
  await agent.end('SIGKILL');
  // Rules and identity are kept: it listens again without a gateway and without a token.
  agent = start({ token: undefined, gateway: undefined });
  await agent.until(({ listeners }) => listeners > 4, 'listeners without a link');
  complete.push((await ask(lab, ports[2])).from);
  await agent.until(({ answeredAlone }) => answeredAlone === 1, 'its answer');
  let batches = 0;
  centre.afterSpool = async () => {
    batches += 1;
    if (batches > 1) return;
    // Taken by the centre, and the agent dies before it hears of it.
    await agent.end('SIGKILL');
  };
  centre.startServer();
  await agent.exited;
  agent = start({ token: undefined });
  await agent.linked();
  for (const port of complete) assert.notEqual((await ended(centre, port)).outcome, 'interrupted');
  const unfinished = await ended(centre, openPort);
  assert.deepEqual([unfinished.outcome, unfinished.bytesIn], ['interrupted', 15]);
  await agent.until(({ spool }) => spool.records === 0, 'an empty spool');
  assert.equal((await centre.store.sessions(limit)).length, 22);
  assert.ok(batches >= 2);
  const waiting = readdirSync(path.join(data, 'spool/agent')).filter((name) => name.endsWith('.wj'));
  assert.ok(waiting.length <= 2, `${waiting.length} segments are left`);
});

test('a full disk stops nothing: records wait in memory, the attackers are answered, and all of it arrives', {
  skip,
}, async (context) => {
  const { centre, lab, data, start } = await bed(context);
  const disk = path.join(data, 'small');
  mkdirSync(disk);
  await runCommand(['mount', '-t', 'tmpfs', '-o', 'size=4m', 'weir-disk', disk]);
  const agent = start({ data: disk });
  try {
    await agent.linked();
    await centre.stopServer();
    await agent.away();
    const ballast = path.join(disk, 'ballast');
    try {
      for (;;) writeFileSync(ballast, Buffer.alloc(4096), { flag: 'a' });
    } catch (error) {
      assert.equal((error as NodeJS.ErrnoException).code, 'ENOSPC');
    }
    const alone: number[] = [];
    for (let round = 0; round < 40; round += 1) {
      const { from, answer } = await ask(lab, ports[1]);
      assert.match(answer, /^HTTP/);
      alone.push(from);
    }
    await until(() => (/journal cannot be written/.test(agent.output) ? true : undefined), 'that the disk is full in the log');
    unlinkSync(ballast);
    centre.startServer();
    for (const port of alone) await ended(centre, port);
    const status = await agent.until(
      ({ answeredAlone, spool }) => answeredAlone === 40 && spool.records === 0,
      'an empty spool',
      30_000,
    );
    assert.deepEqual([status.spool.droppedRecords, status.spool.diskFull], [0, false]);
  } finally {
    // In this order, and before the bed removes the directory.
    await agent.end('SIGKILL');
    await runCommand(['umount', disk]);
  }
});

test('what the gateway turns away is answered here, from its first byte', { skip }, async (context) => {
  const { centre, lab, start } = await bed(context);
  const agent = start();
  await agent.linked();
  centre.refusePlaces = true;
  const { from, answer } = await ask(lab, ports[0]);
  assert.match(answer, /^HTTP\/1\.[01] /);
  const session = await ended(centre, from);
  assert.deepEqual([session.protocol, session.bytesIn], ['http', 31], 'by the spool, with every byte');
  assert.equal((await agent.until(({ answeredAlone }) => answeredAlone === 1, 'the count')).flows, 1);
});

test('a clock that is a year off is told, and records carry the right time, also without a link', { skip }, async (context) => {
  const year = 365 * 86_400e6;
  const { centre, lab, start } = await bed(context, { aheadMicros: -year });
  let agent = start();
  const status = await agent.linked();
  assert.ok(Math.abs(status.skewMicros - year) < 60e6);
  assert.ok(
    status.reasons.some((reason) => /clock of this machine is \d+ s ahead/.test(reason)),
    status.reasons.join(),
  );
  await centre.stopServer();
  await agent.end();
  agent = start();
  await agent.until(({ listeners }) => listeners > 4, 'listeners');
  const { from } = await ask(lab, ports[0]);
  centre.startServer();
  const session = await ended(centre, from);
  assert.ok(Math.abs(session.start - centre.clock()) < 120e6, 'within two minutes of the right time');
});

test('new rules open and close what changed, and leave the rest and its connections alone', { skip }, async (context) => {
  const { centre, lab, start } = await bed(context);
  const [extra, taken, held] = [8003, 8004, 8005];
  // One port is held on every address, one on loopback alone: that is no reason to leave out the others.
  await lab.hold('0.0.0.0', taken);
  await lab.hold('127.0.0.1', held);
  const agent = start();
  const before = await agent.linked();
  const staying = await lab.connect(ports[3]);
  const leaving = await lab.connect(ports[1]);
  await until(() => (centre.server.counters.flows === 2 ? true : undefined), 'two flows');
  centre.setRules('branch-1', JSON.stringify({ ports: [ports[3], extra, taken, held] }));
  const after = await agent.until(({ rules }) => rules !== before.rules, 'new rules');
  assert.ok(after.refused.length > 0 && after.refused.every(({ port, why }) => port === taken && /^EADDRINUSE on /.test(why)));
  assert.equal(after.health, 'degraded');
  for (const socket of [staying, leaving]) {
    socket.write('GET / HTTP/1.0\r\n\r\n');
    const [bytes] = (await once(socket, 'data')) as [Buffer];
    assert.match(bytes.toString(), /^HTTP/);
  }
  for (const port of [extra, held]) assert.match((await ask(lab, port)).answer, /^HTTP/);
  await assert.rejects(lab.connect(ports[2]), { code: 'ECONNREFUSED' });
  const [told] = centre.server.statuses();
  assert.deepEqual(told.rules?.refused, after.refused);
});

test('through an HTTP proxy that takes CONNECT', { skip }, async (context) => {
  const { lab, start } = await bed(context);
  const { url, asked } = await lab.proxy();
  const agent = start({ more: ['--proxy', url.replace('http://', 'http://user:secret@')] });
  await agent.linked();
  assert.match((await ask(lab, ports[0])).answer, /^HTTP/);
  const expected = `${lab.gateway} Basic ${Buffer.from('user:secret').toString('base64')}`;
  assert.ok(asked().length >= 2 && asked().every((one) => one === expected), asked().join());
  assert.ok(!agent.output.includes('secret'));
});

test('a token that is used, wrong or of another gateway is said, and nothing is left open', { skip }, async (context) => {
  const { centre, lab, start, data } = await bed(context);
  const first = start();
  await first.linked();
  await first.end();
  const { token } = await centre.registry.add('branch-2');
  const elsewhere = await AgentCentre.open({ listen: () => lab.listen(7444) });
  context.after(() => elsewhere.close());
  const attempt = async (more: Partial<AgentStart>): Promise<[number | null, string]> => {
    const agent = start({ data: path.join(data, 'fresh'), ...more });
    return [await agent.exited, agent.output];
  };
  for (const [set, code, text] of [
    [{ token: `${token}x` }, 2, /not a token/],
    [{ token: undefined }, 3, /has not enrolled.*\n.*weir agents add/],
    [{ token, gateway: lab.gateway.replace(/\d+$/, '7444') }, 3, /not our gateway|does not take this token/],
    [{ token, gateway: 'nonsense' }, 2, /not HOST:PORT/],
  ] as const) {
    const [exit, output] = await attempt(set);
    assert.equal(exit, code, output);
    assert.match(output, text);
  }
  const identity = path.join(data, 'identity.json');
  assert.equal(statSync(identity).mode & 0o777, 0o600);
  assert.ok(!readFileSync(identity, 'utf8').includes(token));
});
