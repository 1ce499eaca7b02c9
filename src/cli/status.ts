// `weir status`: whether everything runs, what is diverted, what was lost, and a fresh sign-in link to the console.

import { parseMicros } from '../base/clock.ts';
import { WeirError } from '../base/errors.ts';
import { printable } from '../base/printable.ts';
import type { AnalysisStatus, ProcessStatus, Status } from '../model/status.ts';
import { agentStatusRows } from './agent-rows.ts';
import type { CommandContext, CommonOptions } from './command-context.ts';
import { annexFacts, describeRepairs, diversionRows, networkRows } from './status-networks.ts';
import { renderTable } from './table.ts';
import { type Verb, verbCommand } from './verb.ts';
import { plural, renderAgo, renderBytes, renderCount, renderDuration } from './wording.ts';

interface Found {
  readonly status: Status;
  readonly link?: { readonly url: string; readonly expires: string };
}

/** From the recorder, or, when that does not answer, from whatever else of Weir runs. */
async function find(context: CommandContext): Promise<Found> {
  const recorder = await context.recorder();
  try {
    const status = await recorder.status();
    if (!status.console?.url) return { status };
    // The status is told with or without it.
    const link = await recorder.createSignInLink().catch(() => undefined);
    return link ? { status, link } : { status };
  } catch (error) {
    if (!(error instanceof WeirError) || (error.code !== 'not-running' && error.code !== 'timeout')) throw error;
    const status = await context.environment.actions.status(context.action);
    if (!status) throw new WeirError('not-running', 'Weir does not run here', { next: 'start it with `weir up`' });
    return {
      status: {
        ...status,
        health: 'bad',
        reasons: [...(status.reasons ?? []), `the recorder does not answer: ${error.message}`],
      },
    };
  }
}

const line = (text: unknown): string => printable(String(text), 1000);

function processRows(processes: readonly ProcessStatus[], context: CommandContext): string[] {
  const { style, now } = context;
  return renderTable(
    [
      { title: 'PROCESS', text: ({ name }) => line(name), paint: style.bold },
      {
        title: 'STATE',
        text: ({ state }) => line(state),
        paint: (text, { state }) => (state === 'running' ? style.green(text) : style.red(text)),
      },
      { title: 'PID', align: 'right', text: ({ pid }) => (pid === undefined ? '-' : String(pid)) },
      { title: 'USER', text: ({ user }) => line(user ?? '-') },
      { title: 'UP FOR', align: 'right', text: ({ since }) => (since ? renderAgo(parseMicros(since), now) : '-') },
      {
        title: 'RESTARTS',
        align: 'right',
        text: ({ restarts }) => String(restarts ?? 0),
        paint: (text) => (text === '0' ? text : style.yellow(text)),
      },
      {
        title: 'MEMORY',
        align: 'right',
        text: ({ memoryBytes }) => (memoryBytes === undefined ? '-' : renderBytes(memoryBytes)),
      },
    ],
    processes,
    { paintTitle: style.dim, width: context.width },
  );
}

function analysisText(analysis: AnalysisStatus, { style }: CommandContext): string {
  const { sessions, matched, verdicts, rules, spilled, partial, curtailed = 0, forgotten, faults } = analysis;
  const failed = Object.entries(faults).map(([part, count]) => `${line(part)} failed ${plural(count, 'time')}`);
  return [
    `${plural(sessions, 'session')} looked at with ${plural(rules, 'signature')}`,
    `${renderCount(matched)} matched`,
    plural(verdicts, 'verdict'),
    spilled > 0 && `${renderCount(spilled)} read back`,
    partial > 0 && style.yellow(`${renderCount(partial)} seen in part`),
    curtailed > 0 && style.yellow(`${plural(curtailed, 'payload')} matched in part`),
    forgotten > 0 && style.yellow(`${plural(forgotten, 'source')} forgotten`),
    ...failed.map((text) => style.red(text)),
  ]
    .filter(Boolean)
    .join(', ');
}

