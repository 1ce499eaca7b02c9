// The exchange of an agent's program by another, as states: who listens when, when the new one has proven itself, what to do when
// either dies. Pure; the processes are agent-keeper.ts. At no time are both told to listen.

import type { Health } from '../model/status.ts';

/** What a program says of itself while it listens. */
export interface WorkerState {
  readonly linked: boolean;
  readonly health: Health;
  readonly reasons: readonly string[];
  /** Listeners it could not have. */
  readonly refused: number;
  /** It works with the rules its gateway wants. */
  readonly ruled: boolean;
}

export interface TrialLimits {
  /** From the start of the new process until it is ready to listen. The old one is undisturbed. */
  readonly readyMs: number;
  /** For the old one to let go of everything; then it is killed. */
  readonly releaseMs: number;
  /** For the new one to listen. */
  readonly openMs: number;
  /** For the new one to be linked and well. */
  readonly proofMs: number;
  /** How long it has to stay so. */
  readonly holdMs: number;
}

export const trialLimits: TrialLimits = {
  readyMs: 20_000,
  releaseMs: 3_000,
  openMs: 5_000,
  proofMs: 30_000,
  holdMs: 2_000,
};

/**
 * `open`: it has everything. `closing`: it was told to let go. `killed`: it did not, and its death is awaited. `idle`: it holds
 * nothing and can be told to take everything again.
 */
export type OldWorker = 'open' | 'closing' | 'killed' | 'idle' | 'dead';

export interface Trial {
  /**
   * `starting`: the new one loads. `closing`: the old one lets go. `opening`: the new one binds. `proving`: it has to be linked and
   * well. `committing`: it is written down. `returning`: it is to die, and the old one takes over again. `over`.
   */
  readonly phase: 'starting' | 'closing' | 'opening' | 'proving' | 'committing' | 'returning' | 'over';
  readonly old: OldWorker;
  readonly newAlive: boolean;
  readonly newReady: boolean;
  readonly deadlineMs: number;
  /** Since when the new one is linked and well. */
  readonly wellSinceMs?: number;
  readonly said?: WorkerState;
  /** Of the old one, when the exchange began. */
  readonly before: WorkerState;
  /** Absent and `over`: the new one stays. */
  readonly failed?: string;
}

export type TrialEvent =
  | { readonly kind: 'tick' }
  | { readonly kind: 'new-ready' }
  | { readonly kind: 'new-open' }
  | { readonly kind: 'new-said'; readonly state: WorkerState }
  /** It is not what it should be. */
  | { readonly kind: 'new-refused'; readonly why: string }
  | { readonly kind: 'new-dead'; readonly exit: string }
  | { readonly kind: 'old-idle' }
  | { readonly kind: 'old-dead' }
  | { readonly kind: 'committed' }
  | { readonly kind: 'commit-failed'; readonly why: string };

export type TrialAction =
  /** The old one lets go of listeners, link and spool. */
  | 'close-old'
  | 'open-new'
  | 'commit'
  /** SIGKILL: nothing it could still say counts. */
  | 'kill-new'
  | 'kill-old'
  | 'open-old'
  /** The old program, anew: its process died. */
  | 'start-old'
  /** The new one stays; the old one may go. */
  | 'dismiss-old';

export interface TrialStep {
  readonly trial: Trial;
  readonly actions: readonly TrialAction[];
}

const rank: Readonly<Record<Health, number>> = { good: 0, degraded: 1, bad: 2 };

export const beginTrial = (before: WorkerState, nowMs: number, limits: TrialLimits): Trial => ({
  phase: 'starting',
  old: 'open',
  newAlive: true,
  newReady: false,
  deadlineMs: nowMs + limits.readyMs,
  before,
});

/** What is missing before it may stay; undefined: nothing. */
export function missingProof(said: WorkerState | undefined, before: WorkerState): string | undefined {
  if (!said) return 'it said nothing of itself';
  if (!said.linked) return 'it did not link';
  if (said.health === 'bad' || rank[said.health] > rank[before.health])
    return `its health is ${said.health}: ${said.reasons[0] ?? 'no reason given'}`;
  if (said.refused > before.refused) return `it cannot listen on ${said.refused} of its ports, ${before.refused} before`;
  if (!said.ruled) return 'it has not applied its rules';
  return undefined;
}

