// An agent with privileges on its own machine, by the real programs: whole ranges of its network lead to the gateway by sessions
// or by packets; killed, cut off and told other rules it comes back right; and it leaves the machine as it was.

import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { TestNamespace } from '../../src/kernel/namespace-lab.ts';
import { type Recorded, type WeirLab, withWeirLab } from '../../src/programs/weir-lab.ts';
import { lacksKernelTests, lacksProgram, until } from '../support/namespace.ts';

const skip = lacksKernelTests() || lacksProgram('nmap', 'nmap');
const program = path.join(path.dirname(fileURLToPath(import.meta.url)), '../../src/programs/weir.js');

const branch = (decoys: string): string => `  - name: branch
    kind: host
    interface: eth0
    agent: branch-1
    decoys: [{ addresses: ${decoys}, persona: windows-server }]
`;
const packets = `  - name: depot
    kind: host
    interface: eth0
    agent: branch-1
    transport: packets
    tunnel: { kind: vxlan, vni: 4001, local: 192.0.2.1, remote: 192.0.2.2 }
    decoys: [{ addresses: 10.77.0.64-10.77.0.95, persona: linux-web }]
`;
const rules = (diversions: string): string => `agents: { listen: 0.0.0.0:7443 }\ndiversions:\n${diversions}`;

/** `weir agent --privileged` in a namespace of its own between a visitor and the gateway. */
class Branch {
  readonly lab: WeirLab;
  readonly machine: TestNamespace;
  readonly visitor: TestNamespace;
  readonly data: string;
  child: ChildProcess | undefined;
  output = '';

  private constructor(lab: WeirLab, machine: TestNamespace, visitor: TestNamespace) {
    this.lab = lab;
    this.machine = machine;
    this.visitor = visitor;
    this.data = path.join(lab.directory, 'branch');
  }

  static async lay(lab: WeirLab): Promise<Branch> {
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
    return new Branch(lab, machine, visitor);
  }

  async start(name = 'branch-1'): Promise<void> {
    const argv = ['agent', '--privileged', '--data', this.data];
    if (name !== '') {
      const { stdout } = await this.lab.weir(['agents', 'add', name, '--json']);
      const { token } = JSON.parse(stdout) as { token: string };
      argv.push('--gateway', '192.0.2.1:7443', '--token', token);
    }
    const child = this.machine.spawn([process.execPath, program, ...argv], { env: { PATH: process.env.PATH } });
    this.child = child;
    for (const stream of [child.stdout, child.stderr])
      stream?.setEncoding('utf8').on('data', (text: string) => {
        if (this.output.length < 1 << 20) this.output += text;
      });
  }

  /** The gateway's word on it. */
  async status(): Promise<Record<string, unknown>> {
    const [status] = await this.lab.records(['agents']);
    return (status ?? {}) as unknown as Record<string, unknown>;
  }

  async until(what: string, judge: (status: string) => boolean, boundMs = 60_000): Promise<void> {
    let last = '';
    try {
      await until(
        what,
        async () => {
          last = JSON.stringify(await this.status());
          return judge(last);
        },
        boundMs,
      );
    } catch (error) {
      throw new Error(`${String(error)}\n${last}\n${this.output.slice(-6000)}`);
    }
  }

  /** The rules that the gateway wants are those in force, and others than before; their name. */
  async applied(before = ''): Promise<string> {
    let name = '';
    await this.until('the rules are applied', (text) => {
      const { wanted, applied, refused } = (JSON.parse(text) as { rules?: Record<string, unknown> }).rules ?? {};
      name = String(applied);
      return wanted !== undefined && wanted === applied && wanted !== before && Array.isArray(refused) && refused.length === 0;
    });
    return name;
  }

  pid(script: string): number {
    for (const pid of readdirSync('/proc').filter((entry) => /^\d+$/.test(entry))) {
      try {
        const argv = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
        if (argv.some((one) => one.endsWith(`/programs/${script}.js`)) && argv.includes(this.data) && !argv.includes('prlimit'))
          return Number(pid);
      } catch {
        // It ended while we looked.
      }
    }
    throw new Error(`no ${script} of ${this.data}`);
  }

  /** What it says of itself. */
  own(): string {
    return readFileSync(path.join(this.data, 'agent/status.json'), 'utf8');
  }

  async stop(): Promise<void> {
    const { child } = this;
    if (!child || child.exitCode !== null) return;
    const gone = new Promise((resolve) => child.once('close', resolve));
    child.kill('SIGTERM');
    await gone;
    assert.equal(child.exitCode, 0, this.output.slice(-4000));
  }

