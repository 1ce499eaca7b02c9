// `weir demo, bench, test`: verbs that build their own surroundings. The work is programs/.

import { InvalidArgumentError } from 'commander';
import type { BenchSettings } from './actions.ts';
import type { CommonOptions } from './command-context.ts';
import { type Verb, verbCommand } from './verb.ts';

interface DemoText extends CommonOptions {
  readonly keep?: boolean;
}

interface BenchText extends CommonOptions, BenchSettings {}

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
    'weir bench diversion --only "plain,kernel path,65536"',
    'weir bench proxy-fuzz --headers 1000000 --seed 7',
  ])
    .argument('[name]', 'which one')
    .option('--headers <count>', 'proxy-fuzz: how many headers', wholeNumber)
    .option('--events <count>', 'store: how many events, at least 14,000', wholeNumber)
    .option('--only <list>', 'diversion: these ways and numbers of decoys alone; import: these formats', (text) =>
      text.split(','),
    )
    .option('--seed <number>', 'proxy-fuzz: which ones', wholeNumber)
    .action((name: string | undefined, { headers, events, seed, only, ...options }: BenchText) =>
      run(options, (context) => context.environment.actions.bench(name, { headers, events, seed, only }, context.action)),
    );

function wholeNumber(text: string): number {
  if (!/^[1-9]\d{0,8}$/.test(text)) throw new InvalidArgumentError('It must be a whole number from 1 to 999999999.');
  return Number(text);
}

export const testVerb: Verb = (run) =>
  verbCommand('test', "all the project's tests, or those whose file matches", ['weir test', 'weir test address'])
    .argument('[patterns...]', 'parts of file names')
    .action((patterns: string[], options: CommonOptions) =>
      run(options, (context) => context.environment.actions.test(patterns, context.action)),
    );
