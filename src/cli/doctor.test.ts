// `weir doctor`: what it asks for, how it says what it found, to people and as JSON, and its exit codes.

import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, it } from 'node:test';
import { CommandBed } from '../../test/support/command-bed.ts';
import { WeirError } from '../base/errors.ts';
import { renderAddress } from '../model/address.ts';
import type { Diagnosis } from '../model/diagnosis.ts';
import type { DiagnosisWish } from '../netops/doctor/diagnose.ts';
import { parseTarget } from './doctor.ts';

const found = (more: Partial<Diagnosis> = {}): Diagnosis => ({
  flow: { proto: 'tcp', src: '10.0.0.7', dst: '10.0.0.9', dport: 443, netns: 'this machine' },
  verdict: 'unreachable',
  confidence: 'proven',
  cause: { id: 'fw-rule-drop', layer: 'filter', hop: 2, detail: 'dropped by a rule \u001b[2J' },
  hops: [
    {
      n: 1,
      layer: 'route',
      netns: 'this machine',
      dev: 'eth0',
      state: 'pass',
      detail: '10.0.0.9 is here',
      evidence: [{ rung: 'state', text: 'hidden' }],
    },
    {
      n: 2,
      layer: 'filter',
      netns: 'this machine',
      dev: 'eth0',
      state: 'fail',
      detail: 'dropped by a rule',
      evidence: [{ rung: 'counters', text: 'that rule matched 2 packets' }],
    },
  ],
  fix: [
    { when: 'now', cmd: 'nft insert rule x', undo: 'nft delete rule x', risk: 'some', scope: 'one flow' },
    { when: 'persist', cmd: '# write it down', undo: '', risk: '', scope: '' },
  ],
  rejected_fixes: [{ cmd: 'iptables -I DOCKER-USER', why: 'opens everything', proof: '0 packets' }],
  not_measured: ['conntrack: needs root'],
  ...more,
});

