// `weir attacker IP`: one source on one page: where it is, how it behaves and why we say so, what it tried where.

import type { CampaignDocument } from '../analysis/read-campaigns.ts';
import { parseMicros } from '../base/clock.ts';
import { WeirError } from '../base/errors.ts';
import { printable, printableBytes } from '../base/printable.ts';
import { parseAddress } from '../model/address.ts';
import { portName } from '../model/port-name.ts';
import type { AttackerPageDocument, VerdictDocument } from '../record/insight-documents.ts';
import type { TopRow } from '../record/store.ts';
import { paintSeverity, placeText, targetText } from './attacker-rows.ts';
import type { CommandContext, CommonOptions } from './command-context.ts';
import { renderTable } from './table.ts';
import { type FilterOptions, filterTextOf, type Verb, verbCommand, withFilter } from './verb.ts';
import { plural, renderAgo, renderBytes, renderCount, renderDuration, renderInstant, renderMoment } from './wording.ts';

const shownRows = 15;
const shownVerdicts = 20;

const joined = (values: readonly string[]): string => values.map((value) => printable(value, 80)).join(', ');

function head({ attacker }: AttackerPageDocument, context: CommandContext): string[] {
  const { source, event, weir } = attacker;
  const { sessions, probes, ports, decoys, behaviours, tools, signatures } = weir.attacker;
  const [first, last] = [parseMicros(event.start), parseMicros(event.end)];
  const ago = renderAgo(last, context.now);
  const rows: [string, string][] = [
    ['place', placeText(source)],
    ['first seen', renderInstant(first)],
    [
      'last seen',
      `${renderInstant(last)}, ${ago}${ago === 'now' ? '' : ' ago'}${last > first ? `, ${renderDuration(last - first)} later` : ''}`,
    ],
    [
      'touched',
      `${plural(sessions, 'session')}, ${plural(probes, 'probe')}: ${plural(ports, 'port')} of ${plural(decoys, 'decoy')}, ${renderBytes(source.bytes)} sent`,
    ],
    ['behaviour', joined(behaviours)],
    ['tools', joined(tools)],
    ['signatures', joined(signatures)],
  ];
  return rows.filter(([, value]) => value !== '').map(([name, value]) => `  ${context.style.dim(name.padEnd(10))}  ${value}`);
}

function verdictLines(verdict: VerdictDocument, context: CommandContext): string[] {
  const { style, now } = context;
  const { behaviour, severity, confidence, tool, evidence } = verdict.weir.verdict;
  const [start, end] = [parseMicros(verdict.event.start), parseMicros(verdict.event.end)];
  const target = targetText(verdict);
  const techniques = verdict.threat?.technique.id ?? [];
  const facts = [
    `${renderMoment(start, now)} UTC for ${renderDuration(Math.max(0, end - start))}`,
    target && `at ${target}`,
    tool && `with ${printable(tool, 40)}`,
    techniques.length > 0 && joined(techniques),
    verdict.vulnerability && joined(verdict.vulnerability.id),
  ];
  return [
    `  ${paintSeverity(style, severity)(severity.padEnd(6))}  ${style.bold(printable(behaviour, 40))} (${confidence})  ${style.dim(facts.filter(Boolean).join(', '))}`,
    ...evidence.map((sentence) => `          ${printable(sentence, 400)}`),
  ];
}

function ranking(rows: readonly TopRow[], context: CommandContext, note: (key: string) => string = () => ''): string[] {
  return renderTable<TopRow>(
    [
      { title: 'HITS', align: 'right', text: ({ hits }) => renderCount(hits) },
      { title: '', text: ({ key }) => printable(key, 200), paint: context.style.cyan, flexible: true },
      { title: '', text: ({ key }) => note(key), paint: context.style.dim },
    ],
    rows.slice(0, shownRows),
    { width: context.width === 0 ? 0 : context.width - 2, titles: false },
  );
}

