// `weir agents test`: an agent touches its own decoys, and only what then is on record counts: the very source the agent came from,
// the decoy it touched, the agent, the diversion. Says at which step a way is broken.

import { setTimeout as pause } from 'node:timers/promises';
import { renderMicros } from '../base/clock.ts';
import { asWeirError, WeirError } from '../base/errors.ts';
import { printable } from '../base/printable.ts';
import type { AgentTouch, AgentTouches } from '../model/agent.ts';
import type { CommandContext } from './command-context.ts';
import type { Reader } from './reader.ts';
import type { Column } from './table.ts';
import { plural, renderDuration, renderEndpoint } from './wording.ts';

/** One way proven or broken. */
export interface TestedWay extends Partial<Omit<AgentTouch, 'error'>> {
  readonly agent: string;
  readonly ok: boolean;
  /** Where it broke. */
  readonly step?: 'known' | 'link' | 'rules' | 'touch' | 'record' | 'agent' | 'diversion';
  readonly reason?: string;
  readonly next?: string;
  /** Of the record that proves it. */
  readonly session?: string;
  /** From the question to the record. */
  readonly tookMicros?: number;
}

const defaultRecordMs = 10_000;
const pollMs = 100;
/** Clocks of one machine agree; this is for the time between the touch and its record. */
const slackMicros = 60e6;
const agentsAtOnce = 8;

async function findRecord(
  reader: Reader,
  { agent }: AgentTouches,
  touch: AgentTouch & { readonly source: NonNullable<AgentTouch['source']> },
  context: CommandContext,
  began: number,
  recordMs: number,
): Promise<TestedWay> {
  const { source, decoy, transport, diversion } = touch;
  const filter = {
    source: source.ip,
    destination: decoy.ip,
    port: `${decoy.port}/${transport}`,
    since: renderMicros(began - slackMicros),
    limit: '100',
  };
  const way = { agent, diversion, transport, decoy, source };
  const deadline = performance.now() + recordMs;
  for (;;) {
    const found = (await reader.sessions(filter)).items.find((session) => session.source.port === source.port);
    if (found) {
      const { id } = found.weir.session;
      if (found.weir.agent !== agent)
        return {
          ...way,
          ok: false,
          step: 'agent',
          session: id,
          reason: `the record names ${said(found.weir.agent)} as the agent`,
        };
      if (found.weir.diversion !== diversion)
        return {
          ...way,
          ok: false,
          step: 'diversion',
          session: id,
          reason: `the record names the diversion ${said(found.weir.diversion)}`,
        };
      return { ...way, ok: true, session: id, tookMicros: context.now - began };
    }
    if (performance.now() > deadline || context.environment.signal.aborted)
      return {
        ...way,
        ok: false,
        step: 'record',
        reason: `no session from ${renderEndpoint(source.ip, source.port)} to ${renderEndpoint(decoy.ip, decoy.port)} within ${recordMs / 1000} s`,
        next: 'the agent connected, and what came of it is not in the store: see weir status, and `weir agents` for its queue',
      };
    await pause(pollMs);
  }
}

const said = (text: string | undefined): string => (text === undefined ? 'nobody' : `'${printable(text, 40)}'`);

async function testAgent(name: string, reader: Reader, context: CommandContext, recordMs: number): Promise<TestedWay[]> {
  const began = context.now;
  let answer: AgentTouches;
  try {
    answer = await context.environment.actions.agents.touch(name, context.action);
  } catch (error) {
    const { code, message } = asWeirError(error);
    if (code !== 'timeout') throw error;
    return [{ agent: name, ok: false, step: 'touch', reason: message }];
  }
  if (answer.error) {
    const { step, message, next } = answer.error;
    return [{ agent: name, ok: false, step, reason: message, ...(next === undefined ? {} : { next }) }];
  }
  return Promise.all(
    answer.touches.map((touch) => {
      const { source, error, ...way } = touch;
      if (source) return findRecord(reader, answer, { ...touch, source }, context, began, recordMs);
      return { ...way, agent: name, ok: false, step: 'touch' as const, reason: error ?? 'the agent did not answer' };
    }),
  );
}

export interface TestOptions {
  readonly within?: string;
}

function parseWithinMs({ within }: TestOptions): number {
  if (within === undefined) return defaultRecordMs;
  if (!/^[1-9]\d{0,2}$/.test(within))
    throw new WeirError('bad-request', `--within: '${printable(within, 40)}' is not a number from 1 to 999`);
  return Number(within) * 1000;
}

/** 1 when any way is broken, or there is nothing to test. */
export async function testAgents(names: readonly string[], options: TestOptions, context: CommandContext): Promise<number> {
  const recordMs = parseWithinMs(options);
  const { agents } = await context.environment.actions.agents.report(context.action);
  const wanted =
    names.length > 0 ? [...new Set(names)] : agents.filter(({ state }) => state !== 'revoked').map(({ name }) => name);
  if (wanted.length === 0)
    throw new WeirError('not-found', 'there are no agents to test', { next: 'add one: weir agents add NAME' });
  const ways: TestedWay[] = [];
  await context.read(async (reader) => {
    for (let at = 0; at < wanted.length; at += agentsAtOnce)
      ways.push(
        ...(
          await Promise.all(wanted.slice(at, at + agentsAtOnce).map((name) => testAgent(name, reader, context, recordMs)))
        ).flat(),
      );
  });
  if (context.json) await context.printJsonLines(ways);
  else await print(ways, context);
  return ways.every(({ ok }) => ok) ? 0 : 1;
}

async function print(ways: readonly TestedWay[], context: CommandContext): Promise<void> {
  const { style } = context;
  const columns: Column<TestedWay>[] = [
    { title: 'AGENT', text: ({ agent }) => printable(agent, 40), paint: style.bold },
    { title: 'DIVERSION', text: ({ diversion }) => diversion ?? '-' },
    { title: 'SOURCE', text: ({ source }) => (source ? renderEndpoint(source.ip, source.port) : '-') },
    {
      title: 'DECOY',
      text: ({ decoy, transport }) => (decoy ? `${renderEndpoint(decoy.ip, decoy.port)}/${transport}` : '-'),
      paint: style.cyan,
    },
    {
      title: 'RESULT',
      text: ({ ok, step }) => (ok ? 'OK' : `failed: ${step}`),
      paint: (text, { ok }) => (ok ? style.green(text) : style.red(text)),
    },
    { title: 'ON RECORD', text: ({ session }) => session ?? '-' },
    { title: 'AFTER', align: 'right', text: ({ tookMicros }) => (tookMicros === undefined ? '-' : renderDuration(tookMicros)) },
  ];
  await context.printTable(columns, ways);
  for (const { agent, reason, next } of ways)
    if (reason !== undefined)
      await context.note(
        `${printable(agent, 40)}: ${printable(reason, 500)}${next === undefined ? '' : `\n  next: ${printable(next, 300)}`}`,
      );
  const broken = ways.filter(({ ok }) => !ok).length;
  await context.note(
    broken === 0
      ? `${plural(ways.length, 'way')} from end to end, each proven by its record`
      : `${plural(broken, 'way')} of ${ways.length} broken`,
  );
}
