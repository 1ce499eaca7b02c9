// Packets of decoys on an agent's machine, carried to the gateway as they were sent: fingerprints, scans, UDP and ping arrive
// there, sessions name agent and decoy, large packets pass, and both machines are as before in the end. The agent's end is
// netd's own controller here; the whole agent is privileged-agent.test.ts.

import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { systemClock } from '../../src/base/clock.ts';
import { silentLog } from '../../src/base/log.ts';
import { parseConfiguration } from '../../src/config/configuration.ts';
import type { TestNamespace } from '../../src/kernel/namespace-lab.ts';
import type { Configuration } from '../../src/model/configuration.ts';
import { DiversionController } from '../../src/plan/controller.ts';
import { segmentTag } from '../../src/plan/desired-segment.ts';
import { ServicesController } from '../../src/plan/services-controller.ts';
import { type Recorded, type WeirLab, withWeirLab } from '../../src/programs/weir-lab.ts';
import { personaLibrary } from '../support/diversion-bed.ts';
import { lacksKernelTests, lacksProgram, until } from '../support/namespace.ts';

const skip = lacksKernelTests() || lacksProgram('nmap', 'nmap') || lacksProgram('hping3', 'hping3');

const configuration = (mtu = ''): string => `agents: { listen: 0.0.0.0:7443 }
diversions:
  - name: branch
    kind: host
    interface: eth0
    agent: branch-1
    transport: packets
    tunnel: { kind: vxlan, vni: 4001, local: 192.0.2.1, remote: 192.0.2.2${mtu} }
    decoys: [{ addresses: [10.77.0.16-10.77.0.47, "fd77::10-fd77::1f"], persona: windows-server }]
`;

interface Branch {
  readonly machine: TestNamespace;
  readonly visitor: TestNamespace;
  /** What the branch's end applied; gone with `end`. */
  readonly end: () => Promise<void>;
}

const parse = (text: string): Configuration => {
  const parsed = parseConfiguration(text, 'weir.yaml', { personas: personaLibrary() });
  if ('mistakes' in parsed) throw new Error(JSON.stringify(parsed.mistakes));
  return parsed.configuration;
};

/** The branch's machine between a visitor and the gateway, with the rules that its gateway would push. */
async function layBranch(lab: WeirLab): Promise<Branch> {
  const machine = await lab.namespaces.namespace('m');
  const visitor = await lab.namespaces.namespace('v');
  await lab.namespaces.join(
    { namespace: machine, link: 'up0', addresses: ['192.0.2.2/24'] },
    { namespace: lab.sensor, link: 'down0', addresses: ['192.0.2.1/24'] },
  );
  await lab.namespaces.join(
    { namespace: visitor, link: 'eth0', addresses: ['10.77.0.1/24', 'fd77::1/64'], mac: '02:00:00:00:77:01' },
    { namespace: machine, link: 'eth0', addresses: ['10.77.0.2/24', 'fd77::2/64'], mac: '02:00:00:00:77:02' },
  );
  const rules = parse(readFileSync(lab.file, 'utf8')).agents.rules.get('branch-1');
  assert.ok(rules);
  const state = mkdtempSync(join(tmpdir(), 'weir-branch-'));
  const tag = segmentTag(state);
  const services = new ServicesController({ tag, log: silentLog, netns: machine.path });
  const controller = new DiversionController({
    stateDirectory: state,
    ports: { tcp: 29631, udp: 29632, narrow: 29633 },
    tag,
    log: silentLog,
    clock: systemClock,
    netns: machine.path,
    annexes: [services],
  });
  const before = await machine.snapshot();
  const plan = await controller.plan(parse(rules));
  await controller.apply(plan);
  return {
    machine,
    visitor,
    end: async () => {
      await controller.down();
      assert.equal(await machine.snapshot(), before);
      await controller.close();
      await services.close();
      rmSync(state, { recursive: true });
    },
  };
}

async function withBranch(text: string, body: (lab: WeirLab, branch: Branch) => Promise<void>): Promise<void> {
  await withWeirLab({ configuration: text }, async (lab) => {
    const branch = await layBranch(lab);
    const before = await lab.sensor.snapshot();
    const running = await lab.up();
    try {
      await body(lab, branch);
    } finally {
      await branch.end();
    }
    assert.equal(await running.stop(), 0);
    assert.equal(await lab.sensor.snapshot(), before);
  });
}

