// Agents as rows: all columns for `weir agents`, the few that matter for `weir status`. What an agent says of itself is made safe
// to show here.

import { parseMicros } from '../base/clock.ts';
import { printable } from '../base/printable.ts';
import type { AgentStatus } from '../model/agent.ts';
import type { CommandContext } from './command-context.ts';
import { type Column, renderTable } from './table.ts';
import { plural, renderAgo, renderBytes, renderCount, renderDuration } from './wording.ts';

/** As many as fit a screen beside the rest. */
const maxStatusRows = 20;
/** A clock that is off by less is right enough to be called so. */
const skewToleranceMicros = 1e6;

const line = (text: unknown): string => printable(String(text), 200);

function renderSkew(micros: number | undefined): string {
  if (micros === undefined) return '-';
  if (Math.abs(micros) < skewToleranceMicros) return 'none';
  return `${micros < 0 ? '-' : '+'}${renderDuration(Math.abs(micros))}`;
}

function renderQueue({ spool }: AgentStatus): string {
  if (!spool) return '-';
  if (spool.records === 0) return spool.droppedRecords > 0 ? `0, ${renderCount(spool.droppedRecords)} lost` : '0';
  const waiting = `${renderCount(spool.records)} (${renderBytes(spool.bytes)})`;
  return spool.droppedRecords > 0 ? `${waiting}, ${renderCount(spool.droppedRecords)} lost` : waiting;
}

function renderRules({ rules }: AgentStatus): string {
  if (!rules) return '-';
  if (rules.applied !== rules.wanted) return rules.applied === undefined ? 'none yet' : 'older';
  return rules.refused.length === 0 ? 'applied' : `${plural(rules.refused.length, 'port')} refused`;
}

export function agentColumns({ style, now }: CommandContext): Column<AgentStatus>[] {
  const ago = (at: string | undefined): string => (at === undefined ? '-' : renderAgo(parseMicros(at), now));
  return [
    { title: 'NAME', text: ({ name }) => line(name), paint: style.bold },
    {
      title: 'STATE',
      text: ({ state }) => state,
      paint: (text, { state }) => (state === 'linked' ? style.green(text) : state === 'away' ? style.red(text) : style.dim(text)),
    },
    {
      title: 'HEALTH',
      text: ({ state, health }) => (state === 'linked' ? health : '-'),
      paint: (text, { health, state }) =>
        state !== 'linked'
          ? text
          : health === 'good'
            ? style.green(text)
            : health === 'degraded'
              ? style.yellow(text)
              : style.red(text),
    },
    { title: 'VERSION', text: ({ version }) => line(version ?? '-') },
    { title: 'PEER', text: ({ peer }) => line(peer ?? '-') },
    { title: 'SINCE', align: 'right', text: ({ since }) => ago(since) },
    { title: 'LAST TOUCH', align: 'right', text: ({ lastTouch }) => ago(lastTouch) },
    {
      title: 'LATENCY',
      align: 'right',
      text: ({ latencyMicros }) => (latencyMicros === undefined ? '-' : renderDuration(latencyMicros)),
    },
    {
      title: 'QUEUE',
      align: 'right',
      text: renderQueue,
      paint: (text, { spool }) => (spool && (spool.droppedRecords > 0 || spool.diskFull) ? style.red(text) : text),
    },
    {
      title: 'SKEW',
      align: 'right',
      text: ({ skewMicros }) => renderSkew(skewMicros),
      paint: (text) => (text === 'none' || text === '-' ? text : style.yellow(text)),
    },
    {
      title: 'RULES',
      text: renderRules,
      paint: (text) => (text === 'applied' || text === '-' ? text : style.yellow(text)),
    },
  ];
}

/** A short table for the status; why an agent is not well stands among the status's own reasons. */
export function agentStatusRows(agents: readonly AgentStatus[], context: CommandContext): string[] {
  const { style, width } = context;
  const shown = new Set(['NAME', 'STATE', 'HEALTH', 'VERSION', 'SINCE', 'LAST TOUCH', 'QUEUE']);
  const columns = agentColumns(context)
    .filter(({ title }) => shown.has(title))
    .map((column) => (column.title === 'NAME' ? { ...column, title: 'AGENT' } : column));
  const lines = renderTable(columns, agents.slice(0, maxStatusRows), { paintTitle: style.dim, width });
  if (agents.length > maxStatusRows)
    lines.push(style.dim(`and ${plural(agents.length - maxStatusRows, 'more agent')}: weir agents lists all`));
  return lines;
}
