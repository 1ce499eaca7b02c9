// The gateway's verbs about agents over a real control socket and a real registry; the links are the test's. What is touched is
// what the agent really listens on, and a step that is missing is named.

import assert from 'node:assert/strict';
import path from 'node:path';
import { after, afterEach, beforeEach, describe, it } from 'node:test';
import { GateBed } from '../../test/support/gate-bed.ts';
import { ControlServer, callControl } from '../api/control.ts';
import { WeirError } from '../base/errors.ts';
import { silentLog } from '../base/log.ts';
import { type Address, parseAddress } from '../model/address.ts';
import type { AgentReport, AgentRollOut, AgentStatus, AgentToken, AgentTouches } from '../model/agent.ts';
import { type PortSet, parsePorts } from '../model/port-set.ts';
import type { AgentDiversion, AgentSettings } from '../model/relayed-service.ts';
import { parseToken } from '../relay/agents/enrolment-token.ts';
import { type AgentVerbsOptions, agentVerbs, parseEndpoint, planTouches } from './agent-verbs.ts';
import { agentReasons, mergeStatus } from './recorder-status.ts';

const isCode = (code: string) => (error: unknown) => error instanceof WeirError && error.code === code;
const address = (text: string): Address => parseAddress(text) as Address;
const ports = (text: string): PortSet => (text === '' ? [] : (parsePorts(text) as PortSet));

const diversion = (change: Partial<AgentDiversion> = {}): AgentDiversion => ({
  kind: 'agent',
  name: 'branch',
  agent: 'branch-1',
  tcp: ports('23,445,3389'),
  udp: ports('53'),
  addresses: [],
  persona: 'all-open',
  place: { file: 'weir.yaml', line: 3 },
  ...change,
});

const status = (change: Partial<AgentStatus> = {}): AgentStatus => ({
  name: 'branch-1',
  state: 'linked',
  health: 'good',
  reasons: [],
  rules: { wanted: 'abc', applied: 'abc', refused: [], addresses: ['127.0.0.1', '10.9.0.5', 'fe80::1', 'fd00::5'] },
  ...change,
});

const rollOut: AgentRollOut = { version: '2.0.0', change: 1, over: false, stages: 1, agents: [] };

