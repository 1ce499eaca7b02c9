// `weir verdicts`: what behaviour was seen in whom, newest first, with the evidence.

import { behaviours, parseBehaviours } from '../record/behaviour-names.ts';
import type { VerdictDocument } from '../record/insight-documents.ts';
import { nothingYet } from './advice.ts';
import { verdictColumns } from './attacker-rows.ts';
import type { CommandContext, CommonOptions } from './command-context.ts';
import { follow } from './follow.ts';
import { type FilterOptions, filterTextOf, isFiltered, type Verb, verbCommand, withFilter } from './verb.ts';
import { plural } from './wording.ts';

interface Options extends CommonOptions, FilterOptions {
  readonly behaviour?: string;
  readonly follow?: boolean;
}

async function list(context: CommandContext, options: Options): Promise<number> {
  return context.read(async (reader) => {
    const filter = { ...filterTextOf(options), limit: options.limit ?? '50' };
    const page = await reader.verdicts(filter, options.behaviour);
    if (context.json) await context.printJsonLines(page.items);
    else if (page.items.length === 0)
      await context.print(nothingYet('verdicts', isFiltered(options) || options.behaviour !== undefined, context));
    else {
      await context.printTable(verdictColumns(context.style, context.now), page.items);
      await context.note(
        `${plural(page.items.length, 'verdict')}${page.next ? `; older ones: --before ${page.next}` : ''}; a source in full: weir attacker ${page.items[0].source.ip.slice(0, 45)}`,
      );
    }
    return 0;
  });
}

function followVerdicts(context: CommandContext, options: Options): Promise<number> {
  const { behaviours: wanted } = parseBehaviours(options.behaviour);
  return follow<VerdictDocument>(context, options, {
    kind: 'verdict',
    of: ({ verdicts = [] }) => verdicts.filter(({ weir }) => wanted?.includes(weir.verdict.behaviour) ?? true),
    earlier: async (recorder) =>
      (await recorder.verdicts({ since: options.since, limit: options.limit ?? '1000' }, options.behaviour)).items,
    key: ({ event, weir }) => `${event.id} ${weir.verdict.severity}`,
    show: (rows, titles) => context.printTable(verdictColumns(context.style, context.now), rows, titles),
  });
}

export const verdictsVerb: Verb = (run) =>
  withFilter(
    verbCommand('verdicts', 'scans, brute force, exploitation and the rest, newest first, with evidence', [
      'weir verdicts --since 1d',
      'weir verdicts --behaviour brute-force,exploitation --json',
      'weir verdicts --follow --behaviour exploitation',
    ]),
  )
    .option('--behaviour <names>', `of ${behaviours.join(', ')}; several with commas`)
    .option('-f, --follow', 'new ones as they come, again when they become more severe; with --since first those from then on')
    .action((options: Options) =>
      run(options, (context) => (options.follow ? followVerdicts(context, options) : list(context, options))),
    );