describe('weir doctor', () => {
  let bed: CommandBed;
  let asked: DiagnosisWish[] = [];
  let answers: Diagnosis[] = [];
  let trials: string[] = [];

  before(() => {
    bed = new CommandBed();
  });
  after(() => bed.close());
  beforeEach(async () => {
    await bed.reset();
    [asked, answers, trials] = [[], [], []];
    bed.doctor = {
      diagnose: async (wish) => {
        asked.push(wish);
        return answers.shift() ?? found();
      },
      tryFix: async ({ cmd }, forMs) => {
        trials.push(`${cmd} for ${forMs}`);
        return {
          end: async () => {
            trials.push('taken back');
            return { lasted: true };
          },
        };
      },
    };
  });

  it('leads with the verdict, shows what a hop that fails stands on, and nothing an attacker wrote as it is', async () => {
    const { code, out } = await bed.run('doctor --from 10.0.0.7 --to 10.0.0.9:443');
    assert.equal(code, 10);
    assert.equal(
      out,
      `UNREACHABLE  10.0.0.7 to 10.0.0.9:443/tcp: fw-rule-drop, hop 2 (proven)
  dropped by a rule \\x1b[2J

   1  route   this machine eth0  ok    10.0.0.9 is here
>  2  filter  this machine eth0  FAIL  dropped by a rule
        counters: that rule matched 2 packets

Fix  nft insert rule x
  undo   nft delete rule x
  risk   some
  scope  one flow

For good  write it down

Does not help  iptables -I DOCKER-USER
  why    opens everything
  proof  0 packets

Not measured
  conntrack: needs root
`,
    );
    assert.deepEqual([asked[0].probe, asked[0].inject, asked[0].netns], [false, false, undefined]);
  });

  it('has an exit code for each verdict, and JSON as it is written down', async () => {
    for (const [verdict, expected] of [
      ['reachable', 0],
      ['unreachable', 10],
      ['degraded', 11],
      ['inconclusive', 12],
    ] as const) {
      answers = [found({ verdict })];
      const { code, out } = await bed.run('doctor --from 10.0.0.7 --to 10.0.0.9:443 --json');
      assert.equal(code, expected);
      const json = JSON.parse(out);
      assert.deepEqual(Object.keys(json), [
        'flow',
        'verdict',
        'confidence',
        'cause',
        'hops',
        'fix',
        'rejected_fixes',
        'not_measured',
      ]);
      assert.equal(json.verdict, verdict);
    }
    bed.doctor.diagnose = async () => {
      throw new WeirError('not-permitted', 'the network namespace could not be read');
    };
    assert.equal((await bed.run('doctor --from 10.0.0.7 --to 10.0.0.9:443')).code, 3);
  });

  it('asks for the contrast in the same way', async () => {
    answers = [found(), found({ verdict: 'reachable', cause: undefined })];
    const { out } = await bed.run('doctor --from 10.0.0.7 --to [fd00::9]:443 --contrast fd00::8 --netns web --probe --json');
    assert.deepEqual(
      asked.map(({ source, destination, probe, netns }) => [renderAddress(source), renderAddress(destination), probe, netns]),
      [
        ['10.0.0.7', 'fd00::9', true, 'web'],
        ['fd00::8', 'fd00::9', true, 'web'],
      ],
    );
    assert.equal(JSON.parse(out).contrast.verdict, 'reachable');
  });

  it('tries the first fix that is a command, looks again, and takes it back whatever happens', async () => {
    answers = [found(), found({ verdict: 'reachable' })];
    const { out, code } = await bed.run('doctor --from 10.0.0.7 --to 10.0.0.9:443 --try-fix 30s');
    assert.equal(code, 10, 'what is, not what was for a moment');
    assert.deepEqual(trials, ['nft insert rule x for 30000', 'taken back']);
    assert.match(out, /Tried {2}reachable \(proven\) while it was applied; taken back/);
    assert.deepEqual(
      asked.map(({ probe }) => probe),
      [true, true],
    );
    bed.doctor.diagnose = async () => {
      if (trials.includes('again')) throw new Error('gone');
      trials.push('again');
      return found();
    };
    trials = [];
    const failed = JSON.parse((await bed.run('doctor --from 10.0.0.7 --to 10.0.0.9:443 --try-fix 30s --json')).out);
    assert.equal(trials.at(-1), 'taken back');
    assert.deepEqual([failed.tried_fix.undone, failed.tried_fix.error], [true, 'gone']);
  });

  it('says nothing of a fix whose time was up before the look was over, and what to type where it is still there', async () => {
    const line = 'doctor --from 10.0.0.7 --to 10.0.0.9:443 --try-fix 30s';
    bed.doctor.tryFix = async () => ({ end: async () => ({ lasted: false }) });
    answers = [found(), found({ verdict: 'reachable' })];
    const short = await bed.run(`${line} --json`);
    assert.equal(short.code, 10);
    const { tried_fix: tried } = JSON.parse(short.out);
    assert.deepEqual([tried.verdict, tried.undone], [undefined, true]);
    assert.match(tried.error, /time was up/);
    bed.doctor.tryFix = async () => ({
      end: async () => {
        throw new WeirError('kernel-refused', 'the fix was not taken back: no');
      },
    });
    answers = [found(), found({ verdict: 'reachable' })];
    const left = await bed.run(line);
    assert.equal(left.code, 1);
    assert.match(left.out, /NOT taken back\n {2}the fix was not taken back: no\n {2}type {3}nft delete rule x\n/);
  });

  it('tries no fix where nothing is broken, or nobody knows', async () => {
    for (const verdict of ['reachable', 'inconclusive'] as const) {
      answers = [found({ verdict })];
      await bed.run('doctor --from 10.0.0.7 --to 10.0.0.9:443 --try-fix 30s');
    }
    assert.deepEqual(trials, []);
  });

  it('refuses what is no address, no port, no time', async () => {
    for (const line of [
      'doctor --contrast 10.0.0.7',
      'doctor --from 10.0.0.7',
      'doctor --from here --to 10.0.0.9:443',
      'doctor --from 10.0.0.7 --to 10.0.0.9',
      'doctor --from 10.0.0.7 --to 10.0.0.9:0',
      'doctor --from 10.0.0.7 --to 10.0.0.9:70000',
      'doctor --from 10.0.0.7 --to fd00::9:443',
      'doctor --from 10.0.0.7 --to 10.0.0.9:443 --try-fix forever',
      'doctor --from 10.0.0.7 --to 10.0.0.9:443 --try-fix 1d',
      'doctor --from 10.0.0.7 --to 10.0.0.9:443 --probe --inject',
    ])
      assert.equal((await bed.run(line)).code, 2, line);
    assert.deepEqual(asked, []);
    assert.equal(parseTarget('[2001:db8::9]:22').port, 22);
    assert.deepEqual(
      ['10.0.0.9:53', '10.0.0.9:53/tcp', '[2001:db8::9]:53/udp'].map((text) => parseTarget(text).transport),
      ['tcp', 'tcp', 'udp'],
    );
    assert.throws(() => parseTarget('10.0.0.9:53/sctp'));
  });

  it('alone: asks the programs, touches decoys, and looks for one touch among the sessions', async () => {
    const touched: string[] = [];
    let port = 0;
    bed.doctor = {
      machine: async () => [{ name: 'disk', state: 'pass', detail: 'room' }],
      touch: async ({ link }, decoy, to) => {
        touched.push(`${link} ${renderAddress(decoy)}:${to}`);
        return { result: 'answered', source: '192.0.2.5', sourcePort: port, ms: 1 };
      },
    };
    const nothing = await bed.run('doctor');
    assert.equal(nothing.code, 10);
    assert.match(
      nothing.out,
      /^1 check failed\n {2}FAIL {2}programs +Weir does not run here\n[\s\S]*next: start it with `weir up`/,
    );
    const status = {
      health: 'good',
      processes: [{ name: 'gateway', state: 'running', pid: 5 }],
      diversions: [{ name: 'dmz', kind: 'host', interface: 'eth0', decoys: '5', ranges: [] }],
    };
    const session = { source: { ip: '192.0.2.5', port: 4711 }, weir: { session: { id: 'abc' } } };
    port = 4711;
    await bed.withRecorder(
      (request, response) =>
        response.end(JSON.stringify(request.url?.startsWith('/api/status') ? status : { items: [session], next: null })),
      async () => {
        const { code, out } = await bed.run('doctor');
        assert.equal(code, 0, out);
        assert.match(out, /^all well\n/);
        assert.match(out, /decoys of dmz: end to end +a touch from 192\.0\.2\.5:4711 to 10\.66\.3\.4:22 is session abc/);
        assert.deepEqual(touched, ['eth0 10.66.3.4:22', 'eth0 10.66.3.5:22', 'eth0 10.66.3.6:22', 'eth0 10.66.3.7:22']);
        bed.doctor.touch = async () => ({ why: 'no way back' });
        assert.equal((await bed.run('doctor')).code, 12);
        bed.doctor.touch = async () => ({ result: 'silent', source: '192.0.2.6', sourcePort: 1, ms: 1 });
        const json = JSON.parse((await bed.run('doctor --json')).out);
        assert.equal(json.exit_code, 10);
        assert.equal(json.checks.at(-1).next, 'weir doctor --from 192.0.2.6 --to 10.66.3.4:22 --inject');
      },
    );
  });
});
