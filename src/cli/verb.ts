// What a verb's file exports, and the options every verb has. No verb of its own.

import { Command } from 'commander';
import type { FilterText, FindingText } from '../record/filter-text.ts';
import type { CommandContext, CommonOptions } from './command-context.ts';

/** Runs a verb's body with its context; the number is the exit code. */
export type Run = (options: CommonOptions, body: (context: CommandContext) => Promise<number>) => Promise<void>;

/** Makes the command of one verb. */
export type Verb = (run: Run) => Command;

/** A command with the options of all verbs and, in its help, an example. */
export function verbCommand(name: string, summary: string, examples: readonly string[]): Command {
  return new Command(name)
    .description(summary)
    .option('-c, --config <file>', 'configuration (default: ./weir.yaml, then /etc/weir/weir.yaml)')
    .option('--json', 'machine-readable output')
    .addHelpText('after', `\nExample${examples.length > 1 ? 's' : ''}:\n${examples.map((example) => `  ${example}\n`).join('')}`);
}

export interface FilterOptions {
  readonly since?: string;
  readonly until?: string;
  readonly source?: string;
  readonly destination?: string;
  readonly port?: string;
  readonly transport?: string;
  readonly protocol?: string;
  readonly diversion?: string;
  readonly service?: string;
  readonly limit?: string;
  readonly before?: string;
}

/** The filter options of interface.md, on any verb that reads records. */
export function withFilter(command: Command): Command {
  return command
    .option('--since <time>', 'from then on: 15m, 1h, 2d, 2026-01-31 or 2026-01-31T12:00:00Z')
    .option('--until <time>', 'before then')
    .option('--source <address>', 'address, CIDR block or range; several with commas')
    .option('--destination <address>', 'the decoy: address, CIDR block or range')
    .option('--port <ports>', 'of the decoy: 22, 53/udp, 8000-8100 or 80,443')
    .option('--transport <name>', 'tcp or udp')
    .option('--protocol <name>', 'what was spoken: tls, http, ssh, ...')
    .option('--diversion <name>', 'the diversion it came through')
    .option('--service <name>', 'what answered')
    .option('--limit <rows>', 'at most so many, 1 to 10000')
    .option('--before <id>', 'older than this one: the next page');
}

export interface FindingOptions {
  readonly signature?: string;
  readonly tag?: string;
  readonly family?: string;
  readonly country?: string;
  readonly behaviour?: string;
}

/** Options that select sessions by what analysis found in them. */
export function withFindings(command: Command): Command {
  return command
    .option('--signature <rule>', 'that matched this rule')
    .option('--tag <tag>', 'with this tag, of their own or of a rule')
    .option('--family <id>', 'whose payload is of this family')
    .option('--country <code>', 'whose source is there: NL')
    .option('--behaviour <names>', 'that a verdict of this behaviour is about: brute-force; several with commas');
}

export const findingTextOf = ({ signature, tag, family, country, behaviour }: FindingOptions): FindingText => ({
  signature,
  tag,
  family,
  country,
  behaviour,
});

export const filterTextOf = (options: FilterOptions): FilterText => {
  const { since, until, source, destination, port, transport, protocol, diversion, service, limit, before } = options;
  return { since, until, source, destination, port, transport, protocol, diversion, service, limit, before };
};

/** True when the user narrowed the selection: an empty answer then means something else. */
export const isFiltered = (options: FilterOptions): boolean =>
  Object.entries(filterTextOf(options)).some(([key, value]) => key !== 'limit' && value !== undefined);
