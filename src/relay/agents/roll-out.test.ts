import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import type { AgentStatus } from '../../model/agent.ts';
import {
  beginRollOut,
  describeRollOut,
  offerFailed,
  type RollOut,
  type RollOutWish,
  stageSizes,
  stepRollOut,
} from './roll-out.ts';

const wish = (agents: readonly string[], more: Partial<RollOutWish> = {}): RollOutWish => ({
  version: '2.0.0',
  agents,
  withinMs: 60_000,
  ...more,
});
const status = (name: string, more: Partial<AgentStatus> = {}): AgentStatus => ({
  name,
  state: 'linked',
  health: 'degraded',
  reasons: ['it runs 1.0.0, this gateway 2.0.0: upgrade it with weir agents upgrade'],
  ownHealth: 'good',
  version: '1.0.0',
  rules: { wanted: 'aaaaaaaaaaaa', applied: 'aaaaaaaaaaaa', refused: [] },
  ...more,
});
const upgraded = (name: string, more: Partial<AgentStatus> = {}): AgentStatus =>
  status(name, { version: '2.0.0', health: 'good', reasons: [], upgrade: { version: '2.0.0', state: 'done' }, ...more });
const names = (count: number): string[] => Array.from({ length: count }, (_, at) => `a-${at}`);

test('one, then a tenth, then the rest; or as many as are asked for', () => {
  assert.deepEqual(stageSizes(100), [1, 10, 89]);
  assert.deepEqual(stageSizes(1000), [1, 100, 899]);
  assert.deepEqual(stageSizes(5), [1, 1, 3]);
  assert.deepEqual(stageSizes(1), [1]);
  assert.deepEqual(stageSizes(0), []);
  assert.deepEqual(stageSizes(5, 2), [2, 2, 1]);
  fc.assert(
    fc.property(fc.nat(5000), fc.option(fc.integer({ min: 1, max: 9999 }), { nil: undefined }), (count, stage) => {
      const sizes = stageSizes(count, stage);
      assert.equal(
        sizes.reduce((sum, size) => sum + size, 0),
        count,
      );
      assert.ok(sizes.every((size) => size > 0 && size <= (stage ?? count)));
    }),
  );
});

test('the next stage begins when all of the former work with the new version, and not before', () => {
  const fleet = new Map(names(5).map((name) => [name, status(name)]));
  const look = (): AgentStatus[] => [...fleet.values()];
  let roll = beginRollOut(wish(names(5)), look(), 0);
  const offered: string[][] = [];
  const step = (nowMs: number): void => {
    const { next, offer } = stepRollOut(roll, look(), nowMs);
    roll = next;
    if (offer.length > 0) offered.push([...offer]);
  };
  step(0);
  step(1000);
  assert.deepEqual(offered, [['a-0']]);
  // On trial is not done; linked with the new version is not either.
  fleet.set('a-0', upgraded('a-0', { upgrade: { version: '2.0.0', state: 'staged' } }));
  step(2000);
  fleet.set('a-0', upgraded('a-0', { ownHealth: undefined }));
  step(3000);
  fleet.set('a-0', upgraded('a-0', { rules: { wanted: 'bbbbbbbbbbbb', applied: 'aaaaaaaaaaaa', refused: [] } }));
  step(4000);
  assert.equal(offered.length, 1);
  fleet.set('a-0', upgraded('a-0'));
  step(5000);
  assert.deepEqual(offered, [['a-0'], ['a-1']]);
  fleet.set('a-1', upgraded('a-1'));
  step(6000);
  assert.deepEqual(offered.at(-1), ['a-2', 'a-3', 'a-4']);
  for (const name of ['a-2', 'a-3', 'a-4']) fleet.set(name, upgraded(name));
  step(7000);
  assert.ok(roll.over && !roll.failed);
  assert.ok(describeRollOut(roll).every(({ state }) => state === 'done'));
});

test('the first failure stops it and is named; those whose turn had not come are untouched', () => {
  const fleet = [status('a-0'), status('a-1'), status('a-2')];
  let { next: roll } = stepRollOut(beginRollOut(wish(names(3)), fleet, 0), fleet, 0);
  ({ next: roll } = stepRollOut(
    roll,
    [status('a-0', { upgrade: { version: '2.0.0', state: 'failed', reason: 'it died' } })],
    10,
  ));
  assert.deepEqual(roll.failed, { agent: 'a-0', reason: 'it died' });
  assert.deepEqual(
    describeRollOut(roll).map(({ state }) => state),
    ['failed', 'untouched', 'untouched'],
  );
  assert.deepEqual(stepRollOut(roll, fleet, 99_999), { next: roll, offer: [] });
});

