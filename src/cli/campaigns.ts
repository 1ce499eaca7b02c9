// `weir campaigns [ID]`: sources that act as one: what they share, and why each of them belongs.

import type { CampaignDocument } from '../analysis/read-campaigns.ts';
import { parseMicros } from '../base/clock.ts';
import { WeirError } from '../base/errors.ts';
import { printable } from '../base/printable.ts';
import { nothingYet } from './advice.ts';
import type { CommandContext, CommonOptions } from './command-context.ts';
import type { Style } from './style.ts';
import { type Column, renderTable } from './table.ts';
import { type FilterOptions, filterTextOf, isFiltered, type Verb, verbCommand, withFilter } from './verb.ts';
import { plural, renderAgo, renderCount, renderMoment } from './wording.ts';

type Member = CampaignDocument['members'][number];

const joined = (values: readonly string[], most: number): string =>
  values
    .slice(0, most)
    .map((value) => printable(value, 120))
    .join('; ');

const columns = (style: Style, now: number): Column<CampaignDocument>[] => [
  { title: 'CAMPAIGN', text: ({ id }) => printable(id, 32), paint: style.dim },
  { title: 'SOURCES', align: 'right', text: ({ size }) => renderCount(size), paint: style.bold },
  { title: 'HITS', align: 'right', text: ({ hits }) => renderCount(hits) },
  { title: 'SINCE', text: ({ event }) => renderMoment(parseMicros(event.start), now) },
  { title: 'LAST', align: 'right', text: ({ event }) => renderAgo(parseMicros(event.end), now) },
  { title: 'CALLED', text: ({ label }) => printable(label, 60), paint: style.cyan },
  { title: 'SHARED', text: ({ bonds }) => joined(bonds, 4) || '-', flexible: true },
];

const memberColumns = (style: Style, now: number): Column<Member>[] => [
  { title: 'SOURCE', text: ({ source }) => printable(source.ip, 45), paint: style.cyan },
  { title: 'HITS', align: 'right', text: ({ hits }) => renderCount(hits) },
  { title: 'SINCE', text: ({ event }) => renderMoment(parseMicros(event.start), now) },
  { title: 'LAST', align: 'right', text: ({ event }) => renderAgo(parseMicros(event.end), now) },
  { title: 'WHY IT BELONGS', text: ({ reasons }) => joined(reasons, 6), flexible: true },
];

function renderCampaign(campaign: CampaignDocument, context: CommandContext): string {
  const { style, now, width } = context;
  const { id, label, size, hits, bonds, members } = campaign;
  return [
    style.bold(`Campaign ${printable(id, 32)}: ${printable(label, 120)}`),
    `  ${plural(size, 'source')}, ${plural(hits, 'hit')}`,
    ...bonds.map((bond, index) => `  ${style.dim(index === 0 ? 'shared' : '      ')}  ${printable(bond, 300)}`),
    '',
    ...renderTable(memberColumns(style, now), members, { width, paintTitle: style.dim }),
    ...(size > members.length ? [style.dim(`and ${renderCount(size - members.length)} more`)] : []),
  ]
    .map((line) => line.trimEnd())
    .join('\n');
}

export const campaignsVerb: Verb = (run) =>
  withFilter(
    verbCommand('campaigns', 'sources that act as one: what they share, and why each belongs', [
      'weir campaigns --since 7d',
      'weir campaigns 3fa90c11d2e4b5a6 --since 7d',
    ]),
  )
    .argument('[id]', 'one of them, with its members')
    .action((id: string | undefined, options: CommonOptions & FilterOptions) =>
      run(options, (context) =>
        context.read(async (reader) => {
          const filter = filterTextOf(options);
          const campaigns = await reader.campaigns({ ...filter, limit: id === undefined ? (options.limit ?? '50') : '500' });
          const chosen = id === undefined ? campaigns : campaigns.filter((campaign) => campaign.id === id);
          if (id !== undefined && chosen.length === 0)
            throw new WeirError('not-found', `there is no campaign ${printable(id, 40)} in this time`, {
              next: '`weir campaigns` lists them; --since widens the time',
            });
          if (context.json) await context.printJsonLines(chosen);
          else if (id !== undefined) await context.print(renderCampaign(chosen[0], context));
          else if (chosen.length === 0) await context.print(nothingYet('campaigns', isFiltered(options), context));
          else {
            await context.printTable(columns(context.style, context.now), chosen);
            await context.note(`${plural(chosen.length, 'campaign')}; one in full: weir campaigns ${chosen[0].id}`);
          }
          return 0;
        }),
      ),
    );
