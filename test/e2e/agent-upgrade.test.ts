// Agents as people run them, the single file below its keeper, upgraded over their links by stages: what works stays, what does not
// goes back by itself and stops the rest, ports answer all the time, and no session is lost.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Readable } from 'node:stream';
import { type TestContext, test } from 'node:test';
import { silentLog } from '../../src/base/log.ts';
import { readProcessStart } from '../../src/kernel/process-identity.ts';
import type { AgentStatus } from '../../src/model/agent.ts';
import { AgentUpgrades, openProgramShelf } from '../../src/programs/agent-upgrades.ts';
import { AgentCentre } from '../support/agent-centre.ts';
import { AgentLab } from '../support/agent-lab.ts';
import { AgentProcess } from '../support/agent-process.ts';
import { AgentPrograms, type BuiltProgram } from '../support/agent-programs.ts';
import { lacksKernelTests } from '../support/namespace.ts';

const skip = lacksKernelTests();
/** The longest time in which a port may not answer. */
const gapBoundMs = 1000;

async function until<T>(look: () => T | undefined | Promise<T | undefined>, what: () => string, limitMs = 60_000): Promise<T> {
  const deadline = performance.now() + limitMs;
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    if (performance.now() > deadline) assert.fail(`not in time: ${what()}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

const portOf = (at: number): number => 2001 + at;
const nameOf = (at: number): string => `branch-${at + 1}`;

class Fleet {
  readonly lab: AgentLab;
  readonly centre: AgentCentre;
  readonly programs: AgentPrograms;
  readonly upgrades: AgentUpgrades;
  readonly agents: AgentProcess[] = [];
  readonly directories: string[] = [];
  readonly #installed: BuiltProgram;
  readonly #tokens: string[] = [];

  private constructor(lab: AgentLab, centre: AgentCentre, programs: AgentPrograms, upgrades: AgentUpgrades) {
    this.lab = lab;
    this.centre = centre;
    this.programs = programs;
    this.upgrades = upgrades;
    this.#installed = programs.make('0.0.1');
  }

  static async open(context: TestContext, count: number): Promise<Fleet> {
    const lab = await AgentLab.open();
    const centre = await AgentCentre.open({ listen: lab.listen });
    const programs = await AgentPrograms.open();
    const upgrades = new AgentUpgrades({
      shelf: await openProgramShelf(path.join(centre.directory, 'agents')),
      links: centre.server,
      log: silentLog,
    });
    centre.program = (version) => upgrades.program(version);
    const fleet = new Fleet(lab, centre, programs, upgrades);
    context.after(async () => {
      for (const agent of fleet.agents) await agent.end('SIGTERM');
      await upgrades.close();
      await centre.close();
      await lab.end();
      programs.close();
      for (const directory of fleet.directories) rmSync(directory, { recursive: true });
    });
    for (let at = 0; at < count; at += 1) {
      centre.setRules(nameOf(at), JSON.stringify({ ports: [portOf(at)] }));
      fleet.#tokens.push((await centre.registry.add(nameOf(at))).token);
      fleet.directories.push(mkdtempSync(path.join(tmpdir(), 'weir-agent-')));
      fleet.start(at);
    }
    for (let at = 0; at < count; at += 1) await fleet.works(at, '0.0.1');
    return fleet;
  }

  start(at: number): void {
    this.agents[at] = new AgentProcess({
      data: this.directories[at],
      gateway: this.lab.gateway,
      token: this.#tokens[at],
      prefix: this.lab.branch.inside([]),
      program: this.#installed.file,
      kept: true,
    });
  }

  status(at: number): AgentStatus {
    const status = this.centre.server.statuses().find(({ name }) => name === nameOf(at));
    assert.ok(status);
    return status;
  }

  works(at: number, version: string): Promise<AgentStatus> {
    return until(
      () => {
        const status = this.status(at);
        const { state, ownHealth, rules } = status;
        const well = state === 'linked' && ownHealth === 'good' && rules?.applied === rules?.wanted && status.version === version;
        return well ? status : undefined;
      },
      () => `${nameOf(at)} with ${version}: ${JSON.stringify(this.status(at))}\n${this.agents[at].output}`,
    );
  }

  /** Programs below the keeper, `[]` when it is dead. */
  workers(at: number): number[] {
    const { pid } = this.agents[at];
    try {
      return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean).map(Number);
    } catch {
      return [];
    }
  }

  async keep({ program, text }: BuiltProgram): Promise<BuiltProgram> {
    await this.upgrades.put(program, 0, Buffer.from(text));
    return { program, file: '', text };
  }

  /** Connects and hangs up, over and over: what counts is whether the port answers. */
  watch(at: number): { stop(): Promise<{ readonly gapMs: number; readonly answered: number }> } {
    let over = false;
    let gapMs = 0;
    let answered = 0;
    const work = (async () => {
      let last = performance.now();
      while (!over) {
        let answers = true;
        try {
          const socket = await this.lab.connect(portOf(at));
          socket.destroy();
        } catch {
          answers = false;
        }
        const now = performance.now();
        gapMs = Math.max(gapMs, now - last);
        if (answers) {
          last = now;
          answered += 1;
        }
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
    })();
    return {
      stop: async () => {
        over = true;
        await work;
        return { gapMs, answered };
      },
    };
  }
}

async function roll(fleet: Fleet, sha256: string, more: { stage?: number; names?: string[] } = {}) {
  const names = more.names ?? fleet.agents.map((_, at) => nameOf(at));
  let now = fleet.upgrades.begin({ sha256, names, ...(more.stage === undefined ? {} : { stage: more.stage }) });
  /** How many were asked at each change. */
  const asked: number[] = [];
  while (!now.over) {
    const under = now.agents.filter(({ state }) => state !== 'waiting').length;
    if (asked.at(-1) !== under) asked.push(under);
    now = await fleet.upgrades.progress(now.change);
  }
  return { result: now, asked };
}

test('five agents get a good version by stages, each without a second unanswered', { skip }, async (context) => {
  const fleet = await Fleet.open(context, 5);
  const { program } = await fleet.keep(fleet.programs.make('0.2.0'));
  const keepers = fleet.agents.map(({ pid }) => pid);
  const watches = fleet.agents.map((_, at) => fleet.watch(at));
  const { result, asked } = await roll(fleet, program.sha256);
  const watched = await Promise.all(watches.map((watch) => watch.stop()));
  assert.deepEqual(
    result.agents.map(({ agent, state, stage }) => [agent, state, stage]),
    [
      ['branch-1', 'done', 1],
      ['branch-2', 'done', 2],
      ['branch-3', 'done', 3],
      ['branch-4', 'done', 3],
      ['branch-5', 'done', 3],
    ],
    JSON.stringify(result),
  );
  assert.deepEqual(asked, [1, 2, 5]);
  for (const [at, { gapMs, answered }] of watched.entries()) {
    context.diagnostic(`${nameOf(at)}: ${Math.round(gapMs)} ms is the longest without an answer, ${answered} answers`);
    const status = await fleet.works(at, '0.2.0');
    assert.deepEqual(status.upgrade, { version: '0.2.0', state: 'done' });
    assert.equal(fleet.workers(at).length, 1);
  }
  // Five agents and their attacker share one machine here, and three of them change at once.
  const gaps = watched.map(({ gapMs }) => gapMs).sort((a, b) => a - b);
  assert.ok(gaps[2] < gapBoundMs && gaps[4] < 3 * gapBoundMs, gaps.map(Math.round).join());
  assert.deepEqual(
    fleet.agents.map(({ pid }) => pid),
    keepers,
  );
  // Once more: nothing is to be done. An older one: only by force.
  const again = fleet.upgrades.begin({ sha256: program.sha256, names: [nameOf(0)] });
  assert.deepEqual([again.over, again.agents[0].state], [true, 'current']);
  const { program: older } = await fleet.keep(fleet.programs.make('0.1.5'));
  const refused = fleet.upgrades.begin({ sha256: older.sha256, names: [nameOf(0)] });
  assert.deepEqual([refused.over, refused.agents[0].state], [true, 'refused']);
  assert.match(refused.agents[0].reason ?? '', /newer/);
  // Started anew, it is what was committed.
  await fleet.agents[0].end('SIGKILL');
  fleet.start(0);
  await fleet.works(0, '0.2.0');
});

test('versions that exit, hang, are ill or are not what was offered: the old one goes on, the roll-out stops', {
  skip,
}, async (context) => {
  const fleet = await Fleet.open(context, 5);
  const broken = [
    fleet.programs.make('0.2.1', 'exits'),
    fleet.programs.make('0.2.2', 'hangs'),
    fleet.programs.make('0.2.3', 'bad-health'),
    fleet.programs.make('0.2.4'),
  ];
  const texts = new Map(broken.map(({ program, text }) => [program.version, text]));
  // The last one is changed on its way.
  texts.set('0.2.4', `${texts.get('0.2.4')?.slice(0, -1)}x`);
  fleet.centre.program = (version) => Readable.from([Buffer.from(texts.get(version) ?? '')]);
  const workers = broken.map((_, at) => fleet.workers(at));
  const watches = broken.map((_, at) => fleet.watch(at));
  for (const [at, { program }] of broken.entries()) assert.ok(fleet.centre.server.offerUpgrade(nameOf(at), program));
  const whys = [/died: exit code 5/, /not ready in time/, /health is bad/, /SHA-256 differs/];
  for (const [at, why] of whys.entries()) {
    const failed = await until(
      () => (fleet.status(at).upgrade?.state === 'failed' ? fleet.status(at).upgrade : undefined),
      () => `${nameOf(at)} fails: ${JSON.stringify(fleet.status(at))}\n${fleet.agents[at].output}`,
    );
    assert.match(failed?.reason ?? '', why);
    await fleet.works(at, '0.0.1');
    assert.deepEqual(fleet.workers(at), workers[at], 'the process that was there before');
    const { gapMs } = await watches[at].stop();
    context.diagnostic(`${broken[at].program.version}: ${Math.round(gapMs)} ms is the longest without an answer`);
    assert.ok(gapMs < gapBoundMs, `${gapMs} ms`);
  }
  fleet.centre.program = (version) => fleet.upgrades.program(version);
  const { program } = await fleet.keep(broken[0]);
  const { result, asked } = await roll(fleet, program.sha256);
  assert.deepEqual([result.stoppedBy, asked], ['branch-1', [1]]);
  assert.deepEqual(
    result.agents.map(({ state }) => state),
    ['failed', 'untouched', 'untouched', 'untouched', 'untouched'],
  );
  assert.match(result.agents[0].reason ?? '', /died: exit code 5/);
});

test('killed while its program is exchanged, old, new or keeper: an agent works, and as it was written down', {
  skip,
}, async (context) => {
  const fleet = await Fleet.open(context, 1);
  const written = (): string => {
    try {
      const text = readFileSync(path.join(fleet.directories[0], 'program/current.json'), 'utf8');
      return (JSON.parse(text) as { program: { version: string } }).program.version;
    } catch {
      return '0.0.1';
    }
  };
  const links = (): number => fleet.centre.server.counters.links;
  const moments = ['both live', 'new linked'] as const;
  let round = 0;
  for (const moment of moments)
    for (const victim of ['old', 'new', 'keeper'] as const) {
      round += 1;
      const version = `0.3.${round}`;
      const { program } = await fleet.keep(fleet.programs.make(version));
      const [old] = fleet.workers(0);
      const linksBefore = links();
      assert.ok(fleet.centre.server.offerUpgrade(nameOf(0), program));
      const said = () => `${moment}, ${victim}: ${JSON.stringify(fleet.status(0))}\n${fleet.agents[0].output}`;
      const fresh = await until(() => fleet.workers(0).find((pid) => pid !== old), said);
      if (moment === 'new linked') await until(() => (links() > linksBefore ? true : undefined), said);
      const workers = fleet.workers(0);
      const target = { old, new: fresh, keeper: fleet.agents[0].pid }[victim];
      process.kill(target, 'SIGKILL');
      if (victim === 'keeper') {
        await fleet.agents[0].exited;
        fleet.start(0);
        // Its programs go with it.
        for (const pid of workers) await until(() => (readProcessStart(pid) === undefined ? true : undefined), said);
      }
      const status = await until(() => {
        const { state, ownHealth, version: runs, upgrade } = fleet.status(0);
        const settled = victim === 'keeper' || upgrade?.state === 'done' || upgrade?.state === 'failed';
        const one = fleet.workers(0).length === 1;
        return settled && one && state === 'linked' && ownHealth === 'good' && runs === written() ? fleet.status(0) : undefined;
      }, said);
      context.diagnostic(`${moment}, ${victim} killed: ${status.version} works, ${status.upgrade?.state}`);
      const socket = await fleet.lab.connect(portOf(0));
      socket.destroy();
    }
});

test('records that wait in the spool are kept over an upgrade, and arrive once', { skip }, async (context) => {
  const fleet = await Fleet.open(context, 1);
  let release: () => void = () => {};
  const held = new Promise<void>((resolve) => {
    release = resolve;
  });
  // Answered by the agent itself while its link is cut; the records wait until the centre takes them.
  await fleet.lab.setWire(false);
  await until(
    () => (fleet.status(0).state === 'away' ? true : undefined),
    () => 'the link is cut',
  );
  const ports: number[] = [];
  while (ports.length < 20) {
    const socket = await fleet.lab.connect(portOf(0));
    ports.push(socket.localPort ?? 0);
    socket.end('GET / HTTP/1.0\r\n\r\n');
    socket.resume();
    await once(socket, 'close');
  }
  fleet.centre.beforeSpool = () => held;
  await fleet.lab.setWire(true);
  await fleet.works(0, '0.0.1');
  const { program } = await fleet.keep(fleet.programs.make('0.4.0'));
  const { result } = await roll(fleet, program.sha256);
  assert.equal(result.agents[0].state, 'done', JSON.stringify(result));
  const status = await fleet.works(0, '0.4.0');
  assert.ok((status.spool?.records ?? 0) > 0, 'they wait');
  fleet.centre.beforeSpool = undefined;
  release();
  const sessions = await until(
    async () => {
      const all = await fleet.centre.store.sessions({ limit: 1000 });
      return ports.every((port) => all.some(({ source }) => source.port === port)) ? all : undefined;
    },
    () => 'all sessions arrive',
  );
  for (const port of ports) {
    const own = sessions.filter(({ source }) => source.port === port);
    assert.equal(own.length, 1);
    assert.equal(own[0].outcome === 'open', false, 'it has its end');
  }
});
