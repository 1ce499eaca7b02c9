// `weir agent` as it is started by people and services: a keeper, and the current program below it.

import { realpathSync } from 'node:fs';
import type { Log } from '../base/log.ts';
import { AgentKeeper } from './agent-keeper.ts';
import { AgentPrograms } from './agent-programs.ts';

export interface KeepOptions {
  /** The file that was started, or is to be: the installed program. */
  readonly program: string;
  readonly version: string;
  readonly data: string;
  /** For each program. */
  readonly argv: readonly string[];
  readonly log: Log;
}

/** In the foreground until SIGTERM, SIGINT or SIGHUP; gives the exit code. */
export async function keepAgent({ program, version, data, argv, log }: KeepOptions): Promise<number> {
  const programs = await AgentPrograms.open(data, { path: realpathSync(program), version }, log);
  const keeper = new AgentKeeper({
    programs,
    worker: { command: process.execPath, nodeArguments: process.execArgv, arguments: argv, environment: process.env },
    log,
  });
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => keeper.end());
  return keeper.run();
}
