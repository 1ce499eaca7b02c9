// What `weir agent` and its parts do in a whole installation: the same agent as the single file, its status, and the file itself.

import { join, resolve } from 'node:path';
import { openLog } from '../base/log.ts';
import type { ActionContext, ActionResult, AgentText } from '../cli/actions.ts';
import { dataDirectoryOf } from './agent-arguments.ts';
import { buildAgent } from './agent-build.ts';
import { readEmbedded } from './agent-embedded.ts';
import { keepAgent } from './agent-keep.ts';
import { readAgentStatus, renderAgentStatus } from './agent-status.ts';
import { superviseAgent } from './agent-supervisor.ts';
import { ownInstallation } from './installation.ts';

/** `privileged` leaves the rest to two processes: the root half here, and the agent itself as user weir. */
export async function runAgent(options: AgentText, context: ActionContext): Promise<number> {
  if (options.privileged) {
    const stop = new AbortController();
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => stop.abort());
    const operator = context.environment.variables.SSH_CONNECTION;
    const argv = (['gateway', 'token', 'proxy', 'spool'] as const).flatMap((name) => {
      const value = options[name];
      return value === undefined ? [] : [`--${name}`, value];
    });
    await superviseAgent({ data: dataDirectoryOf(options), argv, stop: stop.signal, ...(operator ? { operator } : {}) });
    return 0;
  }
  const { gateway, token, data, proxy, spool } = options;
  const given = { gateway, token, data: data === undefined ? undefined : resolve(data), proxy, spool };
  return keepAgent({
    program: join(ownInstallation().root, 'dist/src/programs/agent.js'),
    version: readEmbedded().version,
    data: dataDirectoryOf({ ...(data === undefined ? {} : { data }) }),
    argv: Object.entries(given).flatMap(([name, value]) => (value === undefined ? [] : [`--${name}`, value])),
    log: openLog('agent-keeper'),
  });
}

export async function agentStatus(options: AgentText): Promise<ActionResult> {
  const status = await readAgentStatus(dataDirectoryOf(options));
  return { text: renderAgentStatus(status), json: status };
}

export async function agentBuild(output: string, context: ActionContext): Promise<ActionResult> {
  const built = await buildAgent(ownInstallation().root, output);
  const { file, version, bytes, sha256 } = built;
  await context.environment.stderr.write(`weir: it needs Node 20.19 or newer where it runs: node ${file} --help\n`);
  return { text: `${file}: agent ${version}, ${Math.round(bytes / 1024)} KiB, sha256 ${sha256}\n`, json: built };
}