describe('verbs about agents', () => {
  const bed = new GateBed();
  let control: ControlServer;
  let statuses: AgentStatus[];
  let diversions: AgentDiversion[];
  let settings: AgentSettings;
  let touched: unknown[];
  let touch: () => Promise<{ from: string }>;
  let offered: unknown[];
  const socket = (): string => path.join(bed.directory, 'g.sock');
  const addOne = async (name: string, expiresInMs?: number): Promise<AgentToken> =>
    ((await call('agents-add', { names: [name], expiresInMs })) as AgentToken[])[0];
  const call = (verb: string, args: unknown = null): Promise<unknown> => callControl(socket(), verb, args, 5000);

  beforeEach(async () => {
    bed.registry = await bed.reopen();
    statuses = [status()];
    diversions = [diversion()];
    settings = {
      listen: { address: address('192.0.2.1'), port: 7443 },
      publicNames: ['weir.example.org'],
      rules: new Map([['branch-1', '{}']]),
    };
    touched = [];
    offered = [];
    touch = async () => ({ from: '10.9.0.5:50123' });
    const options: AgentVerbsOptions = {
      registry: bed.registry,
      links: {
        statuses: () => statuses,
        touch: (agent, what, timeoutMs) => {
          touched.push([agent, what.transport, what.ip, what.port]);
          assert.ok(timeoutMs <= 10_000);
          return touch();
        },
      },
      upgrades: {
        put: async (program, offset, piece) => {
          offered.push(program, offset, Buffer.from(piece).toString());
          return offset + piece.length;
        },
        begin: (order) => {
          offered.push(order);
          return rollOut;
        },
        progress: async (change) => ({ ...rollOut, change: change + 1 }),
        stop: () => ({ ...rollOut, over: true }),
      },
      settings: () => ({ agents: settings, diversions }),
    };
    control = new ControlServer({ path: socket(), mode: 0o600, log: silentLog, verbs: agentVerbs(options) });
    await control.listen();
  });
  afterEach(async () => {
    await control.close();
    for (const { name } of bed.registry.agents()) await bed.registry.remove(name);
    await bed.registry.close();
  });

  after(() => bed.close());

  it('makes a token, says where to go with it, and whether anything waits for the agent', async () => {
    const made = await addOne('branch-1', 3_600_000);
    assert.equal(parseToken(made.token).authority, bed.registry.authority);
    assert.deepEqual(made.gateways, ['weir.example.org:7443', '192.0.2.1:7443']);
    assert.deepEqual([made.again, made.unused], [false, false]);
    assert.equal((await addOne('other')).unused, true);
    settings = { publicNames: [], rules: new Map() };
    assert.deepEqual((await addOne('other')).gateways, []);
    settings = { publicNames: [], rules: new Map(), listen: { address: address('::'), port: 1 } };
    for (const gateway of (await addOne('other')).gateways) assert.ok(parseEndpoint(gateway), gateway);
    for (const args of [
      null,
      7,
      {},
      { names: [] },
      { names: [7] },
      { names: ['a', 'No'] },
      { names: ['a'], expiresInMs: '1' },
      { names: ['a'], expiresInMs: 1 },
    ])
      await assert.rejects(call('agents-add', args), isCode('bad-request'), JSON.stringify(args));
    assert.ok(!bed.registry.agents().some(({ name }) => name === 'a'), 'all or none');
    assert.deepEqual(await call('agents-remove', { name: 'other' }), { name: 'other', was: 'withdrawn' });
    await assert.rejects(call('agents-remove', { name: 'other' }), isCode('not-found'));
  });

  it('reports what the registry knows beside what the link knows', async () => {
    settings = { ...settings, rules: new Map([['branch-2', '{}']]) };
    const { agents, reasons } = (await call('agents')) as AgentReport;
    assert.equal(agents[0].health, 'degraded');
    assert.match(agents[0].reasons.join(), /nothing in weir\.yaml is for it/);
    assert.match(reasons.join(), /agents nobody added \(branch-2\): `weir agents add branch-2`/);
    const away = status({ name: 'b', state: 'away', health: 'bad', since: '2026-03-04T05:06:07.000000Z', reasons: ['cut'] });
    const waiting = status({ name: 'c', state: 'waiting', health: 'degraded' });
    const told = agentReasons({ agents: [...agents, away, waiting], reasons });
    assert.equal(told.length, 3);
    assert.match(told[2], /agent b: away since 2026-03-04T05:06:07Z; cut/);
    const many = Array.from({ length: 30 }, () => away);
    assert.match(agentReasons({ agents: many, reasons: [] }).at(-1) ?? '', /^22 more agents/);
    const merged = mergeStatus({}, { agents: { agents, reasons } }, { status: {}, reasons: [] });
    assert.deepEqual([merged.agents, merged.health], [agents, 'degraded']);
    assert.equal(mergeStatus({}, { agents: { agents: [], reasons: [] } }, { status: {}, reasons: [] }).agents, undefined);
  });

  it('has an agent touch one decoy of each family and transport, never a port it refused', async () => {
    await addOne('branch-1');
    statuses = [
      status({ rules: { ...status().rules, refused: [{ transport: 'tcp', port: 23, why: 'EACCES' }] } as AgentStatus['rules'] }),
    ];
    const answer = (await call('agents-touch', { name: 'branch-1' })) as AgentTouches;
    assert.deepEqual(touched, [
      ['branch-1', 'tcp', '10.9.0.5', 445],
      ['branch-1', 'udp', '10.9.0.5', 53],
      ['branch-1', 'tcp', 'fd00::5', 445],
      ['branch-1', 'udp', 'fd00::5', 53],
    ]);
    assert.deepEqual(answer.touches[0], {
      diversion: 'branch',
      transport: 'tcp',
      decoy: { ip: '10.9.0.5', port: 445 },
      source: { ip: '10.9.0.5', port: 50_123 },
    });
    diversions = Array.from({ length: 30 }, (_, index) => diversion({ name: `d-${index}`, addresses: [address('10.9.0.6')] }));
    assert.equal(planTouches(diversions, status()).length, 8);
    assert.equal(planTouches([diversion()], status({ rules: { wanted: 'a', refused: [], addresses: ['127.0.0.1'] } })).length, 2);
  });

  it('names the step that is missing', async () => {
    const step = async (): Promise<string | undefined> =>
      ((await call('agents-touch', { name: 'branch-1' })) as AgentTouches).error?.step;
    assert.equal(await step(), 'known');
    await addOne('branch-1');
    statuses = [status({ state: 'away', reasons: ['the link was cut'] })];
    const cut = (await call('agents-touch', { name: 'branch-1' })) as AgentTouches;
    assert.deepEqual([cut.error?.step, cut.error?.message], ['link', 'it is away; the link was cut']);
    statuses = [status({ rules: { wanted: 'abc', applied: 'abb', refused: [] } })];
    assert.equal(await step(), 'rules');
    statuses = [status({ rules: { wanted: 'abc', applied: 'abc', refused: [], addresses: [] } })];
    assert.equal(await step(), 'rules');
    statuses = [status()];
    diversions = [];
    assert.equal(await step(), 'rules');
    diversions = [diversion({ udp: [] })];
    touch = () => Promise.reject(new WeirError('bad-request', 'ECONNREFUSED'));
    const answer = (await call('agents-touch', { name: 'branch-1' })) as AgentTouches;
    assert.deepEqual(
      answer.touches.map(({ error }) => error),
      ['ECONNREFUSED', 'ECONNREFUSED'],
    );
    for (const from of ['', '10.9.0.5', '10.9.0.5:0', '10.9.0.5:99999', 'fd00::5:1', '[10.9.0.5]x:1', 'host:22', '\u001b[2J:1']) {
      touch = async () => ({ from });
      const [first] = ((await call('agents-touch', { name: 'branch-1' })) as AgentTouches).touches;
      assert.equal(first.source, undefined, from);
      assert.ok(first.error);
    }
    assert.deepEqual(parseEndpoint('[fd00::5]:22'), { ip: 'fd00::5', port: 22 });
  });

  it('hands an upgrade on for those it was told, and no one else', async () => {
    statuses = [status(), status({ name: 'gone', state: 'revoked' })];
    const sha256 = 'ab'.repeat(32);
    await call('agents-upgrade', { names: ['branch-1'], stage: 2, force: true, withinMs: 5000, sha256 });
    await call('agents-upgrade', { sha256 });
    assert.deepEqual(offered, [
      { names: ['branch-1'], stage: 2, force: true, withinMs: 5000, sha256 },
      { names: ['branch-1'], sha256 },
    ]);
    await assert.rejects(call('agents-upgrade', { names: ['nobody'], sha256 }), isCode('not-found'));
    const wrong = [
      { names: 'all' },
      { names: [7] },
      { stage: 0 },
      { stage: '1' },
      { force: 1 },
      { withinMs: 1 },
      { sha256: 'x' },
    ];
    for (const args of [null, ...wrong.map((one) => ({ sha256, ...one }))])
      await assert.rejects(call('agents-upgrade', args), isCode('bad-request'), JSON.stringify(args));
    assert.deepEqual(await call('agents-upgrade-progress', { change: 4 }), { ...rollOut, change: 5 });
    await assert.rejects(call('agents-upgrade-progress', {}), isCode('bad-request'));
    assert.deepEqual(await call('agents-upgrade-stop', null), { ...rollOut, over: true });
  });

  it('takes a program in pieces', async () => {
    const program = { version: '2.0.0', sha256: 'ab'.repeat(32), bytes: 9 };
    const piece = Buffer.from('text').toString('base64');
    assert.deepEqual(await call('agents-program', { ...program, offset: 5, piece }), { have: 9 });
    assert.deepEqual(offered, [program, 5, 'text']);
    for (const args of [null, { ...program, piece }, { ...program, offset: 0 }, { offset: 0, piece }])
      await assert.rejects(call('agents-program', args), isCode('bad-request'), JSON.stringify(args));
  });
});
