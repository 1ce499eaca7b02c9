// `weir demo, bench, test`: verbs that build their own surroundings. The work is programs/.

import type { CommonOptions } from './command-context.ts';
import { type Verb, verbCommand } from './verb.ts';

interface DemoText extends CommonOptions {
  readonly keep?: boolean;
}

export const demoVerb: Verb = (run) =>
  verbCommand('demo', 'a lab in network namespaces: decoys, real scans and attacks, what was seen', [
    'weir demo',
    'weir demo --keep',
  ])
    .option('--keep', 'leave the lab and its console running until Ctrl-C')
    .action((options: DemoText) =>
      run(options, (context) => context.environment.actions.demo({ keep: options.keep === true }, context.action)),
    );

export const benchVerb: Verb = (run) =>
  verbCommand('bench', 'a benchmark and its comparison in the same run; without a name: which there are', [
    'weir bench catch-all',
  ])
    .argument('[name]', 'which one')
    .action((name: string | undefined, options: CommonOptions) =>
      run(options, (context) => context.environment.actions.bench(name, context.action)),
    );

export const testVerb: Verb = (run) =>
  verbCommand('test', "all the project's tests, or those whose file matches", ['weir test', 'weir test address'])
    .argument('[patterns...]', 'parts of file names')
    .action((patterns: string[], options: CommonOptions) =>
      run(options, (context) => context.environment.actions.test(patterns, context.action)),
    );
