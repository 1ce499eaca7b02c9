// Suricata beside the whole of Weir: one attack over HTTP, TLS and SSH by each way in, and an alert for each that names the
// attacker, the decoy and the session; rules taken over as they change; killed processes; nothing left behind.

import assert from 'node:assert/strict';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { callControl } from '../../src/api/control.ts';
import { runCommand, type TestNamespace, until } from '../../src/kernel/namespace-lab.ts';
import { segmentTag } from '../../src/plan/desired-segment.ts';
import type { IdsReport } from '../../src/programs/ids-house.ts';
import { type WeirLab, withWeirLab } from '../../src/programs/weir-lab.ts';
import type { AlertDocument } from '../../src/record/documents.ts';
import { AgentProcess } from '../support/agent-process.ts';
import { lacksKernelTests, lacksProgram } from '../support/namespace.ts';

const skip = lacksKernelTests() || lacksProgram('suricata', 'suricata') || lacksProgram('haproxy', 'haproxy');

const configuration = `
agents: { listen: 0.0.0.0:7443 }
diversions:
  - { name: dmz, kind: host, interface: eth0, decoys: [{ addresses: 10.64.0.0/24, persona: all-open }] }
  - { name: branch, kind: agent, agent: branch-1, listen: { ports: [8000] } }
  - { name: front, kind: proxy, listen: 0.0.0.0:7000, allow: [10.0.0.3] }
services:
  - { name: real, kind: external, address: 10.200.0.9, path: kernel, interface: wire0, from: 10.200.0.1/24 }
bindings:
  - { diversion: dmz, addresses: [10.64.0.64/26], service: real }
`;
const suricata = (rules: string): string =>
  `suricata: { rules: ${rules}, hops: [{ interface: eth0, ports: [7000], diversion: front }] }\n`;

/** Of rules/suricata/weir.rules. */
const rule = { http: 1_100_002, tls: 1_100_202, ssh: 1_100_301 } as const;

/** Says one thing by each protocol to each place; every connection ends before the next one begins. */
const attackScript = `
const net = require('node:net'), tls = require('node:tls');
const closed = (socket) => new Promise((done) => { socket.on('error', () => {}); socket.on('data', () => {}); socket.on('close', done); setTimeout(() => socket.destroy(), 3000).unref(); });
const say = (host, port, text) => { const socket = net.connect(port, host, () => socket.end(text)); return closed(socket); };
const request = 'GET /../../etc/passwd HTTP/1.0\\r\\nHost: decoy\\r\\n\\r\\n';
(async () => {
  for (const place of process.argv.slice(1)) {
    const [host, port] = place.split(':');
    await say(host, Number(port), request);
    await say(host, Number(port), 'SSH-2.0-libssh_0.9.6\\r\\n');
    const socket = tls.connect({ host, port: Number(port), servername: 'a.ngrok.io', rejectUnauthorized: false }, () => socket.end(request));
    await closed(socket);
  }
})();
`;

async function addService(lab: WeirLab): Promise<void> {
  const service = await lab.namespaces.namespace('v');
  await lab.namespaces.join(
    { namespace: lab.sensor, link: 'wire0' },
    { namespace: service, link: 'eth0', addresses: ['10.200.0.9/24'] },
  );
  await service.ip('route add local 10.64.0.64/26 dev lo\nroute add default via 10.200.0.1\n');
  service.spawn([
    'node',
    '-e',
    `require('node:net').createServer((s) => { s.on('error', () => {}); s.once('data', () => s.end('HTTP/1.0 200 OK\\r\\n\\r\\nhi')); }).listen(80)`,
  ]);
  await until('the service listens', async () => (await service.run(['ss', '-Hltn', 'sport = :80'])).stdout !== '');
}

async function addProxy(lab: WeirLab): Promise<void> {
  const machine = await lab.addHost('p', ['10.0.0.3/8']);
  const file = path.join(lab.directory, 'haproxy.cfg');
  const times = ['connect', 'client', 'server'].map((name) => `  timeout ${name} 5s\n`).join('');
  writeFileSync(
    file,
    `defaults\n  mode tcp\n${times}listen v2\n  bind 10.0.0.3:8002\n  server weir 10.0.0.2:7000 send-proxy-v2\n`,
  );
  machine.spawn(['haproxy', '-db', '-f', file]);
  await until('the proxy listens', async () => (await machine.run(['ss', '-Hltn', 'sport = :8002'])).stdout !== '');
}

async function addAgent(lab: WeirLab, machine: TestNamespace): Promise<AgentProcess> {
  const { stdout } = await lab.weir(['agents', 'add', 'branch-1', '--json']);
  const { token } = JSON.parse(stdout) as { token: string };
  const agent = new AgentProcess({
    data: path.join(lab.directory, 'agent'),
    gateway: '10.0.0.2:7443',
    token,
    prefix: machine.inside([]),
  });
  await agent.linked();
  return agent;
}

