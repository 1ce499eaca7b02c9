// Changes at run time, seen from outside: apply and confirm, a confirmation that never comes, live hosts found before and
// after a range is claimed, a second Weir that is told of the first, and one of other data that may not touch it.

import assert from 'node:assert/strict';
import { existsSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import type { Status } from '../../src/model/status.ts';
import { withWeirLab } from '../../src/programs/weir-lab.ts';
import { lacksKernelTests, until } from '../support/namespace.ts';

const skip = lacksKernelTests();

const configuration = (range: string): string => `
diversions:
  - { name: dmz, kind: host, interface: eth0, decoys: [{ addresses: ${range}, persona: all-open }] }
`;
const get = (ip: string): string[] => ['curl', '-s', '-m', '5', '-o', '/dev/null', '-w', '%{http_code}', `http://${ip}:8000/`];

test('what nobody confirms is rolled back, and up says so', { skip }, () =>
  withWeirLab({ configuration: configuration('10.64.0.0/24') }, async (lab) => {
    const before = await lab.sensor.snapshot();
    const running = lab.start(['--yes', '--confirm-within', '2s']);
    await until('it asks for confirmation', () => /unless you confirm/.test(running.output), 30_000);
    assert.equal((await lab.attack(get('10.64.0.7'))).stdout, '200', 'decoys answer while they wait');
    assert.equal(await running.exited(), 1, running.output);
    assert.match(running.output, /not confirmed in time, rolled back/);
    assert.equal(await lab.sensor.snapshot(), before);
  }),
);

test('a change is planned, applied, rolled back and confirmed while decoys go on answering', { skip }, () =>
  withWeirLab({ configuration: configuration('10.64.0.0/24') }, async (lab) => {
    await lab.up();
    assert.equal((await lab.weir(['plan'], { anyCode: true })).code, 0, 'nothing to change');
    const status = async (): Promise<Partial<Status>> => {
      const { stdout } = await lab.weir(['status', '--json'], { anyCode: true });
      return JSON.parse(stdout) as Partial<Status>;
    };
    const diversions = async (): Promise<string[] | undefined> =>
      (await status()).diversions?.map(({ name, decoys }) => `${name} ${decoys}`);
    const netd = async (): Promise<number> =>
      (await status()).processes?.find(({ name, state }) => name === 'netd' && state === 'running')?.pid ?? 0;
    const before = await diversions();
    lab.configure(configuration('[10.64.0.0/24, 10.65.0.0/24]').replace('name: ', 'name: renamed-'));
    const plan = await lab.weir(['plan'], { anyCode: true });
    assert.equal(plan.code, 10, plan.stdout + plan.stderr);
    assert.match(plan.stdout, /10\.65\.0\.0\/24/);
    assert.equal((await lab.attack(get('10.65.0.7'))).code === 0, false, 'planning changes nothing');
    await lab.weir(['apply', '--yes', '--confirm-within', '60s']);
    assert.equal((await lab.attack(get('10.65.0.7'))).stdout, '200');
    const again = await lab.weir(['apply', '--yes']);
    assert.match(again.stdout, /^No change[\s\S]*still waits: it is rolled back unless you run `weir confirm`/);
    const second = await lab.weir(['up', '--yes'], { anyCode: true });
    assert.match(second.stderr, /Weir runs already with [\s\S]*next: `weir apply` brings changes/);
    assert.deepEqual(await diversions(), ['renamed-dmz 512']);
    const killed = await netd();
    process.kill(killed, 'SIGKILL');
    await until('another netd has read the file and waits on', async () => ![0, killed].includes(await netd()));
    await until('it tells what is applied', async () => (await diversions())?.join() === 'renamed-dmz 512');
    await lab.weir(['rollback']);
    assert.deepEqual(await diversions(), before, 'the status is of what is applied');
    assert.equal((await lab.attack(get('10.65.0.7'))).code === 0, false, 'rolled back');
    assert.equal((await lab.attack(get('10.64.0.7'))).stdout, '200', 'the confirmed state is back');
    await lab.weir(['apply', '--yes', '--confirm-within', '60s']);
    await lab.weir(['confirm']);
    assert.equal((await lab.weir(['plan'], { anyCode: true })).code, 0);
    lab.configure(`${configuration('[10.64.0.0/24, 10.65.0.0/24]').replace('name: ', 'name: renamed-')}retention: { days: 3 }\n`);
    assert.match((await lab.weir(['apply', '--yes'])).stdout, /^No change[\s\S]*read at the start alone: retention\./);
    lab.configure('diversions: [{ name: dmz, kind: hots }]\n');
    const wrong = await lab.weir(['apply', '--yes'], { anyCode: true });
    assert.equal(wrong.code, 2);
    assert.match(wrong.stderr, /weir\.yaml:3[\s\S]*host/);
    assert.equal((await lab.attack(get('10.65.0.7'))).stdout, '200', 'a mistake changes nothing');
  }),
);

test('a Weir with other data is refused while one runs here, and takes away what one left that died', { skip }, () =>
  withWeirLab({ configuration: configuration('10.64.0.0/24') }, async (lab) => {
    const before = await lab.sensor.snapshot();
    const running = await lab.up();
    // What sockets of ours add to a link goes with them.
    const rules = async (): Promise<string> => {
      const show = ['nft -s list ruleset', 'ip route show table all'].map((line) => lab.sensor.run(line.split(' ')));
      return (await Promise.all(show)).map(({ stdout }) => stdout).join('\n');
    };
    const applied = await rules();
    assert.match(applied, /10\.64\.0\.0\/24/);
    const data = path.join(lab.directory, 'other');
    const file = path.join(lab.directory, 'other.yaml');
    writeFileSync(file, `version: 1\ndata: ${data}\n${configuration('10.65.0.0/24')}`);
    const other = (...argv: string[]): ReturnType<typeof lab.weir> => lab.weir([...argv, '-c', file], { anyCode: true });
    for (const argv of [['down'], ['up', '--yes']]) {
      const { code, stderr } = await other(...argv);
      assert.equal(code, 1, stderr);
      const holder = `another Weir holds this network namespace: weir up, pid ${running.child.pid}, data ${lab.data}`;
      assert.ok(stderr.includes(`${holder} (already-running)`), stderr);
      assert.match(stderr, /next: `weir down` with the configuration that names its data directory/);
    }
    assert.equal(await rules(), applied, 'nothing was touched');
    assert.ok(!existsSync(data), 'nor made');

    // Both at once: neither can start the other again.
    for (const pid of [running.child.pid, lab.processes().get('netd')]) process.kill(Number(pid), 'SIGKILL');
    await until('all of it is gone', () => !running.running && lab.processes().size === 0);
    assert.equal(await rules(), applied, 'its rules outlive it');
    const rescue = await other('down');
    assert.equal(rescue.code, 0, rescue.stderr);
    assert.equal(await lab.sensor.snapshot(), before);
  }),
);

test('a live host is never claimed, and one that appears gets its address back with an alert', { skip }, () =>
  withWeirLab({ configuration: configuration('10.64.0.0/24'), wire: 'bridge' }, async (lab) => {
    const early = await lab.addHost('h', ['10.64.0.9/8'], '02:00:00:00:00:09');
    early.spawn([process.execPath, '-e', "require('node:http').createServer((q, r) => r.end('early')).listen(8000)"]);
    const body = (ip: string): Promise<string> =>
      lab.attack(['curl', '-s', '-m', '2', `http://${ip}:8000/`]).then(({ stdout }) => stdout);
    await until('the early host serves', async () => (await body('10.64.0.9')) === 'early');
    const running = await lab.up();
    assert.match(running.output, /10\.64\.0\.9/, 'the plan names the host it leaves alone');
    assert.equal(await body('10.64.0.9'), 'early', 'the live host is still itself');
    assert.equal((await lab.attack(get('10.64.0.10'))).stdout, '200');
    assert.equal(
      (await lab.sensor.run(['curl', '-s', '-m', '2', 'http://10.64.0.9:8000/'])).stdout,
      'early',
      'from the sensor too',
    );

    const late = await lab.addHost('l', ['10.64.0.77/8'], '02:00:00:00:00:77');
    late.spawn([process.execPath, '-e', "require('node:http').createServer((q, r) => r.end('late')).listen(8000)"]);
    // It announces itself as an operating system does when it takes an address (RFC 5227).
    await late.run(['arping', '-U', '-c', '2', '-I', 'eth0', '10.64.0.77'], { anyCode: true });
    await until('the address is given back', async () => (await body('10.64.0.77')) === 'late', 15_000);
    const alerts = await lab.recorded(['alerts'], 1);
    assert.ok(JSON.stringify(alerts).includes('10.64.0.77'));
    assert.ok(JSON.stringify(alerts).includes('address-conflict'));
    assert.match((await lab.weir(['status'], { anyCode: true })).stdout, /1\b/);
  }),
);
