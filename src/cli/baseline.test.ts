// `weir baseline` as it is typed: files, exit codes, what is said of what could not be measured, versions that are kept and compared.

import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { readFile, rm } from 'node:fs/promises';
import path from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { CommandBed } from '../../test/support/command-bed.ts';
import { WeirError } from '../base/errors.ts';
import { parseAddress } from '../model/address.ts';
import type { NetworkSettings } from '../model/network-settings.ts';
import type { AccessMatrix } from '../netops/baseline/access-matrix.ts';
import { type AccessCheck, wayOf } from '../netops/baseline/matrix-check.ts';
import type { RestorePlan } from '../netops/baseline/settings-restore.ts';
import type { BaselineActions } from './baseline-actions.ts';

const address = (text: string) => parseAddress(text) ?? assert.fail(text);

const matrix: AccessMatrix = {
  recordedAt: 1_700_000_000_000,
  sources: [{ name: 'internet eth0', netns: '', device: 'eth0', addresses: [address('8.8.8.8')] }],
  rows: [
    {
      transport: 'tcp',
      address: address('203.0.113.1'),
      port: 443,
      service: 'nginx',
      reach: ['internet eth0'],
      refuse: [],
      unknown: [],
    },
  ],
};

const opened: AccessCheck['differences'][number] = {
  kind: 'opened',
  source: 'internet eth0',
  target: 'tcp 203.0.113.1:5432',
  expected: 'must not reach',
  found: 'reaches postgres\u001b[2J',
  by: [{ text: 'accept' }],
};

const settings = (parts: NetworkSettings['parts'], missing: NetworkSettings['missing'] = []): NetworkSettings => ({
  takenAt: 1_700_000_000_000,
  parts,
  missing,
});