function facts(page: AttackerPageDocument, context: CommandContext): string[] {
  return renderTable(
    [
      { title: 'HITS', align: 'right', text: ({ hits }) => renderCount(hits) },
      { title: 'KIND', text: ({ kind }) => printable(kind, 20), paint: context.style.dim },
      { title: 'VALUE', text: ({ value }) => printable(value, 300), paint: context.style.cyan, flexible: true },
    ],
    page.facts.slice(0, 2 * shownRows),
    { width: context.width === 0 ? 0 : context.width - 2, titles: false },
  );
}

const families = (page: AttackerPageDocument): string[] =>
  page.families.flatMap(({ id, label, example }) => [
    `${printable(id, 16)}  ${printable(label, 120)}`,
    `                  ${printableBytes(Buffer.from(example, 'base64'), 96)}`,
  ]);

const campaignLines = (campaigns: readonly CampaignDocument[], ip: string, context: CommandContext): string[] =>
  campaigns.flatMap(({ id, label, size, members }) => [
    `${printable(id, 32)}  ${context.style.bold(printable(label, 100))}  ${plural(size, 'source')}`,
    ...(members.find(({ source }) => source.ip === ip)?.reasons ?? []).map(
      (reason) => `                  ${printable(reason, 300)}`,
    ),
  ]);

export function renderAttackerPage(
  page: AttackerPageDocument,
  campaigns: readonly CampaignDocument[],
  context: CommandContext,
): string {
  const { style } = context;
  const lines = [style.bold(`Attacker ${printable(page.attacker.source.ip, 45)}`), ...head(page, context)];
  const section = (title: string, body: readonly string[], rest = 0): void => {
    if (body.length === 0) return;
    lines.push('', style.bold(title), ...body.map((line) => `  ${line.trimEnd()}`));
    if (rest > 0) lines.push(style.dim(`  and ${renderCount(rest)} more: --json has them`));
  };
  const shown = page.verdicts.slice(0, shownVerdicts);
  if (shown.length > 0) {
    lines.push('', style.bold('Behaviour'), ...shown.flatMap((verdict) => verdictLines(verdict, context)));
    if (page.verdicts.length > shown.length)
      lines.push(style.dim(`  and ${page.verdicts.length - shown.length} more: weir verdicts`));
  }
  section('Ports', ranking(page.ports, context, portName), page.ports.length - shownRows);
  section('Decoys', ranking(page.decoys, context), page.decoys.length - shownRows);
  section('Credentials', ranking(page.credentials, context), page.credentials.length - shownRows);
  section('What its payloads hold', facts(page, context), page.facts.length - 2 * shownRows);
  section('Payload families', families(page));
  section('Campaigns', campaignLines(campaigns, page.attacker.source.ip, context));
  return lines.map((line) => line.trimEnd()).join('\n');
}

export const attackerVerb: Verb = (run) =>
  withFilter(
    verbCommand('attacker', 'one source: behaviour with evidence, tools, place, what it tried where', [
      'weir attacker 203.0.113.9',
      'weir attacker 203.0.113.9 --since 1d --json',
    ]),
  )
    .argument('<ip>', 'address of the source')
    .action((ip: string, options: CommonOptions & FilterOptions) =>
      run(options, (context) =>
        context.read(async (reader) => {
          if (!parseAddress(ip))
            throw new WeirError('bad-request', `'${printable(ip, 60)}' is not an address`, {
              next: '`weir attackers` lists them',
            });
          const page = await reader.attacker(ip, filterTextOf(options));
          if (!page)
            throw new WeirError('not-found', `nothing of ${printable(ip, 60)} is recorded`, {
              next: '`weir attackers` lists who was here',
            });
          const campaigns = await reader.campaigns(filterTextOf(options), page.attacker.source.ip);
          if (context.json) await context.printJson({ ...page, campaigns });
          else await context.print(renderAttackerPage(page, campaigns, context));
          return 0;
        }),
      ),
    );
