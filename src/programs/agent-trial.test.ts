import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import {
  beginTrial,
  missingProof,
  stepTrial,
  type Trial,
  type TrialAction,
  type TrialEvent,
  trialLimits,
  type WorkerState,
} from './agent-trial.ts';

const well: WorkerState = { linked: true, health: 'good', reasons: [], refused: 0, ruled: true };
const limits = trialLimits;

/** Plays events; each is an event or a wait in milliseconds that ends with a tick. */
function play(events: readonly (TrialEvent | number)[], before = well): { trial: Trial; actions: TrialAction[] } {
  let now = 0;
  let trial = beginTrial(before, now, limits);
  const done: TrialAction[] = [];
  for (const one of events) {
    if (typeof one === 'number') now += one;
    const { trial: next, actions } = stepTrial(trial, typeof one === 'number' ? { kind: 'tick' } : one, now, limits);
    trial = next;
    done.push(...actions);
  }
  return { trial, actions: done };
}

const ready: TrialEvent = { kind: 'new-ready' };
const idle: TrialEvent = { kind: 'old-idle' };
const open: TrialEvent = { kind: 'new-open' };
const said = (state: Partial<WorkerState> = {}): TrialEvent => ({ kind: 'new-said', state: { ...well, ...state } });
const dead: TrialEvent = { kind: 'new-dead', exit: 'signal SIGKILL' };
const oldDead: TrialEvent = { kind: 'old-dead' };
const good = [ready, idle, open, said(), limits.holdMs] as const;

test('a program that links and stays well is committed, then the old one is dismissed', () => {
  const proven = play(good);
  assert.deepEqual(proven.actions, ['close-old', 'open-new', 'commit']);
  assert.equal(proven.trial.phase, 'committing');
  const { trial, actions } = play([...good, { kind: 'committed' }]);
  assert.deepEqual(actions, ['close-old', 'open-new', 'commit', 'dismiss-old']);
  assert.equal(trial.failed, undefined);
  assert.equal(trial.phase, 'over');
});

test('a program that dies or hangs while it loads disturbs nobody', () => {
  for (const events of [[dead], [limits.readyMs, dead], [{ kind: 'new-refused', why: 'another version' }, dead] as const]) {
    const { trial, actions } = play(events);
    assert.deepEqual([trial.phase, trial.old], ['over', 'open']);
    assert.ok(trial.failed);
    assert.ok(
      actions.every((action) => action === 'kill-new'),
      actions.join(),
    );
  }
});

test('the old one listens again only when the new one is dead', () => {
  const { trial, actions } = play([ready, idle, limits.openMs]);
  assert.deepEqual([trial.phase, actions.at(-1)], ['returning', 'kill-new']);
  const after = play([ready, idle, limits.openMs, dead]);
  assert.deepEqual([after.trial.phase, after.actions.at(-1)], ['over', 'open-old']);
});

test('what is missing is the reason', () => {
  const cases: [Partial<WorkerState>, RegExp][] = [
    [{ linked: false }, /did not link/],
    [{ health: 'bad', reasons: ['its disk is full'] }, /health is bad: its disk is full/],
    [{ health: 'degraded' }, /health is degraded/],
    [{ refused: 3 }, /3 of its ports, 0 before/],
    [{ ruled: false }, /rules/],
  ];
  for (const [state, why] of cases) {
    const { trial } = play([ready, idle, open, said(state), limits.proofMs, dead]);
    assert.match(trial.failed ?? '', why);
  }
  assert.match(play([ready, idle, open, limits.proofMs]).trial.failed ?? '', /said nothing/);
});

test('nobody has to be better than the one before, but never bad', () => {
  const poor: WorkerState = { ...well, health: 'degraded', refused: 2 };
  assert.equal(missingProof(poor, poor), undefined);
  assert.ok(missingProof({ ...poor, refused: 3 }, poor));
  assert.ok(missingProof({ ...well, health: 'bad' }, { ...well, health: 'bad' }));
});

test('well for a moment is not enough', () => {
  const { trial } = play([ready, idle, open, said(), limits.holdMs - 1, said({ linked: false }), said(), limits.holdMs - 1]);
  assert.equal(trial.phase, 'proving');
});

test('an old one that does not let go is killed, and the new one goes on', () => {
  const { trial, actions } = play([ready, limits.releaseMs, oldDead]);
  assert.deepEqual(actions, ['close-old', 'kill-old', 'open-new']);
  assert.deepEqual([trial.phase, trial.old], ['opening', 'dead']);
});

