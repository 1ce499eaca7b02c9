// When the access baseline is checked by itself, one check at a time, and what is said of it; the checks themselves are test/e2e/baseline.test.ts.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { WeirError } from '../base/errors.ts';
import type { EventSink } from '../model/event.ts';
import { type BaselineCheck, BaselineSchedule, parseOutcome } from './baseline-schedule.ts';

const fine = { compared: 12, differences: 0, notMeasured: 0 };

function bed(check: BaselineCheck, everyMs = 1): { schedule: BaselineSchedule; told: string[] } {
  const told: string[] = [];
  const events: EventSink = {
    append: (event) => void (event.kind === 'system' && told.push(event.system.message)),
  };
  const log = { debug() {}, info() {}, warn() {}, error() {} };
  const schedule = new BaselineSchedule({ everyMs, check, clock: () => 1_700_000_000_000_000, events, log } as never);
  return { schedule, told };
}

describe('the schedule of the access baseline', () => {
  it('begins at once, goes on after each check, and never runs two', async () => {
    let running = 0;
    let count = 0;
    let third: () => void = () => {};
    const reached = new Promise<void>((resolve) => {
      third = resolve;
    });
    const { schedule } = bed(async () => {
      running += 1;
      assert.equal(running, 1);
      await new Promise((resolve) => setImmediate(resolve));
      running -= 1;
      count += 1;
      if (count === 3) third();
      return fine;
    });
    assert.deepEqual(schedule.report().lines, ['the first check is under way']);
    schedule.start();
    schedule.start();
    await reached;
    await schedule.stop();
    const after = count;
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(count, after, 'none after the end');
    const { lines, reasons } = schedule.report();
    assert.match(lines.join(), /^as agreed: 12 ways compared, at 2023-11-14T22:13:20/);
    assert.deepEqual(reasons, []);
  });

  it('says what differs and what failed, on record once, and ends a check that runs', async () => {
    const answers: (() => Promise<typeof fine>)[] = [
      () => Promise.reject(new WeirError('fault', 'there is no access.yaml', { next: '`weir baseline record` writes one' })),
      () => Promise.reject(new WeirError('fault', 'there is no access.yaml', { next: '`weir baseline record` writes one' })),
      async () => ({ compared: 12, differences: 3, notMeasured: 1 }),
    ];
    const reports: { lines: readonly string[]; reasons: readonly string[] }[] = [];
    let hangs: () => void = () => {};
    const hanging = new Promise<void>((resolve) => {
      hangs = resolve;
    });
    const { schedule, told } = bed((signal) => {
      reports.push(schedule.report());
      const answer = answers.shift();
      if (answer) return answer();
      hangs();
      return new Promise((_, reject) => signal.addEventListener('abort', () => reject(new Error('ended')), { once: true }));
    });
    schedule.start();
    await hanging;
    await schedule.stop();
    const [, first, second, third] = reports;
    assert.match(
      first.reasons.join(),
      /could not be checked, 1 times until now: there is no access\.yaml: `weir baseline record`/,
    );
    assert.match(second.reasons.join(), /2 times/);
    assert.match(third.lines.join(), /^3 differences: 12 ways compared, 1 things not measured/);
    assert.match(third.reasons.join(), /not as agreed: 3 differences, `weir baseline check`/);
    assert.equal(told.length, 1, told.join());
  });

  it('says what was not measured, and alerts that could not be written, and never calls that agreed', async () => {
    let done: () => void = () => {};
    const second = new Promise<void>((resolve) => {
      done = resolve;
    });
    let count = 0;
    const { schedule } = bed(async () => {
      count += 1;
      if (count === 2) done();
      return { compared: 0, differences: 0, notMeasured: 2, unwritten: 'no space left' };
    });
    schedule.start();
    await second;
    await schedule.stop();
    const { lines, reasons } = schedule.report();
    assert.match(lines.join(), /^nothing else than agreed was found: 0 ways compared, 2 things not measured/);
    assert.match(reasons.join(), /2 things .* not measured, `weir baseline check` .*not on record as alerts: no space left/);
  });

  it('tries one that failed again before its time', async (context) => {
    context.mock.timers.enable({ apis: ['setTimeout'] });
    const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
    let count = 0;
    const { schedule } = bed(async () => {
      count += 1;
      if (count === 1) throw new WeirError('fault', 'a namespace ended');
      return fine;
    }, 3_600_000);
    schedule.start();
    await turn();
    context.mock.timers.tick(60_000);
    await turn();
    assert.equal(count, 2);
    context.mock.timers.tick(60_000);
    await turn();
    assert.equal(count, 2, 'what went well is not done again');
    context.mock.timers.tick(3_600_000);
    await turn();
    assert.equal(count, 3);
    await schedule.stop();
  });

  it('reads what a check answers, and takes nothing else for an answer', () => {
    const answer = JSON.stringify({ compared: 2, differences: [{}], not_measured: [] });
    assert.deepEqual(parseOutcome(answer, 10), { compared: 2, differences: 1, notMeasured: 0 });
    const full = { code: 'disk-full', message: 'no space left', details: { next: 'make room' } };
    const unwritten = parseOutcome(JSON.stringify({ ...JSON.parse(answer), error: full }), 1);
    assert.deepEqual(unwritten, { compared: 2, differences: 1, notMeasured: 0, unwritten: 'no space left: make room' });
    for (const [stdout, code] of [
      [answer, 1],
      ['', null],
      ['null', 0],
      ['{"error":{"code":"config-unreadable","message":"there is no access.yaml","details":{"next":"record it"}}}', 2],
    ] as const)
      assert.throws(() => parseOutcome(stdout, code), WeirError);
  });
});
