// What a restore leaves to others, what is run to take it back and when, and where that may lie; real machines are
// test/kernel/netops-baseline.test.ts.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, beforeEach, describe, it } from 'node:test';
import type { CommandRunner } from '../../kernel/command.ts';
import type { NetworkSettings } from '../../model/network-settings.ts';
import { guardScript, planRestore, privateFolder, renderReturnScript, restoreSettings } from './settings-restore.ts';

const settings = (routes: string, sysctls = ''): NetworkSettings => ({ takenAt: 0, parts: { routes, sysctls }, missing: [] });

const root = mkdtempSync(join(tmpdir(), 'weir-restore-'));
after(() => rmSync(root, { recursive: true, force: true }));

describe('what takes a restore back', () => {
  it('tries every route, also behind one that fails', () => {
    const script = renderReturnScript({ now: settings('10.1.0.0/16 dev a\n'), wanted: settings('10.2.0.0/16 dev a\n') });
    assert.match(script, /^'ip' '-force' '-4' '-batch' '-' /m);
    assert.match(script, /^route add 10\.1\.0\.0\/16 dev a\nroute del 10\.2\.0\.0\/16 dev a$/m);
  });

  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(root, 'guard-'));
    writeFileSync(join(folder, 'return.sh'), 'echo back >> "$(dirname "$0")/ran"\n');
    writeFileSync(join(folder, 'pending'), '');
    writeFileSync(join(folder, 'applying'), '');
    // Each second of the guard is one that the test gives it: it says that it waits, and goes on when told.
    const bin = join(folder, 'bin');
    mkdirSync(bin);
    writeFileSync(join(bin, 'sleep'), '#!/bin/sh\necho waits\nread line\n', { mode: 0o755 });
  });

  function guard(seconds: number, pid: number, most: number): { second(): Promise<void>; go(): void; ended: Promise<unknown> } {
    const child = spawn('sh', ['-c', guardScript, 'weir-baseline', String(seconds), folder, String(pid), String(most)], {
      env: { PATH: `${join(folder, 'bin')}:/usr/bin:/bin` },
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const { stdin, stdout } = child;
    return {
      second: async () => void (await once(stdout, 'data', { signal: AbortSignal.timeout(5000) })),
      go: () => void stdin.write('\n'),
      ended: once(child, 'close', { signal: AbortSignal.timeout(5000) }),
    };
  }
  const ran = (): boolean => existsSync(join(folder, 'ran'));

  it('begins to count when all is applied, however long that took', async () => {
    const { second, go, ended } = guard(1, process.pid, 100);
    for (let count = 0; count < 3; count += 1) {
      await second();
      go();
    }
    await second();
    assert.equal(ran(), false, 'three seconds of work are not the one there is to confirm');
    rmSync(join(folder, 'applying'));
    go();
    await second();
    assert.equal(ran(), false);
    go();
    await ended;
    assert.deepEqual([readFileSync(join(folder, 'ran'), 'utf8'), existsSync(join(folder, 'returned'))], ['back\n', true]);
  });

  it('does not wait for one that died with half of it done, nor without end, and stays away once it is confirmed', async () => {
    const dead = spawn('true');
    await once(dead, 'exit');
    await guard(100, dead.pid ?? 0, 100).ended;
    assert.equal(ran(), true);
    rmSync(join(folder, 'ran'));
    writeFileSync(join(folder, 'pending'), '');
    writeFileSync(join(folder, 'applying'), '');
    const hung = guard(100, process.pid, 1);
    await hung.second();
    hung.go();
    await hung.ended;
    assert.equal(ran(), true);
    rmSync(join(folder, 'ran'));
    await guard(0, process.pid, 1).ended;
    assert.equal(ran(), false);
  });
});