describe('weir baseline', () => {
  let bed: CommandBed;
  let found: AccessCheck;
  let now: NetworkSettings;
  let alerted: unknown[][];
  let restored: [RestorePlan, number | undefined][];

  beforeEach(async () => {
    bed = new CommandBed();
    await bed.reset();
    found = { compared: 1, differences: [], notMeasured: [], left: new Set(), isCut: false };
    now = settings({ nft: 'table inet a {\n\tchain c {\n\t\taccept\n\t}\n}\n', sysctls: 'net/ipv4/ip_forward = 0\n' });
    alerted = [];
    restored = [];
    bed.baseline = {
      readAccess: async () => ({ matrix, notMeasured: [] }),
      checkAccess: async () => found,
      readSettings: async () => now,
      restore: async (plan, _folder, within) => void restored.push([plan, within]),
      confirm: async () => false,
      readFile: (file) => readFile(file, 'utf8').catch(() => undefined),
      writeFile: async (file, text) => {
        mkdirSync(path.dirname(file), { recursive: true });
        writeFileSync(file, text);
      },
      list: async (folder) => {
        try {
          return readdirSync(folder);
        } catch {
          return [];
        }
      },
      remove: (file) => rm(file),
      alert: async (...given) => void alerted.push(given),
    } satisfies Partial<BaselineActions>;
  });
  afterEach(() => bed.close());

  it('records once, and replaces only when told to', async () => {
    const { code, out } = await bed.run('baseline record');
    assert.equal(code, 0);
    assert.match(out, /access\.yaml: 1 service and 1 source, 1 way open/);
    assert.equal((await bed.run('baseline record')).code, 2);
    assert.equal((await bed.run('baseline record --force')).code, 0);
    assert.match(readFileSync(path.join(bed.directory, 'data/baseline/access.yaml'), 'utf8'), /to: 203\.0\.113\.1:443/);
  });

  it('checks: 0 the same, 10 it differs, 3 it could not be told, 2 without a matrix', async () => {
    assert.equal((await bed.run('baseline check')).code, 2);
    await bed.run('baseline record');
    assert.equal((await bed.run('baseline check --alert')).code, 0);
    assert.deepEqual(alerted, []);
    found = { ...found, notMeasured: ['rules of nft: no permission'] };
    const unknown = await bed.run('baseline check');
    assert.deepEqual([unknown.code, /not measured: rules of nft/.test(unknown.err)], [3, true]);
    found = { ...found, compared: 2, differences: [opened], notMeasured: [] };
    const { code, out } = await bed.run('baseline check --alert');
    assert.equal(code, 10);
    assert.match(out, /opened +internet eth0 -> tcp 203\.0\.113\.1:5432: must not reach/);
    assert.ok(!out.includes('\u001b'));
    assert.equal(alerted.length, 1);
    await bed.run('baseline check --alert');
    assert.equal(alerted.length, 1, 'told once');
    // Shown also where it cannot be written down.
    const { alert } = bed.baseline;
    bed.baseline.alert = () => Promise.reject(new WeirError('disk-full', 'no room'));
    const other = { ...opened, target: 'tcp 203.0.113.1:6379' };
    found = { ...found, differences: [opened, other] };
    const unwritten = await bed.run('baseline check --alert');
    assert.deepEqual([unwritten.code, /203\.0\.113\.1:6379/.test(unwritten.out)], [1, true], unwritten.err);
    const one = await bed.run('baseline check --alert --json');
    const told = JSON.parse(one.out) as { differences: unknown[]; error: { code: string } };
    assert.deepEqual([one.code, told.differences.length, told.error.code], [1, 2, 'disk-full'], 'one object');
    bed.baseline.alert = alert;
    // What a run did not come to is neither agreed nor news again.
    found = {
      ...found,
      differences: [],
      notMeasured: ['the time was over'],
      left: new Set([wayOf(opened.source, opened.target)]),
    };
    await bed.run('baseline check --alert');
    found = { ...found, differences: [opened], left: new Set() };
    await bed.run('baseline check --alert');
    assert.equal(alerted.length, 1, 'told already');
    // Closed, as far as that way goes: other gaps keep nothing.
    found = { ...found, differences: [], notMeasured: ['another way: it could not be decided when it was recorded'] };
    await bed.run('baseline check --alert');
    found = { ...found, differences: [opened] };
    await bed.run('baseline check --alert');
    assert.equal(alerted.length, 2, 'told again when it is back');
    assert.deepEqual(JSON.parse((await bed.run('baseline check --json')).out).differences[0].kind, 'opened');
  });

  it('keeps a version only when something changed, and compares', async () => {
    assert.match((await bed.run('baseline snapshot --note first')).out, /^Version 1 /);
    assert.match((await bed.run('baseline snapshot')).out, /^Nothing changed since version 1 /);
    const text = now;
    now = settings({ ...text.parts, routes: 'default via 10.0.0.1 dev eth0 proto bird\n' });
    assert.match((await bed.run('baseline snapshot --dir others')).err, /1 route of bird: .*a restore leaves them alone/);
    now = text;
    now = settings({ nft: now.parts.nft ?? '', sysctls: 'net/ipv4/ip_forward = 1\n' });
    const diff = await bed.run('baseline diff 1');
    assert.deepEqual([diff.code, /\+ net\/ipv4\/ip_forward = 1/.test(diff.out)], [10, true]);
    assert.match((await bed.run('baseline snapshot')).out, /^Version 2 /);
    assert.equal((await bed.run('baseline diff 2')).code, 0);
    assert.equal((await bed.run('baseline diff 1 2')).code, 10);
    assert.match((await bed.run('baseline list')).out, /1 .* first\n.*2 /s);
    assert.equal((await bed.run('baseline diff 9')).code, 1);
    now = settings({ sysctls: 'net/ipv4/ip_forward = 1\n' }, [{ part: 'nft', why: 'no permission' }]);
    const partly = await bed.run('baseline diff 2');
    assert.deepEqual([partly.code, /not measured: nft: no permission/.test(partly.err)], [3, true]);
  });

  it('refuses to bring back what is not what was kept', async () => {
    await bed.run('baseline snapshot');
    const folder = path.join(bed.directory, 'data/baseline/snapshots/texts');
    for (const name of readdirSync(folder)) writeFileSync(path.join(folder, name), 'table inet evil {\n}\n');
    const { code, err } = await bed.run('baseline restore 1 --yes');
    assert.deepEqual([code, /is not what was written there/.test(err), restored.length], [1, true, 0]);
  });

  it('confirms in vain with exit 1, names where it looked, and what failed when it was taken back', async () => {
    const folder = path.join(bed.directory, 'data/baseline/restore');
    const none = await bed.run('baseline confirm');
    assert.deepEqual([none.code, none.out.includes(folder), none.err], [1, true, '']);
    mkdirSync(folder, { recursive: true });
    writeFileSync(path.join(folder, 'return-errors'), 'RTNETLINK answers: File exists\n');
    const { code, err } = await bed.run('baseline confirm');
    assert.deepEqual([code, /failed: RTNETLINK answers: File exists/.test(err)], [1, true]);
    assert.equal(JSON.parse((await bed.run('baseline confirm --json')).out).confirmed, false);
    bed.baseline.confirm = async () => true;
    assert.equal((await bed.run('baseline confirm')).code, 0);
  });

  it('restores only with --yes, and waits for a confirmation unless told not to', async () => {
    await bed.run('baseline snapshot');
    assert.deepEqual([(await bed.run('baseline restore last --yes')).code, restored.length], [0, 0]);
    now = settings({ nft: '', sysctls: 'net/ipv4/ip_forward = 1\n' });
    const plan = await bed.run('baseline restore 1');
    assert.equal(plan.code, 10);
    assert.match(plan.out, /Steps:\n {2}sysctl net\/ipv4\/ip_forward: 1 -> 0\n {2}nft, one transaction: add table inet a/);
    assert.equal(restored.length, 0);
    assert.match((await bed.run('baseline restore 1 --yes')).out, /taken back in 60 s unless you run `weir baseline confirm`/);
    await bed.run('baseline restore 1 --yes --keep --only nft');
    assert.deepEqual(
      restored.map(([{ steps }, within]) => [steps.length, within]),
      [
        [2, 60_000],
        [1, undefined],
      ],
    );
    now = settings({ ...now.parts, routes: 'default via 10.0.0.1 dev eth0 proto bird\n' });
    await bed.run('baseline snapshot');
    now = settings({ ...now.parts, routes: '' });
    const kept = await bed.run('baseline restore last --yes');
    assert.match(kept.err, /left alone: routes: 1 of bird, to be put back by whoever keeps them/);
    assert.doesNotMatch(kept.err, /not measured/);
    const many = Array.from({ length: 130 }, (_, index) => `net/ipv4/conf/e${index}/rp_filter = `);
    now = settings({ sysctls: many.map((key) => `${key}1\n`).join('') });
    await bed.run('baseline snapshot');
    now = settings({ sysctls: many.map((key) => `${key}2\n`).join('') });
    assert.match((await bed.run('baseline restore last')).out, / {2}and 30 more: --json has all/);
    for (const wrong of ['--only rulez', '--yes --confirm-within 2d', '--keep --confirm-within 5s'])
      assert.equal((await bed.run(`baseline restore 1 ${wrong}`)).code, 2, wrong);
  });
});
