// The gateway's side of agents, with the whole of Weir and a real link: a token, rules that follow weir.yaml, flows to the catch-all and
// to a real service, records of the agent's own, and nothing that is not its.

import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { until } from '../../src/kernel/namespace-lab.ts';
import { createIdentifier } from '../../src/model/identifier.ts';
import type { SessionRecord } from '../../src/model/session.ts';
import { type Recorded, type WeirLab, withWeirLab } from '../../src/programs/weir-lab.ts';
import { SpoolBatch } from '../../src/record/spool-batch.ts';
import { lacksKernelTests } from '../support/namespace.ts';
import { lacksRealServices, openRealServices, realService } from '../support/real-services.ts';

const skip = lacksKernelTests() || lacksRealServices();
const program = fileURLToPath(new URL('../support/small-agent.js', import.meta.url));

const configuration = (ports = '[23, 80]'): string => `
agents: { listen: 0.0.0.0:7443 }
diversions:
  - { name: branch, kind: agent, agent: branch-1, listen: { ports: ${ports}, udp-ports: [161] }, persona: router }
  - { name: other, kind: agent, agent: branch-2, listen: { ports: [445] } }
services:
  - { name: web, kind: external, address: "10.200.0.9:${realService.web}", proxy-protocol: true }
bindings:
  - { diversion: branch, ports: [80], protocol: tcp, service: web }
`;

class SmallAgent {
  readonly #child: ChildProcess;
  readonly told: Record<string, unknown>[] = [];

  constructor(lab: WeirLab, token: string) {
    this.#child = lab.attacker.spawn([
      process.execPath,
      program,
      path.join(lab.directory, 'identity.json'),
      '10.0.0.2',
      '7443',
      token,
    ]);
    if (this.#child.stdout) createInterface(this.#child.stdout).on('line', (line) => this.told.push(JSON.parse(line)));
  }

  async ask(message: unknown): Promise<Record<string, unknown>> {
    const before = this.told.length;
    this.#child.stdin?.write(`${JSON.stringify(message)}\n`);
    return until('the agent answers', () => this.told.slice(before).find((one) => !('rules' in one)));
  }

  flow(port: number, text: string, destination = '192.0.2.77'): Promise<Record<string, unknown>> {
    const flow = { transport: 'tcp', source: { ip: '198.51.100.66', port: 50_001 }, destination: { ip: destination, port } };
    return this.ask({ flow, text });
  }

  spool(...sessions: SessionRecord[]): Promise<Record<string, unknown>> {
    const batch = new SpoolBatch();
    for (const session of sessions) assert.ok(batch.add({ kind: 'session', session }));
    return this.ask({ batch: Buffer.from(batch.bytes()).toString('base64') });
  }
}

const alone = (more: Partial<SessionRecord>): SessionRecord => {
  const at = Date.now() * 1000 - 5e6;
  return {
    id: createIdentifier(at),
    sequence: 0,
    start: at,
    transport: 'tcp',
    source: { ip: '198.51.100.99', port: 50_002 },
    destination: { ip: '192.0.2.77', port: 23 },
    sourceReliable: true,
    diversion: 'branch',
    service: 'catch-all',
    outcome: 'client-closed',
    end: at + 1e6,
    bytesIn: 4,
    bytesOut: 0,
    firstChunk: 0,
    chunks: [{ at, direction: 'in', bytes: Buffer.from('root') }],
    truncated: false,
    ...more,
  };
};

const ends = ({ source, destination, weir }: Recorded): unknown => [
  source.ip,
  destination.ip,
  destination.port,
  weir.diversion,
  weir.service,
  weir.agent,
];

test('an agent hands in what is its own, and only that', { skip, timeout: 180_000 }, async () => {
  await withWeirLab({ configuration: configuration() }, async (lab) => {
    await openRealServices(lab.namespaces, lab.sensor, lab.directory);
    await lab.up();
    // Without an identity nothing is heard but the handshake's refusal.
    const stranger = await lab.attack(['sh', '-c', 'echo "GET /" | openssl s_client -connect 10.0.0.2:7443 -quiet 2>&1']);
    assert.match(stranger.stdout, /alert|certificate required|errno/i);

    const { token } = JSON.parse((await lab.weir(['agents', 'add', 'branch-1', '--json'])).stdout) as { token: string };
    const agent = new SmallAgent(lab, token);
    const first = await until('rules came', () => agent.told.at(0));
    assert.deepEqual(JSON.parse(String(first.configuration)).diversions, [
      { name: 'branch', kind: 'agent', listen: { ports: [23, 80], 'udp-ports': [161] }, persona: 'router' },
    ]);

    const web = await agent.flow(80, 'GET / HTTP/1.0\r\n\r\n');
    assert.match(String(web.answer), /198\.51\.100\.66:50001 192\.0\.2\.77:80/, 'the service learns attacker and decoy');
    await agent.flow(23, 'root\r\n');
    const sessions = await lab.recorded(['sessions', '--diversion', 'branch'], 2);
    assert.deepEqual(sessions.map(ends).sort(), [
      ['198.51.100.66', '192.0.2.77', 23, 'branch', 'catch-all', 'branch-1'],
      ['198.51.100.66', '192.0.2.77', 80, 'branch', 'web', 'branch-1'],
    ]);
    assert.match(String((await agent.flow(445, 'x')).answer), /^error/, "another agent's port");

    // Records from its time alone: taken once, however often they are sent; others' are not.
    const own = alone({ service: 'web' });
    const foreign = alone({ diversion: 'other', destination: { ip: '192.0.2.77', port: 445 } });
    assert.equal((await agent.spool(own, foreign)).taken, true);
    assert.equal((await agent.spool(own)).taken, true);
    const [kept] = await lab.recorded(['sessions', '--source', '198.51.100.99'], 1);
    assert.deepEqual(ends(kept), ['198.51.100.99', '192.0.2.77', 23, 'branch', 'catch-all', 'branch-1']);
    await lab.settled();
    assert.equal((await lab.records(['sessions', '--source', '198.51.100.99'])).length, 1);
    assert.equal((await lab.records(['sessions', '--diversion', 'other'])).length, 0);
    const { links } = await lab.gateway();
    assert.deepEqual([links?.spool.sessions, links?.spool.foreign, links?.links.placesRefused], [2, 1, 1]);

    // weir.yaml changes: the agent has its new part without asking, and what it lost is no longer its own.
    lab.configure(configuration('[80]'));
    await lab.weir(['apply', '--yes']);
    const next = await until('new rules came', () => agent.told.find((one) => 'rules' in one && one.rules !== first.rules));
    assert.deepEqual(JSON.parse(String(next.configuration)).diversions[0].listen.ports, [80]);
    assert.match(String((await agent.flow(23, 'x')).answer), /^error/);
    const list = (await lab.weir(['agents', '--json'], { anyCode: true })).stdout;
    assert.match(list, /"name":"branch-1","state":"linked"/);
    await lab.weir(['down']);
  });
});
