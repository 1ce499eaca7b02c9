// The command line itself: which verbs there are, what they are handed, exit codes, messages, help; and `weir status`.

import assert from 'node:assert/strict';
import { rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { after, beforeEach, describe, it } from 'node:test';
import { CommandBed } from '../../test/support/command-bed.ts';
import { WeirError } from '../base/errors.ts';
import type { ApplyOptions } from './actions.ts';

describe('the command line', () => {
  const bed = new CommandBed();
  beforeEach(() => bed.reset());
  after(() => bed.close());

  it('hands verbs that change the machine to the programs', async () => {
    writeFileSync(path.join(bed.directory, 'weir.yaml'), 'version: 1\n');
    assert.equal((await bed.run('up --yes --confirm-within 60s')).code, 7);
    assert.deepEqual(bed.called[0][1], [{ yes: true, confirmWithinMs: 60_000 } satisfies ApplyOptions]);
    assert.equal(bed.called[0][2].configurationFile, path.join(bed.directory, 'weir.yaml'));
    const plan = await bed.run('plan');
    assert.equal(plan.code, 10);
    assert.equal(plan.out, 'plan done\n');
    assert.deepEqual(JSON.parse((await bed.run('down --json')).out), { done: 'down' });
    assert.equal((await bed.run('apply --confirm-within 3y')).code, 2);
    assert.equal((await bed.run('test address ports')).code, 7);
    assert.deepEqual(bed.called.at(-1)?.[1], [['address', 'ports']]);
    rmSync(path.join(bed.directory, 'weir.yaml'));
    await bed.run('confirm');
    assert.equal(bed.called.at(-1)?.[2].configurationFile === path.join(bed.directory, 'weir.yaml'), false);
  });

  it('names file, line, mistake and next step of a bad configuration', async () => {
    writeFileSync(path.join(bed.directory, 'bad.yaml'), 'broken\n');
    const { code, err } = await bed.run('sessions -c bad.yaml');
    assert.equal(code, 2);
    assert.equal(
      err,
      'weir: weir.yaml:12: unknown key `retenion` (config-invalid)\n  next: did you mean `retention`?\nweir.yaml:20: 10.0.0.0/33 is not a range\\x1b[2J\n  next: write 10.0.0.0/24\n',
    );
    assert.equal((await bed.run('sessions -c nowhere.yaml')).code, 2);
  });

  it('turns codes into exit codes, and into JSON when asked', async () => {
    bed.thrown.set('down', new WeirError('not-permitted', 'this needs root', { next: 'run it with sudo' }));
    const { code, err, out } = await bed.run('down --json');
    assert.equal(code, 3);
    assert.deepEqual(JSON.parse(out), {
      error: { code: 'not-permitted', message: 'this needs root', details: { next: 'run it with sudo' } },
    });
    assert.match(err, /weir: this needs root \(not-permitted\)\n {2}next: run it with sudo/);
    bed.thrown.set('apply', new WeirError('lock-out', 'port 22 is yours', { file: 'weir.yaml', line: 9 }));
    const refused = await bed.run('apply');
    assert.equal(refused.code, 2);
    assert.match(refused.err, /^weir: weir\.yaml:9: port 22 is yours/);
    bed.thrown.set('down', new WeirError('fault', 'oops'));
    assert.equal((await bed.run('down')).code, 1);
  });

  it('suggests what was meant, and shows no verb of a later version', async () => {
    const verb = await bed.run('sesions');
    assert.equal(verb.code, 2);
    assert.match(verb.err, /unknown command 'sesions'[\s\S]*Did you mean (one of )?session/);
    const option = await bed.run('sessions --sinec 1h');
    assert.equal(option.code, 2);
    assert.match(option.err, /unknown option '--sinec'[\s\S]*Did you mean --since\?/);
    const help = await bed.run('--help');
    assert.equal(help.code, 0);
    for (const shown of [
      'up',
      'down',
      'plan',
      'apply',
      'confirm',
      'rollback',
      'status',
      'decoys',
      'sessions',
      'session',
      'probes',
      'alerts',
      'top',
      'export',
      'attackers',
      'attacker',
      'verdicts',
      'campaigns',
      'doctor',
      'capture',
      'rst',
      'exposure',
      'kill',
      'baseline',
      'demo',
      'bench',
      'test',
    ])
      assert.match(help.out, new RegExp(`^ {2}${shown}\\b`, 'm'));
    assert.doesNotMatch(help.out, /^ {2}services\b/m);
    assert.equal((await bed.run('top nonsense')).code, 2);
    assert.equal((await bed.run('--version')).out, '1.2.3\n');
    const hostile = await bed.run(['\u001b[2Jx']);
    assert.ok(!hostile.err.includes('\u001b'));
  });

  it('has an example in the help of every verb', async () => {
    for (const verb of [
      'up',
      'down',
      'plan',
      'apply',
      'confirm',
      'rollback',
      'status',
      'decoys',
      'sessions',
      'session',
      'probes',
      'alerts',
      'top',
      'export',
      'attackers',
      'attacker',
      'verdicts',
      'doctor',
      'capture',
      'rst',
      'exposure',
      'kill',
      'demo',
      'bench',
      'test',
    ]) {
      const { out, code } = await bed.run(`${verb} --help`);
      assert.equal(code, 0);
      assert.match(out, new RegExp(`Examples?:\\n {2}weir ${verb}`), verb);
      assert.match(out, /--config <file>/, verb);
      assert.match(out, /--json/, verb);
    }
  });

  it('shows what runs, what is diverted, what was lost, and a fresh link', async () => {
    const status = {
      version: '0.1.0',
      health: 'degraded',
      reasons: ['netd is restarting: see its log\u001b[2J'],
      processes: [
        {
          name: 'netd',
          state: 'restarting',
          pid: 71,
          user: 'root',
          since: '2026-03-04T05:00:07.000000Z',
          restarts: 2,
          memoryBytes: 41_200_000,
        },
        { name: 'gateway', state: 'running', pid: 72, user: 'weir', since: '2026-03-04T05:00:07.000000Z', restarts: 0 },
      ],
      diversions: [
        { name: 'dmz', kind: 'host', interface: 'eth0', decoys: '1048576', ranges: ['10.64.0.0/12'], withheld: ['10.64.0.9'] },
      ],
      confirmBefore: '2026-03-04T05:06:52.000000Z',
      sessions: { open: 3, total: 70_000 },
      journal: { lagMs: 12, lagBytes: 0, sizeBytes: 1_500_000 },
      store: { sizeBytes: 25_000_000, sessions: 70_000, oldest: '2026-03-01T05:06:07.000000Z' },
      drops: { 'sessions shed': 1200, 'nothing here': 0 },
      data: '/var/lib/weir',
      console: { url: 'https://sensor:8443', fingerprint: 'AB:CD' },
    };
    await bed.withRecorder(
      (request, response) => {
        const link = { url: 'https://sensor:8443/sign-in?token=abc', expires: '2026-03-04T05:21:07.000000Z' };
        response.end(JSON.stringify(request.url === '/api/sign-in-links' ? link : status));
      },
      async () => {
        const { code, out } = await bed.run('status');
        assert.equal(code, 0);
        assert.equal(
          out,
          `● degraded  Weir 0.1.0
  ! netd is restarting: see its log\\x1b[2J
  ! the last change is not confirmed: weir confirm within 45.0 s, or it is rolled back

PROCESS  STATE       PID  USER  UP FOR  RESTARTS  MEMORY
netd     restarting   71  root      6m         2   41 MB
gateway  running      72  weir      6m         0       -

DIVERSION  KIND  INTERFACE     DECOYS  GIVEN BACK  ADDRESSES
dmz        host  eth0       1,048,576           1  10.64.0.0/12

sessions  3 open, 70,000 recorded
journal   12.0 ms behind, 0 B to go, 1.5 MB on disk
store     25 MB, 70,000 sessions, back to 2026-03-01
lost      sessions shed 1,200
data      /var/lib/weir
console   https://sensor:8443/sign-in?token=abc
          works once, for 15 minutes
SHA-256   AB:CD
`,
        );
        const json = JSON.parse((await bed.run('status --json')).out);
        assert.equal(json.health, 'degraded');
        assert.equal(json.signIn.url, 'https://sensor:8443/sign-in?token=abc');
      },
    );
  });

  it('shows what else runs when the recorder does not answer', async () => {
    bed.status = { processes: [{ name: 'up', state: 'running' }], reasons: [] };
    const { code, out } = await bed.run('status');
    assert.equal(code, 1);
    assert.match(out, /● bad\n {2}! the recorder does not answer/);
    assert.match(out, /^up +running/m);
  });
});
