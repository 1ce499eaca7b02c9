// `weir agents` as whole commands: what is shown of agents, what adding one prints, and the proof of a way, which holds only when the
// record says what the agent said.

import assert from 'node:assert/strict';
import { after, beforeEach, describe, it } from 'node:test';
import { CommandBed, now } from '../../test/support/command-bed.ts';
import { sampleSession } from '../../test/support/sample-records.ts';
import { renderMicros } from '../base/clock.ts';
import { WeirError } from '../base/errors.ts';
import type { AgentReport, AgentRollOut, AgentStatus, AgentToken, AgentTouches, AgentUpgrade } from '../model/agent.ts';

const ago = (seconds: number): string => renderMicros(now - seconds * 1e6);

const linked: AgentStatus = {
  name: 'branch-1',
  state: 'linked',
  health: 'degraded',
  reasons: ['port 445 is taken\u001b[2J'],
  version: '1.2.3',
  peer: '198.51.100.7:40123',
  since: ago(7200),
  lastTouch: ago(90),
  latencyMicros: 12_300,
  spool: { records: 1200, bytes: 340_000, droppedRecords: 3, diskFull: false },
  skewMicros: -365 * 86_400e6,
  rules: { wanted: 'abc', applied: 'abc', refused: [{ transport: 'tcp', port: 445, why: 'EADDRINUSE' }] },
};
const waiting: AgentStatus = { name: 'branch-2', state: 'waiting', health: 'good', reasons: [], since: ago(60) };
const report: AgentReport = { agents: [linked, waiting], reasons: ['the clock is wrong'] };

const token: AgentToken = {
  name: 'branch-1',
  token: 'weir1.abc',
  expires: '2026-03-05T05:06:07.000000Z',
  again: false,
  gateways: ['weir.example.org:7443', '192.0.2.1:7443'],
  unused: false,
};

