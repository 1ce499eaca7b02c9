import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SweepSchedule, type Swept, sweepRateLimit } from './sweep-schedule.ts';

interface Network extends Swept {
  left: number;
  readonly sentAt: number[];
}

function bench(rate: number, sizes: readonly number[], probeMicros = 0) {
  const time = { now: 1_000_000_000_000 };
  const networks = sizes.map(
    (size): Network => ({
      left: size,
      sentAt: [],
      get sweeping() {
        return this.left > 0;
      },
      sweep(budget, until) {
        let sent = 0;
        while (sent < budget && this.left > 0 && time.now < until) {
          time.now += probeMicros;
          this.left -= 1;
          this.sentAt.push(time.now);
          sent += 1;
        }
        return sent;
      },
    }),
  );
  const schedule = new SweepSchedule(rate, () => time.now);
  const pass = (seconds: number): void => {
    const start = time.now;
    for (let tick = 1; tick <= seconds * 20; tick += 1) {
      time.now = Math.max(time.now, start + tick * 50_000);
      schedule.tick(networks);
    }
  };
  const all = (): number[] => networks.flatMap(({ sentAt }) => sentAt).sort((a, b) => a - b);
  return { time, networks, schedule, pass, all };
}

const mostInASecond = (times: readonly number[]): number =>
  times.reduce((most, at, index) => {
    let end = Math.max(index, most + index - 1);
    while (end < times.length && times[end] < at + 1_000_000) end += 1;
    return Math.max(most, end - index);
  }, 0);

test('all networks together keep the rate, whatever is configured above the limit', () => {
  for (const [configured, held] of [
    [1_000_000, sweepRateLimit],
    [700, 700],
    [3, 3],
  ]) {
    const { pass, all } = bench(configured, Array(40).fill(10_000));
    pass(10);
    const sent = all();
    assert.ok(sent.length >= held * 9.5 && sent.length <= held * 10.1 + 1, `${sent.length} in 10 s at ${held}`);
    assert.ok(mostInASecond(sent) <= held * 1.1 + 1, `${mostInASecond(sent)} within a second at ${held}`);
  }
});

test('a small network is done early beside large ones, and what it leaves goes to the others', () => {
  const { networks, pass, all } = bench(5_000, [60_000, 100, 60_000, 100, 60_000]);
  pass(1);
  assert.deepEqual([networks[1].left, networks[3].left], [0, 0]);
  const [one, two, three] = [0, 2, 4].map((index) => 60_000 - networks[index].left);
  assert.ok(Math.min(one, two, three) > Math.max(one, two, three) * 0.8, `${one} ${two} ${three}`);
  assert.ok(all().length >= 4_700);
});

test('at one probe a second each network has its turn', () => {
  const { networks, pass } = bench(1, [3, 3, 3, 3]);
  pass(13);
  assert.deepEqual(
    networks.map(({ left }) => left),
    [0, 0, 0, 0],
  );
});

test('a slow machine sends fewer, and never works longer than a tenth of its time', () => {
  const { pass, all } = bench(5_000, [60_000, 60_000], 500);
  pass(2);
  const sent = all();
  assert.ok(sent.length >= 20 * 20 * 0.9 && sent.length <= 20 * 20 + 40, `${sent.length}`);
});

test('a thread that was late has no burst to make up', () => {
  const { time, schedule, networks, all } = bench(5_000, [60_000]);
  time.now += 10_000_000;
  schedule.tick(networks);
  assert.ok(all().length <= 501);
});