interface Details {
  readonly session?: string;
  readonly seen?: string;
  readonly diversion?: string;
  readonly source: { readonly ip: string; readonly port: number };
  readonly destination: { readonly ip: string; readonly port: number };
  readonly signature: { readonly id: number };
}

const detailsOf = ({ weir }: AlertDocument): Details => weir.alert.details as unknown as Details;
const report = (lab: WeirLab): Promise<IdsReport> =>
  callControl(path.join(lab.data, 'run/ids.sock'), 'status', null, 5000) as Promise<IdsReport>;
const heard = (lab: WeirLab): Promise<unknown> =>
  until('Suricata answers', async () => (await report(lab).catch(() => undefined))?.heard, 20_000);
/** Without a process for each look. */
const namesOf = async (lab: WeirLab): Promise<AlertDocument[]> =>
  (await lab.reader.alerts({ limit: '1000' })).items.filter(({ weir }) => weir.alert.name === 'suricata');

/** Processes of this lab's Suricata. */
const suricataOf = (lab: WeirLab): number[] =>
  readdirSync('/proc')
    .filter((entry) => /^\d+$/.test(entry))
    .filter((pid) => {
      try {
        const argv = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
        return argv[0].endsWith('suricata') && argv.includes(`/run/weir-${segmentTag(lab.data)}.ids/suricata.yaml`);
      } catch {
        return false;
      }
    })
    .map(Number);

test('an attack by each way in is an alert that names attacker, decoy and session', { skip, timeout: 180_000 }, () =>
  withWeirLab({ configuration: configuration + suricata('[]'), wire: 'bridge' }, async (lab) => {
    await addService(lab);
    await addProxy(lab);
    const branch = await lab.addHost('b', ['10.0.0.4/8']);
    const before = await lab.sensor.snapshot();
    await lab.up();
    await heard(lab);
    const agent = await addAgent(lab, branch);
    const places = {
      native: ['10.64.0.70', 80, 'dmz'],
      synthesised: ['10.64.0.20', 443, 'dmz'],
      agent: ['10.0.0.4', 8000, 'branch'],
      stripped: ['10.0.0.3', 8002, 'front'],
    } as const;
    await lab.attack([process.execPath, '-e', attackScript, ...Object.values(places).map(([ip, port]) => `${ip}:${port}`)]);
    const found = (): Promise<Details[]> => namesOf(lab).then((alerts) => alerts.map(detailsOf));
    const isThere = (all: readonly Details[], [ip, port, diversion]: readonly [string, number, string], id: number): boolean =>
      all.some((one) => {
        const { destination, source, signature, session } = one;
        const fits = destination.ip === ip && destination.port === port && signature.id === id && one.diversion === diversion;
        return fits && source.ip === '10.0.0.1' && source.port > 1024 && session !== undefined;
      });
    const missing = async (): Promise<string[]> => {
      const all = await found();
      return Object.entries(places).flatMap(([way, place]) =>
        Object.entries(rule).flatMap(([protocol, id]) => (isThere(all, place, id) ? [] : [`${protocol} by ${way}`])),
      );
    };
    await until('an alert for each', async () => (await missing()).length === 0, 20_000).catch(async (error) => {
      throw new Error(`${error}: without ${await missing()}; ${JSON.stringify(await report(lab))}`);
    });
    const all = await found();
    const seen = (diversion: string, ip: string): unknown => [
      ...new Set(all.filter((one) => one.diversion === diversion && one.destination.ip === ip).map((one) => one.seen)),
    ];
    assert.deepEqual(
      [seen('dmz', '10.64.0.70'), seen('dmz', '10.64.0.20'), seen('branch', '10.0.0.4'), seen('front', '10.0.0.3')],
      [['native'], ['synthesised'], ['synthesised'], ['stripped']],
    );
    // Each is a session on record, between the same ends.
    const sessions = new Map(
      (await lab.records(['sessions', '--limit', '1000'])).map((one) => [(one.weir.session as { id: string }).id, one]),
    );
    for (const { session, source, destination } of all) {
      const one = sessions.get(session ?? '');
      assert.deepEqual([one?.source.ip, one?.source.port], [source.ip, source.port]);
      assert.deepEqual([one?.destination.ip, one?.destination.port], [destination.ip, destination.port]);
    }
    const { alerts, feed, hops, rules } = await report(lab);
    assert.deepEqual(
      [alerts.unmatched, feed.refused, feed.shed, hops.map(({ lost }) => lost), rules?.failed],
      [0, 0, 0, [0, 0], 0],
    );
    assert.equal((await lab.weir(['plan'])).code, 0);
    await agent.end();
    await lab.weir(['down']);
    assert.equal(await lab.sensor.snapshot(), before);
    assert.deepEqual(suricataOf(lab), []);
    assert.ok(!readdirSync('/run').includes(`weir-${segmentTag(lab.data)}.ids`));
    assert.ok(!(await runCommand(['ip', 'netns', 'list'])).stdout.includes(`weir-${segmentTag(lab.data)}.ids`));
  }),
);

