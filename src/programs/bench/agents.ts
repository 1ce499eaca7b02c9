// `weir bench agents`: a thousand agents' links on one gateway: memory, how long rules take to all of them, how long until all
// are back after the gateway was killed. The agents share a process; protocol, certificates and connections are real.

import { type ChildProcess, fork } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '../../base/clock.ts';
import { silentLog } from '../../base/log.ts';
import { AgentIdentity } from '../../relay/agents/agent-identity.ts';
import { LinkClient } from '../../relay/link/link-client.ts';
import { ownInstallation } from '../installation.ts';
import type { BenchReport, Say } from './bench.ts';

const agents = 1000;
const rulesBytes = 4096;
const boundMs = 120_000;

interface Holder {
  readonly child: ChildProcess;
  readonly port: number;
}

const answer = <T>(child: ChildProcess, message?: object): Promise<T> =>
  new Promise((resolve, reject) => {
    child.once('message', (value) => resolve(value as T));
    child.once('exit', () => reject(new Error('the gateway ended')));
    if (message) child.send(message);
  });

async function hold(directory: string, port: number): Promise<Holder> {
  const script = join(ownInstallation().root, 'dist/src/programs/bench/link-holder.js');
  const child = fork(script, [directory, String(port), String(agents)], { execArgv: ['--expose-gc'] });
  child.setMaxListeners(0);
  return { child, port: (await answer<{ port: number }>(child)).port };
}

/** Milliseconds until the gateway itself says so of all. */
async function untilAll(child: ChildProcess, what: 'linked' | 'applied', since: number): Promise<number> {
  for (;;) {
    const state = await answer<Record<'linked' | 'applied', number>>(child, { ask: 'state' });
    const passed = performance.now() - since;
    if (state[what] === agents) return passed;
    if (passed > boundMs) throw new Error(`after ${boundMs} ms ${state[what]} of ${agents} are ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

async function clientOf(directory: string, index: number, port: number): Promise<LinkClient> {
  const identity = await AgentIdentity.open(join(directory, `agent-${index}.json`));
  const spool = { records: 0, bytes: 0, droppedRecords: 0, diskFull: false };
  let applied: string | undefined;
  const client: LinkClient = new LinkClient({
    gateway: { host: '127.0.0.1', port },
    serverName: identity.serverName,
    credentials: () => identity.credentials(),
    hello: () => ({
      version: '1.0.0',
      platform: 'linux',
      arch: process.arch,
      node: process.version,
      hostname: `far-${index}`,
      capabilities: ['tcp', 'udp'],
      clock: systemClock(),
      ...(applied === undefined ? {} : { rules: applied }),
      spool,
    }),
    onRules: (rules, configuration) => {
      if (createHash('sha256').update(configuration).digest('hex').slice(0, 12) !== rules) return;
      applied = rules;
      client.send({ kind: 'applied', rules, refused: [], addresses: [] });
    },
    onTouch: () => {},
    onUpgrade: () => {},
    onCertificate: () => {},
    log: silentLog,
    clock: systemClock,
  });
  return client;
}

export async function benchAgents(say: Say): Promise<BenchReport> {
  const directory = mkdtempSync(join(tmpdir(), 'weir-bench-'));
  const clients: LinkClient[] = [];
  let holder: Holder | undefined;
  try {
    say(`${agents} agents get their certificates`);
    holder = await hold(directory, 0);
    const { port } = holder;
    for (let index = 0; index < agents; index += 1) clients.push(await clientOf(directory, index, port));
    const before = await answer<{ residentBytes: number }>(holder.child, { ask: 'memory' });
    say('they link');
    let since = performance.now();
    for (const client of clients) client.start();
    const linkMs = await untilAll(holder.child, 'linked', since);
    const after = await answer<{ residentBytes: number }>(holder.child, { ask: 'memory' });
    const configuration = JSON.stringify({ version: 1, x: 'y'.repeat(rulesBytes) });
    const push = createHash('sha256').update(configuration).digest('hex').slice(0, 12);
    since = performance.now();
    holder.child.send({ push, configuration });
    const pushMs = await untilAll(holder.child, 'applied', since);
    say('the gateway is killed and started again');
    since = performance.now();
    holder.child.kill('SIGKILL');
    holder = await hold(directory, port);
    const startMs = performance.now() - since;
    const recoverMs = await untilAll(holder.child, 'linked', since);
    const bytesEach = (after.residentBytes - before.residentBytes) / agents;
    const text = [
      `${agents} agents on one gateway`,
      `  memory of the gateway  ${(before.residentBytes / 2 ** 20).toFixed(0)} MiB -> ${(after.residentBytes / 2 ** 20).toFixed(0)} MiB: ${(bytesEach / 1024).toFixed(1)} KiB each`,
      `  all linked             ${linkMs.toFixed(0)} ms (both ends of ${agents} handshakes on this machine)`,
      `  rules applied by all   ${pushMs.toFixed(0)} ms after they were given`,
      `  all back after a kill  ${recoverMs.toFixed(0)} ms, of which the gateway took ${startMs.toFixed(0)} ms to start`,
    ].join('\n');
    return { text, json: { agents, before, after, bytesEach, linkMs, pushMs, startMs, recoverMs } };
  } finally {
    await Promise.all(clients.map((client) => client.close()));
    holder?.child.kill();
    rmSync(directory, { recursive: true, force: true });
  }
}
