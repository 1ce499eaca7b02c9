// How a new version of the program reaches many agents: a few first, the next stage only when all of the former work well with it,
// an end at the first that does not. Pure: what is known of the agents goes in, whom to offer it to comes out.

import type { AgentStatus, AgentUpgrade } from '../../model/agent.ts';
import { compareVersions } from '../../model/program-version.ts';
import type { Health } from '../../model/status.ts';

export interface RollOutWish {
  readonly version: string;
  /** Names, in the order to go by; each once. */
  readonly agents: readonly string[];
  /** So many at a time. Absent: one, then a tenth, then the rest. */
  readonly stage?: number;
  /** Also to agents that are newer, and to those that have this version already. */
  readonly force?: boolean;
  /** For each stage, until all of its agents have reported and are well. */
  readonly withinMs: number;
}

export interface RollOutSkip {
  readonly agent: string;
  /** `current`: it has this version. */
  readonly state: 'current' | 'refused';
  readonly reason?: string;
}

interface Underway {
  readonly agent: string;
  /** Before it was offered: nobody is asked to be better than it was. */
  readonly health: Health;
  readonly refused: number;
}

export interface RollOut {
  readonly version: string;
  readonly withinMs: number;
  readonly stages: readonly (readonly Underway[])[];
  readonly skipped: readonly RollOutSkip[];
  /** Which stage is under way; as many as there are: done. */
  readonly at: number;
  /** Agents of the present stage that were offered it. */
  readonly offered: ReadonlySet<string>;
  /** Monotonic milliseconds; of the present stage. */
  readonly deadlineMs: number;
  readonly done: ReadonlySet<string>;
  /** Where and why it stopped. */
  readonly failed?: { readonly agent: string; readonly reason: string };
  readonly over: boolean;
}

const rank: Readonly<Record<Health, number>> = { good: 0, degraded: 1, bad: 2 };

/** `[1, a tenth, the rest]`, or as many as were asked for, again and again; all of them together are `count`. */
export function stageSizes(count: number, stage?: number): number[] {
  const sizes: number[] = [];
  let left = count;
  for (let at = 0; left > 0; at += 1) {
    const wanted = stage ?? [1, Math.max(1, Math.ceil(count / 10)), left][Math.min(at, 2)];
    const size = Math.min(left, wanted);
    sizes.push(size);
    left -= size;
  }
  return sizes;
}

function skip(status: AgentStatus | undefined, agent: string, { version, force }: RollOutWish): RollOutSkip | undefined {
  const refused = (reason: string): RollOutSkip => ({ agent, state: 'refused', reason });
  if (!status) return refused('there is no agent of this name');
  if (status.state !== 'linked') return refused(`it is ${status.state}: only an agent that is linked can fetch a program`);
  if (status.version === version && !force) return { agent, state: 'current' };
  if (status.version !== undefined && compareVersions(status.version, version) > 0 && !force)
    return refused(`it has ${status.version}, which is newer: --force brings it back to ${version}`);
  if (status.ownHealth === 'bad' && !force)
    return refused(`its health is bad (${status.reasons[0] ?? 'no reason given'}): mend that first, or use --force`);
  return undefined;
}

export function beginRollOut(wish: RollOutWish, statuses: readonly AgentStatus[], nowMs: number): RollOut {
  const byName = new Map(statuses.map((status) => [status.name, status]));
  const skipped: RollOutSkip[] = [];
  const chosen: Underway[] = [];
  for (const agent of wish.agents) {
    const status = byName.get(agent);
    const no = skip(status, agent, wish);
    if (no) skipped.push(no);
    else chosen.push({ agent, health: status?.ownHealth ?? 'good', refused: status?.rules?.refused.length ?? 0 });
  }
  let from = 0;
  const stages = stageSizes(chosen.length, wish.stage).map((size) => {
    from += size;
    return chosen.slice(from - size, from);
  });
  return {
    version: wish.version,
    withinMs: wish.withinMs,
    stages,
    skipped,
    at: 0,
    offered: new Set(),
    deadlineMs: nowMs + wish.withinMs,
    done: new Set(),
    over: stages.length === 0,
  };
}

