import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { WeirError } from '../base/errors.ts';
import { silentLog } from '../base/log.ts';
import { RulesAttempts } from './rules-attempts.ts';
import type { RulesAnswer } from './rules-keeper.ts';

const applied: RulesAnswer = { refused: [], pending: false };
const away: RulesAnswer = { refused: ['nothing answers on netd.sock'], pending: false, again: true };

interface Bed {
  readonly attempts: RulesAttempts;
  readonly asked: string[];
  readonly answers: { readonly answer: RulesAnswer; readonly later: boolean }[];
  script: ((rules: string) => RulesAnswer | Promise<RulesAnswer>)[];
  answered(count: number): Promise<void>;
}

function bed(context: TestContext, delaysMs: readonly number[]): Bed {
  let wake: () => void = () => {};
  // What waits in an agent keeps nothing alive; a test waits for it.
  const alive = setInterval(() => {}, 1000);
  context.after(() => {
    clearInterval(alive);
    made.attempts.close();
  });
  const made: Bed = {
    asked: [],
    answers: [],
    script: [],
    answered: async (count) => {
      while (made.answers.length < count)
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
    },
    attempts: new RulesAttempts({
      log: silentLog,
      delaysMs,
      ask: async (rules) => {
        made.asked.push(rules);
        return (made.script.shift() ?? (() => applied))(rules);
      },
      onAnswer: (answer, later) => {
        made.answers.push({ answer, later });
        wake();
      },
    }),
  };
  return made;
}

test('rules refused because netd was away are tried again until it answers, and the status says so meanwhile', async (context) => {
  const made = bed(context, [1, 2]);
  const gone = (): never => {
    throw new WeirError('not-running', 'nothing answers on rules.sock');
  };
  made.script = [() => away, gone, () => away];
  await made.attempts.take('one', 'text');
  assert.deepEqual(made.answers[0], {
    answer: { ...away, refused: ['nothing answers on netd.sock; it is tried again'] },
    later: false,
  });
  await made.answered(4);
  assert.match(made.answers[1].answer.refused.join(), /rules\.sock; it is tried again$/);
  assert.deepEqual(made.answers[3], { answer: applied, later: true });
  assert.deepEqual(made.asked, ['one', 'one', 'one', 'one']);
});

test('netd that is back is asked at once, and only for what waits', async (context) => {
  const made = bed(context, [3_600_000]);
  made.script = [() => away];
  await made.attempts.take('one', 'text');
  made.attempts.wake();
  await made.answered(2);
  assert.deepEqual(made.answers[1], { answer: applied, later: true });
  made.attempts.wake();
  assert.equal(made.asked.length, 2);
});

test('a reason that does not pass is final, and other rules take the place of those that wait', async (context) => {
  const made = bed(context, [3_600_000]);
  made.script = [
    () => ({ refused: ['eth0 holds your session'], pending: false }),
    () => {
      throw new WeirError('bad-request', 'they are others than announced');
    },
    () => away,
  ];
  await made.attempts.take('one', 'text');
  await made.attempts.take('two', 'text');
  made.attempts.wake();
  assert.deepEqual(made.asked, ['one', 'two']);
  assert.ok(made.answers.every(({ answer }) => answer.again === undefined && !/again/.test(answer.refused.join())));
  await made.attempts.take('three', 'text');
  await made.attempts.take('four', 'text');
  made.attempts.wake();
  assert.deepEqual(made.asked, ['one', 'two', 'three', 'four']);
});