export function stepTrial(trial: Trial, event: TrialEvent, nowMs: number, limits: TrialLimits): TrialStep {
  if (trial.phase === 'over') return { trial, actions: [] };
  if (event.kind === 'old-dead') return oldDied({ ...trial, old: 'dead' }, nowMs, limits);
  if (event.kind === 'new-dead') return newDied({ ...trial, newAlive: false }, event.exit);
  if (event.kind === 'new-refused') return trial.phase === 'starting' ? giveUp(trial, event.why) : { trial, actions: [] };
  const late = event.kind === 'tick' && nowMs >= trial.deadlineMs;
  const stay: TrialStep = { trial, actions: [] };
  switch (trial.phase) {
    case 'starting':
      if (late) return giveUp(trial, 'it was not ready in time');
      if (event.kind !== 'new-ready') return stay;
      return {
        trial: { ...trial, phase: 'closing', old: 'closing', newReady: true, deadlineMs: nowMs + limits.releaseMs },
        actions: ['close-old'],
      };
    case 'closing':
      if (event.kind === 'old-idle' && trial.old === 'closing') return openNew({ ...trial, old: 'idle' }, nowMs, limits);
      return late ? killOld(trial) : stay;
    case 'opening':
      if (late) return giveUp(trial, 'it did not listen in time');
      if (event.kind !== 'new-open') return stay;
      return { trial: { ...trial, phase: 'proving', deadlineMs: nowMs + limits.proofMs }, actions: [] };
    case 'proving':
      return prove(trial, event, nowMs, limits);
    case 'committing':
      if (event.kind === 'commit-failed') return giveUp(trial, event.why);
      if (event.kind !== 'committed') return stay;
      return { trial: { ...trial, phase: 'over' }, actions: trial.old === 'dead' ? [] : ['dismiss-old'] };
    case 'returning':
      if (event.kind === 'old-idle' && trial.old === 'closing') return comeBack({ ...trial, old: 'idle' });
      return late ? killOld(trial) : stay;
  }
}

function prove(before: Trial, event: TrialEvent, nowMs: number, limits: TrialLimits): TrialStep {
  const trial = event.kind === 'new-said' ? { ...before, said: event.state } : before;
  const missing = missingProof(trial.said, trial.before);
  if (missing !== undefined) {
    if (event.kind === 'tick' && nowMs >= trial.deadlineMs) return giveUp(trial, missing);
    return { trial: { ...trial, wellSinceMs: undefined }, actions: [] };
  }
  const wellSinceMs = trial.wellSinceMs ?? nowMs;
  if (nowMs - wellSinceMs < limits.holdMs) return { trial: { ...trial, wellSinceMs }, actions: [] };
  return { trial: { ...trial, wellSinceMs, phase: 'committing', deadlineMs: Number.POSITIVE_INFINITY }, actions: ['commit'] };
}

const openNew = (trial: Trial, nowMs: number, limits: TrialLimits): TrialStep => ({
  trial: { ...trial, phase: 'opening', deadlineMs: nowMs + limits.openMs },
  actions: ['open-new'],
});

/** Its death comes as an event of its own. */
const killOld = (trial: Trial): TrialStep =>
  trial.old === 'closing' ? { trial: { ...trial, old: 'killed' }, actions: ['kill-old'] } : { trial, actions: [] };

function oldDied(trial: Trial, nowMs: number, limits: TrialLimits): TrialStep {
  switch (trial.phase) {
    case 'starting': {
      // Nobody listens: the way back is the shorter one, and the new one has shown nothing yet.
      const returning: Trial = { ...trial, phase: 'returning', failed: 'the present program died while the new one started' };
      return { trial: returning, actions: ['kill-new'] };
    }
    case 'closing':
      return openNew(trial, nowMs, limits);
    case 'returning':
      return comeBack(trial);
    default:
      return { trial, actions: [] };
  }
}

function newDied(trial: Trial, exit: string): TrialStep {
  if (trial.phase === 'returning') return comeBack(trial);
  // Written down or not: the file says which. Whoever is current is started again.
  if (trial.phase === 'committing') return { trial, actions: [] };
  return comeBack({ ...trial, phase: 'returning', failed: `it died: ${exit}` });
}

function giveUp(trial: Trial, failed: string): TrialStep {
  const returning: Trial = { ...trial, phase: 'returning', failed };
  return trial.newAlive ? { trial: returning, actions: ['kill-new'] } : comeBack(returning);
}

/** As soon as the new one is dead and the old one can. */
function comeBack(trial: Trial): TrialStep {
  if (trial.newAlive || trial.old === 'closing' || trial.old === 'killed') return { trial, actions: [] };
  const actions: TrialAction[] = trial.old === 'idle' ? ['open-old'] : trial.old === 'dead' ? ['start-old'] : [];
  return { trial: { ...trial, phase: 'over' }, actions };
}