/** Undefined: all is well with it; otherwise what is missing, and whether waiting is of no use. */
function judge(status: AgentStatus | undefined, before: Underway, version: string): { why: string; final: boolean } | undefined {
  if (!status) return { why: 'it was removed', final: true };
  const { state, upgrade, rules, ownHealth } = status;
  if (state === 'revoked' || state === 'waiting') return { why: `it is ${state}`, final: true };
  if (upgrade?.state === 'failed' && upgrade.version === version)
    return { why: upgrade.reason ?? 'it returned to its former version', final: true };
  if (state !== 'linked')
    return { why: `it is ${state}${status.reasons.length > 0 ? `: ${status.reasons[0]}` : ''}`, final: false };
  if (upgrade?.version !== version || upgrade.state !== 'done')
    return {
      why: status.version === version ? 'it is still on trial' : `it still runs ${status.version ?? 'another version'}`,
      final: false,
    };
  if (status.version !== version) return { why: `it runs ${status.version ?? 'another version'} again`, final: false };
  if (rules && rules.applied !== rules.wanted) return { why: 'it has not applied its rules', final: false };
  if (ownHealth === undefined) return { why: 'it has not reported its health', final: false };
  if (rank[ownHealth] > rank[before.health])
    return { why: `its health is ${ownHealth}: ${status.reasons[0] ?? 'no reason given'}`, final: false };
  const refused = rules?.refused.length ?? 0;
  if (refused > before.refused)
    return { why: `it cannot listen on ${refused} of its ports, ${before.refused} before`, final: false };
  return undefined;
}

export interface RollOutStep {
  readonly next: RollOut;
  /** Offer it to these now; tell `offerFailed` when one cannot be reached. */
  readonly offer: readonly string[];
}

/** One look at the agents. Call again when something changed, and at least once a second. */
export function stepRollOut(before: RollOut, statuses: readonly AgentStatus[], nowMs: number): RollOutStep {
  if (before.over) return { next: before, offer: [] };
  const stage = before.stages[before.at];
  const names = stage.map(({ agent }) => agent);
  if (before.offered.size === 0)
    return { next: { ...before, offered: new Set(names), deadlineMs: nowMs + before.withinMs }, offer: names };
  const byName = new Map(statuses.map((status) => [status.name, status]));
  // Agents of former stages are watched until the end: what shows late stops it too.
  const former = before.stages.slice(0, before.at).flat();
  for (const one of former) {
    const { agent } = one;
    const wrong = judge(byName.get(agent), one, before.version);
    if (wrong?.final) return stopped(before, agent, wrong.why);
  }
  const done = new Set(before.done);
  let missing: { agent: string; why: string } | undefined;
  for (const one of stage) {
    const { agent } = one;
    const wrong = judge(byName.get(agent), one, before.version);
    if (wrong?.final) return stopped({ ...before, done }, agent, wrong.why);
    if (wrong) {
      missing ??= { agent, why: wrong.why };
      done.delete(agent);
    } else done.add(agent);
  }
  if (missing && nowMs >= before.deadlineMs)
    return stopped({ ...before, done }, missing.agent, `${missing.why}, after ${Math.round(before.withinMs / 1000)} s`);
  if (missing) return { next: { ...before, done }, offer: [] };
  // Before more are asked, all those before them have to be well now, not only at their time.
  for (const one of former) {
    const { agent } = one;
    const wrong = judge(byName.get(agent), one, before.version);
    if (wrong && nowMs >= before.deadlineMs) return stopped({ ...before, done }, agent, wrong.why);
    if (wrong) return { next: { ...before, done }, offer: [] };
  }
  const at = before.at + 1;
  if (at === before.stages.length) return { next: { ...before, done, at, over: true }, offer: [] };
  const more = before.stages[at].map(({ agent }) => agent);
  return { next: { ...before, done, at, offered: new Set(more), deadlineMs: nowMs + before.withinMs }, offer: more };
}

/** The offer did not reach it. */
export const offerFailed = (before: RollOut, agent: string): RollOut =>
  before.over ? before : stopped(before, agent, 'the offer did not reach it: its link has just ended').next;

const stopped = (before: RollOut, agent: string, reason: string): RollOutStep => ({
  next: { ...before, failed: { agent, reason }, over: true },
  offer: [],
});

/** How it is with everybody, in the order of the stages, those left out last. */
export function describeRollOut({ stages, at, offered, done, failed, skipped, version, over }: RollOut): AgentUpgrade[] {
  const before = over ? 'untouched' : 'waiting';
  const under = over ? 'unfinished' : 'offered';
  const chosen = stages.flatMap((stage, number) =>
    stage.map(({ agent }): AgentUpgrade => {
      const of = { agent, version, stage: number + 1 };
      if (failed?.agent === agent) return { ...of, state: 'failed', reason: failed.reason };
      if (done.has(agent)) return { ...of, state: 'done' };
      return { ...of, state: number === at && offered.has(agent) ? under : before };
    }),
  );
  return [...chosen, ...skipped];
}
