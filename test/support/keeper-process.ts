// Runs an agent's keeper as a process of its own, with a program of test/support/keeper-worker.ts installed.
// Arguments: data directory, installed program, its version, then the program's own.

import { openLog } from '../../src/base/log.ts';
import { AgentKeeper } from '../../src/programs/agent-keeper.ts';
import { AgentPrograms } from '../../src/programs/agent-programs.ts';

const [data, installed, version, ...rest] = process.argv.slice(2);
const log = openLog('keeper', 'debug');
const programs = await AgentPrograms.open(data, { path: installed, version }, log);
const keeper = new AgentKeeper({
  programs,
  worker: { command: process.execPath, nodeArguments: [], arguments: rest, environment: process.env },
  limits: { readyMs: 3000, releaseMs: 1000, openMs: 1500, proofMs: 2500, holdMs: 200 },
  log,
});
process.on('SIGTERM', () => keeper.end());
process.exit(await keeper.run());