test('what does not report within the bound stops it, with what is missing', () => {
  const cases: [Partial<AgentStatus>, RegExp][] = [
    [{}, /still runs 1\.0\.0, after 60 s/],
    [{ state: 'away', reasons: ['it is away: nothing was heard any more'] }, /away/],
    [{ version: '2.0.0', upgrade: { version: '2.0.0', state: 'staged' } }, /on trial/],
    [
      { version: '2.0.0', upgrade: { version: '2.0.0', state: 'done' }, ownHealth: 'bad', reasons: ['no disk'] },
      /health is bad: no disk/,
    ],
    [
      {
        version: '2.0.0',
        upgrade: { version: '2.0.0', state: 'done' },
        rules: { wanted: 'a', applied: 'a', refused: [{ transport: 'tcp', port: 80, why: 'EACCES' }] },
      },
      /1 of its ports, 0 before/,
    ],
  ];
  for (const [more, why] of cases) {
    const { next: begun } = stepRollOut(beginRollOut(wish(['a-0']), [status('a-0')], 0), [], 0);
    const early = stepRollOut(begun, [status('a-0', more)], 59_999).next;
    assert.equal(early.failed, undefined);
    assert.match(stepRollOut(early, [status('a-0', more)], 60_000).next.failed?.reason ?? '', why);
  }
});

test('who is newer, away, unknown or ill is not asked, and force asks all that can hear', () => {
  const fleet = [
    status('newer', { version: '2.0.1' }),
    status('same', { version: '2.0.0' }),
    status('away', { state: 'away' }),
    status('ill', { ownHealth: 'bad' }),
    status('old'),
  ];
  const all = [...fleet.map(({ name }) => name), 'stranger'];
  const states = (roll: RollOut): string[] => describeRollOut(roll).map(({ agent, state }) => `${agent} ${state}`);
  assert.deepEqual(states(beginRollOut(wish(all), fleet, 0)), [
    'old waiting',
    'newer refused',
    'same current',
    'away refused',
    'ill refused',
    'stranger refused',
  ]);
  assert.deepEqual(states(beginRollOut(wish(all, { force: true }), fleet, 0)).slice(0, 4), [
    'newer waiting',
    'same waiting',
    'ill waiting',
    'old waiting',
  ]);
  assert.ok(beginRollOut(wish(['away']), fleet, 0).over);
});

test('an agent of a former stage that returns late stops it too', () => {
  const fleet = [status('a-0'), status('a-1')];
  let { next: roll } = stepRollOut(beginRollOut(wish(names(2), { stage: 1 }), fleet, 0), fleet, 0);
  ({ next: roll } = stepRollOut(roll, [upgraded('a-0'), fleet[1]], 1));
  assert.equal(roll.at, 1);
  const late = upgraded('a-0', { upgrade: { version: '2.0.0', state: 'failed', reason: 'it does not run' } });
  ({ next: roll } = stepRollOut(roll, [late, fleet[1]], 2));
  assert.equal(roll.failed?.agent, 'a-0');
});

test('an offer that does not reach its agent stops it', () => {
  const fleet = [status('a-0'), status('a-1')];
  const { next } = stepRollOut(beginRollOut(wish(names(2)), fleet, 0), fleet, 0);
  assert.match(offerFailed(next, 'a-0').failed?.reason ?? '', /did not reach/);
});

test('never more are under way than a stage has, whatever agents do', () => {
  const turn = fc.record({
    who: fc.nat(19),
    what: fc.constantFrom('done', 'failed', 'away', 'trial', 'nothing'),
    wait: fc.nat(20_000),
  });
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 20 }),
      fc.option(fc.integer({ min: 1, max: 8 }), { nil: undefined }),
      fc.array(turn),
      (count, stage, turns) => {
        const fleet = new Map(names(count).map((name) => [name, status(name)]));
        const look = (): AgentStatus[] => [...fleet.values()];
        let now = 0;
        let roll = beginRollOut(wish(names(count), { ...(stage === undefined ? {} : { stage }) }), look(), now);
        const sizes = stageSizes(count, stage);
        const offered = new Set<string>();
        for (const { who, what, wait } of turns) {
          now += wait;
          const { next, offer } = stepRollOut(roll, look(), now);
          roll = next;
          for (const name of offer) {
            assert.ok(!offered.has(name), 'nobody is asked twice');
            offered.add(name);
          }
          const finished = [...offered].filter((name) => fleet.get(name)?.upgrade?.state === 'done').length;
          if (offer.length > 0) assert.ok(offered.size - finished <= sizes[roll.at], 'only one stage is under way');
          const name = `a-${who % count}`;
          if (!offered.has(name) || what === 'nothing') continue;
          if (what === 'done') fleet.set(name, upgraded(name));
          if (what === 'failed') fleet.set(name, status(name, { upgrade: { version: '2.0.0', state: 'failed', reason: 'x' } }));
          if (what === 'away') fleet.set(name, status(name, { state: 'away' }));
          if (what === 'trial') fleet.set(name, upgraded(name, { upgrade: { version: '2.0.0', state: 'staged' } }));
        }
        if (roll.failed) assert.ok(roll.over && offered.has(roll.failed.agent));
        if (roll.over && !roll.failed) assert.equal(roll.done.size, count);
      },
    ),
    { numRuns: 500 },
  );
});
