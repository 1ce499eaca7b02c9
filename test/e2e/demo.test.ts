// The demo's ways in, each with its intruder, as `weir demo` builds them; and the demo itself ended at any moment, which leaves
// nothing.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { until, withLab } from '../../src/kernel/namespace-lab.ts';
import { segmentTag } from '../../src/plan/desired-segment.ts';
import { buildWays, diversionsOfWays, lineOf, settingsOfWays } from '../../src/programs/demo/ways.ts';
import { ownInstallation } from '../../src/programs/installation.ts';
import { type Recorded, withWeirLab } from '../../src/programs/weir-lab.ts';
import { lacksKernelTests, runCommand } from '../support/namespace.ts';

const skip = lacksKernelTests();

const configuration = `
diversions:
  - { name: host, kind: host, interface: eth0, decoys: [{ addresses: 10.32.0.0/24, persona: all-open }] }
${diversionsOfWays}${settingsOfWays('host')}`;

const touch = ({ source, destination, weir }: Recorded): string =>
  `${source.ip} ${destination.ip} ${weir.diversion} ${weir.service} ${weir.agent ?? '-'}`;

test('what comes in each way is on record with its true source, and told in a line', { skip, timeout: 180_000 }, async () => {
  await withWeirLab({ configuration }, async (lab) => {
    await lab.attacker.ip('addr add 10.1.0.12/8 dev eth0\n');
    const ways = await buildWays(lab);
    const before = await lab.sensor.snapshot();
    await lab.up();
    await ways.enrol(lab);
    await Promise.all(ways.all.map(({ scene }) => scene?.from.run(scene.argv, { anyCode: true })));
    await lab.settled();
    const touches = async (argv: readonly string[]): Promise<string[]> => [
      ...new Set((await lab.records(['sessions', '--limit', '1000', ...argv])).map(touch)),
    ];
    assert.deepEqual(await touches(['--service', 'shop']), ['10.1.0.12 10.32.0.80 host shop -']);
    assert.deepEqual(await touches(['--diversion', 'branch']), ['192.168.7.66 192.168.7.2 branch catch-all branch-1']);
    const desks = await touches(['--diversion', 'floor']);
    assert.ok(desks.length > 0);
    for (const desk of desks) assert.match(desk, /^192\.168\.110\.77 192\.168\.110\.\d+ floor catch-all -$/);
    const lines = await Promise.all(ways.all.map((way) => lineOf(way, lab.reader)));
    for (const [index, pattern] of [
      /behind port 80 of one +2 sessions +0 probes {2}from 10\.1\.0\.12\n$/,
      /another machine +8 sessions +0 probes {2}from 192\.168\.7\.66, handed over by branch-1\n$/,
      /by VXLAN +\d+ sessions +\d+ probes {2}from 192\.168\.110\.77\n$/,
    ].entries())
      assert.match(lines[index], pattern);
    const { links } = await lab.gateway();
    assert.ok(links);
    assert.deepEqual([links.spool.foreign, links.spool.malformed], [0, 0], 'an agent that begins loses nothing');
    await ways.end();
    await lab.weir(['down']);
    assert.equal(await lab.sensor.snapshot(), before);
  });
});

test('where there is no nginx, our own shop knows who is behind a PROXY header, and takes nobody without one', { skip }, () =>
  withLab(async (lab) => {
    const machine = await lab.namespace('v');
    const { node, root } = ownInstallation();
    machine.spawn([node, path.join(root, 'dist/src/programs/demo/shop.js'), '--port', '8080']);
    await until('the shop listens', async () => (await machine.run(['ss', '-Hltn', 'sport = :8080'])).stdout !== '');
    const ask = async (header: string): Promise<string> => {
      const request = `${header}GET / HTTP/1.0\\r\\n\\r\\n`;
      const script = `const s = require('net').connect(8080, '127.0.0.1', () => s.write("${request}")); s.pipe(process.stdout);`;
      return (await machine.run([node, '-e', script], { timeoutMs: 5000, anyCode: true })).stdout;
    };
    assert.match(await ask('PROXY TCP4 198.51.100.7 10.32.0.80 4000 80\\r\\n'), /welcome to the shop, 198\.51\.100\.7\n$/);
    assert.equal(await ask(''), '');
  }),
);

/** Namespaces of the demo with this process number, and of the Weir in its lab. */
async function namespacesOf(pid: number, data: string): Promise<string[]> {
  const { stdout } = await runCommand(['ip', 'netns', 'list']);
  const prefixes = [`weirt-${pid.toString(36)}-`, `weir-${segmentTag(data)}`];
  return stdout.split('\n').filter((name) => prefixes.some((prefix) => name.startsWith(prefix)));
}

// A terminal's Ctrl-C reaches every program of the foreground; a service manager's SIGTERM only the first.
for (const [when, to] of [
  [/building a lab/, 'all'],
  [/weir up:/, 'one'],
  [/has enrolled/, 'all'],
] as const)
  test(`ended at "${when.source}" by a signal to ${to}, the demo removes everything`, { skip, timeout: 120_000 }, async () => {
    const { node, root } = ownInstallation();
    const directory = mkdtempSync(path.join(tmpdir(), 'weir-demo-'));
    chmodSync(directory, 0o755);
    const demo = spawn(node, [path.join(root, 'dist/src/programs/weir.js'), 'demo'], {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: { ...process.env, TMPDIR: directory, SSH_CONNECTION: undefined },
      detached: true,
    });
    const { pid } = demo;
    assert.ok(pid);
    const ended = once(demo, 'exit');
    let said = '';
    demo.stderr.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
    try {
      await until(`it says ${when.source}`, () => when.test(said), 60_000);
      const lab = await until('the lab has a directory', () => readdirSync(directory)[0]);
      const data = path.join(directory, lab, 'data');
      for (let times = 0; times < 2; times += 1) process.kill(to === 'all' ? -pid : pid, to === 'all' ? 'SIGINT' : 'SIGTERM');
      const [code, signal] = await ended;
      assert.deepEqual([code, signal], [130, null], said);
      assert.match(said, /the lab is removed\n$/);
      assert.deepEqual(await namespacesOf(pid, data), []);
      assert.deepEqual(readdirSync(directory), []);
    } finally {
      if (demo.exitCode === null && demo.signalCode === null) demo.kill('SIGKILL');
      rmSync(directory, { recursive: true, force: true });
    }
  });
