// The picture of the last five minutes: two small charts over one clock, one value per second.
// Values come with the live stream; the picture moves on by itself when nothing happens.

import uPlot from '/uplot.js';
import type { Point } from './api.ts';

const spanSeconds = 300;

export class RateChart {
  readonly #frames: readonly HTMLElement[];
  readonly #seconds = new Map<number, readonly [number, number]>();
  #plots: uPlot[] = [];
  /** Seconds to add to this machine's clock to get the recorder's. */
  #ahead = 0;

  constructor(sessions: HTMLElement, probes: HTMLElement) {
    this.#frames = [sessions, probes];
    this.#build();
    new ResizeObserver(() => this.#resize()).observe(sessions);
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.#build());
  }

  /** Replaces everything. `at` is the recorder's time. */
  set(points: readonly Point[], at: string): void {
    this.#ahead = Math.round((Date.parse(at) - Date.now()) / 1000);
    this.#seconds.clear();
    for (const point of points) this.#seconds.set(point.at, [point.sessions, point.probes]);
    this.draw();
  }

  /** Each second replaces what was known of it. */
  update(rate: readonly (readonly [number, number, number])[]): void {
    for (const [at, sessions, probes] of rate) this.#seconds.set(at, [sessions, probes]);
  }

  /** Sessions and probe packets per second over the last ten whole seconds. */
  now(): { sessions: number; probes: number } {
    const last = this.#clock();
    let sessions = 0;
    let probes = 0;
    for (let at = last - 10; at < last; at += 1) {
      const second = this.#seconds.get(at);
      sessions += second?.[0] ?? 0;
      probes += second?.[1] ?? 0;
    }
    return { sessions: sessions / 10, probes: probes / 10 };
  }

  /** The running second is left out: it always looks like a fall. */
  draw(): void {
    const last = this.#clock() - 1;
    for (const at of this.#seconds.keys()) if (at < last - spanSeconds) this.#seconds.delete(at);
    const times: number[] = [];
    const values: [number[], number[]] = [[], []];
    for (let at = last - spanSeconds + 1; at <= last; at += 1) {
      const second = this.#seconds.get(at);
      times.push(at);
      values[0].push(second?.[0] ?? 0);
      values[1].push(second?.[1] ?? 0);
    }
    for (const [index, plot] of this.#plots.entries()) plot.setData([times, values[index]]);
  }

  #clock(): number {
    return Math.floor(Date.now() / 1000) + this.#ahead;
  }

  #build(): void {
    for (const plot of this.#plots) plot.destroy();
    const style = getComputedStyle(document.documentElement);
    const colour = (name: string): string => style.getPropertyValue(name).trim();
    const pad = (value: number): string => String(value).padStart(2, '0');
    const clock = (seconds: number): string => {
      const date = new Date(seconds * 1000);
      return `${pad(date.getUTCHours())}:${pad(date.getUTCMinutes())}`;
    };
    const axis: uPlot.Axis = {
      stroke: colour('--quiet'),
      grid: { stroke: colour('--line'), width: 1 },
      ticks: { show: false },
      font: `11px ${colour('--mono')}`,
    };
    this.#plots = this.#frames.map((frame, index) => {
      const line = colour(index === 0 ? '--accent' : '--second');
      return new uPlot(
        {
          ...this.#sizeOf(frame),
          legend: { show: false },
          cursor: { show: false },
          padding: [8, 10, 0, 0],
          scales: { y: { range: (_plot, _low, high) => [0, Math.max(4, high * 1.1)] } },
          axes: [
            { ...axis, space: 60, incrs: [60, 120, 300], size: 22, values: (_plot, ticks) => ticks.map(clock) },
            {
              ...axis,
              size: 46,
              space: 26,
              incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000],
            },
          ],
          series: [{}, { stroke: line, width: 1.5, fill: `${line}24`, points: { show: false } }],
        },
        [[], []],
        frame,
      );
    });
    this.draw();
  }

  #sizeOf(frame: HTMLElement): { width: number; height: number } {
    return { width: Math.max(120, frame.clientWidth), height: Math.max(60, frame.clientHeight) };
  }

  #resize(): void {
    for (const [index, plot] of this.#plots.entries()) plot.setSize(this.#sizeOf(this.#frames[index]));
  }
}
