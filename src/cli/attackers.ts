// `weir attackers`: every source with what it is and did, the busiest first.

import { Option } from 'commander';
import { type AttackerOrder, attackerOrders } from '../record/insight-questions.ts';
import { nothingYet } from './advice.ts';
import { attackerColumns } from './attacker-rows.ts';
import type { CommonOptions } from './command-context.ts';
import { type FilterOptions, filterTextOf, isFiltered, type Verb, verbCommand, withFilter } from './verb.ts';
import { plural } from './wording.ts';

interface Options extends CommonOptions, FilterOptions {
  readonly by: AttackerOrder;
}

export const attackersVerb: Verb = (run) =>
  withFilter(
    verbCommand('attackers', 'sources: where they are, how they behave, with what tools', [
      'weir attackers --since 1d',
      'weir attackers --by ports --port 1-1024',
      "weir attackers --json | jq -r '.source.ip'",
    ]),
  )
    .addOption(new Option('--by <figure>', 'what ranks').choices(attackerOrders).default('hits'))
    .action((options: Options) =>
      run(options, (context) =>
        context.read(async (reader) => {
          const attackers = await reader.attackers(options.by, { ...filterTextOf(options), limit: options.limit ?? '50' });
          if (context.json) await context.printJsonLines(attackers);
          else if (attackers.length === 0) await context.print(nothingYet('attackers', isFiltered(options), context));
          else {
            await context.printTable(attackerColumns(context.style, context.now), attackers);
            await context.note(
              `${plural(attackers.length, 'source')}; one in full: weir attacker ${attackers[0].source.ip.slice(0, 45)}`,
            );
          }
          return 0;
        }),
      ),
    );