export function renderStatus({ status, link }: Found, context: CommandContext): string {
  const { style, now } = context;
  const health = status.health ?? 'good';
  const paint = health === 'good' ? style.green : health === 'degraded' ? style.yellow : style.red;
  const lines = [
    `${paint(`● ${health === 'good' ? 'all is well' : health}`)}${status.version ? style.dim(`  Weir ${line(status.version)}`) : ''}`,
    ...(status.reasons ?? []).map((reason) => `  ${paint('!')} ${line(reason)}`),
  ];
  if (status.confirmBefore && !status.reasons?.some((reason) => reason.includes('weir confirm'))) {
    const left = Math.max(0, parseMicros(status.confirmBefore) - now);
    lines.push(
      `  ${style.yellow('!')} the last change is not confirmed: ${style.bold('weir confirm')} within ${renderDuration(left)}, or it is rolled back`,
    );
  }
  if (status.processes?.length) lines.push('', ...processRows(status.processes, context));
  if (status.diversions?.length)
    lines.push('', ...diversionRows(status.diversions, context), ...networkRows(status.diversions, context));
  if (status.agents?.length) lines.push('', ...agentStatusRows(status.agents, context));
  const facts: [string, string][] = [];
  if (status.sessions)
    facts.push([
      'sessions',
      `${renderCount(status.sessions.open)} open${status.sessions.total === undefined ? '' : `, ${renderCount(status.sessions.total)} recorded`}`,
    ]);
  if (status.journal)
    facts.push([
      'journal',
      [
        status.journal.lagMs !== undefined && `${renderDuration(status.journal.lagMs * 1000)} behind`,
        status.journal.lagBytes !== undefined && `${renderBytes(status.journal.lagBytes)} to go`,
        status.journal.sizeBytes !== undefined && `${renderBytes(status.journal.sizeBytes)} on disk`,
      ]
        .filter(Boolean)
        .join(', '),
    ]);
  if (status.store)
    facts.push([
      'store',
      [
        status.store.sizeBytes !== undefined && renderBytes(status.store.sizeBytes),
        status.store.sessions !== undefined && plural(status.store.sessions, 'session'),
        status.store.oldest !== undefined && `back to ${line(status.store.oldest.slice(0, 10))}`,
      ]
        .filter(Boolean)
        .join(', '),
    ]);
  if (status.analysis) facts.push(['analysis', analysisText(status.analysis, context)]);
  for (const annex of status.annexes ?? []) facts.push(...annexFacts(annex, status.reasons ?? [], context));
  if (status.repairs) facts.push(['repaired', describeRepairs(status.repairs, context)]);
  const drops = Object.entries(status.drops ?? {}).filter(([, count]) => count > 0);
  facts.push([
    'lost',
    drops.length === 0 ? 'nothing' : style.yellow(drops.map(([name, count]) => `${line(name)} ${renderCount(count)}`).join(', ')),
  ]);
  if (status.data) facts.push(['data', line(status.data)]);
  lines.push('', ...facts.map(([name, value]) => `${style.dim(name.padEnd(10))}${value}`));
  if (status.console?.error) lines.push(`${style.dim('console'.padEnd(10))}${style.red(line(status.console.error))}`);
  if (link) {
    lines.push(`${style.dim('console'.padEnd(10))}${style.bold(line(link.url))}`);
    lines.push(`${''.padEnd(10)}${style.dim('works once, for 15 minutes')}`);
    if (status.console?.fingerprint) lines.push(`${style.dim('SHA-256'.padEnd(10))}${line(status.console.fingerprint)}`);
  }
  return lines.map((text) => text.trimEnd()).join('\n');
}

export const statusVerb: Verb = (run) =>
  verbCommand('status', 'processes, diversions, what was lost, and a sign-in link', [
    'weir status',
    'weir status --json | jq .health',
  ]).action((options: CommonOptions) =>
    run(options, async (context) => {
      const found = await find(context);
      if (context.json) await context.printJson({ ...found.status, ...(found.link ? { signIn: found.link } : {}) });
      else await context.print(renderStatus(found, context));
      return found.status.health === 'bad' ? 1 : 0;
    }),
  );
