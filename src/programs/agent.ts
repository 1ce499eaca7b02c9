// The agent's own executable, and all there is in the single file that `weir agent build` makes: arguments, signals, exit code.

import { asWeirError } from '../base/errors.ts';
import { openLog } from '../base/log.ts';
import { dataDirectoryOf, optionTexts, parseAgentArguments } from './agent-arguments.ts';
import { hasKeeper } from './keeper-messages.ts';

const help = (): string => `Usage: weir-agent [run] [options]     listen here for a Weir gateway, until SIGTERM
       weir-agent status [options]

${Object.entries(optionTexts)
  .map(([name, text]) => `  --${name.padEnd(9)} ${text}\n`)
  .join('')}  --json      status as one JSON object
  -V, --version
`;

/** What a verb needs is loaded for it alone: the keeper, which lives as long as the agent, has a third of its memory. */
async function main(): Promise<number> {
  const { verb, json, alone, options } = parseAgentArguments(process.argv.slice(2));
  if (verb === 'help') process.stdout.write(help());
  else if (verb === 'status') {
    const { readAgentStatus, renderAgentStatus } = await import('./agent-status.ts');
    const status = await readAgentStatus(dataDirectoryOf(options));
    process.stdout.write(json ? `${JSON.stringify(status)}\n` : renderAgentStatus(status));
  } else {
    const { readEmbedded } = await import('./agent-embedded.ts');
    if (verb === 'version') process.stdout.write(`${readEmbedded().version}\n`);
    else if (alone || hasKeeper(process.env)) {
      const { serveAgent, serveKeptAgent } = await import('./agent-run.ts');
      await (alone ? serveAgent : serveKeptAgent)(options, readEmbedded(), openLog('agent'));
    } else {
      const { keepAgent } = await import('./agent-keep.ts');
      return keepAgent({
        program: process.argv[1],
        version: readEmbedded().version,
        data: dataDirectoryOf(options),
        argv: process.argv.slice(2),
        log: openLog('agent-keeper'),
      });
    }
  }
  return 0;
}

main().then(
  (code) => process.exit(code),
  (error: unknown) => {
    const { code, message, details } = asWeirError(error);
    process.stderr.write(
      `weir-agent: ${message} (${code})\n${typeof details.next === 'string' ? `  next: ${details.next}\n` : ''}`,
    );
    process.exit(code === 'bad-request' ? 2 : code === 'not-permitted' || code === 'unauthorized' ? 3 : 1);
  },
);