test(
  'rules are taken over as they change; killed processes come back; the account can do nothing else',
  { skip, timeout: 180_000 },
  () =>
    withWeirLab({ configuration: configuration.replace(/services:[\s\S]*/, '') }, async (lab) => {
      const file = path.join(lab.directory, 'own.rules');
      const own = (word: string, id: number): string =>
        `alert tcp any any -> any any (msg:"own ${word}"; content:"${word}"; sid:${id}; rev:1;)\n`;
      writeFileSync(file, own('first-word', 2_000_001));
      await lab.up();
      assert.deepEqual(suricataOf(lab), []);
      const text = `${configuration.replace(/services:[\s\S]*/, '')}${suricata(`[${file}]`).replace(/, hops.*\]/, '')}`;
      lab.configure(text);
      assert.match((await lab.weir(['plan'], { anyCode: true })).stdout, /start Suricata/);
      await lab.weir(['apply', '--yes']);
      await heard(lab);
      const say = (word: string): Promise<unknown> => lab.attack(['curl', '-s', '-m', '5', `http://10.64.0.20/${word}`]);
      const alerted = (id: number, count = 1): Promise<unknown> =>
        until(
          `an alert of ${id}`,
          async () =>
            (await namesOf(lab)).filter((one) => detailsOf(one).signature.id === id && detailsOf(one).session).length >= count,
          20_000,
        );
      await say('first-word');
      await alerted(2_000_001);

      const [pid] = suricataOf(lab);
      const status = readFileSync(`/proc/${pid}/status`, 'utf8');
      assert.match(status, /^CapEff:\s*0000000000002000$/m);
      assert.match(status, /^CapBnd:\s*0000000000002000$/m);
      assert.match(status, /^NoNewPrivs:\s*1$/m);
      assert.doesNotMatch(status, /^Uid:\s*0/m);
      const asSuricata = ['setpriv', '--reuid', 'weir-ids', '--regid', 'weir-ids', '--clear-groups'];
      assert.notEqual((await runCommand([...asSuricata, 'ls', lab.data], { anyCode: true })).code, 0);

      writeFileSync(file, own('second-word', 2_000_002));
      assert.match((await lab.weir(['plan'], { anyCode: true })).stdout, /rules again/);
      await lab.weir(['apply', '--yes']);
      await until(
        'the new rule is in force',
        async () => {
          await say('second-word');
          return (await namesOf(lab)).some((one) => detailsOf(one).signature.id === 2_000_002);
        },
        20_000,
      );
      assert.deepEqual(suricataOf(lab), [pid]);
      const counted = async (id: number): Promise<number> =>
        (await namesOf(lab)).filter((one) => detailsOf(one).signature.id === id).length;
      const before = await counted(2_000_002);
      await say('first-word');
      await say('second-word');
      await until('the one that is said after it', async () => (await counted(2_000_002)) > before, 20_000);
      assert.equal(await counted(2_000_001), 1);

      process.kill(pid, 'SIGKILL');
      await until('Suricata is started again', () => suricataOf(lab).some((one) => one !== pid), 20_000);
      const during = await counted(2_000_002);
      await say('second-word');
      await until('what was said meanwhile is an alert', async () => (await counted(2_000_002)) > during, 20_000);
      assert.ok((await namesOf(lab)).every((one) => detailsOf(one).session !== undefined));
      assert.match((await lab.weir(['status'])).stdout, /suricata running, pid \d+, restarted 1 times/);

      // netd takes both with it, and its successor builds them anew.
      const running = suricataOf(lab);
      process.kill(lab.processes().get('netd') ?? 0, 'SIGKILL');
      await until('another Suricata is there', () => suricataOf(lab).some((one) => !running.includes(one)), 30_000);
      const after = await counted(2_000_002);
      await say('second-word');
      await until('and judges', async () => (await counted(2_000_002)) > after, 20_000);
      assert.equal(suricataOf(lab).length, 1);

      lab.configure(configuration.replace(/services:[\s\S]*/, ''));
      assert.match((await lab.weir(['plan'], { anyCode: true })).stdout, /stop Suricata/);
      await lab.weir(['apply', '--yes']);
      assert.deepEqual(suricataOf(lab), []);
      assert.ok(!readdirSync('/run').includes(`weir-${segmentTag(lab.data)}.ids`));
      assert.doesNotMatch((await lab.weir(['status'])).stdout, /suricata/i);
    }),
);