test('an old one that is dead is started again when the new one fails', () => {
  assert.deepEqual(play([ready, idle, open, oldDead, dead]).actions.at(-1), 'start-old');
  assert.deepEqual(play([oldDead, dead]).actions, ['kill-new', 'start-old']);
  assert.deepEqual(play([ready, dead, limits.releaseMs, oldDead]).actions, ['close-old', 'kill-old', 'start-old']);
});

test('a commit that fails is a return', () => {
  const { trial, actions } = play([...good, { kind: 'commit-failed', why: 'no room' }, dead]);
  assert.deepEqual(actions.slice(-2), ['kill-new', 'open-old']);
  assert.equal(trial.failed, 'no room');
});

/**
 * Plays both processes and the disk under a schedule of deaths and delays; whatever happens, they never both listen, and when it is
 * over exactly one does or is on its way.
 */
test('at no time do both listen, and in the end one does', () => {
  const schedule = fc.array(
    fc.record({
      /** Which waiting answer comes next, or a death. */
      pick: fc.nat(5),
      wait: fc.integer({ min: 0, max: 6000 }),
      fault: fc.constantFrom('none', 'none', 'none', 'new-dies', 'old-dies', 'commit-fails'),
      state: fc.record({
        linked: fc.boolean(),
        health: fc.constantFrom('good' as const, 'degraded' as const, 'bad' as const),
        reasons: fc.constant([]),
        refused: fc.nat(1),
        ruled: fc.boolean(),
      }),
    }),
    { minLength: 5, maxLength: 60 },
  );
  fc.assert(
    fc.property(schedule, (rounds) => {
      let now = 0;
      let trial = beginTrial(well, now, limits);
      const old = { alive: true, listens: true };
      const fresh = { alive: true, listens: false };
      let answers: TrialEvent[] = [ready];
      let startedAnew = false;
      const feed = (event: TrialEvent): void => {
        if (trial.phase === 'over') return;
        const step = stepTrial(trial, event, now, limits);
        trial = step.trial;
        for (const action of step.actions) {
          if (action === 'close-old') answers.push(idle);
          if (action === 'open-new') answers.push(open);
          if (action === 'commit') answers.push({ kind: 'committed' });
          if (action === 'kill-new') answers.push(dead);
          if (action === 'kill-old') answers.push(oldDead);
          if (action === 'open-old') old.listens = true;
          if (action === 'start-old') startedAnew = true;
          if (action === 'start-old' || action === 'open-old') assert.ok(!fresh.alive, 'the new one must be dead');
          if (action === 'open-new') assert.ok(!old.listens, 'the old one must have let go');
        }
      };
      const happen = (event: TrialEvent): void => {
        if (event.kind === 'old-idle' && old.alive) old.listens = false;
        if (event.kind === 'new-open' && fresh.alive) fresh.listens = true;
        if (event.kind === 'new-dead') Object.assign(fresh, { alive: false, listens: false });
        if (event.kind === 'old-dead') Object.assign(old, { alive: false, listens: false });
        assert.ok(!(old.listens && fresh.listens));
        feed(event);
      };
      const possible = ({ kind }: TrialEvent): boolean =>
        kind.startsWith('new') ? fresh.alive : kind.startsWith('old') ? old.alive : true;
      for (const { pick, wait, fault, state } of rounds) {
        now += wait;
        feed({ kind: 'tick' });
        if (trial.phase === 'over') break;
        if (fault === 'new-dies' && fresh.alive) happen(dead);
        if (fault === 'old-dies' && old.alive) happen(oldDead);
        if (fault === 'commit-fails' && trial.phase === 'committing')
          answers = answers.map((one) => (one.kind === 'committed' ? { kind: 'commit-failed', why: 'no room' } : one));
        if (fresh.listens) feed({ kind: 'new-said', state });
        answers = answers.filter(possible);
        const [next] = answers.splice(pick % Math.max(1, answers.length), 1);
        if (next) happen(next);
      }
      // Everything that was asked for happens in the end.
      for (let round = 0; round < 40 && trial.phase !== 'over'; round += 1) {
        now += 40_000;
        feed({ kind: 'tick' });
        answers = answers.filter(possible);
        for (const next of answers.splice(0)) happen(next);
      }
      assert.equal(trial.phase, 'over');
      if (trial.failed === undefined) assert.ok(!old.listens);
      else assert.ok(!fresh.alive && (old.listens || startedAnew), 'the old one has to work again');
      assert.ok(trial.failed !== undefined || fresh.listens || !fresh.alive);
    }),
    { numRuns: 3000 },
  );
});