describe('a signal', () => {
  it('between two steps has what was done taken back, and no step run any more', async () => {
    const stop = new AbortController();
    const state = { a: 0, b: 0 };
    const parts = (a: number, b: number): NetworkSettings => ({
      takenAt: 0,
      parts: { sysctls: `net/ipv4/conf/a/rp_filter = ${a}\nnet/ipv4/conf/b/rp_filter = ${b}\n` },
      missing: [],
    });
    const written: string[] = [];
    const runner: CommandRunner = {
      netns: undefined,
      async run(program, args, { input } = {}) {
        const device = /conf\/([ab])\//.exec(args.join())?.[1] as 'a' | 'b';
        state[device] = Number(input);
        written.push(`${program} ${device} ${input}`);
        stop.abort();
        return { code: 0, stdout: '', stderr: '' };
      },
      readProc: async () => undefined,
      writeProc: async () => {},
    };
    const plan = planRestore(parts(0, 0), parts(1, 1));
    assert.equal(plan.steps.length, 2);
    await assert.rejects(
      restoreSettings(plan, mkdtempSync(join(root, 'stopped-')), undefined, {
        read: async () => parts(state.a, state.b),
        signal: stop.signal,
        runner,
      }),
      /stopped by a signal/,
    );
    assert.deepEqual(state, { a: 0, b: 0 });
    assert.equal(written.length, 2, written.join());
  });
});

describe('where it is kept', () => {
  it('nobody else may write, nor to any folder above, a sticky one aside', async () => {
    const deep = join(root, 'a/b/restore');
    mkdirSync(deep, { recursive: true });
    assert.equal(await privateFolder(deep), deep);
    chmodSync(join(root, 'a'), 0o777);
    await assert.rejects(privateFolder(deep), new RegExp(`others may write to ${root}/a:`));
    const link = join(root, 'link');
    symlinkSync(deep, link);
    await assert.rejects(privateFolder(link), /others may write/);
    chmodSync(join(root, 'a'), 0o1777);
    assert.equal(await privateFolder(link), deep);
    chmodSync(deep, 0o1777);
    await assert.rejects(privateFolder(deep), /others may write to .*restore/);
  });
});

describe('a plan', () => {
  it('leaves routes to the daemons that keep them, and says so; the switch of forwarding is a risk', () => {
    const bird = '10.6.0.0/16 via 10.9.0.4 dev d0 proto bird metric 32\n';
    const plan = planRestore(
      settings(bird, 'net/ipv4/ip_forward = 1\n'),
      settings('10.7.0.0/16 dev d0\n', 'net/ipv4/ip_forward = 0\n'),
    );
    assert.deepEqual(plan.kept, ['routes: 1 of bird, to be put back by whoever keeps them']);
    assert.deepEqual(
      plan.steps.filter(({ program }) => program === 'ip').map(({ input }) => input),
      ['route add 10.7.0.0/16 dev d0\n'],
    );
    assert.match(plan.risks.join(), /every device/);
    assert.equal(planRestore(settings(bird), settings('')).steps.length, 0);
  });

  it('never empties the place of a default route that only its keeper puts back, says so, and is found equal', async () => {
    const [dhcp, fixed] = ['default via 10.0.0.1 dev e proto dhcp', 'default via 10.0.0.1 dev e proto static'];
    const plan = planRestore(settings(`${fixed}\n`), settings(`${dhcp}\n`));
    assert.deepEqual(plan.steps, []);
    assert.match(plan.kept.join('\n'), /1 of dhcp[\s\S]*proto static: stays/);
    assert.match(plan.risks.join(), /only dhcp puts this default route back/);
    const reverse = planRestore(settings(`${dhcp}\n`), settings(`${fixed}\n`));
    assert.match(reverse.kept.join('\n'), /proto static: not added/);
    assert.match(reverse.risks.join(), /of dhcp stays/);
    const folder = mkdtempSync(join(root, 'kept-'));
    for (const one of [plan, reverse]) await restoreSettings(one, folder, undefined, { read: async () => one.now });
  });
});
