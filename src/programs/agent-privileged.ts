// The unprivileged half of a privileged agent as a program: the same agent, with its machine's netd beside its listeners. Started
// by agent-supervisor.ts as user weir; its standard input is its lifeline.

import { join } from 'node:path';
import { asWeirError } from '../base/errors.ts';
import { openLog } from '../base/log.ts';
import { parseAgentArguments } from './agent-arguments.ts';
import { readEmbedded } from './agent-embedded.ts';
import { NetdMachine } from './agent-machine.ts';
import { type RunningAgent, startAgent } from './agent-run.ts';
import { watchLifeline } from './child.ts';

const [data, ...argv] = process.argv.slice(2);
const log = openLog('agent');
const stop = new AbortController();
let agent: RunningAgent | undefined;
let ending = false;

async function end(reason: string): Promise<void> {
  stop.abort();
  if (ending) return;
  ending = true;
  log.info('ending', { reason });
  await agent?.end();
  process.exit(0);
}

async function main(): Promise<void> {
  const { options } = parseAgentArguments(argv);
  const room = join(data, 'agent');
  agent = await startAgent({ ...options, data: room }, readEmbedded(), log, {
    signal: stop.signal,
    openMachine: async ({ spool, settings, certificates }) => {
      const machine = new NetdMachine({ data, room, gatewayHost: settings.gateway.host, certificates, sink: spool, log });
      await machine.open();
      return machine;
    },
  });
}

process.on('SIGTERM', () => void end('SIGTERM'));
process.on('SIGINT', () => {});
process.on('SIGHUP', () => {});
watchLifeline(() => void end('the root half ended'));
main().catch((error: unknown) => {
  if (ending) return;
  const { code, message } = asWeirError(error);
  log.error(message, { code });
  process.exit(code === 'bad-request' ? 2 : code === 'not-permitted' || code === 'unauthorized' ? 3 : 1);
});