  /** A page of a decoy: from which port it was asked for. */
  async ask(ip: string): Promise<number> {
    const { stdout } = await this.visitor.run(
      ['curl', '-s', '-m', '10', '-o', '/dev/null', '-w', '%{http_code} %{local_port}', `http://${ip}/`],
      { anyCode: true },
    );
    const [code, port] = stdout.split(' ');
    assert.notEqual(code, '000', `nobody answers at ${ip}\n${this.output.slice(-4000)}`);
    return Number(port);
  }

  async recorded(port: number): Promise<Recorded> {
    return until(
      `a session from ${port}`,
      async () => (await this.lab.records(['sessions', '--limit', '200'])).find(({ source }) => source.port === port),
      30_000,
    );
  }
}

test('ranges of an agent: by sessions and by packets, killed, other rules, and nothing left behind', { skip }, () =>
  withWeirLab({ configuration: rules(branch('[10.77.0.16-10.77.0.47, "fd77::10-fd77::1f"]') + packets) }, async (lab) => {
    const bed = await Branch.lay(lab);
    const before = await bed.machine.snapshot();
    await lab.up();
    await bed.start();
    try {
      const one = await bed.applied();
      // Sessions: the persona's own stack answers there, the gateway keeps the record.
      const first = await bed.recorded(await bed.ask('10.77.0.20'));
      assert.equal(first.source.ip, '10.77.0.1');
      assert.deepEqual(first.destination.ip, '10.77.0.20');
      assert.deepEqual([first.weir.agent, first.weir.diversion, first.weir.persona], ['branch-1', 'branch', 'windows-server']);
      assert.match(JSON.stringify(first), /"ttl":64,/);
      assert.match(JSON.stringify(first.source), /"mac":"02[-:]00[-:]00[-:]00[-:]77[-:]01"/);
      const six = await bed.recorded(await bed.ask('[fd77::12]'));
      assert.equal(six.destination.ip, 'fd77::12');
      const scan = await bed.visitor.run(['nmap', '-n', '-sS', '-p', '75-82', '10.77.0.21'], { timeoutMs: 60_000 });
      assert.match(scan.stdout, /80\/tcp\s+open/);
      await lab.recorded(['probes', '--diversion', 'branch'], 1, 30_000);
      // Packets: all of it happens at the gateway.
      const carried = await bed.recorded(await bed.ask('10.77.0.70'));
      assert.deepEqual([carried.weir.agent, carried.weir.diversion], ['branch-1', 'depot']);
      // A killed half is back, and answers as before.
      for (const script of ['agent-privileged', 'netd']) {
        const pid = bed.pid(script);
        process.kill(pid, 'SIGKILL');
        await until(`${script} is another`, () => {
          try {
            return bed.pid(script) !== pid;
          } catch {
            return false;
          }
        });
        await bed.until('it is linked', (text) => text.includes('"state":"linked"'));
        await bed.recorded(await bed.ask('10.77.0.22'));
      }
      lab.configure(rules(branch('10.77.0.40-10.77.0.60')));
      await lab.weir(['apply', '--yes']);
      await bed.applied(one);
      await bed.recorded(await bed.ask('10.77.0.50'));
      const gone = await bed.visitor.run(['curl', '-s', '-m', '2', 'http://10.77.0.20/'], { anyCode: true });
      assert.notEqual(gone.code, 0);
      // Cut off, it answers by itself; the record comes with the link, once.
      await lab.sensor.ip('link set down0 down\n');
      await until('the agent knows that its link is gone', () => bed.own().includes('"state":"away"'), 30_000);
      const alone = await bed.ask('10.77.0.51');
      assert.match(bed.own(), /"link":\{"state":"(away|connecting)"/);
      await lab.sensor.ip('link set down0 up\n');
      const spooled = await bed.recorded(alone);
      assert.deepEqual([spooled.weir.agent, spooled.destination.ip], ['branch-1', '10.77.0.51']);
      const times = (await lab.records(['sessions', '--limit', '200'])).filter(({ source }) => source.port === alone);
      assert.equal(times.length, 1);
    } finally {
      await bed.stop();
    }
    assert.equal(await bed.machine.snapshot(), before);
  }),
);

/** The way to each service is over vm-1, whose own wire to the services is `eth0`. */
const chain = `agents: { listen: 0.0.0.0:7443 }
gateways: [{ name: vm-1, address: 192.0.2.2:7000 }]
diversions:
  - name: dmz
    kind: host
    interface: eth0
    decoys: [{ addresses: [10.0.1.16-10.0.1.31], persona: all-open }]
services:
  - { name: plain, kind: external, address: "10.77.0.1:8081", via: vm-1 }
  - { name: told, kind: external, address: "10.77.0.1:8082", proxy-protocol: true, via: vm-1 }
  - { name: seen, kind: external, address: 10.77.0.1, path: transparent, interface: eth0, from: 10.77.0.3/24, via: vm-1 }
bindings:
  - { diversion: dmz, ports: [81], service: plain }
  - { diversion: dmz, ports: [82], service: told }
  - { diversion: dmz, ports: [83], protocol: tcp, service: seen }
`;

/** Answers with the first bytes it was sent and both ends of the connection as it sees them, on three ports of every address. */
async function serve(namespace: TestNamespace): Promise<void> {
  const script = `
let up = 0;
for (const port of [8081, 8082, 83])
  require('node:net').createServer({ allowHalfOpen: true }, (s) => {
    const heard = [];
    s.on('error', () => {});
    s.on('data', (d) => heard.push(d));
    s.on('end', () => s.end(JSON.stringify({ port, from: s.remoteAddress + ' ' + s.remotePort, to: s.localAddress + ' ' + s.localPort, heard: Buffer.concat(heard).toString('latin1') })));
  }).listen(port, '0.0.0.0', () => (up += 1) === 3 && console.log('up'));`;
  const child = namespace.spawn(['node', '-e', script]);
  let said = '';
  child.stdout?.on('data', (data) => {
    said += String(data);
  });
  await until('the services listen', () => said.includes('up'));
}

test('a chain described once: gateway, inner gateway, services by every path, and one record of each touch', { skip }, () =>
  withWeirLab({ configuration: chain }, async (lab) => {
    const bed = await Branch.lay(lab);
    await bed.visitor.ip('route add local 10.0.1.16/28 dev lo\nroute add default via 10.77.0.3\n');
    await serve(bed.visitor);
    const before = await bed.machine.snapshot();
    await lab.up();
    await bed.start('vm-1');
    try {
      await bed.applied();
      const touch = async (port: number): Promise<{ readonly seen: Record<string, string>; readonly session: Recorded }> => {
        const script = `
const s = require('node:net').connect({ host: '10.0.1.20', port: ${port}, allowHalfOpen: true }, () => s.end('hello'));
let heard = ''; s.on('data', (d) => { heard += d; }); s.on('error', (e) => { heard += e.code; });
s.on('close', () => console.log(JSON.stringify({ from: local, heard })));
let local = 0; s.on('connect', () => { local = s.localPort; });
setTimeout(() => s.destroy(), 10000).unref();`;
        const { stdout } = await lab.attack(['node', '-e', script]);
        const { from, heard } = JSON.parse(stdout) as { from: number; heard: string };
        assert.match(heard, /^\{/, `${port}: ${heard}\n${bed.output.slice(-4000)}`);
        return { seen: JSON.parse(heard) as Record<string, string>, session: await bed.recorded(from) };
      };
      const [plain, told, seen] = [await touch(81), await touch(82), await touch(83)];
      for (const [one, service, port] of [
        [plain, 'plain', 81],
        [told, 'told', 82],
        [seen, 'seen', 83],
      ] as const) {
        assert.deepEqual(
          [one.session.source.ip, one.session.destination],
          ['10.0.0.1', { ...one.session.destination, ip: '10.0.1.20', port }],
        );
        assert.equal(one.session.weir.service, service);
        assert.match(String(one.seen.heard), /hello$/);
      }
      // Nothing before what the attacker said, and who asks is the inner gateway.
      assert.deepEqual([plain.seen.heard, plain.seen.from.split(' ')[0]], ['hello', '10.77.0.2']);
      // A header names attacker and decoy.
      const header = Buffer.from(told.seen.heard, 'latin1');
      assert.deepEqual([...header.subarray(16, 24)], [10, 0, 0, 1, 10, 0, 1, 20]);
      // Both ends are the true ones, and there is no header.
      assert.deepEqual([seen.seen.heard, seen.seen.from.split(' ')[0], seen.seen.to], ['hello', '10.0.0.1', '10.0.1.20 83']);
      // The inner hop keeps no record of its own.
      const all = await lab.records(['sessions', '--limit', '50']);
      assert.equal(all.filter(({ destination }) => destination.ip === '10.0.1.20').length, 3);
    } finally {
      await bed.stop();
    }
    assert.equal(await bed.machine.snapshot(), before);
  }),
);
