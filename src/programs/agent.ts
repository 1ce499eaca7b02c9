// The agent's own executable, and all there is in the single file that `weir agent build` makes: arguments, signals, exit code.

import { asWeirError } from '../base/errors.ts';
import { openLog } from '../base/log.ts';
import { readEmbedded } from './agent-embedded.ts';
import { serveAgent } from './agent-run.ts';
import { dataDirectoryOf, optionTexts, parseAgentArguments } from './agent-settings.ts';
import { readAgentStatus, renderAgentStatus } from './agent-status.ts';

const help = (): string => `Usage: weir-agent [run] [options]     listen here for a Weir gateway, until SIGTERM
       weir-agent status [options]

${Object.entries(optionTexts)
  .map(([name, text]) => `  --${name.padEnd(9)} ${text}\n`)
  .join('')}  --json      status as one JSON object
  -V, --version
`;

async function main(): Promise<void> {
  const { verb, json, options } = parseAgentArguments(process.argv.slice(2));
  if (verb === 'help') process.stdout.write(help());
  else if (verb === 'version') process.stdout.write(`${readEmbedded().version}\n`);
  else if (verb === 'status') {
    const status = await readAgentStatus(dataDirectoryOf(options));
    process.stdout.write(json ? `${JSON.stringify(status)}\n` : renderAgentStatus(status));
  } else {
    await serveAgent(options, readEmbedded(), openLog('agent'));
  }
}

main().then(
  () => process.exit(0),
  (error: unknown) => {
    const { code, message, details } = asWeirError(error);
    process.stderr.write(
      `weir-agent: ${message} (${code})\n${typeof details.next === 'string' ? `  next: ${details.next}\n` : ''}`,
    );
    process.exit(code === 'bad-request' ? 2 : code === 'not-permitted' || code === 'unauthorized' ? 3 : 1);
  },
);