test('SYNs, scans, datagrams and pings arrive as they were sent, and are on record with agent and decoy', { skip }, () =>
  withBranch(configuration(), async (lab, { visitor }) => {
    const page = await visitor.run([
      'curl',
      '-s',
      '-m',
      '10',
      '-o',
      '/dev/null',
      '-w',
      '%{http_code} %{local_port}',
      'http://10.77.0.20/',
    ]);
    const [code, port] = page.stdout.split(' ');
    assert.notEqual(code, '000');
    const [session] = await lab.recorded(['sessions', '--diversion', 'branch'], 1);
    assert.equal(session.source.ip, '10.77.0.1');
    assert.equal(session.source.port, Number(port));
    assert.equal(session.destination.ip, '10.77.0.20');
    assert.equal(session.weir.agent, 'branch-1');
    assert.match(JSON.stringify(session), /"ttl":64/);
    const ping = await visitor.run(['ping', '-n', '-c', '2', '-i', '0.2', '-W', '2', '10.77.0.20']);
    assert.match(ping.stdout, /ttl=128/);
    const scan = await visitor.run(['nmap', '-n', '-Pn', '-sS', '-p', '78-82', '10.77.0.20'], { timeoutMs: 60_000 });
    assert.match(scan.stdout, /80\/tcp\s+open/);
    // From sources of their own, so that each is a record of its own.
    const craft = (source: string, ...argv: readonly string[]): Promise<unknown> =>
      visitor.run(['hping3', '-q', '-c', '1', '-a', source, ...argv], { anyCode: true });
    await craft('10.77.0.9', '-S', '-p', '4444', '-t', '99', '-w', '31337', '10.77.0.21');
    await craft('10.77.0.10', '-F', '-p', '4445', '10.77.0.22');
    await craft('10.77.0.11', '-2', '-p', '4446', '10.77.0.23');
    const found = await until('four records of probes', async () => {
      const records = await lab.records(['probes', '--limit', '100']);
      const of = (source: string): Recorded | undefined => records.find((one) => one.source.ip === source);
      const all = ['10.77.0.1', '10.77.0.9', '10.77.0.10', '10.77.0.11'].map(of);
      return all.every((one) => one !== undefined) ? (all as Recorded[]) : undefined;
    });
    const [, syn, fin, datagram] = found.map((one) => JSON.stringify(one));
    // The hop over the branch's machine is not counted, and nothing of the SYN is another.
    assert.match(syn, /"ip":"10.77.0.21","port":4444.*"ttl":99,.*"window":31337/);
    assert.match(fin, /"ip":"10.77.0.22","port":4445,"transport":"tcp","kind":"fin"/);
    assert.match(datagram, /"ip":"10.77.0.23","port":4446,"transport":"udp"/);
    for (const one of found) assert.equal((one.source as { mac?: string }).mac, undefined, "the frame was not the attacker's");
  }),
);

test('packets as large as an Ethernet carries pass, both ways, and so do those of a smaller tunnel', { skip }, async () => {
  for (const mtu of ['', ', mtu: 1450'])
    await withBranch(configuration(mtu), async (lab, { visitor }) => {
      if (mtu === '') {
        // Ends with the first answer, or after so many seconds.
        const ping = await visitor.run(['ping', '-n', '-c', '1', '-w', '8', '-M', 'do', '-s', '1472', '10.77.0.20']);
        assert.match(ping.stdout, /1480 bytes from 10.77.0.20/);
      }
      const body = await visitor.run(
        [
          'curl',
          '-s',
          '-m',
          '10',
          '-o',
          '/dev/null',
          '-w',
          '%{size_upload}',
          '--data-binary',
          '@/proc/self/exe',
          'http://10.77.0.20/',
        ],
        { anyCode: true },
      );
      // What the built-in service takes of a request.
      assert.ok(Number(body.stdout) >= 65_536, body.stdout);
      await lab.recorded(['sessions', '--diversion', 'branch'], 1);
    });
});
