// `weir verdicts`: what behaviour was seen in whom, newest first, with the evidence.

import { behaviours } from '../record/behaviour-names.ts';
import { nothingYet } from './advice.ts';
import { verdictColumns } from './attacker-rows.ts';
import type { CommonOptions } from './command-context.ts';
import { type FilterOptions, filterTextOf, isFiltered, type Verb, verbCommand, withFilter } from './verb.ts';
import { plural } from './wording.ts';

interface Options extends CommonOptions, FilterOptions {
  readonly behaviour?: string;
}

export const verdictsVerb: Verb = (run) =>
  withFilter(
    verbCommand('verdicts', 'scans, brute force, exploitation and the rest, newest first, with evidence', [
      'weir verdicts --since 1d',
      'weir verdicts --behaviour brute-force,exploitation --json',
    ]),
  )
    .option('--behaviour <names>', `of ${behaviours.join(', ')}; several with commas`)
    .action((options: Options) =>
      run(options, (context) =>
        context.read(async (reader) => {
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
        }),
      ),
    );
