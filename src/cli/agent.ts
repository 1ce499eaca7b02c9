// `weir agent`: the far end, on this machine; its state; and the single file for machines without npm. The work is programs/.

import type { AgentText } from './actions.ts';
import type { CommonOptions } from './command-context.ts';
import { type Verb, verbCommand } from './verb.ts';

interface BuildText extends CommonOptions {
  readonly output?: string;
}

export const agentVerb: Verb = (run) => {
  const command = verbCommand('agent', "lead this machine's ports to a gateway; runs until Ctrl-C, as any user", [
    'weir agent --gateway weir.example.org:7443 --token weir1.AAAA',
    'weir agent status',
    'weir agent build -o weir-agent.mjs',
  ])
    .option('--gateway <host:port>', 'the gateway; kept for later runs')
    .option('--token <token>', 'what `weir agents add NAME` printed on the gateway; the first run only')
    .option(
      '--data <directory>',
      'identity, rules and spool (default: /var/lib/weir-agent as root, else ~/.local/share/weir-agent)',
    )
    .option('--privileged', 'as root on Linux: also whole ranges, networks, packets and inner gateways on this machine')
    .option('--proxy <url>', 'an HTTP proxy that leads to the gateway; `none` for none; kept')
    .option('--spool <size>', 'disk that records may take while the gateway is away (default 1GiB); kept')
    .action((options: AgentText & CommonOptions) =>
      run(options, (context) => context.environment.actions.agent(options, context.action)),
    );
  command
    .command('status')
    .description('what the agent of this machine says of itself')
    .option('--json', 'machine-readable output')
    .option('--data <directory>', 'as given to `weir agent`')
    .action((_: unknown, inner) => {
      const options = inner.optsWithGlobals() as AgentText & CommonOptions;
      return run(options, async (context) =>
        context.printResult(await context.environment.actions.agentStatus(options, context.action)),
      );
    });
  command
    .command('build')
    .description('one file that needs nothing but Node 20.19 or newer where it runs')
    .option('--json', 'machine-readable output')
    .option('-o, --output <file>', 'where to write it', 'weir-agent.mjs')
    .action((_: unknown, inner) => {
      const options = inner.optsWithGlobals() as BuildText;
      return run(options, async (context) =>
        context.printResult(await context.environment.actions.agentBuild(options.output ?? 'weir-agent.mjs', context.action)),
      );
    });
  return command;
};