describe('weir agents', () => {
  const bed = new CommandBed();
  beforeEach(() => bed.reset());
  after(() => bed.close());

  it('lists them with all there is to know, made safe, and why one is not well', async () => {
    bed.agentAnswers = { report: () => report };
    const { code, out, err } = await bed.run('agents');
    assert.equal(code, 0);
    const lines = out.trimEnd().split('\n');
    assert.match(lines[0], /^NAME +STATE +HEALTH +VERSION +PEER +SINCE +LAST TOUCH +LATENCY +QUEUE +SKEW +RULES$/);
    assert.match(
      lines[1],
      /^branch-1 +linked +degraded +1\.2\.3 +198\.51\.100\.7:40123 +2h +1m +12\.3 ms +1,200 \(340 kB\), 3 lost +-365 d 0 h +1 port refused$/,
    );
    assert.match(lines[2], /^branch-2 +waiting +- +- +- +1m +- +- +- +- +-$/);
    assert.match(err, /the clock is wrong\n.*branch-1: port 445 is taken\\x1b\[2J/);
    assert.ok(!`${out}${err}`.includes('\u001b'));
    const json = await bed.run('agents --json');
    assert.deepEqual(
      json.out
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line)),
      [linked, waiting],
    );
    bed.agentAnswers = { report: () => ({ agents: [], reasons: [] }) };
    assert.match((await bed.run('agents')).out, /no agents: `weir agents add NAME`/);
  });

  it('prints what to type on the other machine; as JSON, one object and nothing else', async () => {
    bed.agentAnswers = { add: () => [token] };
    const { code, out, err } = await bed.run('agents add branch-1 --expires 7d');
    assert.equal(code, 0);
    assert.deepEqual(bed.called.at(-1)?.slice(0, 2), ['agents.add', [['branch-1'], 7 * 86_400_000]]);
    assert.match(out, /until 2026-03-05 05:06 UTC:\n\n {2}weir agent --gateway weir\.example\.org:7443 --token weir1\.abc\n/);
    assert.match(err, /also 192\.0\.2\.1:7443/);
    for (const line of ['agents add branch-1 --json', 'agents --json add branch-1', 'agents add --json branch-1']) {
      const json = await bed.run(line);
      assert.deepEqual(JSON.parse(json.out), {
        ...token,
        command: 'weir agent --gateway weir.example.org:7443 --token weir1.abc',
      });
      assert.deepEqual(bed.called.at(-1)?.slice(0, 2), ['agents.add', [['branch-1'], undefined]]);
    }
    bed.agentAnswers = { add: () => [{ ...token, again: true, unused: true, gateways: [] }] };
    const odd = await bed.run('agents add branch-1');
    assert.match(odd.out, /--gateway HOST:PORT/);
    assert.match(odd.err, /nothing listens for agents yet.*\n.*enrolled before.*\n.*weir\.yaml has nothing for it yet/);
    bed.agentAnswers = { add: (names) => (names as string[]).map((name) => ({ ...token, name })) };
    const fleet = await bed.run('agents add a b c');
    assert.equal(fleet.out.match(/weir agent --gateway /g)?.length, 3);
    assert.equal((await bed.run('agents add a b c --json')).out.trim().split('\n').length, 3);
    assert.equal((await bed.run('agents add branch-1 --expires soon')).code, 2);
    bed.thrown.set('agents.add', new WeirError('not-running', 'none runs', { next: 'start it with `weir up`' }));
    const failed = await bed.run('agents add branch-1 --json');
    assert.equal(failed.code, 1);
    assert.equal(JSON.parse(failed.out).error.code, 'not-running');
  });

  it('removes', async () => {
    bed.agentAnswers = { remove: (name) => (name === 'branch-1' ? 'revoked' : 'forgotten') };
    const removed = await bed.run('agents remove branch-1 branch-2');
    assert.match(removed.out, /branch-1 is revoked: .*\nbranch-2 is forgotten/);
  });

  it('upgrades whom it was told, and tells how it goes', async () => {
    const at = (change: number, first: AgentUpgrade['state'], second: AgentUpgrade, over: boolean): AgentRollOut => ({
      version: '1.3.0',
      change,
      over,
      stages: 2,
      agents: [{ agent: 'branch-1', state: first, stage: 1, version: '1.3.0' }, second],
    });
    const failed: AgentUpgrade = { agent: 'branch-2', state: 'failed', stage: 2, reason: 'it died\u001b[2J' };
    bed.agentAnswers = {
      upgrade: (_, progress) => {
        const told = progress as (rollOut: AgentRollOut) => void;
        told(at(1, 'offered', { agent: 'branch-2', state: 'waiting', stage: 2 }, false));
        told(at(2, 'done', { agent: 'branch-2', state: 'offered', stage: 2 }, false));
        told(at(3, 'done', failed, true));
        return at(3, 'done', failed, true);
      },
      stopUpgrade: () => at(3, 'done', { agent: 'branch-2', state: 'unfinished', stage: 2 }, true),
    };
    const upgraded = await bed.run('agents upgrade --all --stage 5 --within 30');
    assert.equal(upgraded.code, 1, 'one of them failed');
    assert.match(upgraded.out, /branch-1 +done +1 +-\nbranch-2 +failed +2 +it died/);
    assert.ok(!upgraded.out.includes('\u001b') && !upgraded.err.includes('\u001b'));
    assert.deepEqual(upgraded.err.split('\n').filter((line) => /branch-\d/.test(line)).length, 4, upgraded.err);
    assert.match(
      upgraded.err,
      /stage 1 of 2: branch-1 is asked\n.*branch-1 works with 1\.3\.0\n.*stage 2 of 2: branch-2 is asked\n.*branch-2 failed, nobody more is asked/,
    );
    assert.deepEqual(bed.called.at(-1)?.[1].slice(0, 1), [{ stage: 5, withinMs: 30_000 }]);
    await bed.run('agents upgrade branch-1 --force --program old.mjs');
    assert.deepEqual(bed.called.at(-1)?.[1].slice(0, 1), [{ names: ['branch-1'], force: true, program: 'old.mjs' }]);
    const stopped = await bed.run('agents upgrade --stop --json');
    assert.equal(bed.called.at(-1)?.[0], 'agents.stopUpgrade');
    assert.equal(JSON.parse(stopped.out).agents[1].state, 'unfinished');
    for (const line of [
      'agents upgrade',
      'agents upgrade branch-1 --all',
      'agents upgrade --all --stage 0',
      'agents upgrade --all --within x',
      'agents upgrade --all --stop',
    ])
      assert.equal((await bed.run(line)).code, 2, line);
  });

  describe('test', () => {
    const decoy = { ip: '10.9.0.5', port: 23 };
    const source = { ip: '10.9.0.5', port: 50_123 };
    const touches = (change: Partial<AgentTouches> = {}): AgentTouches => ({
      agent: 'branch-1',
      touches: [{ diversion: 'branch', transport: 'tcp', decoy, source }],
      ...change,
    });
    const record = async (change: object = {}): Promise<void> => {
      const session = sampleSession(now - 1e6, 77, {
        source,
        destination: decoy,
        transport: 'tcp',
        diversion: 'branch',
        agent: 'branch-1',
        ...change,
      });
      await bed.store?.apply([{ kind: 'session', session }], {});
    };
    const test = async (options = ''): Promise<{ code: number; rows: Record<string, unknown>[] }> => {
      const { code, out } = await bed.run(`agents test --json${options}`);
      return {
        code,
        rows: out
          .trim()
          .split('\n')
          .map((line) => JSON.parse(line)),
      };
    };
    beforeEach(() => {
      bed.agentAnswers = { report: () => ({ agents: [linked], reasons: [] }), touch: () => touches() };
    });

    it('is passed when the record has the source, the decoy, the agent and the diversion', async () => {
      await record();
      const { code, rows } = await test();
      assert.equal(code, 0);
      assert.deepEqual([rows[0].ok, rows[0].source, rows[0].decoy, rows[0].diversion], [true, source, decoy, 'branch']);
      assert.match(String(rows[0].session), /^\w{19}$/);
      const people = await bed.run('agents test branch-1');
      assert.equal(people.code, 0);
      assert.match(people.out, /branch-1 +branch +10\.9\.0\.5:50123 +10\.9\.0\.5:23\/tcp +OK +\w{19}/);
      assert.match(people.err, /1 way from end to end/);
    });

    it('fails for a record that names another agent or diversion', async () => {
      await record({ agent: 'branch-9' });
      let { code, rows } = await test();
      assert.deepEqual([code, rows[0].ok, rows[0].step], [1, false, 'agent']);
      await bed.reset();
      bed.agentAnswers = { report: () => ({ agents: [linked], reasons: [] }), touch: () => touches() };
      await record({ diversion: 'dmz' });
      ({ code, rows } = await test());
      assert.deepEqual([code, rows[0].ok, rows[0].step], [1, false, 'diversion']);
    });

    it('fails, after its time, when only something like it is on record', { timeout: 30_000 }, async () => {
      await record({ source: { ...source, port: source.port + 1 } });
      const { code, rows } = await test(' --within 1');
      assert.deepEqual([code, rows[0].ok, rows[0].step], [1, false, 'record']);
      assert.match(String(rows[0].reason), /no session from 10\.9\.0\.5:50123 to 10\.9\.0\.5:23 within 1 s/);
      for (const wrong of ['0', '-1', '1000', '1s'])
        assert.equal((await bed.run(`agents test --within ${wrong}`)).code, 2, wrong);
    });

    it('says at which step it broke before that', async () => {
      bed.agentAnswers.touch = () => touches({ touches: [], error: { step: 'link', message: 'it is away', next: 'look there' } });
      const { code, rows } = await test();
      assert.deepEqual(
        [code, rows],
        [1, [{ agent: 'branch-1', ok: false, step: 'link', reason: 'it is away', next: 'look there' }]],
      );
      bed.agentAnswers.touch = () =>
        touches({ touches: [{ diversion: 'branch', transport: 'udp', decoy, error: 'ECONNREFUSED' }] });
      const people = await bed.run('agents test');
      assert.equal(people.code, 1);
      assert.match(people.out, /10\.9\.0\.5:23\/udp +failed: touch/);
      assert.match(people.err, /ECONNREFUSED\n.*1 way of 1 broken/);
      bed.agentAnswers.report = () => ({ agents: [], reasons: [] });
      assert.equal((await bed.run('agents test')).code, 1);
    });
  });

  it('stands in the status, without what only the list needs', async () => {
    bed.status = { agents: [linked, waiting], reasons: ['agent branch-1: port 445 is taken'] };
    const { out } = await bed.run('status');
    assert.match(out, /AGENT +STATE +HEALTH +VERSION +SINCE +LAST TOUCH +QUEUE\nbranch-1 +linked +degraded/);
    assert.match(out, /! agent branch-1: port 445 is taken/);
  });
});
